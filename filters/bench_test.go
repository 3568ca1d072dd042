package filters_test

import (
	"testing"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// limits are those of all stanzas here.
var limits xmlwire.Limits

func parse(t testing.TB, text string) *stanza.Stanza {
	t.Helper()
	s, err := stanza.ParseBytes([]byte(text), limits)
	if err != nil {
		t.Fatalf("parse %s: %v", text, err)
	}
	return s
}

// typical are messages of the field.
var typical = []struct{ name, text string }{
	{"composing", `<message xmlns='jabber:client' type='chat' from='romeo@montague.lit/orchard' to='juliet@capulet.lit' id='x1'>` +
		`<composing xmlns='http://jabber.org/protocol/chatstates'/><thread>t1</thread><no-store xmlns='urn:xmpp:hints'/>` +
		`<origin-id xmlns='urn:xmpp:sid:0' id='x1'/></message>`},
	{"body", `<message xmlns='jabber:client' type='chat' from='romeo@montague.lit/orchard' to='juliet@capulet.lit' id='x2'>` +
		`<body>Art thou not Romeo, and a Montague?</body><active xmlns='http://jabber.org/protocol/chatstates'/>` +
		`<request xmlns='urn:xmpp:receipts'/></message>`},
	{"receipt", `<message xmlns='jabber:client' from='romeo@montague.lit/orchard' to='juliet@capulet.lit' id='x3'>` +
		`<received xmlns='urn:xmpp:receipts' id='x2'/><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`},
	{"carbon", `<message xmlns='jabber:client' from='romeo@montague.lit' to='romeo@montague.lit/home'>` +
		`<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>` +
		`<message xmlns='jabber:client' from='juliet@capulet.lit/balcony' to='romeo@montague.lit/garden' type='chat'>` +
		`<composing xmlns='http://jabber.org/protocol/chatstates'/></message></forwarded></received></message>`},
}

// BenchmarkDecision is what the default chain makes of a message on its way into
// Jabber, with the counting. The goal is less than 1 µs and at most 5 allocations.
func BenchmarkDecision(b *testing.B) { benchmark(b, filters.Item{Direction: filters.In}) }

// BenchmarkDefaultChain is the whole default chain with all that is known of a
// message to mail: its client, whose software is counted, and the mail address.
func BenchmarkDefaultChain(b *testing.B) {
	benchmark(b, filters.Item{
		Direction: filters.Out, Recipient: "alice@corp.example",
		Software: func(jid.JID) string { return "http://conversations.im" },
	})
}

func benchmark(b *testing.B, like filters.Item) {
	for _, bench := range typical {
		b.Run(bench.name, func(b *testing.B) {
			chain := filters.Default()
			s := parse(b, bench.text)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				it := like
				it.Stanza = s
				chain.Apply(ctx, &it)
			}
		})
	}
}
