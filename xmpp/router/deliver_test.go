package router

import (
	"context"
	"errors"
	"slices"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// bob has these resources in the tables below.
func bobs() []*client {
	return []*client{
		{jid: jid.MustParse("bob@here.example/five"), priority: 5},
		{jid: jid.MustParse("bob@here.example/five2"), priority: 5},
		{jid: jid.MustParse("bob@here.example/zero")},
		{jid: jid.MustParse("bob@here.example/minus"), priority: -1},
		{jid: jid.MustParse("bob@here.example/away"), priority: 9, away: true},
	}
}

// TestDeliver is RFC 6121 §8.5.4, the summary of message delivery, for an
// account with resources of all sorts.
func TestDeliver(t *testing.T) {
	t.Parallel()
	best := []string{"five", "five2"}
	for _, c := range []struct {
		name, to, typ string
		want          []string
		err           error // or a condition
		condition     stanza.Condition
	}{
		{name: "chat to the account: highest priority, all of them", to: "bob@here.example", typ: "chat", want: best},
		{name: "normal likewise", to: "bob@here.example", typ: "normal", want: best},
		{name: "no type is normal", to: "bob@here.example", want: best},
		{name: "an unknown type is normal (§5.2.2)", to: "bob@here.example", typ: "telegram", want: best},
		{name: "headline: all that are not negative", to: "bob@here.example", typ: "headline", want: []string{"five", "five2", "zero"}},
		{name: "groupchat is refused", to: "bob@here.example", typ: "groupchat", condition: stanza.ServiceUnavailable},
		{name: "error is ignored", to: "bob@here.example", typ: "error"},
		{name: "full: that resource", to: "bob@here.example/zero", typ: "chat", want: []string{"zero"}},
		{name: "full: negative too", to: "bob@here.example/minus", typ: "chat", want: []string{"minus"}},
		{name: "full: connected, not available", to: "bob@here.example/away", typ: "chat", want: []string{"away"}},
		{name: "full: groupchat comes from a room", to: "bob@here.example/zero", typ: "groupchat", want: []string{"zero"}},
		{name: "full: errors come back there", to: "bob@here.example/zero", typ: "error", want: []string{"zero"}},
		{name: "full and gone: chat goes to the account", to: "bob@here.example/gone", typ: "chat", want: best},
		{name: "full and gone: normal too", to: "bob@here.example/gone", want: best},
		{name: "full and gone: headline is ignored", to: "bob@here.example/gone", typ: "headline"},
		{name: "full and gone: groupchat is refused", to: "bob@here.example/gone", typ: "groupchat", condition: stanza.ServiceUnavailable},
		{name: "full and gone: error is ignored", to: "bob@here.example/gone", typ: "error"},
		{name: "nobody online", to: "alice@here.example", typ: "chat", err: ErrOffline},
		{name: "nobody online: headline is ignored", to: "alice@here.example", typ: "headline"},
		{name: "no such account", to: "eve@here.example", typ: "chat", condition: stanza.ServiceUnavailable},
		{name: "no way to the domain", to: "eve@there.example", typ: "chat", condition: stanza.RemoteServerNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRouter(t, Options{}, bobs()...)
			st := stanza.NewMessage(jid.MustParse(c.to), jid.MustParse("alice@here.example/a"), c.typ, "hi")
			sessions, err := r.Deliver(t.Context(), st)
			var got []string
			for _, s := range sessions {
				got = append(got, s.JID().Resource())
				if last, n := s.(*client).last(); n != 1 || last.To.String() != c.to {
					t.Errorf("%s got %d, the last %v", s.JID(), n, last)
				}
			}
			if !slices.Equal(got, c.want) || c.err != nil && !errors.Is(err, c.err) || condition(err) != c.condition || (err == nil) != (c.err == nil && c.condition == "") {
				t.Errorf("delivered to %v, %v; want %v, %v%s", got, err, c.want, c.err, c.condition)
			}
		})
	}
}

// TestDeliverNegative is RFC 6121 §8.5.2.1.1: with negative resources only the account
// is as good as offline.
func TestDeliverNegative(t *testing.T) {
	t.Parallel()
	r := newRouter(t, Options{}, &client{jid: jid.MustParse("bob@here.example/x"), priority: -1})
	st := stanza.NewMessage(jid.MustParse("bob@here.example"), jid.JID{}, "chat", "hi")
	if sessions, err := r.Deliver(t.Context(), st); !errors.Is(err, ErrOffline) {
		t.Errorf("got %v, %v", sessions, err)
	}
}

func TestDeliverToWhoCanTakeIt(t *testing.T) {
	t.Parallel()
	b := bobs()
	b[0].gone = true
	r := newRouter(t, Options{}, b...)
	st := stanza.NewMessage(jid.MustParse("bob@here.example"), jid.JID{}, "chat", "hi")
	sessions, err := r.Deliver(t.Context(), st)
	if err != nil || len(sessions) != 1 || sessions[0] != b[1] {
		t.Errorf("got %v, %v: the one that took it is to be told", sessions, err)
	}
	b[1].gone = true
	if _, err := r.Deliver(t.Context(), st); !errors.Is(err, ErrOffline) {
		t.Errorf("got %v: nobody took it, so it is to be kept", err)
	}
}

// TestErrorsAreTemporary guards custody: an error that reads as permanent makes
// a dead message.
func TestErrorsAreTemporary(t *testing.T) {
	t.Parallel()
	r := newRouter(t, Options{})
	for to, permanent := range map[string]bool{
		"alice@here.example":  false, // offline
		"broken@here.example": false, // the store of accounts is down
		"eve@here.example":    true,
	} {
		_, err := r.Deliver(t.Context(), stanza.NewMessage(jid.MustParse(to), jid.JID{}, "chat", "hi"))
		var asked interface{ Temporary() bool }
		if got := errors.As(err, &asked) && !asked.Temporary(); got != permanent {
			t.Errorf("%s: %v reads as permanent: %v", to, err, got)
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	r := New(Options{Domains: local})
	for _, s := range bobs() {
		if err := r.Bind(&sink{client{jid: s.jid, priority: s.priority, away: s.away}}); err != nil {
			b.Fatal(err)
		}
	}
	st := stanza.NewMessage(jid.MustParse("bob@here.example"), jid.JID{}, "chat", "hi")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Deliver(b.Context(), st); err != nil {
			b.Fatal(err)
		}
	}
}

// sink is a session that forgets.
type sink struct{ client }

func (*sink) Send(context.Context, *stanza.Stanza) error { return nil }

// TestDeliverKept: a client that has had the message is not sent it again, and
// that is told apart from one that has just got it.
func TestDeliverKept(t *testing.T) {
	t.Parallel()
	b := bobs()
	r := newRouter(t, Options{}, b...)
	st := stanza.NewMessage(jid.MustParse("bob@here.example"), jid.JID{}, "chat", "hi")
	st.ID = "m1"
	b[0].kept = map[string]bool{"m1": true}
	took, had, err := r.DeliverKept(t.Context(), st)
	if err != nil || !had || len(took) != 1 || took[0] != b[1] {
		t.Errorf("got %v, %v, %v: want the one that had it and the one that took it", took, had, err)
	}
	b[1].kept = b[0].kept
	if took, had, err = r.DeliverKept(t.Context(), st); err != nil || !had || len(took) != 0 {
		t.Errorf("got %v, %v, %v: want that all had it", took, had, err)
	}
}
