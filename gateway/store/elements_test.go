package store

import (
	"errors"
	"sync/atomic"
	"testing"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func openElements(t *testing.T, b *broker.Broker) *Elements {
	t.Helper()
	s, err := OpenElements(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestElements: what an account keeps is its own, bounded by kind, there after a restart,
// and gone with the account.
func TestElements(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	s := openElements(t, b)
	set := func(user jid.JID, name, text string) error {
		return s.SetElement(t.Context(), user, name, xmlwire.New("urn:example", "e").AddText(text), 2)
	}
	get := func(s *Elements, user jid.JID, name string) string {
		t.Helper()
		e, err := s.Element(t.Context(), user, name)
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			return "nothing"
		}
		return e.Text()
	}
	for _, c := range []struct {
		user       jid.JID
		name, text string
		full       bool
	}{
		{bob, "private u a", "1 < 2", false},
		{bob, "private u b", "b", false},
		{bob, "private u c", "c", true},
		{bob, "private u a", "again", false},
		{bob, "vcard", "of another kind", false},
		{carol, "private u a", "hers", false},
	} {
		err := set(c.user, c.name, c.text)
		var refused *stanza.Error
		if errors.As(err, &refused) != c.full || err != nil && !c.full {
			t.Errorf("%s %s: %v", c.user, c.name, err)
		}
	}
	closeBroker(t, b)
	s = openElements(t, openBroker(t, dir))
	for name, want := range map[string]string{"private u a": "again", "private u b": "b", "private u c": "nothing", "vcard": "of another kind"} {
		if got := get(s, bob, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if err := s.Remove(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	if got := get(s, bob, "vcard") + get(s, bob, "private u a"); got != "nothingnothing" {
		t.Errorf("after the account: %q", got)
	}
	if got := get(s, carol, "private u a"); got != "hers" {
		t.Errorf("another account has %q", got)
	}
}

func TestAvatars(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	var all [2]*Avatars
	for i := range all {
		s, err := OpenAvatars(t.Context(), b, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		all[i] = s
	}
	var changes atomic.Int32
	all[1].OnChange(func(user jid.JID) {
		if user == bob {
			changes.Add(1)
		}
	})
	for _, hash := range []string{"", "1", "1", ""} {
		if err := all[0].SetAvatar(t.Context(), bob, hash); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the other process has the hash "+hash, func() bool { return all[1].Avatar(bob) == hash })
	}
	eventually(t, "two changes are told", func() bool { return changes.Load() == 2 })
}
