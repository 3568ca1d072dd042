package filters_test

import (
	"testing"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func TestTells(t *testing.T) {
	t.Parallel()
	const state = `<composing xmlns='http://jabber.org/protocol/chatstates'/>`
	carbon := func(inside string) string {
		return `<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'>` + inside + `</message></forwarded></received>`
	}
	for _, c := range []struct {
		name, xml string
		want      bool
	}{
		{"text", `<message xmlns='jabber:client'><body>x</body></message>`, true},
		{"state", `<message xmlns='jabber:client'>` + state + `</message>`, false},
		{"state beside text", `<message xmlns='jabber:client'><body>x</body>` + state + `</message>`, true},
		{"nothing", `<message xmlns='jabber:client'><store xmlns='urn:xmpp:hints'/></message>`, false},
		{"receipt", `<message xmlns='jabber:client'><received xmlns='urn:xmpp:receipts' id='1'/></message>`, true},
		{"file", `<message xmlns='jabber:client'><x xmlns='jabber:x:oob'><url>u</url></x></message>`, true},
		{"what is not known", `<message xmlns='jabber:client'><x xmlns='urn:example'/></message>`, true},
		{"copy of a state", `<message xmlns='jabber:client'>` + carbon(state) + `</message>`, false},
		{"copy of text", `<message xmlns='jabber:client'>` + carbon("<body>x</body>") + `</message>`, true},
		{"error", `<message xmlns='jabber:client' type='error'>` + state + `</message>`, true},
		{"presence", `<presence xmlns='jabber:client'/>`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := stanza.ParseBytes([]byte(c.xml), xmlwire.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := filters.Tells(s); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
