package mcmt

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// decodeCharset returns b, which is in charset, as UTF-8; bytes that are none
// become U+FFFD. The second result is what had to be tolerated, or "".
func decodeCharset(charset string, b []byte) (text, warning string) {
	charset = canonCharset(charset)
	switch charset {
	case "":
		if utf8.Valid(b) {
			return string(b), ""
		}
		return guessUTF8(string(b)), "8-bit text without a charset, taken as windows-1252"
	case "utf-8", "utf8":
		b = trimBOM(b)
		if utf8.Valid(b) {
			return string(b), ""
		}
		return strings.ToValidUTF8(string(b), "\uFFFD"), "bytes that are not UTF-8 replaced"
	case "us-ascii", "ascii":
		if isASCII(b) {
			return string(b), ""
		}
		return guessUTF8(string(b)), "8-bit text in us-ascii, charset guessed"
	case "gsm7", "gsm-7", "gsm-7bit", "gsm7bit", "gsm0338", "gsm03.38", "gsm-03.38", "gsm-0338", "gsm":
		return decodeGSM(b), ""
	}
	enc := lookupCharset(charset)
	if enc == nil {
		return guessUTF8(string(b)), fmt.Sprintf("charset %.40q is not known, guessed", charset)
	}
	out, err := enc.NewDecoder().Bytes(b)
	if err != nil {
		return strings.ToValidUTF8(string(out), "\uFFFD"), fmt.Sprintf("text is not valid %s", charset)
	}
	return string(trimBOM(out)), ""
}

// canonCharset removes what careless senders put around a charset.
func canonCharset(s string) string {
	return strings.ToLower(strings.Trim(s, " \t'\""))
}

// moreCharsets are names that the registries of x/text lack or resolve to
// another byte order. Without a byte order mark big endian holds (RFC 2781
// §4.3), as on the air (3GPP TS 23.038 §6.2.3).
var moreCharsets = map[string]encoding.Encoding{
	"ucs-2":            unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"ucs2":             unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"iso-10646-ucs-2":  unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"utf-16":           unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"utf16":            unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	"utf-16be":         unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	"ucs-2be":          unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM),
	"utf-16le":         unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	"ucs-2le":          unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM),
	"utf-32":           utf32.UTF32(utf32.BigEndian, utf32.UseBOM),
	"utf-32be":         utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM),
	"utf-32le":         utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM),
	"latin-1":          charmap.ISO8859_1,
	"cp-1252":          charmap.Windows1252,
	"cp1252":           charmap.Windows1252,
	"ansi_x3.110-1983": charmap.ISO8859_1, // RFC 1345: nearly a superset of it
}

// lookupCharset finds an encoding by its IANA name or a name of the web; nil
// where nobody knows it.
func lookupCharset(charset string) encoding.Encoding {
	if enc, ok := moreCharsets[charset]; ok {
		return enc
	}
	// A registered name without an implementation gives nil and no error
	// (go.dev/issue/19421).
	if enc, err := ianaindex.MIME.Encoding(charset); err == nil && enc != nil {
		return enc
	}
	if enc, err := ianaindex.IANA.Encoding("cs" + charset); err == nil && enc != nil {
		return enc
	}
	// The web's "replacement" decodes anything to one U+FFFD.
	if enc, err := htmlindex.Get(charset); err == nil && enc != encoding.Replacement {
		return enc
	}
	return nil
}

// charsetReader gives decodeCharset to the address parser of net/mail.
func charsetReader(charset string, r io.Reader) (io.Reader, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	text, _ := decodeCharset(charset, b)
	return strings.NewReader(text), nil
}

// guessUTF8 returns s if it is UTF-8, else as windows-1252, which is what 8-bit
// text without a charset mostly is.
func guessUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out, err := charmap.Windows1252.NewDecoder().String(s)
	if err != nil {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return out
}

func trimBOM(b []byte) []byte {
	if len(b) >= 3 && b[0] == 0xEF && b[1] == 0xBB && b[2] == 0xBF {
		return b[3:]
	}
	return b
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
