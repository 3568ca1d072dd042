package store

import (
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

// friends are two nodes whose users bob and carol see each other.
func friends(t *testing.T) (c *cluster, a, b *node) {
	t.Helper()
	rosters := new(xmpptest.Rosters)
	for user, contact := range map[string]string{"bob": "carol", "carol": "bob"} {
		r, err := roster.ParseRecord([]byte(`{"`+contact+`@localhost":{"subscription":"both"}}`), roster.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		change := func(old *roster.Roster) error { return old.Import(r, true) }
		if err := rosters.Update(t.Context(), jid.MustParse(user+"@localhost"), change, nil); err != nil {
			t.Fatal(err)
		}
	}
	c = newCluster(t)
	c.rosters = rosters
	return c, c.node(), c.node()
}

// TestContactElsewhere: RFC 6121 §4.3, who comes sees the presence of a contact of
// another node as it is; a probe and an approval find it there.
func TestContactElsewhere(t *testing.T) {
	t.Parallel()
	_, a, b := friends(t)
	carol := enter(t, b.listen(), "carol@localhost/c")
	carol.show("", "at work")
	carol.gets("carol@localhost/c presence at work")
	a.sees("carol@localhost", "c 0")
	bob := enter(t, a.listen(), "bob@localhost/x")
	bob.show("", "here")
	bob.gets("carol@localhost/c presence at work")
	carol.gets("bob@localhost/x presence here")
	b.sees("bob@localhost", "x 0")

	bob.send(stanza.NewPresence(jid.MustParse("carol@localhost"), jid.JID{}, "probe"))
	bob.getsTimes(2, "carol@localhost/c presence at work")

	// Approved, who has asked sees it too.
	dave := enter(t, a.listen(), "dave@localhost/d")
	dave.show("", "")
	dave.gets("dave@localhost/d presence")
	dave.send(stanza.NewPresence(jid.MustParse("carol@localhost"), jid.JID{}, "subscribe"))
	carol.gets("dave@localhost presence subscribe")
	b.sees("dave@localhost", "d 0") // else an approval finds nobody there to be told
	carol.send(stanza.NewPresence(jid.MustParse("dave@localhost"), jid.JID{}, "subscribed"))
	dave.gets("carol@localhost presence subscribed")
	dave.gets("carol@localhost/c presence at work")
	carol.send(stanza.NewPresence(jid.MustParse("dave@localhost"), jid.JID{}, "unsubscribed"))
	dave.gets("carol@localhost/c presence unavailable")
}

// TestContactOfDeadNode: RFC 6121 §4.5.2, with its node a contact is gone; it comes back
// with it where the node was only thought dead.
func TestContactOfDeadNode(t *testing.T) {
	t.Parallel()
	c, a, b := friends(t)
	carol := enter(t, b.listen(), "carol@localhost/c")
	carol.show("", "at work")
	carol.gets("carol@localhost/c presence at work")
	bob := enter(t, a.listen(), "bob@localhost/x")
	bob.show("", "here")
	bob.gets("carol@localhost/c presence at work")

	c.living.set(b.broker.Node(), false)
	bob.gets("carol@localhost/c presence unavailable")
	c.living.set(b.broker.Node(), true)
	bob.getsTimes(2, "carol@localhost/c presence at work")

	// So long that its entries are removed.
	c.living.set(b.broker.Node(), false)
	bob.getsTimes(2, "carol@localhost/c presence unavailable")
	a.keys(1)
	c.living.set(b.broker.Node(), true)
	bob.getsTimes(3, "carol@localhost/c presence at work")
}

// TestCarbonsElsewhere: XEP-0280 §7, §8, copies reach resources of other nodes, as soon
// as it is known there that they are wanted.
func TestCarbonsElsewhere(t *testing.T) {
	t.Parallel()
	_, a, b := friends(t)
	desk, phone := enter(t, a.listen(), "bob@localhost/desk"), enter(t, b.listen(), "bob@localhost/phone")
	desk.show("", "")
	desk.gets("bob@localhost/desk presence")
	b.sees("bob@localhost", "desk 0", "phone")
	phone.send(stanza.NewIQ(jid.JID{}, jid.JID{}, stanza.TypeSet, "1", xmlwire.New("urn:xmpp:carbons:2", "enable")))
	become(t, "the other node knows of it", func() bool {
		s, ok := a.router.Session(jid.MustParse("bob@localhost/phone")).(*remote)
		return ok && s.Carbons()
	})
	desk.send(stanza.NewMessage(jid.MustParse("carol@localhost"), jid.JID{}, "chat", "to her"))
	desk.gets("carol@localhost message error") // who is away, and nothing is kept here
	carol := enter(t, b.listen(), "carol@localhost/c")
	carol.show("", "")
	carol.gets("carol@localhost/c presence")
	a.sees("carol@localhost", "c 0")
	desk.send(stanza.NewMessage(jid.MustParse("carol@localhost"), jid.JID{}, "chat", "to her"))
	carol.gets("bob@localhost/desk message chat to her")
	phone.gets("bob@localhost message chat")
	carol.send(stanza.NewMessage(jid.MustParse("bob@localhost/desk"), jid.JID{}, "chat", "back"))
	desk.gets("carol@localhost/c message chat back")
	phone.getsTimes(2, "bob@localhost message chat")
}
