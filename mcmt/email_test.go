package mcmt

import (
	"net/mail"
	"testing"
)

// TestParseDate: the short way means what net/mail means, and what only net/mail
// reads is still read.
func TestParseDate(t *testing.T) {
	t.Parallel()
	for v, ok := range map[string]bool{
		"Mon, 2 Mar 2026 10:20:00 +0100":          true,
		"Mon, 02 Mar 2026 10:20:00 +0100":         true,
		"Mon, 2 Mar 2026 10:20:00.5 -0330":        true, // net/mail takes the fraction
		"2 Mar 2026 10:20:00 +0100":               true,
		"Mon, 2 Mar 26 10:20 EST":                 true, // RFC 5322 §4.3
		"Mon, 2 Mar 2026 10:20:00 +0100 (CET)":    true,
		" Mon, 2 Mar 2026 10:20:00 +0100":         true,
		"Mon, 32 Mar 2026 10:20:00 +0100":         false,
		"Mon, 2 Mar 2026 10:20:00":                false,
		"2026-03-02T10:20:00+01:00":               false,
		"Mon, 2 Mar 2026 10:20:00 +0100 and more": true, // net/mail stops behind the zone
	} {
		got, err := parseDate(v)
		want, wantErr := mail.ParseDate(v)
		if (err == nil) != ok || (wantErr == nil) != ok || !got.Equal(want) {
			t.Errorf("%q: %v, %v; net/mail says %v, %v", v, got, err, want, wantErr)
		}
	}
}
