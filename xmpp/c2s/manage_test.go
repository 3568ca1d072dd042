package c2s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

// resumable is what most of these tests need.
var resumable = ConnOptions{ResumeTime: 5 * time.Minute}

// managed logs in with stream management; old is whose stream to resume, nil for
// none.
func (f *fixture) managed(t testing.TB, address string, old *stream.Client) *stream.Client {
	t.Helper()
	j := jid.MustParse(address)
	c, err := stream.Dial(within(t), stream.ClientOptions{
		JID: j, Password: users[j.Local()], Address: f.addr, TLS: f.tls, Manage: true, Resume: old,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stream().Abort() })
	return c
}

// present is managed, and waits until the server knows that the client is
// available.
func (f *fixture) present(t testing.TB, address string) *stream.Client {
	t.Helper()
	c := f.managed(t, address, nil)
	if err := c.Available(within(t), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(within(t)); err != nil { // its own presence
		t.Fatal(err)
	}
	return c
}

// cut loses the connection of a client and waits until its session is suspended.
func (f *fixture) cut(t testing.TB, c *stream.Client) {
	t.Helper()
	n := f.server.Stats().Suspended
	_ = c.Stream().Abort()
	eventually(t, func() bool { return f.server.Stats().Suspended == n+1 }, "the session is suspended")
}

func (f *fixture) resume(t testing.TB, old *stream.Client) *stream.Client {
	t.Helper()
	c := f.managed(t, old.JID().String(), old)
	if !c.Resumed() || c.JID() != old.JID() {
		t.Fatalf("%s was not resumed", old.JID())
	}
	return c
}

// want receives messages of these ids, and nothing else.
func want(t testing.TB, c *stream.Client, ids ...string) {
	t.Helper()
	for _, id := range ids {
		st, err := c.Receive(within(t))
		if err != nil || st.ID != id {
			t.Fatalf("%s received %v, %v; want %s", c.JID(), st, err, id)
		}
	}
}

func chat(to, id string) *stanza.Stanza {
	st := stanza.NewMessage(jid.MustParse(to), jid.MustParse("alice@localhost/a"), "chat", "text of "+id)
	st.ID = id
	return st
}

// keeper is a custody that remembers.
type keeper struct {
	mu   sync.Mutex
	kept []*stanza.Stanza
}

func (k *keeper) Keep(_ context.Context, st *stanza.Stanza) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept = append(k.kept, st)
	return nil
}

func (k *keeper) Waits(context.Context, jid.JID) bool { return false }

func (k *keeper) ids() (ids []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, st := range k.kept {
		ids = append(ids, st.ID)
	}
	return ids
}

