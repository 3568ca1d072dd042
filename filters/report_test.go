package filters_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// nodes are what clients by their resource say that they are.
var nodes = map[string]string{
	"orchard": "https://gajim.org", "phone": "http://conversations.im", "desk": "https://www.Dino.IM/#v1",
	"mute": "", "text": "Wherefore art thou Romeo", "long": "http://" + strings.Repeat("x", 100), "bare": "Psi-plus",
}

// suppress has a chain judge a message between two addresses.
func suppress(t testing.TB, c *filters.Chain, it filters.Item, from, inside string) filters.Action {
	t.Helper()
	it.Stanza = parse(t, strings.Replace(message("", inside), "romeo@montague.lit/orchard", from, 1))
	it.Software = func(full jid.JID) string { return nodes[full.Resource()] }
	return c.Apply(t.Context(), &it).Action
}

// TestReport: what was dropped by filter, kind, direction, domain, client, and what
// that saves.
func TestReport(t *testing.T) {
	t.Parallel()
	c := build(t, filters.Spec{Name: "all states", Type: "chat_state", Direction: "all"}, filters.Spec{Name: "marks", Type: "markers"},
		filters.Spec{Name: "watch", Type: "element", Namespace: "u", Mode: "shadow", Direction: "out"})
	mail, phone := filters.Item{Direction: filters.Out, Recipient: "alice@corp.example"}, filters.Item{Direction: filters.Out, Recipient: "+4912345"}
	in := filters.Item{Direction: filters.In, Sender: "news@Corp.Example", Recipient: "juliet@capulet.lit"}
	const romeo = "romeo@montague.lit/"
	suppress(t, c, mail, romeo+"orchard", composing)
	suppress(t, c, mail, romeo+"phone", `<paused xmlns='http://jabber.org/protocol/chatstates'/>`)
	suppress(t, c, phone, romeo+"desk", composing)
	suppress(t, c, phone, romeo+"mute", receipt)
	suppress(t, c, phone, romeo+"text", `<dance xmlns='http://jabber.org/protocol/chatstates'/>`)
	suppress(t, c, filters.Item{Direction: filters.Out}, romeo+"long", omemo) // to no address
	suppress(t, c, in, "x@mail.capulet.lit", active)
	suppress(t, c, in, "x@mail.capulet.lit", marker)
	suppress(t, c, filters.Item{Direction: filters.Between}, romeo+"bare", composing)
	suppress(t, c, filters.Item{Direction: filters.Store}, romeo+"orchard", composing)
	suppress(t, c, mail, romeo+"orchard", `<body>counts nowhere</body>`)
	suppress(t, c, mail, romeo+"orchard", `<body>nor does this</body><x xmlns='u'/>`)
	suppress(t, c, mail, romeo+"orchard", `<body/>`)
	suppress(t, c, mail, romeo+"orchard", ``)

	r := c.Report()
	want := filters.Noise{
		Messages: 12,
		ByKind: map[string]uint64{"composing": 4, "paused": 1, "active": 1, "unknown_state": 1, "receipt": 1, "marker": 1,
			"wordless": 1, "empty": 2},
		ByDirection: map[string]uint64{"out": 8, "in": 2, "between": 1, "store": 1},
		ByDomain:    map[string]uint64{"montague.lit": 10, "corp.example": 2},
		ByClient:    map[string]uint64{"gajim.org": 4, "conversations.im": 1, "dino.im": 1, "psi-plus": 1, "unknown": 3},
		Saved:       filters.Saved{Mails: 4, SMS: 3, Jabber: 3, Stored: 1},
	}
	if diff := cmp.Diff(want, r.Suppressed); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	got := ""
	for _, f := range r.Filters {
		got += fmt.Sprintf("%s %s %s %s %s: %d\n", f.Filter, f.Type, f.Action, f.Direction, f.Mode, f.Suppressed.Messages)
	}
	if want := `all states chat_state drop all enforce: 10
marks markers drop both enforce: 1
watch element drop out shadow: 1
mail-content empty_body drop out enforce: 0
offline-states chat_state drop store enforce: 1
`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// A program reads what was written.
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back filters.Report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	for i := range r.Filters {
		r.Filters[i].Since = back.Filters[i].Since // which has lost its monotonic reading
		for j := range r.Filters[i].Samples {
			r.Filters[i].Samples[j].Time = back.Filters[i].Samples[j].Time
			r.Filters[i].Samples[j].Kind = filters.OtherKind // which is not written
		}
	}
	if diff := cmp.Diff(r, back); diff != "" || len(r.Filters[2].Samples) != 1 {
		t.Errorf("-written +read\n%s", diff)
	}
}

