package mcmt

import "strings"

// gsmAlphabet is the default alphabet of 3GPP TS 23.038 §6.2.1, one septet per
// octet as SMPP carries it. 0x1B is the escape.
var gsmAlphabet = []rune("@£$¥èéùìòÇ\nØø\rÅå" +
	"Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ" +
	" !\"#¤%&'()*+,-./0123456789:;<=>?" +
	"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§" +
	"¿abcdefghijklmnopqrstuvwxyzäöñüà")

// gsmExtension is the extension table (§6.2.1.1).
var gsmExtension = map[byte]rune{
	0x0A: '\f', 0x14: '^', 0x28: '{', 0x29: '}', 0x2F: '\\', 0x3C: '[',
	0x3D: '~', 0x3E: ']', 0x40: '|', 0x65: '€',
}

// decodeGSM decodes unpacked septets. An escape before a character that the
// extension table lacks counts for nothing, as §6.2.1 says; one at the end is a
// space.
func decodeGSM(b []byte) string {
	var s strings.Builder
	s.Grow(len(b))
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c >= 0x80:
			s.WriteRune('\uFFFD')
		case c != 0x1B:
			s.WriteRune(gsmAlphabet[c])
		case i+1 == len(b) || b[i+1] == 0x1B:
			s.WriteByte(' ')
			i++
		default:
			if r, ok := gsmExtension[b[i+1]]; ok {
				s.WriteRune(r)
				i++
			}
		}
	}
	return s.String()
}
