package mcmt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const part822 = "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ntext\r\n"

func TestLimits(t *testing.T) {
	t.Parallel()
	const top = "Content-Type: multipart/vnd.msys.mcmt; boundary=b\r\n\r\n"
	for _, tt := range []struct {
		name, reason string
		raw          string
		lim          Limits
		code         int // 0: accepted
		where        string
	}{
		{name: "size", reason: "a message of the size allowed", raw: "A: b\r\n\r\n1234", lim: Limits{Size: 12}},
		{name: "size+1", reason: "too large has its own code, so that SIZE and 413 fit",
			raw: "A: b\r\n\r\n12345", lim: Limits{Size: 12}, code: 552},
		{name: "header", reason: "header of the size allowed", raw: "A: b\r\n\r\n", lim: Limits{HeaderBytes: 6}},
		{name: "header+1", reason: "header one byte over", raw: "A: bc\r\n\r\n", lim: Limits{HeaderBytes: 6}, code: 554, where: "header"},
		{name: "header without end", reason: "no blank line: all of it is header",
			raw: "A: " + strings.Repeat("x", 70<<10), code: 554, where: "header"},
		{name: "part header", reason: "the library reads a part header without bound",
			raw:  top + part822 + "--b\r\nA: " + strings.Repeat("x", 70<<10) + "\r\n\r\n\r\n--b--\r\n",
			code: 554, where: "part 2 header"},
		{name: "inner header", reason: "a block larger than a header may be is content",
			raw: top + part822 + "--b\r\nContent-Type: message/vnd.msys.apn\r\n\r\nX-A: " + strings.Repeat("x", 70<<10) + "\r\n\r\n\r\n--b--\r\n"},
		{name: "fields", reason: "short fields cost memory out of proportion",
			raw: strings.Repeat("a:\r\n", 2001) + "\r\n", code: 554, where: "header"},
		{name: "fields of parts", reason: "fields of all blocks count together",
			raw:  top + part822 + strings.Repeat("--b\r\n"+strings.Repeat("a:\r\n", 50)+"\r\n\r\n", 50) + "--b--\r\n",
			code: 554, where: "part 41 header"},
		{name: "parts", reason: "three parts where two are allowed",
			raw: top + part822 + part822 + part822 + "--b--\r\n", lim: Limits{Parts: 2}, code: 554},
		{name: "parts inside", reason: "parts of the e-mail part count with those around it",
			raw: top + "--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" +
				"--c\r\n\r\n\r\n--c\r\n\r\n\r\n--c--\r\n--b--\r\n", lim: Limits{Parts: 2}, code: 554, where: "part 1"},
		{name: "depth", reason: "one level where none is allowed inside",
			raw: "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n",
			lim: Limits{Depth: 1}, code: 554, where: "part 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]byte(tt.raw), tt.lim)
			if tt.code == 0 {
				if err != nil {
					t.Errorf("%s: %v", tt.reason, err)
				}
				return
			}
			var r *Refusal
			if !errors.As(err, &r) {
				t.Fatalf("%s: got %v, want a Refusal", tt.reason, err)
			}
			if r.Code != tt.code || r.Where != tt.where || r.Temporary() {
				t.Errorf("%s: got %d at %q, want %d at %q", tt.reason, r.Code, r.Where, tt.code, tt.where)
			}
		})
	}
}

// TestWarningsAreBounded: a message cannot make its reader print without end.
func TestWarningsAreBounded(t *testing.T) {
	t.Parallel()
	raw := "Content-Type: multipart/vnd.msys.mcmt; boundary=b\r\n\r\n" + strings.Repeat(part822, 90) + "--b--\r\n"
	m, err := Parse([]byte(raw), Limits{})
	if err != nil || len(m.Warnings) != maxWarnings {
		t.Errorf("%d warnings, want %d (%v)", len(m.Warnings), maxWarnings, err)
	}
}

// TestParseMail: passthru treats MCMT as any multipart and shows the first text
// it comes to, that of the e-mail part; nothing is refused for lack of one.
func TestParseMail(t *testing.T) {
	t.Parallel()
	const top = "Subject: outer\r\nContent-Type: multipart/vnd.msys.mcmt; boundary=b\r\n\r\n"
	for _, tt := range []struct{ name, raw, text string }{
		{"text of the e-mail part", top + part822 + "--b\r\nContent-Type: message/vnd.msys.smpp\r\n\r\nsms\r\n--b--\r\n", "text"},
		{"no e-mail part", top + "--b\r\nContent-Type: message/vnd.msys.smpp\r\n\r\nsms\r\n--b--\r\n", ""},
		{"own text part first", top + part822 + "--b\r\nContent-Type: text/plain\r\n\r\nown\r\n--b--\r\n", "own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := ParseMail([]byte(tt.raw), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if m.MCMT || m.SMS != nil || m.XMPP != nil {
				t.Error("taken apart")
			}
			if m.Email.Subject != "outer" || m.Email.Text != tt.text || string(m.Email.Raw) != tt.raw {
				t.Errorf("subject %q, text %q", m.Email.Subject, m.Email.Text)
			}
		})
	}
}

// TestOriginalBytes: the mail and its parts can be relayed as they came.
func TestOriginalBytes(t *testing.T) {
	t.Parallel()
	mail := "Subject:  two  blanks\r\nX-Odd :\ta\r\n b\r\n\r\nbody \r\n.\r\n\r\n"
	raw := fmt.Sprintf("Content-Type: %s; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n%s\r\n--b--\r\n", Type, mail)
	m, err := Parse([]byte(raw), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Email.Raw) != mail || string(m.Raw) != raw {
		t.Errorf("got %q", m.Email.Raw)
	}
}
