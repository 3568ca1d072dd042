package mcmt

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// decodeTransfer undoes a Content-Transfer-Encoding (RFC 2045 §6). warning is
// what had to be tolerated, or "". It reports false for an encoding it does not
// know.
func decodeTransfer(encoding string, b []byte) (out []byte, warning string, ok bool) {
	// Some senders add a comment or a parameter.
	encoding, _, _ = strings.Cut(strings.TrimSpace(encoding), ";")
	encoding, _, _ = strings.Cut(encoding, " ")
	switch strings.ToLower(encoding) {
	case "", "7bit", "8bit", "binary", "7-bit", "8-bit":
		return b, "", true
	case "base64":
		out, clean := decodeBase64(b)
		if !clean {
			warning = "base64 with characters that do not belong there"
		}
		return out, warning, true
	case "quoted-printable":
		out, clean := decodeQuotedPrintable(b)
		if !clean {
			warning = "quoted-printable with a bare equals sign"
		}
		return out, warning, true
	}
	return nil, "", false
}

const base64Junk = 0xff

var base64Values = func() (t [256]byte) {
	for i := range t {
		t[i] = base64Junk
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = byte(i)
	}
	return t
}()

// decodeBase64 decodes until padding or the end. What is outside the alphabet
// is skipped (RFC 2045 §6.8), padding may be missing, and what follows it, such
// as the footer of a list, is ignored. clean is false where anything but white
// space was skipped.
func decodeBase64(b []byte) (out []byte, clean bool) {
	out = make([]byte, len(b)/4*3+3)
	// Nearly all there is has nothing but line breaks in it: a picture takes a third of the
	// time.
	if n, err := base64.StdEncoding.Decode(out, b); err == nil {
		return out[:n], true
	}
	return decodeBase64Junk(out[:0], b)
}

// decodeBase64Junk decodes into out, which has room for all.
func decodeBase64Junk(out, b []byte) (_ []byte, clean bool) {
	clean = true
	var acc uint32
	var n int
loop:
	for i, c := range b {
		v := base64Values[c]
		switch {
		case v != base64Junk:
			acc = acc<<6 | uint32(v)
			if n++; n == 4 {
				out = append(out, byte(acc>>16), byte(acc>>8), byte(acc))
				acc, n = 0, 0
			}
		case c == '=':
			clean = clean && len(bytes.Trim(b[i:], "= \t\r\n")) == 0
			break loop
		case c != '\n' && c != '\r' && c != ' ' && c != '\t':
			clean = false
		}
	}
	switch n {
	case 1:
		clean = false // six bits are no octet
	case 2:
		out = append(out, byte(acc>>4))
	case 3:
		out = append(out, byte(acc>>10), byte(acc>>2))
	}
	return out, clean
}

// decodeQuotedPrintable decodes b; an equals sign that begins no escape stays
// as it is and makes clean false (RFC 2045 §6.7, note 2).
func decodeQuotedPrintable(b []byte) (out []byte, clean bool) {
	out = make([]byte, 0, len(b))
	clean = true
	for len(b) > 0 {
		line, rest, found := bytes.Cut(b, []byte("\n"))
		b = rest
		end := ""
		if found {
			end = "\n"
			if bytes.HasSuffix(line, []byte("\r")) {
				line, end = line[:len(line)-1], "\r\n"
			}
		}
		line = bytes.TrimRight(line, " \t") // rule 3: added on the way
		if bytes.HasSuffix(line, []byte("=")) {
			line, end = line[:len(line)-1], "" // soft line break
		}
		var ok bool
		if out, ok = appendUnquoted(out, line); !ok {
			clean = false
		}
		out = append(out, end...)
	}
	return out, clean
}

func appendUnquoted(out, line []byte) (_ []byte, clean bool) {
	clean = true
	for {
		i := bytes.IndexByte(line, '=')
		if i < 0 {
			return append(out, line...), clean
		}
		out = append(out, line[:i]...)
		if i+2 < len(line) {
			if c, ok := hexByte(line[i+1], line[i+2]); ok {
				out = append(out, c)
				line = line[i+3:]
				continue
			}
		}
		clean = false
		out = append(out, '=')
		line = line[i+1:]
	}
}
