package router

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// client is a session that remembers.
type client struct {
	jid      jid.JID
	priority int8
	away     bool            // not available
	gone     bool            // Send fails
	kept     map[string]bool // ids that it has had, sent before

	mu     sync.Mutex
	got    []*stanza.Stanza
	closed *stream.Error
}

func (c *client) JID() jid.JID                         { return c.jid }
func (c *client) Priority() (int8, bool)               { return c.priority, !c.away }
func (c *client) Prove(context.Context) (Proof, error) { return ProofAnswer, nil }

func (c *client) SendKept(ctx context.Context, st *stanza.Stanza) (bool, error) {
	if c.kept[st.ID] {
		return true, nil
	}
	return false, c.Send(ctx, st)
}

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
	err   error
	n     int
	waits bool
}

func (k *kept) Keep(context.Context, *stanza.Stanza) error {
	k.n++
	return k.err
}

func (k *kept) Waits(context.Context, jid.JID) bool { return k.waits }

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