// TestProveAck: where stream management is enabled its acknowledgement is the proof,
// and nothing else is sent for it.
func TestProveAck(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, resumable)
	c := f.managed(t, "bob@localhost/x", nil)
	s := f.session(t, c)
	ctx := within(t)
	if proof, err := s.Prove(ctx); proof != router.ProofAck || err != nil {
		t.Errorf("of nothing: %q, %v", proof, err)
	}
	const n = 50
	for i := range n {
		if had, err := s.SendKept(ctx, chat("bob@localhost/x", fmt.Sprint(i))); had || err != nil {
			t.Fatal(had, err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if proof, err := s.Prove(short); !errors.Is(err, context.DeadlineExceeded) || proof != "" {
		t.Errorf("a client that reads nothing proved itself: %q, %v", proof, err)
	}
	proven := make(chan error, 1)
	go func() {
		proof, err := s.Prove(ctx)
		if err == nil && proof != router.ProofAck {
			err = fmt.Errorf("proof is %q", proof)
		}
		proven <- err
	}()
	for i := range n {
		want(t, c, fmt.Sprint(i))
	}
	rest, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() {
		if st, err := c.Receive(rest); err == nil { // answers the request for an acknowledgement
			t.Errorf("received %s too", st)
		}
	})
	if err := <-proven; err != nil {
		t.Error(err)
	}
	stop()
	reader.Wait()
}

// TestResumeKept is the contract of router.Session.SendKept.
func TestResumeKept(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, resumable)
	c := f.present(t, "bob@localhost/x")
	s := f.session(t, c)
	ctx := within(t)
	for _, id := range []string{"k1", "k2", "k3"} {
		if had, err := s.SendKept(ctx, chat("bob@localhost", id)); had || err != nil {
			t.Fatal(had, err)
		}
	}
	if err := s.Send(ctx, chat("bob@localhost/x", "ordinary")); err != nil {
		t.Fatal(err)
	}
	proven := make(chan error, 1)
	go func() {
		_, err := s.Prove(ctx)
		proven <- err
	}()
	want(t, c, "k1", "k2")
	f.cut(t, c)
	if err := <-proven; !errors.Is(err, router.ErrSuspended) {
		t.Errorf("who waits for the proof learns %v", err)
	}
	if _, err := s.Prove(ctx); !errors.Is(err, router.ErrSuspended) {
		t.Errorf("a proof meanwhile: %v", err)
	}
	if _, ok := s.Priority(); ok || f.router.Reachable(c.JID()) {
		t.Error("a suspended session is available")
	}
	if _, err := s.SendKept(ctx, chat("bob@localhost", "k1")); !errors.Is(err, router.ErrSuspended) {
		t.Errorf("SendKept meanwhile: %v", err)
	}
	if err := s.Send(ctx, chat("bob@localhost/x", "storable")); !errors.Is(err, router.ErrSuspended) {
		t.Errorf("a message meanwhile: %v", err)
	}
	told := make(chan jid.JID, 1)
	f.router.OnAvailable(func(bare jid.JID) { told <- bare })
	waits := make(chan struct{})
	own := s.(*session)
	own.life.mu.Lock()
	wake := own.life.wake
	own.life.mu.Unlock()
	go func() { f.server.hibernate(ctx, own, wake); close(waits) }()
	again := f.resume(t, c)
	select {
	case got := <-told:
		if got != c.JID().Bare() {
			t.Errorf("the router tells of %s", got)
		}
	case <-ctx.Done():
		t.Fatal("the router does not tell that it is available")
	}
	select {
	case <-waits:
	case <-ctx.Done():
		t.Fatal("somebody waits still for a session that is resumed")
	}
	if f.session(t, again) != s {
		t.Error("it is another session")
	}
	for _, step := range []struct {
		id  string
		had bool
	}{{"k1", true}, {"k2", true}, {"k3", false}, {"k1", false}} {
		if had, err := s.SendKept(ctx, chat("bob@localhost", step.id)); had != step.had || err != nil {
			t.Errorf("%s: had %v, %v", step.id, had, err)
		}
	}
	want(t, again, "ordinary", "k3", "k1")
}

// TestResumeKeptSameID: a careless sender uses an id twice; another origin id makes
// it another message.
func TestResumeKeptSameID(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, resumable)
	c := f.present(t, "bob@localhost/x")
	s := f.session(t, c)
	with := func(origin string) *stanza.Stanza {
		st := chat("bob@localhost", "twice")
		st.Element.Add(xmlwire.New("urn:xmpp:sid:0", "origin-id", "id", origin))
		return st
	}
	if had, err := s.SendKept(within(t), with("o1")); had || err != nil {
		t.Fatal(had, err)
	}
	want(t, c, "twice")
	f.cut(t, c)
	again := f.resume(t, c)
	if had, err := s.SendKept(within(t), with("o2")); had || err != nil {
		t.Errorf("another message: had %v, %v", had, err)
	}
	if had, err := s.SendKept(within(t), with("o1")); !had || err != nil {
		t.Errorf("the same message: had %v, %v", had, err)
	}
	want(t, again, "twice")
}

