package natstest

import (
	"net"
	"sync"
	"testing"
)

// relay passes connections on to a server whose address changes with each of its
// starts, and can go dark: what is sent then is kept back, and so is the end of a
// connection, as when a network drops every packet.
type relay struct {
	addr   string
	target func() string // "": nobody listens
	ln     net.Listener
	work   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	over  bool
	light chan struct{} // closed while not dark
}

func newRelay(t testing.TB, target func() string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: ln.Addr().String(), target: target, ln: ln, conns: make(map[net.Conn]bool), light: make(chan struct{})}
	close(r.light)
	r.work.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

func (r *relay) setDark(dark bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.light:
		if dark && !r.over {
			r.light = make(chan struct{})
		}
	default:
		if !dark {
			close(r.light)
		}
	}
}

// wait blocks while the relay is dark.
func (r *relay) wait() {
	r.mu.Lock()
	light := r.light
	r.mu.Unlock()
	<-light
}

func (r *relay) close() {
	_ = r.ln.Close() // nothing else can be done about it
	r.setDark(false)
	r.mu.Lock()
	r.over = true
	for c := range r.conns {
		_ = c.Close() // likewise
	}
	r.mu.Unlock()
	r.work.Wait()
}

// keep remembers an open connection; false says that the relay has ended.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		_ = c.Close() // as above
		return false
	}
	r.conns[c] = true
	return true
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	_ = c.Close() // as above
}

func (r *relay) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		if r.keep(c) {
			r.work.Go(func() { r.serve(c) })
		}
	}
}

// serve connects c with the server and passes on until one side ends.
func (r *relay) serve(c net.Conn) {
	defer r.drop(c)
	r.wait()
	addr := r.target()
	if addr == "" {
		return
	}
	s, err := net.Dial("tcp", addr)
	if err != nil || !r.keep(s) {
		return
	}
	defer r.drop(s)
	var back sync.WaitGroup
	back.Go(func() { r.pass(c, s) })
	r.pass(s, c)
	back.Wait()
}

// pass copies from one side to the other, and with its end ends both.
func (r *relay) pass(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		r.wait()
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			_ = to.Close()   // ends the other direction
			_ = from.Close() // likewise
			return
		}
	}
}
