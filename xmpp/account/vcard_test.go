package account

import (
	"crypto/sha1" // #nosec G505 -- what XEP-0153 §3.1 has
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/xmlwire"
)

// FuzzVCard: the photo of a card has the hash of its image, however its lines are broken;
// whatever else a card is, it has a hash or none.
func FuzzVCard(f *testing.F) {
	for _, s := range []string{
		`<vCard xmlns='vcard-temp'><FN>Bob</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>aGk=</BINVAL></PHOTO></vCard>`,
		`<vCard xmlns='vcard-temp'><PHOTO><BINVAL>a<b/>Gk</BINVAL></PHOTO><PHOTO><EXTVAL>http://x/</EXTVAL></PHOTO></vCard>`,
		`<vCard xmlns='vcard-temp'><PHOTO/></vCard>`,
	} {
		f.Add([]byte(s), []byte("pixels"), 4)
	}
	f.Fuzz(func(t *testing.T, raw, image []byte, width int) {
		if card, err := xmlwire.Parse(raw, xmlwire.Limits{}); err == nil {
			if hash, err := hex.DecodeString(photoHash(card)); err != nil || len(hash) != 0 && len(hash) != sha1.Size {
				t.Fatalf("%s has the hash %x, %v", raw, hash, err)
			}
		}
		width = max(1, width%80)
		var text strings.Builder
		for rest := base64.StdEncoding.EncodeToString(image); rest != ""; rest = rest[min(width, len(rest)):] {
			text.WriteString(rest[:min(width, len(rest))] + "\n\t")
		}
		card := xmlwire.New(nsVCard, "vCard").Add(xmlwire.New(nsVCard, "PHOTO").Add(xmlwire.New(nsVCard, "BINVAL").AddText(text.String())))
		want := ""
		if sum := sha1.Sum(image); len(image) > 0 { // #nosec G401
			want = hex.EncodeToString(sum[:])
		}
		if got := photoHash(card); got != want {
			t.Fatalf("the hash of %q is %s, want %s", image, got, want)
		}
	})
}