// TestSuspendedMessages: what comes for a user whose only session waits for its
// client is stored as for one who is offline, and goes to another resource where
// there is one; what cannot be stored waits.
func TestSuspendedMessages(t *testing.T) {
	t.Parallel()
	custody := new(keeper)
	f := serve(t, router.Options{Custody: custody, Filter: noStates}, Options{}, resumable)
	alice, bob := f.login(t, "alice@localhost/a"), f.present(t, "bob@localhost/x")
	f.cut(t, bob)
	typed := func(typ, id string) *stanza.Stanza {
		st := chat("bob@localhost/x", id)
		st.Type = typ
		return st
	}
	bare := stanza.NewMessage(jid.MustParse("bob@localhost/x"), jid.JID{}, "chat", "")
	receipt := *bare
	receipt.ID, receipt.Element = "receipt", xmlwire.New(stanza.Client, "message").Add(xmlwire.New("urn:xmpp:receipts", "received", "id", "r"))
	state := *bare
	state.ID, state.Element = "state", xmlwire.New(stanza.Client, "message").Add(xmlwire.New("http://jabber.org/protocol/chatstates", "composing"))
	send := func(all ...*stanza.Stanza) {
		t.Helper()
		for _, st := range all {
			if err := alice.Send(within(t), st); err != nil {
				t.Fatal(err)
			}
		}
		st := stanza.NewIQ(jid.MustParse("localhost"), jid.JID{}, "get", "sync", xmlwire.New("urn:xmpp:ping", "ping"))
		if err := alice.Send(within(t), st); err != nil {
			t.Fatal(err)
		}
		want(t, alice, "sync") // and no error before it
	}
	send(chat("bob@localhost", "to the account"), typed("chat", "to the resource"), typed("normal", "normal"),
		typed("groupchat", "groupchat"), typed("headline", "headline"), typed("error", "error"), &receipt, &state)
	if got := custody.ids(); !slices.Equal(got, []string{"to the account", "to the resource", "normal"}) {
		t.Errorf("stored are %v", got)
	}
	other := f.online(t, "bob@localhost/y")
	// The account's other resources see it as available still (RFC 6121 §4.2.2).
	if st, err := other.Receive(within(t)); err != nil || st.From != bob.JID() || st.Kind != stanza.Presence || st.Type != "" {
		t.Errorf("introduced: %v, %v", st, err)
	}
	send(typed("chat", "while another is there"))
	want(t, other, "while another is there")
	again := f.resume(t, bob)
	want(t, again, "groupchat", "headline", "error", "receipt", "") // the last is the other's presence
}

// TestExpiredToCustody: a session that is not resumed gives back what its client has
// not acknowledged: to custody, in order, with the time (XEP-0203).
func TestExpiredToCustody(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(f *fixture, c *stream.Client, s router.Session){
		"too late":   func(f *fixture, c *stream.Client, _ router.Session) { f.cut(t, c) },
		"closed":     func(f *fixture, c *stream.Client, s router.Session) { f.cut(t, c); s.Close(nil) },
		"by a login": func(f *fixture, c *stream.Client, _ router.Session) { f.cut(t, c); f.login(t, "bob@localhost/x") },
		"while it is connected": func(_ *fixture, _ *stream.Client, s router.Session) {
			s.Close(&stream.Error{Condition: stream.ConnectionTimeout})
		},
		"by its client": func(_ *fixture, c *stream.Client, _ router.Session) { _ = c.Close(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			custody := new(keeper)
			o := resumable
			if name == "too late" {
				o.ResumeTime = time.Second
			}
			f := serve(t, router.Options{Custody: custody}, Options{}, o)
			c := f.present(t, "bob@localhost/x")
			s := f.session(t, c)
			before := time.Now().Add(-time.Second)
			if err := s.Send(within(t), chat("bob@localhost", "0")); err != nil {
				t.Fatal(err)
			}
			want(t, c, "0") // by closing its stream it acknowledges this
			for _, id := range []string{"1", "2"} {
				if err := s.Send(within(t), chat("bob@localhost", id)); err != nil {
					t.Fatal(err)
				}
			}
			if had, err := s.SendKept(within(t), chat("bob@localhost", "kept")); had || err != nil {
				t.Fatal(had, err)
			}
			end(f, c, s)
			wanted := []string{"0", "1", "2"}
			if name == "by its client" {
				wanted = wanted[1:]
			}
			eventually(t, func() bool { return slices.Equal(custody.ids(), wanted) }, fmt.Sprintf("custody has %v", wanted))
			delay := custody.kept[0].Element.Child(xmlwire.Name{Space: "urn:xmpp:delay", Local: "delay"})
			if delay == nil || delay.Attr("from") != "localhost" {
				t.Fatalf("kept as %s: want a delay", custody.kept[0])
			}
			if at, err := time.Parse(time.RFC3339, delay.Attr("stamp")); err != nil || at.Before(before.Truncate(time.Second)) || at.After(time.Now()) {
				t.Errorf("stamp %s, sent at about %s", at, before)
			}
			if _, err := s.Prove(within(t)); !errors.Is(err, errGone) {
				t.Errorf("a proof after the end: %v", err)
			}
		})
	}
}

