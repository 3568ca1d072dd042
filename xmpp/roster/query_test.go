package roster

import (
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func query(t *testing.T, items string) *xmlwire.Element {
	t.Helper()
	e, err := xmlwire.Parse([]byte("<query xmlns='jabber:iq:roster'>"+items+"</query>"), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestParseSet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, items string
		want        Set
	}{
		{"an address", `<item jid='Bob@there.example'/>`, Set{JID: bob}},
		{"name and groups (§2.3.1)", `<item jid='bob@there.example' name='Bob'><group>A</group><group>B b</group></item>`,
			Set{JID: bob, Name: "Bob", Groups: []string{"A", "B b"}}},
		{"remove (§2.5.1)", `<item jid='bob@there.example' subscription='remove' name='x'><group/></item>`, Set{JID: bob, Remove: true}},
		{"what a client may not say (§2.1.2)", `<item jid='bob@there.example' subscription='both' ask='subscribe' approved='true'/>`, Set{JID: bob}},
		{"elements of others", `<x xmlns='other'/><item jid='bob@there.example'><group xmlns='other'>A</group></item><item xmlns='other'/>`, Set{JID: bob}},
	} {
		got, err := ParseSet(query(t, c.items), Limits{})
		if err != nil || got.JID != c.want.JID || got.Name != c.want.Name || got.Remove != c.want.Remove || !slices.Equal(got.Groups, c.want.Groups) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	for _, c := range []struct {
		name, items string
		want        stanza.Condition
	}{
		{"no item", ``, stanza.BadRequest},
		{"two items (§2.3.3)", `<item jid='bob@there.example'/><item jid='alice@here.example'/>`, stanza.BadRequest},
		{"no jid", `<item name='Bob'/>`, stanza.BadRequest},
		{"empty jid", `<item jid=''/>`, stanza.JIDMalformed},
		{"bad jid", `<item jid='@there.example'/>`, stanza.JIDMalformed},
		{"a resource", `<item jid='bob@there.example/x'/>`, stanza.BadRequest},
		{"a group twice (§2.3.3)", `<item jid='bob@there.example'><group>A</group><group>A</group></item>`, stanza.BadRequest},
		{"an empty group (§2.3.3)", `<item jid='bob@there.example'><group/></item>`, stanza.NotAcceptable},
		{"a long name (§2.3.3)", `<item jid='bob@there.example' name='` + strings.Repeat("x", 1024) + `'/>`, stanza.NotAcceptable},
		{"a long group (§2.3.3)", `<item jid='bob@there.example'><group>` + strings.Repeat("x", 1024) + `</group></item>`, stanza.NotAcceptable},
		{"many groups", `<item jid='bob@there.example'><group>` + groups(51) + `</group></item>`, stanza.NotAcceptable},
	} {
		if _, err := ParseSet(query(t, c.items), Limits{}); condition(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func groups(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = strings.Repeat("g", i+1)
	}
	return strings.Join(all, "</group><group>")
}

func TestQuery(t *testing.T) {
	t.Parallel()
	items := []Item{
		{JID: alice, Name: "A & B", Groups: []string{"G"}, State: FromPendingOut},
		{JID: bob, State: ToPendingIn, Approved: true},
	}
	const want = `<query xmlns='jabber:iq:roster' ver='v'>` +
		`<item jid='alice@here.example' name='A &amp; B' subscription='from' ask='subscribe'><group>G</group></item>` +
		`<item jid='bob@there.example' subscription='to' approved='true'/></query>`
	if got := Query(items, "v").String(); got != want {
		t.Errorf("got %s", got)
	}
	if got := Query(nil, "").String(); got != `<query xmlns='jabber:iq:roster'/>` {
		t.Errorf("without a version: %s", got)
	}
}
