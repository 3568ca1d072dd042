package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/xmlwire"
)

// pipe is a connection that counts its writes and lets them through one at a
// time when gated.
type pipe struct {
	net.Conn
	gate   chan struct{} // nil: open
	mu     sync.Mutex
	broken bool // writes fail
	writes [][]byte
}

func (p *pipe) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.gate != nil {
		<-p.gate
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return 0, errors.New("broken pipe")
	}
	p.writes = append(p.writes, bytes.Clone(b))
	return len(b), nil
}

func (p *pipe) all() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Join(p.writes, nil)
}

func pipes(t *testing.T, gated bool) *pipe {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	p := &pipe{Conn: a}
	if gated {
		p.gate = make(chan struct{})
	}
	return p
}

func element(text string) *xmlwire.Element {
	return xmlwire.New(NSClient, "message").AddText(text)
}

func TestWriterOrderAndBatch(t *testing.T) {
	t.Parallel()
	p := pipes(t, true)
	w := newWriter(p, NSClient, 1<<20, time.Minute)
	w.patience = time.Minute
	var want strings.Builder
	for i := range 2000 {
		if err := w.Send(t.Context(), element(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "<message>%d</message>", i)
	}
	close(p.gate)
	w.finish(nil, time.Now().Add(time.Minute))
	if got := string(p.all()); got != want.String() {
		t.Error("bytes came out of order")
	}
	// 44 kB waited: they must go in records of 16 KiB, not one by one.
	if n := len(p.writes); n > 1+want.Len()/record+1 {
		t.Errorf("%d writes for %d bytes", n, want.Len())
	}
	for _, b := range p.writes {
		if len(b) > record {
			t.Errorf("a write of %d bytes", len(b))
		}
	}
}

func TestWriterBlocksWhenFull(t *testing.T) {
	t.Parallel()
	p := pipes(t, true)
	w := newWriter(p, NSClient, 100, time.Minute)
	w.patience = time.Minute
	// A stanza larger than the queue is let in, and nothing after it.
	if err := w.Send(t.Context(), element(strings.Repeat("x", 500))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Send(ctx, element("y")); !errors.Is(err, ErrSlow) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := w.Queued(); n < 500 || n > 600 {
		t.Errorf("%d bytes queued", n)
	}
	sent := make(chan error)
	go func() { sent <- w.Send(t.Context(), element("z")) }()
	p.gate <- struct{}{} // one write: room for z
	if err := <-sent; err != nil {
		t.Error(err)
	}
	close(p.gate)
	if err := w.Flush(t.Context()); err != nil || !bytes.HasSuffix(p.all(), []byte("<message>z</message>")) {
		t.Errorf("flush: %v", err)
	}
	w.finish(nil, time.Now().Add(time.Minute))
	if err := w.Send(t.Context(), element("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestWriterLosesPatience(t *testing.T) {
	t.Parallel()
	p := pipes(t, true)
	w := newWriter(p, NSClient, 10, time.Minute)
	w.patience = time.Millisecond
	if err := w.Send(t.Context(), element("first")); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(t.Context(), element("second")); !errors.Is(err, ErrSlow) {
		t.Errorf("got %v", err)
	}
	close(p.gate)
	w.finish(nil, time.Now().Add(time.Minute))
}

// TestWriterSlowReader is a peer that does not read at all: the write deadline
// ends the connection, so that who sends and who reads both learn of it.
func TestWriterSlowReader(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe() // unbuffered: nothing is read
	t.Cleanup(func() { _ = b.Close() })
	w := newWriter(a, NSClient, 10, 10*time.Millisecond)
	w.patience = time.Minute
	if err := w.Send(t.Context(), element("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(t.Context(), element("y")); err == nil || errors.Is(err, ErrSlow) {
		t.Errorf("got %v: the connection is dead, not slow", err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the reader got %v", err)
	}
	<-w.done
	if !IsTimeout(w.Err()) {
		t.Errorf("the reason is lost: %v", w.Err())
	}
}

func TestWriterConcurrent(t *testing.T) {
	t.Parallel()
	p := pipes(t, false)
	w := newWriter(p, NSClient, 1<<10, time.Minute)
	w.patience = time.Minute
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 100 {
				if err := w.Send(t.Context(), element(fmt.Sprintf("%d.%d", g, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	w.finish(nil, time.Now().Add(time.Minute))
	next := make(map[string]int)
	for m := range strings.SplitSeq(strings.TrimSuffix(string(p.all()), "</message>"), "</message>") {
		g, i, _ := strings.Cut(strings.TrimPrefix(m, "<message>"), ".")
		if strconv.Itoa(next[g]) != i {
			t.Fatalf("sender %s: %s came when %d was due", g, i, next[g])
		}
		next[g]++
	}
}

func BenchmarkWriter(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	w := newWriter(conn, NSClient, 256<<10, time.Minute)
	w.patience = time.Minute
	e := element(strings.Repeat("x", 350))
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Send(context.Background(), e); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	w.finish(nil, time.Now().Add(time.Minute))
	_ = conn.Close()
}

// counted keeps how much was written.
type counted struct {
	canned
	n atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// TestWriterRests: a connection on which nothing is sent has neither goroutine nor
// buffers, and both again when something is.
func TestWriterRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := new(counted)
		w := newWriter(conn, NSClient, 1000, time.Second)
		for range 3 {
			before := conn.n.Load()
			if err := w.Send(t.Context(), xmlwire.New(NSClient, "presence")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if conn.n.Load() == before {
				t.Fatal("nothing is written")
			}
			w.mu.Lock()
			if w.done == nil {
				t.Error("the goroutine does not wait for more")
			}
			w.mu.Unlock()
			time.Sleep(2 * linger)
			synctest.Wait()
			w.mu.Lock()
			if w.done != nil || cap(w.buf) > 0 {
				t.Errorf("after a while there are still a goroutine, or %d bytes", cap(w.buf))
			}
			w.mu.Unlock()
		}
		w.finish([]byte("</stream:stream>"), time.Now().Add(time.Second))
		if err := w.Send(t.Context(), xmlwire.New(NSClient, "presence")); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}