// slowKeeper takes its time over the first message.
type slowKeeper struct {
	keeper
	begun   atomic.Bool
	entered chan struct{}
}

func (k *slowKeeper) Keep(ctx context.Context, st *stanza.Stanza) error {
	if k.begun.CompareAndSwap(false, true) {
		close(k.entered)
		time.Sleep(100 * time.Millisecond) // for what should not overtake to do so
	}
	return k.keeper.Keep(ctx, st)
}

// TestReturnedFirst: what is written to a user while a session of theirs gives back
// what it did not deliver comes after that, however the session ended.
func TestReturnedFirst(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(f *fixture, c *stream.Client, s router.Session){
		"closed":     func(f *fixture, c *stream.Client, s router.Session) { s.Close(nil) },
		"suspended":  func(f *fixture, c *stream.Client, s router.Session) { f.cut(t, c); s.Close(nil) },
		"by a login": func(f *fixture, c *stream.Client, _ router.Session) { f.login(t, "bob@localhost/x") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			custody := &slowKeeper{entered: make(chan struct{})}
			f := serve(t, router.Options{Custody: custody}, Options{}, resumable)
			alice, bob := f.online(t, "alice@localhost/a"), f.present(t, "bob@localhost/x")
			s := f.session(t, bob)
			for _, id := range []string{"1", "2"} {
				if err := s.Send(within(t), chat("bob@localhost", id)); err != nil {
					t.Fatal(err)
				}
			}
			end(f, bob, s)
			<-custody.entered
			if err := alice.Send(within(t), chat("bob@localhost", "3")); err != nil {
				t.Fatal(err)
			}
			wanted := []string{"1", "2", "3"}
			eventually(t, func() bool { return len(custody.ids()) >= len(wanted) }, "custody has all")
			if got := custody.ids(); !slices.Equal(got, wanted) {
				t.Errorf("custody has %v, want %v", got, wanted)
			}
		})
	}
}

