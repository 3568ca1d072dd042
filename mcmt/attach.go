package mcmt

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"
)

// Attach returns mail, a header and a body, with files attached: what it was is the
// first part of a multipart/mixed (RFC 2046 §5.1.3). Line breaks become CRLF. Without
// files it is mail itself. The same arguments give the same bytes. It returns an error
// where mail has no header that can be read.
func Attach(mail []byte, files []Media) ([]byte, error) {
	if len(files) == 0 {
		return mail, nil
	}
	mail = crlf(mail)
	h, body, err := newParser(Limits{}).header(mail, "mail")
	if err != nil {
		return nil, fmt.Errorf("mcmt: attach: %w", err)
	}
	parts := []RawPart{{Body: body}}
	for _, f := range files {
		parts = append(parts, RawPart{ContentType: attachedType(f.Type), Body: f.Body})
	}
	boundary := boundaryFor(parts)
	var b bytes.Buffer
	writeOuter(&b, h)
	fmt.Fprintf(&b, "Content-Type: multipart/mixed;\r\n\tboundary=\"%s\"\r\n\r\n--%s\r\n", boundary, boundary)
	writeInner(&b, h)
	b.WriteString("\r\n")
	b.Write(body)
	for i, p := range parts[1:] {
		fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: %s\r\nContent-Disposition: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n",
			boundary, p.ContentType, disposition(files[i].Name))
		writeBase64(&b, p.Body)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// isContent reports whether a field says something of the body (RFC 2045 §9), and goes
// where that goes.
func (f field) isContent() bool {
	const prefix = "content-"
	return len(f.name) > len(prefix) && strings.EqualFold(string(f.name[:len(prefix)]), prefix)
}

// writeOuter writes the fields of h that say nothing of its body, as they came.
func writeOuter(b *bytes.Buffer, h Header) {
	version := false
	for _, f := range h.fields {
		if !f.isContent() {
			version = version || f.is("MIME-Version")
			f.write(b)
		}
	}
	if !version {
		b.WriteString("MIME-Version: 1.0\r\n")
	}
}

// writeInner writes those that do.
func writeInner(b *bytes.Buffer, h Header) {
	for _, f := range h.fields {
		if f.isContent() {
			f.write(b)
		}
	}
}

// write writes the field as it came, and the line break that the last one of a message
// may lack.
func (f field) write(b *bytes.Buffer) {
	b.Write(f.name)
	b.WriteByte(':')
	b.Write(f.value)
	if !bytes.HasSuffix(f.value, []byte("\n")) {
		b.WriteString("\r\n")
	}
}

// attachedType is the type under which a file can be attached in base64, which no
// message and no multipart may be (RFC 2046 §5.1, §5.2.1).
func attachedType(kind string) string {
	if !isMediaType(kind) || isMultipart(kind) || strings.HasPrefix(kind, "message/") {
		return "application/octet-stream"
	}
	return kind
}

// maxFileName bounds a file name in bytes, each of which may take three of a line of at
// most 998 (RFC 5322 §2.1.1). What is too long loses its beginning.
const maxFileName = 255

// disposition is that of an attachment (RFC 2183), its name by RFC 2231 where it has to.
func disposition(name string) string {
	name = baseName(name)
	for len(name) > maxFileName {
		_, size := utf8.DecodeRuneInString(name)
		name = name[size:]
	}
	if name == "" {
		return "attachment"
	}
	v := mime.FormatMediaType("attachment", map[string]string{"filename": name})
	return strings.Replace(v, "; ", ";\r\n\t", 1)
}

// writeBase64 writes body in lines of 76 octets (RFC 2045 §6.8), without the last line
// break.
func writeBase64(b *bytes.Buffer, body []byte) {
	text := base64.StdEncoding.EncodeToString(body)
	for len(text) > 76 {
		b.WriteString(text[:76])
		b.WriteString("\r\n")
		text = text[76:]
	}
	b.WriteString(text)
}
