package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/gateway/admin"
)

// TestWebhookPrinted: a line for each receiver, and below it what keeps one from having
// everything; nothing from outside acts on the terminal.
func TestWebhookPrinted(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, time.Local)
	var out bytes.Buffer
	if err := printWebhooks(&out, []admin.Webhook{
		{Name: "event.>", State: "idle", Sent: 900},
		{Name: "crm", URL: "https://crm.example/…", State: "retrying", Sent: 812, Failed: 3, Behind: 12, Oldest: now.Add(-90 * time.Second), Took: now.Add(-2 * time.Minute),
			Tries: 3, Failing: now.Add(-time.Minute), Answer: "500 Internal Server Error: \x1b[2J", Next: now.Add(20 * time.Second)},
		{Name: "old", URL: "https://old.example", State: "given up", GivenUp: "410 Gone", Passed: 2, Missed: 4, Replay: 9},
	}, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"WEBHOOK  STATE     SENT  FAILED  BEHIND  OLDEST  TAKEN  URL\n",
		"event.>  idle      900   0       0       -       -      -\n",
		"crm      retrying  812   3       12      1m30s   2m     https://crm.example/…\n",
		"\ncrm\n  failing since  2026-11-28 07:59:00 ", ", 1m ago\n  attempts       3\n  answer         500 Internal Server Error: �[2J\n  next           2026-11-28 08:00:20 ",
		"\nold\n  given up        410 Gone\n  passed over     2\n  missed          4\n  to be replayed  9\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestMoment: times as people write them.
func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "2h": now.Add(-2 * time.Hour), "0s": now, "2026-11-28T07:30:00+01:00": now.Add(-90 * time.Minute),
	} {
		if got, err := moment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-2h", "2026-11-28", "8:00"} {
		if got, err := moment(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
