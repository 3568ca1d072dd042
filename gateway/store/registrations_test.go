package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

func openRegistrations(t *testing.T, b *broker.Broker) *Registrations {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := OpenRegistrations(ctx, b, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestRegistrations: what one process stores the other knows, and so does the next one
// on the same folder.
func TestRegistrations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	here, there := openRegistrations(t, b), openRegistrations(t, b)
	gateway, other := jid.MustParse("mail.example"), jid.MustParse("sms.example")
	ctx := t.Context()
	for _, g := range []jid.JID{other, gateway, gateway} { // again: nothing is there twice
		if err := here.Add(ctx, bob, g, 2); err != nil {
			t.Fatal(err)
		}
	}
	if !here.Has(bob, gateway) || !here.Has(bob, other) || here.Has(carol, gateway) {
		t.Error("who has stored it does not know it when that returns")
	}
	eventually(t, "the other process knows", func() bool { return there.Has(bob, gateway) && there.Has(bob, other) })
	if err := there.Drop(ctx, bob, gateway); err != nil {
		t.Fatal(err)
	}
	if err := there.Drop(ctx, bob, gateway); err != nil {
		t.Errorf("to drop what is not there: %v", err)
	}
	if there.Has(bob, gateway) || !there.Has(bob, other) {
		t.Error("one was dropped, and the other not, or the reverse")
	}
	_ = here.Close()
	_ = there.Close()
	closeBroker(t, b)
	b = openBroker(t, dir)
	again := openRegistrations(t, b)
	if again.Has(bob, gateway) || !again.Has(bob, other) {
		t.Error("what was stored did not outlive the process")
	}
	if err := again.Remove(ctx, bob); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left of a user who was removed", func() bool { return !again.Has(bob, other) })
}

// TestRegistrationsBound: a set does not grow beyond its bound, whoever else adds to it.
func TestRegistrationsBound(t *testing.T) {
	t.Parallel()
	r := openRegistrations(t, openBroker(t, t.TempDir()))
	gateway := jid.MustParse("mail.example")
	user := func(i int) jid.JID { return jid.MustParse(fmt.Sprintf("u%d@elsewhere.example", i)) }
	for i := range 3 {
		if err := r.Add(t.Context(), gateway, user(i), 3); err != nil {
			t.Fatal(err)
		}
	}
	var full *stanza.Error
	if err := r.Add(t.Context(), gateway, user(3), 3); !errors.As(err, &full) || full.Condition != stanza.ResourceConstraint || r.Has(gateway, user(3)) {
		t.Errorf("one too many: %v", err)
	}
	if err := r.Add(t.Context(), gateway, user(1), 3); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	if err := r.Drop(t.Context(), gateway, user(0)); err != nil {
		t.Fatal(err)
	}
	if err := r.Add(t.Context(), gateway, user(3), 3); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
