package roster

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// side is one of two users, with the server's part of the rules.
type side struct {
	me, other jid.JID
	roster    Roster
	sent      []Kind // on the way to the other side
	// What the user has said last, whatever became of it.
	wants, consents bool
}

// do sends a stanza of the user.
func (s *side) do(t *rapid.T, k Kind) {
	o, err := s.roster.Outbound(s.other, k)
	if err != nil {
		t.Fatalf("%s of %s: %v", k, s.me, err)
	}
	if o.Pass {
		s.sent = append(s.sent, k)
	}
	switch k {
	case Subscribe:
		s.wants = true
	case Unsubscribe:
		s.wants = false
	case Subscribed:
		s.consents = true
	case Unsubscribed:
		s.consents = false
	}
}

// remove removes the contact, which ends all there is between the two (RFC 6121
// §2.5.2).
func (s *side) remove() {
	was, err := s.roster.Remove(s.other)
	if err != nil {
		return
	}
	if was.HasTo() || was.PendingOut() {
		s.sent = append(s.sent, Unsubscribe)
	}
	if was.HasFrom() || was.PendingIn() {
		s.sent = append(s.sent, Unsubscribed)
	}
	s.wants, s.consents = false, false
}

// take handles a stanza of the other side.
func (s *side) take(t *rapid.T, k Kind) {
	o, err := s.roster.Inbound(s.other, k, stanza.NewPresence(s.me, s.other, string(k)))
	if err != nil {
		t.Fatalf("%s to %s: %v", k, s.me, err)
	}
	if o.Reply {
		s.sent = append(s.sent, Subscribed)
	}
}

// flush hands over all that is under way, in order.
func flush(t *rapid.T, a, b *side) {
	for len(a.sent)+len(b.sent) > 0 {
		for _, p := range [][2]*side{{a, b}, {b, a}} {
			sent := p[0].sent
			p[0].sent = nil
			for _, k := range sent {
				p[1].take(t, k)
			}
		}
	}
}

// settle is what a server does at a login and a user at last: what is wanted is
// asked for again (§3.1.2), what one has is probed (§4.3.2), and the rest given up.
func (s *side) settle(t *rapid.T, other *side) {
	switch state := s.roster.State(s.other); {
	case state.PendingOut():
		s.do(t, Subscribe)
	case !state.HasTo():
		s.do(t, Unsubscribe)
	case !other.roster.State(s.me).HasFrom():
		other.sent = append(other.sent, Unsubscribed)
	}
}

// TestTwoSides has two users do all they can over a network that loses and
// reorders stanzas. At no moment does anybody get presence without consent, or
// without having asked for it; a roster item tells no more than that; and once the
// network works both sides agree.
func TestTwoSides(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		alice, bob := jid.MustParse("alice@here.example"), jid.MustParse("bob@there.example")
		a, b := &side{me: alice, other: bob}, &side{me: bob, other: alice}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			s, other := a, b
			if rapid.Bool().Draw(t, "bob") {
				s, other = b, a
			}
			switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
			case step < 4:
				s.do(t, []Kind{Subscribe, Subscribed, Unsubscribe, Unsubscribed}[step])
			case step == 4:
				s.remove()
			case step == 5:
				if err := s.roster.Set(s.other, "name", nil); err != nil {
					t.Fatal(err)
				}
			case step == 6 && len(s.sent) > 0: // lost
				i := rapid.IntRange(0, len(s.sent)-1).Draw(t, "lost")
				s.sent = slices.Delete(s.sent, i, i+1)
			case len(s.sent) > 0: // arrives, not always in its turn
				i := rapid.IntRange(0, len(s.sent)-1).Draw(t, "arrives")
				k := s.sent[i]
				s.sent = slices.Delete(s.sent, i, i+1)
				other.take(t, k)
			}
			for _, s := range []*side{a, b} {
				s.check(t)
			}
		}
		a.sent, b.sent = nil, nil // and the network works
		for range 2 {
			a.settle(t, b)
			flush(t, a, b)
			b.settle(t, a)
			flush(t, a, b)
		}
		agree(t, a, b)
		agree(t, b, a)
	})
}

// check holds one side to what must be so at every moment.
func (s *side) check(t *rapid.T) {
	state := s.roster.State(s.other)
	switch item, listed := s.roster.Item(s.other); {
	case state.HasFrom() && !s.consents:
		t.Fatalf("%s shows presence without consent: %q", s.me, state)
	case (state.HasTo() || state.PendingOut()) && !s.wants:
		t.Fatalf("%s gets presence that nobody asked for: %q", s.me, state)
	case item.Approved && !s.consents:
		t.Fatalf("%s approves without consent", s.me)
	case !listed && state != None && state != NonePendingIn:
		t.Fatalf("%s has no item in %q", s.me, state)
	case state.PendingIn() != (len(s.roster.Requests()) == 1):
		t.Fatalf("%s has %d requests in %q", s.me, len(s.roster.Requests()), state)
	}
	data, err := s.roster.Encode(s.me)
	if err != nil {
		t.Fatal(err)
	}
	_, again, err := Decode(data, Limits{})
	if err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	if d1, d2 := fmt.Sprint(again.Items(), again.Version(), again.State(s.other)), fmt.Sprint(s.roster.Items(), s.roster.Version(), state); d1 != d2 {
		t.Fatalf("stored %s, read %s: %s", d2, d1, data)
	}
}

// agree holds that what a sees of its own subscription is what b sees of it.
func agree(t *rapid.T, a, b *side) {
	ours, theirs := a.roster.State(b.me), b.roster.State(a.me)
	if ours.HasTo() != theirs.HasFrom() || ours.PendingOut() != theirs.PendingIn() {
		t.Fatalf("%s is in %q, %s in %q", a.me, ours, b.me, theirs)
	}
}
