package main

import (
	"bytes"
	"testing"
	"time"

	"mcmt2xmpp/gateway/admin"
)

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour:                            "0s",
		999 * time.Millisecond:                "0s",
		time.Second:                           "1s",
		59*time.Second + 999*time.Millisecond: "59s",
		time.Minute:                           "1m",
		61 * time.Second:                      "1m1s",
		time.Hour + 59*time.Second:            "1h",
		time.Hour + 59*time.Minute:            "1h59m",
		24*time.Hour + 59*time.Minute:         "1d",
		25 * time.Hour:                        "1d1h",
		400 * 24 * time.Hour:                  "400d",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"plain":          "plain",
		"žluťoučký 馬 🐎":  "žluťoučký 馬 🐎",
		"a\tb\r\nc":      "a b  c",
		"\x1b[2Jgone":    "�[2Jgone",
		"\x9b2J":         "�2J", // not UTF-8, and CSI to a terminal of 8 bits
		"\u009b2J":       "�2J",
		"a\u202egpj.exe": "a�gpj.exe", // right-to-left override
		"\u2028next":     " next",
	} {
		if got := printable(s); got != want {
			t.Errorf("%q is printed %q, want %q", s, got, want)
		}
	}
}

// TestOverdue: an attempt that should have been made is about to be.
func TestOverdue(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		name string
		next time.Time
		want string
	}{
		{"none is planned", time.Time{}, "-"},
		{"in the past", now.Add(-time.Hour), "now"},
		{"at this moment", now, "now"},
		{"to come", now.Add(90 * time.Second), "in 1m30s"},
	} {
		var out bytes.Buffer
		if err := printRoutes(&out, []admin.QueueRoute{{Route: "r", State: admin.Deferred, Next: c.next, Reason: "why"}}, now); err != nil {
			t.Fatal(err)
		}
		if want := "r      deferred  0         -       0         " + c.want; !bytes.Contains(out.Bytes(), []byte(want)) {
			t.Errorf("%s: %s, want %q", c.name, &out, want)
		}
	}
}
