package convert

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"

	"mcmt2xmpp/mcmt"
)

// mailField is one field of a header. Its value has line breaks only where it is folded
// (RFC 5322 §2.2.3).
type mailField struct{ name, value string }

func (f mailField) String() string { return f.name + ": " + f.value + "\r\n" }

// header writes the fields of a mail (RFC 5322 §3.6) but those of its content.
func (m *draft) header(d mcmt.Draft, marks string) []byte {
	from := m.in.From
	if m.nick != "" {
		from = phrase(m.nick) + "\r\n <" + from + ">"
	}
	fields := []mailField{
		{"Date", d.Date.Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"From", from},
		{"To", m.in.To},
		{"Subject", unstructured(m.subject)},
		{"Message-ID", "<" + d.MessageID + ">"},
	}
	if d.InReplyTo != "" {
		fields = append(fields, mailField{"In-Reply-To", "<" + d.InReplyTo + ">"})
	}
	if len(d.References) > 0 {
		fields = append(fields, mailField{"References", "<" + d.References[0] + ">"})
	}
	var b bytes.Buffer
	for _, f := range fields {
		b.WriteString(f.String())
	}
	b.WriteString(marks)
	b.WriteString("MIME-Version: 1.0\r\n")
	return b.Bytes()
}

// unstructured writes text for a field such as Subject: as it is where that is short and
// plain, else as encoded words.
func unstructured(s string) string {
	if len(s) > 65 || !printable(s) || strings.Contains(s, "=?") {
		return encodedWords(s)
	}
	return s
}

// phrase writes a display name (RFC 5322 §3.4).
func phrase(s string) string {
	if !printable(s) || len(s) > 65 || strings.Contains(s, "=?") {
		return encodedWords(s)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// encodedWords writes s as words in base64 (RFC 2047), of a length with which no line is
// longer than 76 characters (§2), the name of the field included; a character is never
// divided (§5).
func encodedWords(s string) string {
	const most = 39
	var words []string
	for s != "" {
		n := min(most, len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, "\r\n ")
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f })
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// content writes the texts with their header. Those in other languages follow the first
// one as parts of multipart/mixed, not as alternatives: of these a mail program shows one,
// mostly the last, and has no idea of languages (RFC 2046 §5.1.4).
func (m *draft) content() []byte {
	parts := make([][]byte, len(m.texts))
	for i, t := range m.texts {
		parts[i] = textPart(t)
	}
	if len(parts) == 1 {
		return parts[0]
	}
	sum := sha256.Sum256(bytes.Join(parts, nil))
	boundary := "=_" + hex.EncodeToString(sum[:12]) // no encoded text holds "=_"
	var b bytes.Buffer
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"%s\"\r\n\r\n", boundary)
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: inline\r\n%s\r\n", boundary, p)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes()
}

// textPart writes a text in UTF-8 with the transfer encoding that makes it shorter; lines
// have 76 characters at most in both (RFC 2045 §6.7, 6.8).
func textPart(t body) []byte {
	var b bytes.Buffer
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\n")
	if isLang(t.lang) {
		b.WriteString(mailField{"Content-Language", t.lang}.String())
	}
	text := strings.TrimRight(t.text, "\n") + "\n"
	special := 0
	for i := range len(text) {
		if text[i] >= 0x7f || text[i] == '=' {
			special++
		}
	}
	// Quoted-printable makes three of each, base64 four of three.
	if 6*special > len(text) {
		b.WriteString("Content-Transfer-Encoding: base64\r\n\r\n")
		writeBase64(&b, strings.ReplaceAll(text, "\n", "\r\n"))
		return b.Bytes()
	}
	b.WriteString("Content-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = io.WriteString(w, text) // a Buffer does not fail
	_ = w.Close()
	return b.Bytes()
}

func writeBase64(b *bytes.Buffer, text string) {
	encoded := base64.StdEncoding.EncodeToString([]byte(text))
	for encoded != "" {
		n := min(76, len(encoded))
		b.WriteString(encoded[:n] + "\r\n")
		encoded = encoded[n:]
	}
}

// isLang reports whether a language can stand in Content-Language (RFC 3282).
func isLang(s string) bool {
	return s != "" && len(s) <= 35 && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}
