package mcmt

import (
	"bytes"
	"strings"
	"testing"
)

// TestAttach: what a mail was is still there, header and body, and behind it the files.
func TestAttach(t *testing.T) {
	t.Parallel()
	const header = "From: a@corp.example\r\nSubject: hi\r\n"
	files := []Media{
		{Type: "image/png", Name: "für dich.png", Body: bytes.Repeat([]byte{0, 255, '\n'}, 100)},
		{Type: "message/rfc822", Name: "../a\"b.eml", Body: []byte("A: b\r\n\r\n")},
		{Type: "no type", Body: []byte("x")},
		{Type: "image/png", Name: strings.Repeat("ä", 200) + ".png", Body: []byte("x")},
	}
	types := []string{"image/png", "application/octet-stream", "application/octet-stream", "image/png"}
	names := []string{"für dich.png", `a"b.eml`, "", strings.Repeat("ä", 125) + ".png"}
	for _, tt := range []struct{ name, reason, mail, text string }{
		{"plain", "without a type it is plain text", header + "\r\nlook\r\n", "look\n"},
		{"encoded", "the encoding is that of its part", header + "MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n\tcharset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsp=E4t", "spät"},
		{"multipart", "is a part as a whole", header + "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nlook\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>look</b>\r\n--b--\r\n", "look"},
		{"line feeds", "become what transport wants", "From: a@corp.example\nSubject: hi\n\nlook\n", "look\n"},
		{"no body", "has an empty part", header, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			raw, err := Attach([]byte(tt.mail), files)
			if err != nil {
				t.Fatal(err)
			}
			m, err := ParseMail(raw, Limits{})
			if err != nil || len(m.Warnings) > 0 {
				t.Fatalf("%v %q\n%s", err, m.Warnings, raw)
			}
			if m.Email.Text != tt.text || m.Email.Subject != "hi" || len(m.Header.Values("MIME-Version")) != 1 || len(m.Parts) != 5 {
				t.Fatalf("%s: text %q, want %q; %d parts\n%s", tt.reason, m.Email.Text, tt.text, len(m.Parts), raw)
			}
			for i, p := range m.Parts[1:] {
				if p.Type != types[i] || p.Name != names[i] || !bytes.Equal(p.Body, files[i].Body) || !isAttachment(p.Header) {
					t.Errorf("file %d is %s %q of %d bytes", i, p.Type, p.Name, len(p.Body))
				}
			}
			if !isPlain(raw) {
				t.Error("does not survive mail transport as it is")
			}
		})
	}
	if raw, err := Attach([]byte("no header\n\n"), files); err == nil {
		t.Errorf("made of no mail: %s", raw)
	}
	if raw, err := Attach([]byte("A: b\n\nc"), nil); err != nil || string(raw) != "A: b\n\nc" {
		t.Errorf("without files: %q, %v", raw, err)
	}
}

// FuzzAttach: what is attached is read back, and the mail with it.
func FuzzAttach(f *testing.F) {
	f.Add("From: a@b\n\nx", "image/png", "a.png", []byte{0})
	f.Add("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ny\r\n--x--", "message/rfc822", "ä", []byte("--mcmt-"))
	f.Add("A:b", "", "..", []byte("\r\n"))
	f.Fuzz(func(t *testing.T, mail, kind, name string, body []byte) {
		raw, err := Attach([]byte(mail), []Media{{Type: strings.ToLower(kind), Name: name, Body: body}})
		if err != nil {
			return
		}
		m, err := ParseMail(raw, Limits{})
		if err != nil {
			return // the mail itself is none that is understood
		}
		if n := len(m.Parts); n != 2 || !bytes.Equal(m.Parts[1].Body, body) || strings.ContainsAny(m.Parts[1].Name, "/\\") {
			t.Fatalf("%d parts\n%q", n, raw)
		}
		before, err := ParseMail(crlf([]byte(mail)), Limits{})
		if err == nil && len(before.Email.Text)+len(before.Email.HTML) > 0 && before.Email.Text != m.Email.Text {
			t.Fatalf("text %q was %q\n%q", m.Email.Text, before.Email.Text, raw)
		}
	})
}
