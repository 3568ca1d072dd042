package router

import (
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/jid"
)

// TestBehindCustody: what can wait goes into custody behind what waits there, though
// the recipient is there again, and the rest does not wait.
func TestBehindCustody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, xml string
		waits     bool
		took      int
		kept      int
	}{
		{name: "nothing waits", xml: `<message to='bob@here.example' type='chat'><body>x</body></message>`, took: 1},
		{name: "to the account", xml: `<message to='bob@here.example' type='chat'><body>x</body></message>`, waits: true, kept: 1},
		{name: "to the resource", xml: `<message to='bob@here.example/x'><body>x</body></message>`, waits: true, kept: 1},
		{name: "what cannot be kept", xml: `<message to='bob@here.example/x'><received xmlns='urn:xmpp:receipts'/></message>`, waits: true, took: 1},
		{name: "what must not be stored", xml: `<message to='bob@here.example/x' type='chat'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>`, waits: true, took: 1},
		{name: "groupchat", xml: `<message to='bob@here.example/x' type='groupchat'><body>x</body></message>`, waits: true, took: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			custody := &kept{waits: c.waits}
			bob, from := &client{jid: jid.MustParse("bob@here.example/x")}, &client{jid: jid.MustParse("alice@here.example/a")}
			r := newRouter(t, Options{Custody: custody}, bob)
			st := parse(t, c.xml)
			st.From = from.jid
			if err := r.Route(t.Context(), from, st); err != nil {
				t.Fatal(err)
			}
			if _, took := bob.last(); took != c.took || custody.n != c.kept {
				t.Errorf("%d taken, %d kept; want %d and %d", took, custody.n, c.took, c.kept)
			}
			if err := r.Return(t.Context(), parse(t, c.xml), time.Now()); err != nil {
				t.Fatal(err)
			}
			if custody.n != 2*c.kept {
				t.Errorf("%d kept, one of them given back; want %d", custody.n, 2*c.kept)
			}
		})
	}
}

// TestReturning: what is newer waits until sessions have given back what they did
// not deliver, and it waits for no other account's.
func TestReturning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		custody := new(kept)
		from := &client{jid: jid.MustParse("alice@here.example/a")}
		r := newRouter(t, Options{Custody: custody}, from)
		send := func(to string) {
			st := parse(t, `<message to='`+to+`' type='chat'><body>x</body></message>`)
			st.From = from.jid
			if err := r.Route(t.Context(), from, st); err != nil {
				t.Error(err)
			}
		}
		bob := jid.MustParse("bob@here.example")
		first, second := r.Returning(bob), r.Returning(bob)
		sent := make(chan struct{})
		go func() { send("bob@here.example"); close(sent) }()
		open := func() bool {
			synctest.Wait()
			select {
			case <-sent:
				return true
			default:
				return false
			}
		}
		send("alice@here.example")
		if first(); open() {
			t.Error("one of two sessions has given back all")
		}
		first()
		if open() {
			t.Error("the first one twice")
		}
		if second(); !open() {
			t.Error("waits though both have")
		}
		if custody.n != 1 || len(r.returns.running) != 0 {
			t.Errorf("%d kept, %d accounts remembered", custody.n, len(r.returns.running))
		}
		r.Returning(bob) // and never done
		send("bob@here.example")
		if custody.n != 2 {
			t.Error("waits for ever")
		}
	})
}
