package router

import (
	"errors"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

func list(addresses ...string) BlockList {
	b := make(BlockList)
	for _, a := range addresses {
		b[jid.MustParse(a)] = struct{}{}
	}
	return b
}

// TestBlockList: XEP-0191 §6, the matching of addresses.
func TestBlockList(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		blocked, address string
		want             bool
	}{
		{"bob@x", "bob@x", true},
		{"bob@x", "bob@x/phone", true},
		{"bob@x", "carol@x", false},
		{"bob@x/phone", "bob@x/phone", true},
		{"bob@x/phone", "bob@x/desk", false},
		{"bob@x/phone", "bob@x", false},
		{"x", "x", true},
		{"x", "bob@x/phone", true},
		{"x", "x/phone", true},
		{"x", "y", false},
		{"x", "bob@sub.x", false},
		{"x/phone", "x/phone", true},
		{"x/phone", "x", false},
	} {
		if got := list(c.blocked).Has(jid.MustParse(c.address)); got != c.want {
			t.Errorf("%s blocked, %s: %v", c.blocked, c.address, got)
		}
	}
	if list("x").Has(jid.JID{}) || BlockList(nil).Has(jid.MustParse("x")) {
		t.Error("nobody is blocked")
	}
}

// blockedBy is one list for everybody.
type blockedBy BlockList

func (b blockedBy) Blocks(jid.JID) BlockList { return BlockList(b) }

// TestBlockedKept: what a blocked sender has put into custody ends there for good,
// with a reason for the operator; what the user's own server sends arrives.
func TestBlockedKept(t *testing.T) {
	t.Parallel()
	s := &client{jid: jid.MustParse("alice@here.example/a")}
	r := newRouter(t, Options{Blocks: blockedBy(list("mail.example", "here.example"))}, s)
	_, _, err := r.DeliverKept(t.Context(), stanza.NewMessage(s.jid.Bare(), jid.MustParse("news@mail.example"), "chat", "x"))
	var refused *stanza.Error
	if !errors.As(err, &refused) || refused.Temporary() || refused.Text == "" {
		t.Errorf("got %v, want a refusal for good with a reason", err)
	}
	if _, _, err := r.DeliverKept(t.Context(), stanza.NewMessage(s.jid.Bare(), jid.MustParse("here.example"), "chat", "x")); err != nil {
		t.Errorf("a message of the server: %v", err)
	}
	if _, n := s.last(); n != 1 {
		t.Errorf("%d messages arrived, want 1", n)
	}
	if n := r.Stats().Blocked; n != 1 {
		t.Errorf("%d counted", n)
	}
}
