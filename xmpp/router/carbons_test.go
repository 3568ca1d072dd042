package router

import (
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// copied is a client that has enabled carbons.
type copied struct{ *client }

func (copied) Carbons() bool { return true }

// TestCarbonsOfKept: what comes from custody is copied like any other message, once
// it has been taken, and not again where the client turns out to have had it.
func TestCarbonsOfKept(t *testing.T) {
	t.Parallel()
	main := &client{jid: jid.MustParse("alice@here.example/main"), kept: map[string]bool{"had": true}}
	other := copied{&client{jid: jid.MustParse("alice@here.example/other"), away: true}}
	r := newRouter(t, Options{})
	for _, s := range []Session{main, other} {
		if err := r.Bind(s); err != nil {
			t.Fatal(err)
		}
	}
	message := func(id string) *stanza.Stanza {
		st := stanza.NewMessage(main.jid.Bare(), jid.MustParse("news@mail.example"), stanza.TypeChat, "hi")
		st.ID = id
		return st
	}
	if _, _, err := r.DeliverKept(t.Context(), message("new")); err != nil {
		t.Fatal(err)
	}
	got, n := other.last()
	if n != 1 || got.From != main.jid.Bare() || got.To != other.jid {
		t.Fatalf("the other resource has %d stanzas, the last is %v", n, got)
	}
	inside := got.Element.Child(xmlwire.Name{Space: NSCarbons, Local: "received"})
	if inside == nil || inside.Child(xmlwire.Name{Space: nsForward, Local: "forwarded"}) == nil {
		t.Errorf("the copy is %s", got)
	}
	if _, had, err := r.DeliverKept(t.Context(), message("had")); !had || err != nil {
		t.Fatal(had, err)
	}
	main.gone = true
	if _, _, err := r.DeliverKept(t.Context(), message("late")); err == nil {
		t.Fatal("nobody is there, and the message was taken")
	}
	if _, n := other.last(); n != 1 {
		t.Errorf("%d copies, want 1", n)
	}
}
