package httpd

import (
	"bytes"
	"net/http"
	"strings"

	"mcmt2xmpp/mcmt"
)

// withoutBcc returns raw without the Bcc fields of its header and of the header
// of its e-mail part. Without any it returns raw itself.
func withoutBcc(raw []byte, parsed *mcmt.Message) ([]byte, error) {
	inner := parsed.MCMT && len(parsed.Email.Header.Values("Bcc")) > 0
	if inner {
		// Not found: a copy, made because the part is in a transfer encoding.
		at := bytes.Index(raw, parsed.Email.Raw)
		if at < 0 {
			return nil, newProblem(http.StatusUnprocessableEntity, "e-mail part, header Bcc",
				"it cannot be taken out of a part in base64 or quoted-printable; leave it out, or name the recipients in the query")
		}
		n := headerLength(parsed.Email.Raw)
		raw = splice(raw, at, n, cutBcc(parsed.Email.Raw[:n]))
	}
	if len(parsed.Header.Values("Bcc")) > 0 {
		n := headerLength(raw)
		raw = splice(raw, 0, n, cutBcc(raw[:n]))
	}
	return raw, nil
}

// splice returns b with n bytes at at replaced.
func splice(b []byte, at, n int, by []byte) []byte {
	out := make([]byte, 0, len(b)-n+len(by))
	out = append(out, b[:at]...)
	out = append(out, by...)
	return append(out, b[at+n:]...)
}

// headerLength returns the length of the header block with which b begins,
// without the empty line.
func headerLength(b []byte) int {
	for at := 0; at < len(b); {
		line, _, _ := bytes.Cut(b[at:], []byte{'\n'})
		if len(bytes.TrimRight(line, "\r")) == 0 {
			return at
		}
		at += len(line) + 1
	}
	return len(b)
}

// cutBcc returns a header block without its Bcc fields and their folded lines.
func cutBcc(header []byte) []byte {
	out := make([]byte, 0, len(header))
	cutting := false
	for line := range bytes.Lines(header) {
		if line[0] != ' ' && line[0] != '\t' {
			name, _, ok := bytes.Cut(line, []byte{':'})
			cutting = ok && strings.EqualFold(string(bytes.TrimRight(name, " \t")), "Bcc")
		}
		if !cutting {
			out = append(out, line...)
		}
	}
	return out
}
