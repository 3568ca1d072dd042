package convert

import (
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

func TestThread(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reason string
		d            mcmt.Draft
		want         string
	}{
		{"first", "a mail that begins a thread is its root", mcmt.Draft{MessageID: "m@x"}, "m@x"},
		{"reply", "the root of the references", mcmt.Draft{MessageID: "m@x", InReplyTo: "b@x", References: []string{"a@x", "b@x"}}, "a@x"},
		{"no references", "the next best", mcmt.Draft{MessageID: "m@x", InReplyTo: "b@x"}, "b@x"},
		{"none", "nothing to go by", mcmt.Draft{}, ""},
		{"long", "a thread is bounded and still the same each time", mcmt.Draft{MessageID: strings.Repeat("m", 300) + "@x"}, "2o576kcklth7hilk9tgojkogc0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.d.Text = "x"
			r, err := newConverter(t, nil).Convert(input(build(t, tt.d)))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if e := r.Stanza.Child("thread"); e != nil {
				got = e.Text()
			}
			if got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.reason, got, tt.want)
			}
		})
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reason string
		date, now    time.Time
		xmpp         string
		want         string
	}{
		{name: "now", reason: "nothing was late", date: received.Add(-5 * time.Second), now: received},
		{name: "slack", reason: "a minute is the clocks' own", date: received.Add(-time.Minute), now: received},
		{name: "old", reason: "the mail was under way for long", date: received.Add(-time.Hour), now: received, want: "2026-03-02T08:00:30Z"},
		{name: "deferred", reason: "sent in time, held here", date: received.Add(-5 * time.Second), now: received.Add(time.Hour), want: "2026-03-02T09:00:25Z"},
		{name: "future", reason: "a clock that is ahead: when we had it counts", date: received.Add(time.Hour), now: received.Add(2 * time.Hour), want: "2026-03-02T09:00:30Z"},
		{name: "no date", reason: "when we had it counts", now: received.Add(time.Hour), want: "2026-03-02T09:00:30Z"},
		{name: "ancient", reason: "before 1970 is a clock that is not set", date: time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), now: received},
		{name: "stanza", reason: "the XMPP part gets it too", xmpp: "<message><body>x</body></message>", date: received.Add(-time.Hour), now: received, want: "2026-03-02T08:00:30Z"},
		{name: "own", reason: "what the stanza says already stays", xmpp: "<message><body>x</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/></message>",
			date: received.Add(-time.Hour), now: received, want: "2026-01-01T00:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := mcmt.Draft{Text: "x", Date: tt.date}
			if tt.xmpp != "" {
				d.XMPP = []byte(tt.xmpp)
			}
			in := input(build(t, d))
			in.Now = tt.now
			r, err := newConverter(t, nil).Convert(in)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if e := r.Stanza.Element.Child(stanza.Delay); e != nil {
				got = e.Attr("stamp")
			}
			if got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.reason, got, tt.want)
			}
		})
	}
}

// TestMarkDelayed: the mark has no slack, and never becomes two.
func TestMarkDelayed(t *testing.T) {
	t.Parallel()
	by, stamp := jid.MustParse("localhost"), time.Date(2026, 11, 23, 9, 0, 0, 1, time.FixedZone("", 3600))
	name := stanza.Delay
	st := stanza.NewMessage(jid.MustParse("alice@localhost"), by, stanza.TypeChat, "hello")
	if MarkDelayed(st, by, time.Time{}) || st.Element.Child(name) != nil {
		t.Error("a time that is not known makes a mark")
	}
	if !MarkDelayed(st, by, stamp) {
		t.Error("not marked")
	}
	if MarkDelayed(st, by, stamp.Add(time.Hour)) || AddDelay(st, by, stamp, stamp.Add(time.Hour)) {
		t.Error("marked twice")
	}
	if e := st.Element.Child(name); e.Attr("stamp") != "2026-11-23T08:00:00Z" || e.Attr("from") != "localhost" {
		t.Errorf("mark %s", e)
	}
}
