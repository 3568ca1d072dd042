package mcmt

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime/quotedprintable"
	"strings"
	"time"
	"unicode/utf8"
)

// Draft is what Build makes an MCMT message of. Every field may be empty.
type Draft struct {
	From       string    // addr-spec for the header; the envelope is not Build's matter
	To         []string  // likewise
	Subject    string    // of the e-mail part
	Text       string    // of the e-mail part, plain
	Date       time.Time // of the e-mail part; zero: no field
	MessageID  string    // of the e-mail part, without angle brackets
	InReplyTo  string
	References []string
	// Email is the whole mail for the e-mail part. The fields above are then
	// in the outer header only, and Text is not used.
	Email []byte
	XMPP  []byte // one <message/> stanza
	SMS   string // text of the SMS part
	Parts []RawPart
}

// RawPart is a further part of a Draft, such as message/vnd.msys.apn.
type RawPart struct {
	ContentType string // value of the field, with parameters
	Body        []byte // of a message/vnd.msys.* part, a header block may stand first
}

// Build writes d as a message with CRLF line breaks. The same d gives the same
// bytes. Parse finds in it what d holds: stanza and parts byte for byte, Email
// with CRLF and texts with "\n" for line breaks. It returns an error where a field of the header
// holds a line break or a control character.
func Build(d Draft) ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	email := d.Email
	if email == nil {
		email = d.mail()
	}
	parts := []RawPart{{ContentType: "message/rfc822", Body: crlf(email)}}
	if d.XMPP != nil {
		parts = append(parts, RawPart{ContentType: XMPPTypes[0], Body: stuffed(d.XMPP)})
	}
	if d.SMS != "" {
		parts = append(parts, RawPart{ContentType: smsType + "; charset=utf-8", Body: stuffed([]byte(d.SMS))})
	}
	parts = append(parts, d.Parts...)
	boundary := boundaryFor(parts)
	var b bytes.Buffer
	d.writeFields(&b)
	fmt.Fprintf(&b, "Content-Type: %s;\r\n\tboundary=\"%s\"\r\n\r\n", Type, boundary)
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: %s\r\n", boundary, p.ContentType)
		writeBody(&b, p)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// check refuses what would forge a field of the header.
func (d *Draft) check() error {
	fields := append([]string{d.From, d.MessageID, d.InReplyTo}, d.To...)
	fields = append(fields, d.References...)
	for _, p := range d.Parts {
		fields = append(fields, p.ContentType)
	}
	for _, f := range fields {
		if strings.ContainsFunc(f, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("mcmt: build: %.40q: control character in a header field", f)
		}
	}
	if d.Email != nil {
		p := newParser(Limits{})
		if _, _, err := p.header(d.Email, "e-mail part"); err != nil {
			return fmt.Errorf("mcmt: build: %w", err)
		}
	}
	for _, s := range []string{d.Subject, d.Text, d.SMS} {
		if !utf8.ValidString(s) {
			return errors.New("mcmt: build: text is not UTF-8")
		}
	}
	return nil
}

// writeFields writes the fields of an RFC 5322 header but the last blank line.
func (d *Draft) writeFields(b *bytes.Buffer) {
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s: %s\r\n", name, value)
		}
	}
	if !d.Date.IsZero() {
		field("Date", d.Date.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	}
	field("From", d.From)
	field("To", strings.Join(d.To, ",\r\n\t"))
	// Folded between encoded words; a line is at most 998 octets (RFC 5322 §2.1.1).
	field("Subject", encodeText(cleanLine(d.Subject)))
	if d.MessageID != "" {
		field("Message-ID", "<"+d.MessageID+">")
	}
	if d.InReplyTo != "" {
		field("In-Reply-To", "<"+d.InReplyTo+">")
	}
	if len(d.References) > 0 {
		field("References", "<"+strings.Join(d.References, ">\r\n\t<")+">")
	}
	b.WriteString("MIME-Version: 1.0\r\n")
}

// encodeText writes s as encoded words where it is not short plain ASCII, or
// would be read as one.
func encodeText(s string) string {
	if len(s) <= 70 && isASCII([]byte(s)) && !strings.Contains(s, "=?") {
		return s
	}
	return encodedWords(s)
}

// encodedWords writes s as base64 words of at most 45 octets each, never dividing
// a character (RFC 2047 §5).
func encodedWords(s string) string {
	var words []string
	for s != "" {
		n := min(45, len(s))
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, "\r\n ")
}

// mail writes the e-mail part of a draft that brings none.
func (d *Draft) mail() []byte {
	var b bytes.Buffer
	d.writeFields(&b)
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(&b)
	// Writes to a bytes.Buffer do not fail.
	_, _ = w.Write([]byte(d.Text))
	_ = w.Close()
	return b.Bytes()
}

// stuffed puts an empty header block before content of a message/vnd.msys.* part
// that could be taken for one (see takeInner).
func stuffed(body []byte) []byte {
	head, _, ok := cutHeader(body, len(body))
	if leadingBreak(body) > 0 || ok && len(head) > 0 && len(head) < len(body) && isInner(head) {
		return append([]byte("\r\n"), body...)
	}
	return body
}

// writeBody writes the transfer encoding, the blank line and the content of p.
func writeBody(b *bytes.Buffer, p RawPart) {
	if isMessage(p.ContentType) || isMultipart(p.ContentType) || isPlain(p.Body) {
		// Nothing but 7bit, 8bit and binary may stand here (RFC 2046 §5.2.1).
		if !isASCII(p.Body) {
			b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
		}
		b.WriteString("\r\n")
		b.Write(p.Body)
		b.WriteString("\r\n")
		return
	}
	b.WriteString("Content-Transfer-Encoding: base64\r\n\r\n")
	writeBase64(b, p.Body)
	b.WriteString("\r\n")
}

// crlf writes the line breaks of a mail as transport wants them; a file on disk
// mostly has others.
func crlf(b []byte) []byte {
	if isPlain(b) {
		return b
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}

// isPlain reports whether b survives mail transport as it is: CRLF line breaks
// only, lines of at most 998 octets (RFC 5322 §2.1.1), no NUL.
func isPlain(b []byte) bool {
	n := 0
	for i, c := range b {
		switch {
		case c == 0, c == '\r' && (i+1 == len(b) || b[i+1] != '\n'), c == '\n' && (i == 0 || b[i-1] != '\r'):
			return false
		case c == '\n':
			n = 0
		default:
			if n++; n > 998 {
				return false
			}
		}
	}
	return true
}

// boundaryFor returns a boundary that occurs in none of the parts.
func boundaryFor(parts []RawPart) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p.Body)
	}
	for {
		b := "mcmt-" + hex.EncodeToString(h.Sum(nil)[:12])
		clash := false
		for _, p := range parts {
			clash = clash || bytes.Contains(p.Body, []byte(b))
		}
		if !clash {
			return b
		}
		h.Write([]byte(b))
	}
}
