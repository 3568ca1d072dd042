package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// client is a session that remembers.
type client struct {
	jid      jid.JID
	priority int8
	away     bool // not available
	gone     bool // Send fails

	mu     sync.Mutex
	got    []*stanza.Stanza
	closed *stream.Error
}

func (c *client) JID() jid.JID                { return c.jid }
func (c *client) Priority() (int8, bool)      { return c.priority, !c.away }
func (c *client) Prove(context.Context) error { return nil }

func (c *client) Send(_ context.Context, st *stanza.Stanza) error {
	if c.gone {
		return stream.ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, st)
	return nil
}

func (c *client) Close(reason *stream.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = reason
}

// last is what the client got last, and how many there were.
func (c *client) last() (*stanza.Stanza, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.got) == 0 {
		return nil, 0
	}
	return c.got[len(c.got)-1], len(c.got)
}

func local(d string) bool { return d == "here.example" }

// accounts are alice and bob.
func accounts(_ context.Context, bare jid.JID) (bool, error) {
	if bare.Local() == "broken" {
		return false, errors.New("store is down")
	}
	return bare.Local() == "alice" || bare.Local() == "bob", nil
}

// kept is a Custody that remembers, or fails.
type kept struct {
	err error
	n   int
}

func (k *kept) Keep(context.Context, *stanza.Stanza) error {
	k.n++
	return k.err
}

