package delivery

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// sleeper is a client whose session stream management suspends (XEP-0198 §5).
type sleeper struct {
	*client
	asleep chan struct{} // closed when it is suspended
	had    []string      // what its client has received before that; guarded by client.mu
}

func (w *world) loginSleeper(full string) *sleeper {
	w.t.Helper()
	s := &sleeper{client: newClient(full), asleep: make(chan struct{})}
	if err := w.router.Bind(s); err != nil {
		w.t.Fatal(err)
	}
	w.router.Available(s)
	return s
}

func (s *sleeper) suspended() bool {
	select {
	case <-s.asleep:
		return true
	default:
		return false
	}
}

func (s *sleeper) Priority() (int8, bool) { return 0, !s.suspended() }

func (s *sleeper) SendKept(ctx context.Context, st *stanza.Stanza) (bool, error) {
	if s.suspended() {
		return false, router.ErrSuspended
	}
	s.mu.Lock()
	i := slices.Index(s.had, st.ID)
	if i >= 0 {
		s.had = slices.Delete(s.had, i, i+1)
	}
	s.mu.Unlock()
	if i >= 0 {
		return true, nil
	}
	return false, s.Send(ctx, st)
}

// Prove waits until the session is suspended.
func (s *sleeper) Prove(ctx context.Context) (router.Proof, error) {
	s.mu.Lock()
	if s.pings++; s.pings == 1 {
		close(s.asked)
	}
	s.mu.Unlock()
	select {
	case <-s.asleep:
		return "", router.ErrSuspended
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// TestSuspended: a proof that fails because the session waits for its client does not
// hold up the route: its messages are parked, in order, with what comes after them. At
// resumption those that the client has had are delivered, and the others are sent.
func TestSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	s := w.loginSleeper("alice@localhost/a")
	ids := w.put(alice, 3)
	s.wait(t, ids)
	ids = append(ids, w.put(alice, 2)...)
	close(s.asleep)
	w.events.wait(t, trace.Deferred, 5)
	if got := w.waiting()["alice@localhost"]; got != 5 {
		t.Errorf("PARK holds %d", got)
	}
	if got := w.events.of(trace.Delivered); len(got) != 0 {
		t.Errorf("delivered without proof: %+v", got)
	}
	if e := w.events.of(trace.Deferred)[0]; e.Reason != router.ErrSuspended.Error() {
		t.Errorf("deferred: %+v", e)
	}

	// The same session, with a client that answers.
	back := newClient("alice@localhost/a")
	awake := &sleeper{client: back, asleep: make(chan struct{}), had: slices.Clone(ids[:2])}
	answering := answering{awake}
	if err := w.router.Bind(answering); err != nil {
		t.Fatal(err)
	}
	w.router.Available(answering)
	w.events.wait(t, trace.Delivered, 5)
	back.expect(t, ids[2:])
	for i, e := range w.events.of(trace.Delivered) {
		if want := "q-" + ids[i]; e.ID != want {
			t.Errorf("delivered %s in place of %s", e.ID, want)
		}
	}
	w.idle()
}

// answering is a sleeper that is awake.
type answering struct{ *sleeper }

func (a answering) Prove(ctx context.Context) (router.Proof, error) { return a.client.Prove(ctx) }

// TestSuspendedBesideLive: of two sessions one that answers is enough, and a
// message that only the suspended one got waits for nobody else.
func TestSuspendedBesideLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	s := w.loginSleeper("alice@localhost/a")
	live := w.login("alice@localhost/b")
	ids := w.put(alice, 3)
	live.expect(t, ids)
	w.events.wait(t, trace.Delivered, 3)
	close(s.asleep)
	more := w.put(alice, 2)
	live.expect(t, append(ids, more...))
	w.events.wait(t, trace.Delivered, 5)
	w.idle()
}

// password is a store in which everybody has the same.
type password struct{}

func (password) Credentials(context.Context, string, string) (sasl.Credentials, error) {
	return sasl.Credentials{Password: "secret"}, nil
}

func (password) Holds() sasl.Holding { return sasl.HoldsPassword }