// TestExpiredBesideAnother: of a message that went to two sessions the one that
// dies returns nothing, as the other has it; in doubt it does.
func TestExpiredBesideAnother(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(other *shows){
		"the other has it":                 func(*shows) {},
		"it was suspended long after":      func(o *shows) { o.asleep.Store(true); o.slept = time.Now().Add(time.Hour) },
		"it came at about the time":        func(o *shows) { o.since = time.Now() },
		"it was suspended":                 func(o *shows) { o.asleep.Store(true); o.slept = time.Now().Add(-time.Hour) },
		"it had another priority":          func(o *shows) { o.priority.Store(1) },
		"it was suspended about that time": func(o *shows) { o.asleep.Store(true); o.slept = time.Now() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			custody := new(keeper)
			f := serve(t, router.Options{Custody: custody}, Options{}, resumable)
			c := f.present(t, "bob@localhost/x")
			f.online(t, "bob@localhost/y")
			s, other := f.session(t, c).(*session), f.router.Session(jid.MustParse("bob@localhost/y")).(*session)
			other.shows.mu.Lock()
			other.shows.since = time.Now().Add(-time.Hour)
			change(&other.shows)
			other.shows.mu.Unlock()
			has := strings.HasPrefix(name, "the other has") || strings.HasSuffix(name, "long after")
			if got := s.elsewhere(stream.Unacked{Stanza: chat("bob@localhost", "1"), Sent: time.Now()}, 0); got != has {
				t.Errorf("the other has it: %v, want %v", got, has)
			}
			for _, not := range []*stanza.Stanza{chat("bob@localhost/x", "1"), stanza.NewPresence(c.JID().Bare(), c.JID(), "")} {
				if s.elsewhere(stream.Unacked{Stanza: not, Sent: time.Now()}, 0) {
					t.Errorf("%s went to one only", not)
				}
			}
		})
	}
}

// TestHibernationBounds: too many sessions that wait end, and never keep anybody
// from logging in.
func TestHibernationBounds(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{MaxSessions: 3}, Options{Hibernation: NewHibernation(HibernationOptions{Sessions: 3, PerAccount: 2})}, resumable)
	var clients []*stream.Client
	for i := range 3 {
		c := f.managed(t, fmt.Sprintf("bob@localhost/%d", i), nil)
		clients = append(clients, c)
	}
	f.cut(t, clients[0])
	f.cut(t, clients[1])
	_ = clients[2].Stream().Abort()
	eventually(t, func() bool { return f.server.Stats().Expired == 1 }, "the oldest of the account makes room")
	if f.router.Session(clients[0].JID()) != nil {
		t.Error("it is bound still")
	}
	if c := f.managed(t, clients[0].JID().String(), clients[0]); c.Resumed() {
		t.Error("it is resumed")
	}
	eventually(t, func() bool { return f.server.Stats().Suspended == 2 }, "the others wait")

	// The account has three sessions now, two of which wait.
	c := f.login(t, "bob@localhost/new")
	if c.JID().Resource() != "new" || f.router.Session(clients[1].JID()) != nil {
		t.Error("a session that waits keeps its own account out")
	}
	third := f.resume(t, clients[2])
	eventually(t, func() bool { return f.server.Stats().Suspended == 0 }, "nobody waits")
	f.cut(t, third)
	f.cut(t, f.managed(t, "alice@localhost/1", nil))
	f.cut(t, f.managed(t, "alice@localhost/2", nil))
	last := f.managed(t, "carol@localhost/x", nil)
	_ = last.Stream().Abort()
	eventually(t, func() bool { return f.router.Session(last.JID()) == nil }, "there is no room for one more in the process")
	if n := f.server.Stats().Suspended; n != 3 {
		t.Errorf("%d sessions wait", n)
	}
}

// TestSuspendedOverflow: a session for which more waits than may is ended, so that
// its client knows that it has missed something, and nothing of it is lost.
func TestSuspendedOverflow(t *testing.T) {
	t.Parallel()
	custody := new(keeper)
	o := resumable
	o.Limits.Unacked = 5
	f := serve(t, router.Options{Custody: custody}, Options{}, o)
	c := f.present(t, "bob@localhost/x")
	s := f.session(t, c)
	if err := s.Send(within(t), chat("bob@localhost/x", "sent before")); err != nil {
		t.Fatal(err)
	}
	f.cut(t, c)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = s.Send(within(t), stanza.NewPresence(c.JID(), jid.MustParse("alice@localhost/a"), ""))
	}
	if !errors.Is(err, stream.ErrUnacked) || n > 10 {
		t.Errorf("after %d: %v", n, err)
	}
	eventually(t, func() bool { return f.router.Session(c.JID()) == nil }, "the session is over")
	eventually(t, func() bool { return slices.Equal(custody.ids(), []string{"sent before"}) }, "the message is in custody")
	if again := f.managed(t, c.JID().String(), c); again.Resumed() {
		t.Error("it is resumed")
	}
}

