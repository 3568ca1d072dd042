package listener

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener is an open listening socket. Its methods may be called from any
// goroutine.
type Listener struct {
	ln  net.Listener
	raw syscall.Conn // ln again, for questions to its descriptor
	o   Options

	// queue holds what was accepted ahead of Accept; its length is AcceptQueue.
	// room holds a token for each free place: a connection is accepted only once
	// it has a place, so that no one waits in our hands beyond the bound. Both
	// are nil where AcceptQueue is 0 and Accept asks the kernel itself.
	queue chan net.Conn
	room  chan struct{}

	closed    chan struct{}
	closeOnce sync.Once
	closeErr  error
	removed   func() // removes the socket file; may be nil
	pump      sync.WaitGroup
	burst     atomic.Int64 // connections in a row that nobody had to wait for

	accepted, denied, failed, yields atomic.Uint64
}

// Stats are counts since Listen.
type Stats struct {
	Accepted uint64 // connections taken from the kernel, denied ones included
	Denied   uint64 // closed at once because of Deny
	Failed   uint64 // accepts that the system refused, such as for want of descriptors
	Yields   uint64 // times that EventsPerIter interrupted a row of waiting connections
	Queued   int    // accepted, and waiting for Accept now
}

func newListener(ln net.Listener, raw syscall.Conn, o Options) *Listener {
	l := &Listener{ln: ln, raw: raw, o: o, closed: make(chan struct{})}
	if o.AcceptQueue > 0 {
		l.queue = make(chan net.Conn, o.AcceptQueue)
		l.room = make(chan struct{}, o.AcceptQueue)
	}
	return l
}

// start runs the goroutine that accepts ahead, where there is a queue.
func (l *Listener) start() {
	if l.queue != nil {
		l.pump.Go(l.acceptAhead)
	}
}

// Addr returns the address the socket is bound to, with the port the system
// chose.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Stats returns the counts.
func (l *Listener) Stats() Stats {
	return Stats{
		Accepted: l.accepted.Load(), Denied: l.denied.Load(), Failed: l.failed.Load(),
		Yields: l.yields.Load(), Queued: len(l.queue),
	}
}

// Accept returns the next connection that is not denied.
func (l *Listener) Accept() (net.Conn, error) {
	if l.queue == nil {
		return l.take()
	}
	select {
	case <-l.closed: // first: a closed listener hands out nothing more
		return nil, l.opError(net.ErrClosed)
	default:
	}
	select {
	case conn, ok := <-l.queue:
		if !ok {
			return nil, l.opError(net.ErrClosed)
		}
		<-l.room
		return conn, nil
	case <-l.closed:
		return nil, l.opError(net.ErrClosed)
	}
}

func (l *Listener) opError(err error) error {
	return &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: err}
}

// Close closes the socket and every connection that no Accept has returned.
// Calls after the first return the same error.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() {
		close(l.closed)
		if l.removed != nil {
			// Before the socket closes: a successor that finds the file finds
			// nobody answering, and removing its file would be our doing.
			l.removed()
		}
		l.closeErr = l.ln.Close()
		l.pump.Wait()
		if l.queue != nil {
			for conn := range l.queue {
				_ = conn.Close()
			}
		}
	})
	return l.closeErr
}

// acceptAhead fills the queue until the listener is closed.
func (l *Listener) acceptAhead() {
	defer close(l.queue)
	for {
		select {
		case l.room <- struct{}{}:
		case <-l.closed:
			return
		}
		conn, err := l.take()
		if err != nil {
			return // closed: take rides out everything else
		}
		l.queue <- conn // has its place
	}
}

// take accepts one connection that is not denied and sets its options. Its
// error means that the socket is closed.
func (l *Listener) take() (net.Conn, error) {
	for {
		l.yield()
		conn, err := l.acceptOne()
		if err != nil {
			return nil, err
		}
		l.accepted.Add(1)
		if l.denies(conn) {
			l.denied.Add(1)
			_ = conn.Close()
			continue
		}
		if tcp, ok := conn.(*net.TCPConn); ok && l.o.DisableNagle != nil {
			// An error means that the peer is gone; its reader will find out.
			_ = tcp.SetNoDelay(*l.o.DisableNagle)
		}
		return conn, nil
	}
}

// yield lets the goroutines that got the last EventsPerIter connections run
// before one more is taken from a queue that does not empty.
func (l *Listener) yield() {
	if l.o.EventsPerIter == 0 {
		return
	}
	if !waiting(l.raw) {
		l.burst.Store(0)
		return
	}
	if l.burst.Add(1) > int64(l.o.EventsPerIter) {
		l.burst.Store(1)
		l.yields.Add(1)
		runtime.Gosched()
	}
}

func (l *Listener) denies(conn net.Conn) bool {
	if l.o.Deny == nil {
		return false
	}
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return false // a Unix socket: its peers have no address
	}
	// Mapped IPv4 (::ffff:192.0.2.1) would slip past a rule written for IPv4.
	return l.o.Deny(tcp.AddrPort().Addr().Unmap())
}

// acceptOne accepts one connection. When the system is short of something it
// waits, from 5 ms up to 1 s, and tries again: a server that gave up here would
// stay deaf after the shortage.
func (l *Listener) acceptOne() (net.Conn, error) {
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		conn, err := l.ln.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		l.failed.Add(1)
		l.o.Log.Error().Err(err).Stringer("addr", l.Addr()).Dur("retry", delay).Msg("accept")
		select {
		case <-time.After(delay):
		case <-l.closed:
			return nil, l.opError(net.ErrClosed)
		}
	}
}