func newRouter(t *testing.T, o Options, sessions ...*client) *Router {
	t.Helper()
	o.Domains = local
	if o.Accounts == nil {
		o.Accounts = accounts
	}
	r := New(o)
	for _, s := range sessions {
		if err := r.Bind(s); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func condition(err error) stanza.Condition {
	var e *stanza.Error
	if errors.As(err, &e) {
		return e.Condition
	}
	return ""
}

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

func TestKeep(t *testing.T) {
	t.Parallel()
	from := &client{jid: jid.MustParse("bob@here.example/b")}
	full := errors.New("full")
	for _, c := range []struct {
		name, xml string
		custody   *kept
		filter    func(bool) bool
		kept      int
		want      stanza.Condition
	}{
		{"with a body", `<body>x</body>`, &kept{}, nil, 1, ""},
		{"with a body in one language", `<body/><body xml:lang='de'>x</body>`, &kept{}, nil, 1, ""},
		{"without a body", `<thread>x</thread>`, &kept{}, nil, 0, stanza.ServiceUnavailable},
		{"with a blank body", `<body> </body>`, &kept{}, nil, 0, stanza.ServiceUnavailable},
		{"no custody", `<body>x</body>`, nil, nil, 0, stanza.ServiceUnavailable},
		{"custody is full: our fault, try again", `<body>x</body>`, &kept{err: full}, nil, 1, stanza.InternalServerError},
		{"dropped on the way", `<body>x</body>`, &kept{}, func(bool) bool { return false }, 0, ""},
		{"dropped before storage", `<body>x</body>`, &kept{}, func(keep bool) bool { return !keep }, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := Options{}
			if c.custody != nil {
				o.Custody = c.custody
			}
			if c.filter != nil {
				o.Filter = func(_ context.Context, _ *stanza.Stanza, keep bool) bool { return c.filter(keep) }
			}
			r := newRouter(t, o)
			from := &client{jid: from.jid}
			st, err := stanza.ParseBytes([]byte("<message xmlns='jabber:client' type='chat' to='alice@here.example'>"+c.xml+"</message>"), xmlwire.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			st.From = from.jid
			if err := r.Route(t.Context(), from, st); err != nil {
				t.Fatal(err)
			}
			got := stanza.Condition("")
			if answer, n := from.last(); n > 0 {
				e := stanza.ParseError(answer.Child("error"))
				got = e.Condition
				if got == stanza.InternalServerError && !e.Temporary() {
					t.Error("our own fault is told as permanent")
				}
			}
			if got != c.want || c.custody != nil && c.custody.n != c.kept {
				t.Errorf("answer %q, kept %v; want %q, %d", got, c.custody, c.want, c.kept)
			}
		})
	}
}

func TestHandlerTakesItsDomain(t *testing.T) {
	t.Parallel()
	r := newRouter(t, Options{})
	from := &client{jid: jid.MustParse("bob@here.example/b")}
	var got *stanza.Stanza
	answer := error(nil)
	r.Handle("mail.here.example", func(_ context.Context, st *stanza.Stanza) error {
		got = st
		return answer
	})
	st := stanza.NewMessage(jid.MustParse("x@mail.here.example"), from.jid, "chat", "hi")
	if err := r.Route(t.Context(), from, st); err != nil || got != st {
		t.Fatalf("handler got %v, %v", got, err)
	}
	if _, n := from.last(); n != 0 {
		t.Error("a stanza that was taken is answered")
	}
	answer = &stanza.Error{Condition: stanza.NotAcceptable}
	if err := r.Route(t.Context(), from, st); err != nil {
		t.Fatal(err)
	}
	if last, _ := from.last(); last == nil || stanza.ParseError(last.Child("error")).Condition != stanza.NotAcceptable {
		t.Errorf("the sender was told %v", last)
	}
	r.Handle("mail.here.example", nil)
	if err := r.Route(t.Context(), from, st); err != nil {
		t.Fatal(err)
	}
	if last, _ := from.last(); stanza.ParseError(last.Child("error")).Condition != stanza.RemoteServerNotFound {
		t.Errorf("after the handler left: %v", last)
	}
}

func TestBindConflict(t *testing.T) {
	t.Parallel()
	old := &client{jid: jid.MustParse("bob@here.example/x")}
	next := &client{jid: old.jid}
	r := newRouter(t, Options{}, old, next)
	if old.closed == nil || old.closed.Condition != stream.Conflict {
		t.Errorf("the old session was told %v", old.closed)
	}
	// The old one's end must not unbind the new one.
	if r.Unbind(old) || r.Session(old.jid) != next {
		t.Error("the end of the old session unbound the new one")
	}
	if !r.Unbind(next) || r.Session(old.jid) != nil || len(r.All()) != 0 {
		t.Error("the new one is still bound")
	}
}

func TestTooManySessions(t *testing.T) {
	t.Parallel()
	r := newRouter(t, Options{MaxSessions: 2})
	for i := range 3 {
		err := r.Bind(&client{jid: jid.MustParse(fmt.Sprintf("bob@here.example/%d", i))})
		if errors.Is(err, ErrTooManySessions) != (i == 2) {
			t.Errorf("session %d: %v", i, err)
		}
	}
	if err := r.Bind(&client{jid: jid.MustParse("bob@here.example/0")}); err != nil {
		t.Errorf("replacing one of them: %v", err)
	}
	if err := r.Bind(&client{jid: jid.MustParse("alice@here.example/0")}); err != nil {
		t.Errorf("another account: %v", err)
	}
	if n := r.Stats().TooManySessions; n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestAvailable(t *testing.T) {
	t.Parallel()
	c := &client{jid: jid.MustParse("bob@here.example/x"), away: true}
	r := newRouter(t, Options{}, c)
	var told []string
	r.OnAvailable(func(bare jid.JID) { told = append(told, bare.String()) })
	r.Available(c)
	if r.Reachable(c.jid) {
		t.Error("reachable before presence")
	}
	c.away, c.priority = false, -1
	r.Available(c)
	if len(told) != 0 || r.Reachable(c.jid) {
		t.Errorf("told %v: a negative resource takes no messages", told)
	}
	c.priority = 0
	r.Available(c)
	if len(told) != 1 || told[0] != "bob@here.example" || !r.Reachable(c.jid.Bare()) {
		t.Errorf("told %v", told)
	}
}

// TestRegistryConcurrent has readers hold what they read while others change it.
func TestRegistryConcurrent(t *testing.T) {
	t.Parallel()
	m := NewRegistry()
	bare := jid.MustParse("bob@here.example")
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 200 {
				full, err := bare.WithResource(fmt.Sprintf("%d-%d", g, i%7))
				if err != nil {
					t.Error(err)
					return
				}
				s := &client{jid: full}
				if _, err := m.Bind(s, 100); err != nil {
					t.Error(err)
				}
				for _, o := range m.Sessions(bare) {
					_ = o.JID()
				}
				if m.Session(full) == nil || !m.Unbind(s) || m.Unbind(s) {
					t.Error("lost or doubled a session")
				}
			}
		})
	}
	all.Wait()
	if n := len(m.All()); n != 0 {
		t.Errorf("%d sessions left", n)
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
