package mcmt

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestBuildRoundTrip: whatever a draft holds, Parse finds it.
func TestBuildRoundTrip(t *testing.T) {
	t.Parallel()
	line := rapid.StringMatching(`[ -~äß€🚆]{0,200}`)
	text := rapid.OneOf(line, rapid.Map(rapid.SliceOfN(line, 0, 5), func(s []string) string { return strings.Join(s, "\n") }),
		rapid.SampledFrom([]string{"X-A: b\n\ntext", "\nX-A: b", "Content-Type: text/plain\n\n", "--mcmt-", "\n\n", "a\n", ".\n", "=?utf-8?q?x?="}))
	id := rapid.StringMatching(`[a-z0-9.]{1,20}@[a-z.]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		d := Draft{
			Subject:    line.Draw(t, "subject"),
			Text:       text.Draw(t, "text"),
			MessageID:  id.Draw(t, "id"),
			InReplyTo:  id.Draw(t, "in-reply-to"),
			References: rapid.SliceOfN(id, 1, 5).Draw(t, "references"),
			From:       id.Draw(t, "from"),
			To:         rapid.SliceOfN(id, 1, 3).Draw(t, "to"),
			Date:       time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "date"), 0),
			XMPP:       rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "xmpp"),
			SMS:        text.Draw(t, "sms"),
			Parts:      []RawPart{{"message/vnd.msys.apn", append([]byte("{"), rapid.SliceOf(rapid.Byte()).Draw(t, "part")...)}},
		}
		raw, err := Build(d)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(raw, Limits{})
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		checkDraft(t, d, m)
	})
}

func checkDraft(t *rapid.T, d Draft, m *Message) {
	e := m.Email
	if want := cleanLine(d.Subject); e.Subject != want {
		t.Errorf("subject %q, want %q", e.Subject, want)
	}
	if e.Text != d.Text {
		t.Errorf("text %q, want %q", e.Text, d.Text)
	}
	if e.MessageID != d.MessageID || e.InReplyTo != d.InReplyTo || !cmp.Equal(e.References, d.References) || !e.Date.Equal(d.Date) {
		t.Errorf("ids %q %q %q, date %s", e.MessageID, e.InReplyTo, e.References, e.Date)
	}
	if len(m.Parts) < 2 || !bytes.Equal(m.Parts[1].Body, d.XMPP) {
		t.Errorf("xmpp %q, want %q", m.Parts[1].Body, d.XMPP)
	}
	if d.SMS != "" && (m.SMS == nil || m.SMS.Text != d.SMS) {
		t.Errorf("sms %+v, want %q", m.SMS, d.SMS)
	}
	if last := m.Parts[len(m.Parts)-1]; !bytes.Equal(last.Body, d.Parts[0].Body) {
		t.Errorf("part %q, want %q", last.Body, d.Parts[0].Body)
	}
	if len(m.Warnings) > 0 {
		t.Errorf("warnings %q", m.Warnings)
	}
}

func TestBuildEmail(t *testing.T) {
	t.Parallel()
	raw, err := Build(Draft{Subject: "outer", Email: []byte("Subject: inner\n\nfrom a file\n")})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(raw, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Email.Subject != "inner" || string(m.Email.Raw) != "Subject: inner\r\n\r\nfrom a file\r\n" || m.Header.Text("Subject") != "outer" {
		t.Errorf("got %q", raw)
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reason string
		d            Draft
	}{
		{"from", "a line break forges a field", Draft{From: "a@b\r\nBcc: c@d"}},
		{"to", "likewise", Draft{To: []string{"a@b\nX: y"}}},
		{"message-id", "likewise", Draft{MessageID: "a\r\nb"}},
		{"references", "likewise", Draft{References: []string{"a", "b\n"}}},
		{"content-type", "likewise", Draft{Parts: []RawPart{{"a/b\r\nX: y", nil}}}},
		{"email", "its header is malformed, Parse would refuse it", Draft{Email: []byte("no header at all\n")}},
		{"text", "not UTF-8", Draft{Text: "\xff"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if raw, err := Build(tt.d); err == nil {
				t.Errorf("%s: built %q", tt.reason, raw)
			}
		})
	}
}

// TestBuildLines: what Build writes can be sent by SMTP (RFC 5321 §4.5.3.1.6).
func TestBuildLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 3000)
	raw, err := Build(Draft{Subject: long, Text: long, SMS: long, XMPP: []byte("<message><body>" + long + "</body></message>"),
		To: strings.Split(strings.Repeat("a@b.example ", 200), " ")[:200], References: strings.Split(strings.Repeat("i@b.example ", 200), " ")[:200]})
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		if len(line) > 1000 || !bytes.HasSuffix(line, []byte("\r\n")) {
			t.Fatalf("line of %d bytes: %.60q", len(line), line)
		}
	}
	m, err := Parse(raw, Limits{})
	if err != nil || m.Email.Subject != long || m.SMS.Text != long {
		t.Errorf("not read back: %v", err)
	}
}

func TestNewID(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	seen := make(map[ID]bool)
	var last ID
	for i := range 1000 {
		id := NewID(now.Add(time.Duration(i) * time.Microsecond))
		if seen[id] || id <= last || len(id) != 23 {
			t.Fatalf("%q after %q", id, last)
		}
		seen[id], last = true, id
	}
	if at, ok := NewID(now).Time(); !ok || !at.Equal(now.Truncate(time.Microsecond)) {
		t.Errorf("the time is %s, want %s", at, now)
	}
	for _, id := range []ID{"", "q1", "1j19h1mad0qp9vfpauhiaq", "1j19h1mad0qp9vfpauhiaz3", "<j19h1mad0qp9vfpauhiaq3"} {
		if at, ok := id.Time(); ok {
			t.Errorf("%s has the time %s", id, at)
		}
	}
	if a, b := NewID(now), NewID(now); a == b || a[:11] != b[:11] {
		t.Errorf("%q and %q of one moment", a, b)
	}
}