// listen serves clients of the world; proof is how long they may take to
// acknowledge.
func (w *world) listen(proof time.Duration) (addr string, v *c2s.Server) {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	v = c2s.New(c2s.Options{Router: w.router, ProofTime: proof, Log: zerolog.Nop(), Connection: func(net.Addr) c2s.ConnOptions {
		return c2s.ConnOptions{Accounts: password{}, AllowPlainWithoutTLS: true, ResumeTime: time.Hour}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- v.Serve(ctx, ln) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			w.t.Error(err)
		}
	})
	return ln.Addr().String(), v
}

// dial logs a real client in, or resumes the session of old, and waits for its
// presence.
func dial(t *testing.T, addr, full string, old *stream.Client) *stream.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := stream.Dial(ctx, stream.ClientOptions{
		JID: jid.MustParse(full), Password: "secret", Address: addr, ClearText: true, Manage: true, Resume: old,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stream().Abort() })
	if old != nil {
		if !c.Resumed() {
			t.Fatal("the session was not resumed")
		}
		return c
	}
	if err := c.Available(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Receive(ctx); err != nil || st.Kind != stanza.Presence {
		t.Fatalf("want the presence, got %v, %v", st, err)
	}
	return c
}

// oneWay is a connection to a server of which one direction can be lost, as on a
// network that fails: nothing is closed.
type oneWay struct {
	addr string
	mute atomic.Bool // what the client sends is dropped
}

func newOneWay(t *testing.T, server string) *oneWay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &oneWay{addr: ln.Addr().String()}
	var both sync.WaitGroup
	both.Go(func() {
		near, err := ln.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		far, err := net.Dial("tcp", server)
		if err != nil {
			t.Error(err)
			return
		}
		both.Go(func() { _, _ = io.Copy(near, far) })
		_, _ = io.Copy(muted{p, far}, near) // to the end of the client
		_ = far.Close()
	})
	t.Cleanup(func() { _ = ln.Close(); both.Wait() })
	return p
}

type muted struct {
	p *oneWay
	w io.Writer
}

func (m muted) Write(b []byte) (int, error) {
	if m.p.mute.Load() {
		return len(b), nil
	}
	return m.w.Write(b)
}

// receive takes n messages.
func receive(t *testing.T, c *stream.Client, n int, while time.Duration) (ids []string) {
	t.Helper()
	if ids = receiveFor(t, c, n, while); len(ids) < n {
		t.Errorf("received only %v", ids)
	}
	return ids
}

// receiveFor takes messages for a while, n at most.
func receiveFor(t *testing.T, c *stream.Client, n int, while time.Duration) (ids []string) {
	ctx, cancel := context.WithTimeout(t.Context(), while)
	defer cancel()
	for len(ids) < n {
		st, err := c.Receive(ctx)
		if err != nil {
			return ids
		}
		if st.Kind == stanza.Message {
			ids = append(ids, st.ID)
		}
	}
	return ids
}

// drain goes on receiving, and acknowledging, until stop is called.
func drain(t *testing.T, c *stream.Client) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			st, err := c.Receive(ctx)
			if err != nil {
				return
			}
			t.Errorf("received %s too", st)
		}
	}()
	return func() { cancel(); <-done }
}

