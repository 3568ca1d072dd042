package router

import (
	"fmt"
	"slices"
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

// TestCopiesBounded: however many messages are copied, what is remembered of them is
// bounded, and the latest are among it.
func TestCopiesBounded(t *testing.T) {
	t.Parallel()
	var c copies
	message := func(i int) *stanza.Stanza {
		st := stanza.NewMessage(jid.MustParse("bob@there.example/x"), jid.MustParse("alice@here.example/a"), stanza.TypeChat, "hi")
		st.ID = fmt.Sprint(i)
		return st
	}
	for i := range 5 * maxCopied {
		c.note(message(i), sent)
	}
	if n := len(c.now) + len(c.old); n > 2*maxCopied {
		t.Errorf("%d are remembered", n)
	}
	answer := message(4*maxCopied + 1).ErrorReply(&stanza.Error{Condition: stanza.Gone})
	if !c.answered(answer, received) || c.answered(message(1).ErrorReply(&stanza.Error{Condition: stanza.Gone}), received) {
		t.Error("the wrong ones are forgotten")
	}
	answer.From = jid.MustParse("mallory@there.example")
	if c.answered(answer, received) {
		t.Error("another one's error passes for an answer")
	}
	c.note(message(0).ErrorReply(&stanza.Error{Condition: stanza.Gone}), received)
	without := message(0)
	without.ID = ""
	c.note(without, sent)
	if c.answered(without, sent) {
		t.Error("what has no id is answered")
	}
}

// TestCarbonRules: XEP-0280 §6.2, it is said of the domain and of accounts that the rules
// are those of §6.1.
func TestCarbonRules(t *testing.T) {
	t.Parallel()
	r := newRouter(t, Options{})
	for of, features := range map[string][]string{"domain": r.ofDomain.Features, "account": r.ofAccount.Features} {
		if !slices.Contains(features, nsCarbonRules) {
			t.Errorf("features of a %s: %v", of, features)
		}
	}
}