// TestReportIsBounded: strangers choose domains and clients, and cannot make the
// report grow.
func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	c := filters.Default()
	s := parse(t, message("", composing))
	const messages = 1000
	for i := range messages {
		s.From = jid.MustParse(fmt.Sprintf("romeo@d%d.example/r", i))
		c.Apply(t.Context(), &filters.Item{Stanza: s, Direction: filters.Out, Software: func(jid.JID) string { return fmt.Sprintf("http://c%d.example", i) }})
	}
	n := c.Report().Suppressed
	if n.Messages != messages || len(n.ByDomain) != 101 || n.ByDomain["other"] != messages-100 || len(n.ByClient) != 51 || n.ByClient["other"] != messages-50 {
		t.Errorf("%d messages, %d domains, %d clients, others %d and %d", n.Messages, len(n.ByDomain), len(n.ByClient), n.ByDomain["other"], n.ByClient["other"])
	}
}

// TestInherit: on a reload a filter that has not changed goes on with what it has
// counted, sampled and remembers, wherever it stands now; one that has changed
// begins anew.
func TestInherit(t *testing.T) {
	t.Parallel()
	const hi = `<body>hi</body>`
	base := func() []filters.Spec {
		return []filters.Spec{
			{Name: "states", Type: "chat_state", Action: "throttle"},
			{Name: "flood", Type: "rate", Count: 1, Per: time.Hour},
			{Name: "watch", Type: "body_regex", Pattern: "h", Mode: "shadow", Domains: []string{"capulet.lit"}},
		}
	}
	for _, test := range []struct {
		reason string
		change func([]filters.Spec) []filters.Spec
		same   string // the filters that go on
	}{
		{"nothing", func(s []filters.Spec) []filters.Spec { return s }, "states flood watch"},
		{"the order", func(s []filters.Spec) []filters.Spec { return []filters.Spec{s[2], s[0], s[1]} }, "states flood watch"},
		{"a default is written out", func(s []filters.Spec) []filters.Spec {
			s[0].Interval, s[0].Mode, s[1].Action, s[2].Direction = filters.DefaultInterval, "enforce", "drop", "both"
			return s
		}, "states flood watch"},
		{"how a domain is spelt", func(s []filters.Spec) []filters.Spec { s[2].Domains = []string{"Capulet.LIT"}; return s }, "states flood watch"},
		{"another filter before them", func(s []filters.Spec) []filters.Spec {
			return append([]filters.Spec{{Name: "new", Type: "size", Max: 100000}}, s...)
		}, "states flood watch"},
		{"the interval", func(s []filters.Spec) []filters.Spec { s[0].Interval = time.Minute; return s }, "flood watch"},
		{"the rate", func(s []filters.Spec) []filters.Spec { s[1].Count = 2; return s }, "states watch"},
		{"the time of the rate", func(s []filters.Spec) []filters.Spec { s[1].Per = time.Minute; return s }, "states watch"},
		{"the action", func(s []filters.Spec) []filters.Spec { s[1].Action = "defer"; return s }, "states watch"},
		{"the pattern", func(s []filters.Spec) []filters.Spec { s[2].Pattern = "i"; return s }, "states flood"},
		{"the mode", func(s []filters.Spec) []filters.Spec { s[2].Mode = "enforce"; return s }, "states flood"},
		{"the domains", func(s []filters.Spec) []filters.Spec { s[2].Domains = nil; return s }, "states flood"},
		{"the name", func(s []filters.Spec) []filters.Spec { s[1].Name = "deluge"; return s }, "states watch"},
		{"it is gone", func(s []filters.Spec) []filters.Spec { return s[:2] }, "states flood"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				old := build(t, base()...)
				const from = "romeo@montague.lit/a"
				in := filters.Item{Direction: filters.In}
				suppress(t, old, in, from, hi)
				suppress(t, old, in, from, composing)
				time.Sleep(time.Second)
				now := build(t, test.change(base())...)
				now.Inherit(old)
				same := ""
				for _, f := range now.Report().Filters[:min(4, len(now.Report().Filters)-2)] {
					if f.Verdicts["continue"]+f.Verdicts["drop"]+f.Verdicts["pass"] > 0 && time.Since(f.Since) == time.Second {
						same += f.Filter + " "
					}
				}
				for _, name := range strings.Fields(test.same) {
					if !strings.Contains(same, name) {
						t.Errorf("%s begins anew", name)
					}
				}
				if len(strings.Fields(same)) != len(strings.Fields(test.same)) {
					t.Errorf("%sgo on, want %s", same, test.same)
				}
				// What they remember, not only what they count: the conversation, and the sender.
				if got, want := suppress(t, now, in, from, composing) == filters.Drop, strings.Contains(test.same, "states"); got != want {
					t.Errorf("the state is known: %v", got)
				}
				if got, want := suppress(t, now, in, from, hi) == filters.Drop, strings.Contains(test.same, "flood"); got != want && test.reason != "the mode" {
					t.Errorf("the sender is known: %v", got)
				}
			})
		})
	}
}