// TestNeverAcknowledges: a client that reads, and does not acknowledge however much
// it is sent, is disconnected; who sends to it waits once.
func TestNeverAcknowledges(t *testing.T) {
	t.Parallel()
	o := resumable
	o.Limits = stream.Limits{Unacked: 5, Patience: 50 * time.Millisecond}
	t.Run("others send", func(t *testing.T) {
		t.Parallel()
		f := serve(t, router.Options{}, Options{}, o)
		c := f.managed(t, "bob@localhost/x", nil)
		s := f.session(t, c)
		for i := range 5 {
			if err := s.Send(within(t), chat("bob@localhost/x", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		// What finds no room waits for the client's return.
		if err := s.Send(within(t), chat("bob@localhost/x", "5")); err != nil {
			t.Errorf("got %v", err)
		}
		eventually(t, func() bool { return f.server.Stats().Suspended == 1 }, "the session waits")
		if again := f.resume(t, c); !again.Resumed() {
			t.Error("it is not resumed")
		} else {
			want(t, again, "0", "1", "2", "3", "4", "5")
		}
	})
	for name, ask := range map[string]*stanza.Stanza{
		"it asks":           stanza.NewIQ(jid.MustParse("localhost"), jid.JID{}, "get", "p", xmlwire.New("urn:xmpp:ping", "ping")),
		"it sends presence": stanza.NewPresence(jid.JID{}, jid.JID{}, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, router.Options{}, Options{}, o)
			c := f.managed(t, "bob@localhost/x", nil)
			for range 11 {
				if err := c.Send(within(t), ask); err != nil {
					t.Fatal(err)
				}
			}
			answers := 0
			for {
				e, err := c.Stream().Receive(within(t), time.Time{}) // without acknowledging
				var told *stream.PeerError
				if errors.As(err, &told) {
					if told.Err.Condition != stream.PolicyViolation || answers != 10 {
						t.Errorf("told %v after %d answers", err, answers)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if stanza.Is(e.Name) {
					answers++
				}
			}
		})
	}
}

// TestPingThenManaged: who waits for the answer to a ping, sent before the client
// enabled stream management, learns of the end of its connection too; and the want
// of an answer is nothing to the next one.
func TestPingThenManaged(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{ProofTime: time.Second}, resumable)
	c := f.login(t, "bob@localhost/x")
	s := f.session(t, c).(*session)
	proven := make(chan error, 1)
	go func() {
		_, err := s.Prove(within(t))
		proven <- err
	}()
	receive := func(name string) *xmlwire.Element {
		t.Helper()
		e, err := c.Stream().Receive(within(t), time.Time{})
		if err != nil || e.Name.Local != name {
			t.Fatalf("got %v, %v; want %s", e, err, name)
		}
		return e
	}
	receive("iq") // the ping
	if err := c.Stream().Send(within(t), xmlwire.New(stream.NSManagement, "enable", "resume", "true")); err != nil {
		t.Fatal(err)
	}
	receive("enabled")
	s.proofs.mu.Lock()
	late := s.proofs.current.timer
	s.proofs.mu.Unlock()
	f.cut(t, c)
	if err := <-proven; !errors.Is(err, router.ErrSuspended) {
		t.Errorf("who waits learns %v", err)
	}
	if late.Stop() {
		t.Error("the next connection would be ended for it")
	}
}

// TestHibernationForgets: what is left of sessions is bounded, too.
func TestHibernationForgets(t *testing.T) {
	t.Parallel()
	h := NewHibernation(HibernationOptions{Sessions: 2})
	bob, carol := jid.MustParse("bob@localhost"), jid.MustParse("carol@localhost")
	for i := range 3 {
		h.remember(fmt.Sprint(i), bob, uint32(i))
	}
	for i := range 3 {
		if n, ok := h.recall(fmt.Sprint(i), bob); ok != (i > 0) || ok && n != uint32(i) {
			t.Errorf("%d: %d, %v", i, n, ok)
		}
	}
	if _, ok := h.recall("2", carol); ok {
		t.Error("another account is told")
	}
	if len(h.past) != 2 || len(h.forgets) != 2 {
		t.Errorf("%d and %d are kept", len(h.past), len(h.forgets))
	}
}

// TestSlowReaderResumes has a client that stops reading: its session waits, and
// when it comes back nothing is missing.
func TestSlowReaderResumes(t *testing.T) {
	t.Parallel()
	o := resumable
	o.Limits = stream.Limits{Queue: 10 << 10, UnackedBytes: 200 << 20, Unacked: 1 << 20, Patience: 50 * time.Millisecond, Close: 50 * time.Millisecond}
	f := serve(t, router.Options{}, Options{}, o)
	c := f.present(t, "bob@localhost/x")
	s := f.session(t, c)
	text := strings.Repeat("x", 100<<10)
	n := 0
	for ; f.server.Stats().Suspended == 0 && n < 1000; n++ { // 100 MB: more than the kernel's buffers hold
		st := stanza.NewMessage(c.JID(), jid.JID{}, "groupchat", text)
		st.ID = fmt.Sprint(n)
		if err := s.Send(within(t), st); err != nil {
			t.Fatal(err)
		}
	}
	again := f.resume(t, c)
	for i := range n {
		want(t, again, fmt.Sprint(i))
	}
}

// TestHandledWraps: the client's stanzas are counted modulo 2^32 (XEP-0198 §4).
func TestHandledWraps(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, resumable)
	c := f.managed(t, "bob@localhost/x", nil)
	s := f.session(t, c).(*session)
	self := stanza.NewMessage(c.JID(), jid.JID{}, "chat", "x")
	if err := c.Send(within(t), self); err != nil {
		t.Fatal(err)
	}
	want(t, c, "")
	f.cut(t, c)
	s.life.mu.Lock()
	s.sm.handled = math.MaxUint32
	s.life.mu.Unlock()

	script := fmt.Sprintf(`
C: AUTH bob@localhost secret
C: <resume xmlns='urn:xmpp:sm:3' previd='%s' h='1'/>
S: <resumed xmlns='urn:xmpp:sm:3' previd='*' h='4294967295'/>
C: <presence/><r xmlns='urn:xmpp:sm:3'/>
S: <presence from='bob@localhost/x' to='bob@localhost'/>
S: <a xmlns='urn:xmpp:sm:3' h='0'/>
C: <presence/><r xmlns='urn:xmpp:sm:3'/>
S: <presence from='bob@localhost/x' to='bob@localhost'/>
S: <a xmlns='urn:xmpp:sm:3' h='1'/>
`, s.life.id)
	steps, err := xmpptest.Parse(strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	if err := steps.Play(t.Context(), f.addr); err != nil {
		t.Error(err)
	}
}

// TestResumeElsewhere: a client may come back by another listener of the process.
func TestResumeElsewhere(t *testing.T) {
	t.Parallel()
	shared := NewHibernation(HibernationOptions{})
	f := serve(t, router.Options{}, Options{Hibernation: shared}, resumable)
	v := New(Options{Router: f.router, Hibernation: shared, Connection: f.server.o.Connection})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- v.Serve(ctx, ln) }()
	defer func() { stop(); <-served }()

	c := f.present(t, "bob@localhost/x")
	f.cut(t, c)
	other := &fixture{v, f.router, ln.Addr().String(), f.tls}
	again := other.resume(t, c)
	if err := f.session(t, again).Send(within(t), chat("bob@localhost/x", "1")); err != nil {
		t.Fatal(err)
	}
	want(t, again, "1")
	eventually(t, func() bool {
		a, b := f.server.Stats(), v.Stats()
		return a.Sessions == 0 && b.Sessions == 1 && b.Resumed == 1
	}, "the session counts at the other listener")
	// And it waits there when it is lost again.
	f.cut(t, again)
	f.resume(t, again)
}

// TestShutdownSuspended: the end of the server ends sessions that wait, and what
// their clients have not got is in custody.
func TestShutdownSuspended(t *testing.T) {
	t.Parallel()
	custody := new(keeper)
	r := router.New(router.Options{Custody: custody, Domains: func(d string) bool { return d == "localhost" }})
	serverTLS, clientTLS := certificate(t)
	v := New(Options{Router: r, Connection: func(net.Addr) ConnOptions {
		return ConnOptions{TLS: serverTLS, Accounts: users, ResumeTime: time.Hour}
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- v.Serve(ctx, ln) }()
	f := &fixture{v, r, ln.Addr().String(), clientTLS}
	asleep, awake := f.present(t, "alice@localhost/a"), f.present(t, "bob@localhost/b")
	for _, c := range []*stream.Client{asleep, awake} {
		if err := f.session(t, c).Send(within(t), chat(c.JID().Bare().String(), c.JID().Local())); err != nil {
			t.Fatal(err)
		}
	}
	f.cut(t, asleep)
	stop()
	_, err = io.ReadAll(clientReader{awake})
	var told *stream.PeerError
	if !errors.As(err, &told) || told.Err.Condition != stream.SystemShutdown {
		t.Errorf("the client was told %v", err)
	}
	_ = awake.Stream().Abort()
	if err := <-served; err != nil {
		t.Error(err)
	}
	ids := custody.ids()
	if slices.Sort(ids); !slices.Equal(ids, []string{"alice", "bob"}) {
		t.Errorf("custody has %v", ids)
	}
	if st := v.Stats(); st.Open != 0 || st.Sessions != 0 || st.Suspended != 0 || len(r.All()) != 0 {
		t.Errorf("left behind: %+v", st)
	}
	if h := v.o.Hibernation; h.count != 0 || len(h.asleep) != 0 {
		t.Errorf("left in hibernation: %d", h.count)
	}
}

// clientReader reads elements to the end of the stream, acknowledging nothing.
type clientReader struct{ c *stream.Client }

func (r clientReader) Read([]byte) (int, error) {
	_, err := r.c.Stream().Receive(context.Background(), time.Time{})
	return 0, err
}

// TestLossesAndResumptions loses connections at any moment while stanzas flow both
// ways: each arrives once, in order.
func TestLossesAndResumptions(t *testing.T) {
	t.Parallel()
	o := resumable
	f := serve(t, router.Options{}, Options{}, o)
	alice, bob := f.managed(t, "alice@localhost/a", nil), f.managed(t, "bob@localhost/b", nil)
	const n = 200
	var all sync.WaitGroup
	for _, pair := range [][2]*stream.Client{{alice, bob}, {bob, alice}} {
		me, peer := pair[0], pair[1].JID()
		all.Go(func() {
			got, sent := 0, 0
			for losses := 0; got < n || sent < n; losses++ {
				// A few stanzas, and the connection is lost, with or without what
				// waits in it.
				for range 7 + losses%5 {
					if sent < n {
						st := stanza.NewMessage(peer, jid.JID{}, "groupchat", "x")
						st.ID = fmt.Sprint(sent)
						if err := me.Send(within(t), st); err != nil {
							t.Error(err)
							return
						}
						sent++
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				for {
					st, err := me.Receive(ctx)
					if err != nil {
						break
					}
					if st.ID != fmt.Sprint(got) {
						t.Errorf("%s received %s, want %d", me.JID(), st.ID, got)
						cancel()
						return
					}
					got++
				}
				cancel()
				if losses%3 > 0 {
					_ = me.Stream().Abort()
				}
				old := me
				me = f.resume(t, old)
				if losses%3 == 0 {
					_ = old.Stream().Abort()
				}
			}
			_ = me.Close(within(t))
		})
	}
	all.Wait()
	t.Logf("%d resumptions", f.server.Stats().Resumed)
}
