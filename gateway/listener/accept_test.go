package listener

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// accept_queue_backlog bounds what is accepted before a worker asks: Stats says
// how many were taken from the kernel.
func TestAcceptQueue(t *testing.T) {
	t.Parallel()
	for name, bound := range map[string]int{"none": 0, "one": 1, "some": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listen(t, Options{Address: "127.0.0.1:0", AcceptQueue: bound})
			for range 6 {
				dial(t, l)
			}
			eventually(t, func() bool { return l.Stats().Queued == bound })
			if got := l.Stats().Accepted; got != uint64(bound) {
				t.Errorf("%d accepted ahead, want %d", got, bound)
			}
			for i := range 6 {
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
				if ahead := int(l.Stats().Accepted) - (i + 1); ahead > bound {
					t.Errorf("%d accepted ahead, want at most %d", ahead, bound)
				}
			}
		})
	}
}

// What waits in the queue when the listener closes is closed too: the peer sees
// the end instead of silence.
func TestCloseClosesQueued(t *testing.T) {
	t.Parallel()
	l := listen(t, Options{Address: "127.0.0.1:0", AcceptQueue: 2})
	c := dial(t, l)
	eventually(t, func() bool { return l.Stats().Queued == 1 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v, want an end", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	_ = l.Close() // again: no panic, same answer
}

// Close wakes an Accept that waits, with and without a queue.
func TestCloseWakesAccept(t *testing.T) {
	t.Parallel()
	for _, queue := range []int{0, 2} {
		l := listen(t, Options{Address: "127.0.0.1:0", AcceptQueue: queue})
		got := make(chan error, 1)
		go func() { _, err := l.Accept(); got <- err }()
		_ = l.Close()
		select {
		case err := <-got:
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("queue %d: %v", queue, err)
			}
		case <-time.After(patience):
			t.Fatalf("queue %d: Accept still waits", queue)
		}
	}
}

// events_per_iter interrupts a row of waiting connections; when they come one
// by one there is nothing to interrupt.
func TestEventsPerIter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		perIter int
		yields  uint64
	}{"unbounded": {0, 0}, "three of ten": {3, 3}, "one of ten": {1, 9}, "more than wait": {20, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listen(t, Options{Address: "127.0.0.1:0", EventsPerIter: tc.perIter})
			for range 10 {
				dial(t, l)
			}
			for range 10 {
				c, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
			}
			if got := l.Stats().Yields; got != tc.yields {
				t.Errorf("%d yields, want %d", got, tc.yields)
			}
			for range 3 {
				done := make(chan struct{})
				go func() {
					defer close(done)
					if c, err := l.Accept(); err == nil {
						_ = c.Close()
					}
				}()
				dial(t, l)
				<-done
			}
		})
	}
}

func TestDeny(t *testing.T) {
	t.Parallel()
	var asked netip.Addr
	l := listen(t, Options{Address: ":0", Deny: func(a netip.Addr) bool {
		asked = a
		return a == netip.MustParseAddr("127.0.0.1")
	}})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	got := make(chan error, 1)
	go func() { _, err := l.Accept(); got <- err }()
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want an end", err)
	}
	_ = l.Close()
	if err := <-got; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a denied connection came out of Accept: %v", err)
	}
	if st := l.Stats(); st.Denied != 1 || st.Accepted != 1 {
		t.Errorf("stats %+v", st)
	}
	if asked.Is4In6() {
		t.Errorf("asked about %v: a rule for IPv4 would not match", asked)
	}
}

// Peers on a Unix socket have no address to deny.
func TestDenySkipsUnix(t *testing.T) {
	t.Parallel()
	pair(t, listen(t, Options{Address: filepath.Join(t.TempDir(), "s"), Deny: func(netip.Addr) bool { return true }}))
}

func TestSlots(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := NewSlots(1)
	if err := s.Acquire(ctx); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { got <- s.Acquire(ctx) }()
	eventually(t, func() bool { return s.Stats().Waited == 1 })
	s.Release()
	if err := <-got; err != nil {
		t.Errorf("the slot given back was not taken: %v", err)
	}
	go func() { got <- s.Acquire(ctx) }()
	eventually(t, func() bool { return s.Stats().Waited == 2 })
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if st := s.Stats(); st != (SlotStats{Size: 1, Used: 1, Waited: 2}) {
		t.Errorf("stats %+v", st)
	}
	s.Release()

	free := NewSlots(0) // unbounded
	for range 100 {
		if err := free.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if st := free.Stats(); st != (SlotStats{Used: 100}) {
		t.Errorf("stats %+v", st)
	}
}