// TestHalfDeadManaged: a client with stream management that is connected and does
// not acknowledge has got nothing that counts. When it resumes its session it gets
// what it had not, and a new session of it gets all; each time once and in order.
func TestHalfDeadManaged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reads  int // messages that it reads, at most; only the first is acknowledged
		resume bool
	}{
		"nothing read, resumed": {0, true}, "some read, resumed": {2, true}, "all read, resumed": {5, true},
		"nothing read, logged in": {0, false}, "some read, logged in": {2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			addr, v := w.listen(3 * time.Second)
			way := newOneWay(t, addr)
			half := dial(t, way.addr, "alice@localhost/a", nil)
			begun, stored := make(chan struct{}), make(chan struct{})
			first := sync.OnceFunc(func() { close(begun) })
			w.hooks.sent = func(st *stanza.Stanza) {
				switch st.ID {
				case "m1": // a run of its own; the others make one or more
					first()
					<-stored
				case "m2":
					way.mute.Store(true)
				}
			}
			w.run()
			ids := w.put(alice, 1)
			<-begun
			ids = append(ids, w.put(alice, 4)...)
			close(stored)
			proven := min(c.reads, 1)
			got := receiveFor(t, half, c.reads, patience) // or to the end of the connection
			w.events.wait(t, trace.Deferred, 5-proven)
			ids = append(ids, w.put(alice, 2)...)
			w.events.wait(t, trace.Deferred, 7-proven)
			if got := w.events.of(trace.Delivered); len(got) != proven || v.Stats().Suspended != 1 {
				t.Fatalf("delivered without proof: %+v, %+v", got, v.Stats())
			}
			var back *stream.Client
			if c.resume {
				back = dial(t, addr, "alice@localhost/a", half)
			} else {
				back, got = dial(t, addr, "alice@localhost/b", nil), got[:proven]
			}
			got = append(got, receive(t, back, len(ids)-len(got), patience)...)
			if !slices.Equal(got, ids) {
				t.Errorf("received %v, want %v", got, ids)
			}
			next := w.put(alice, 1)
			if got := receive(t, back, 1, patience); !slices.Equal(got, next) {
				t.Errorf("then received %v, want %v", got, next)
			}
			defer drain(t, back)()
			for _, e := range w.events.wait(t, trace.Delivered, len(ids)+1) {
				if e.Proof != string(router.ProofAck) {
					t.Errorf("delivered by %q", e.Proof)
				}
			}
		})
	}
}

// TestCutWhileDelivering loses the connection at any moment while messages flow: with
// the counts of stream management each arrives once, and in order.
func TestCutWhileDelivering(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	addr, v := w.listen(5 * time.Second)
	c := dial(t, addr, "alice@localhost/a", nil)
	const n = 2000
	stored := make(chan []string)
	go func() { stored <- w.put(alice, n) }()
	var got []string
	for i := 0; len(got) < n; i++ {
		got = append(got, receiveFor(t, c, n, time.Duration(1+i*7%30)*time.Millisecond)...)
		if i%4 > 0 {
			_ = c.Stream().Abort()
		} // else it is open still when the next one resumes
		old := c
		c = dial(t, addr, "alice@localhost/a", old)
		_ = old.Stream().Abort()
	}
	if want := <-stored; !slices.Equal(got, want) {
		t.Errorf("received %v", got)
	}
	defer drain(t, c)()
	w.events.wait(t, trace.Delivered, n)
	t.Logf("%d resumptions", v.Stats().Resumed)
	if v.Stats().Resumed < 5 {
		t.Error("the test proves nothing")
	}
	w.idle()
}

// TestResumedWithinBurst: a client that is lost and back while a run of messages is being
// sent to it gets them once and in order.
func TestResumedWithinBurst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addr, _ := w.listen(patience)
	ids := w.put(alice, 8)
	// What has waited is sent in runs of 1, 2 and 4, each when the one before is proven.
	const unread, lost = 3, 5 // the first that the client does not read, and the one at which it is back
	gates := map[string]chan chan struct{}{ids[unread]: make(chan chan struct{}, 1), ids[lost]: make(chan chan struct{}, 1)}
	var again sync.Map
	w.hooks.sent = func(st *stanza.Stanza) {
		gate := gates[st.ID]
		if _, before := again.LoadOrStore(st.ID, true); gate == nil || before {
			return
		}
		open := make(chan struct{})
		gate <- open
		<-open
	}
	w.run()
	w.events.wait(t, trace.Deferred, len(ids))
	phone := dial(t, addr, "alice@localhost/phone", nil)
	reading, stop := context.WithCancel(t.Context())
	var got []string
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			st, err := phone.Receive(reading)
			if err != nil {
				return
			}
			got = append(got, st.ID)
		}
	})
	open := <-gates[ids[unread]]
	stop()
	reader.Wait()
	close(open)
	open = <-gates[ids[lost]]
	back := dial(t, addr, "alice@localhost/phone", phone)
	close(open)
	got = append(got, receive(t, back, len(ids)-len(got), patience)...)
	if !slices.Equal(got, ids) {
		t.Errorf("received %v, want %v", got, ids)
	}
	more := w.put(alice, 1)
	if got := receive(t, back, 1, patience); !slices.Equal(got, more) {
		t.Errorf("then received %v, want %v", got, more)
	}
}