// TestSamplesTellNothing: whatever is written, wherever in a message, a sample has
// of it only how long the words are.
func TestSamplesTellNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		signs := rapid.RuneFrom(nil, unicode.Letter, unicode.Digit, unicode.Mark, unicode.Symbol, unicode.Punct, unicode.Zs)
		text := rapid.StringOfN(signs, 0, 60, -1).Draw(t, "text")
		c, err := filters.Build([]filters.Spec{{Name: "watch", Type: "element", Namespace: "u", Mode: "shadow"}})
		if err != nil {
			t.Fatal(err)
		}
		s := stanza.NewMessage(jid.MustParse("juliet@capulet.lit"), jid.MustParse("romeo@montague.lit"), stanza.TypeChat, text)
		s.Element.Add(xmlwire.New("u", "x", "of", text).Add(xmlwire.New("u", "deep").AddText(text)))
		s.ID = text
		c.Apply(t.Context(), &filters.Item{Stanza: s, Direction: filters.In})
		samples := c.Report().Filters[1].Samples
		if len(samples) != 1 || samples[0].Action != filters.Drop {
			t.Fatalf("samples %+v", samples)
		}
		got, err := stanza.ParseBytes([]byte(samples[0].Stanza), limits)
		if err != nil {
			t.Fatalf("%s: %v", samples[0].Stanza, err)
		}
		x := got.Element.Child(filters.Name{Space: "u", Local: "x"})
		texts := []string{got.ID, x.Attr("of"), x.Child(filters.Name{Space: "u", Local: "deep"}).Text()}
		if body := got.Child("body"); body != nil {
			texts = append(texts, body.Text())
		}
		for _, left := range texts {
			if left != "" && utf8.RuneCountInString(left) != utf8.RuneCountInString(text) {
				t.Errorf("%q has become %q", text, left)
			}
			for _, r := range left {
				if r != 'x' && r != '9' && !unicode.IsSpace(r) && (r >= 0x80 || unicode.IsLetter(r) || unicode.IsDigit(r)) {
					t.Errorf("%q is left as %q", text, left)
				}
			}
		}
	})
}
