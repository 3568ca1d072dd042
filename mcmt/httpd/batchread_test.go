package httpd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
)

// A batch that breaks off: whole lines count, the line that was cut does not,
// and the last result says where it ended.
func TestBatchCutShort(t *testing.T) {
	t.Parallel()
	good := lineTo("juliet@localhost", "x")
	for name, o := range map[string]Options{"closed": {}, "stalled": {ReadTimeout: 50 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{}
			o.Sink = snk
			_, addr := start(t, o)
			w := dial(t, addr)
			w.send(strings.TrimSuffix(request(batchPath, batchField, good+good), "\n"))
			if o.ReadTimeout == 0 {
				_ = w.Conn.(*net.TCPConn).CloseWrite()
			}
			got := results(t, w.read().body)
			want := []string{"1:202", "2:400"}
			if o.ReadTimeout > 0 {
				want[1] = "2:408"
			}
			if !slices.Equal(statuses(got), want) || snk.stored() != 1 {
				t.Errorf("got %v, %d stored", statuses(got), snk.stored())
			}
		})
	}
}

// Each line has a key of its own, the same in every repetition of the batch.
func TestBatchIdempotency(t *testing.T) {
	t.Parallel()
	snk := &sink{}
	_, addr := start(t, Options{Sink: snk})
	body := lineTo("a@localhost", "1") + "\n" + lineTo("b@localhost", "2")
	for range 2 {
		post(t, addr, batchPath, batchField+"Idempotency-Key: k\n", body)
	}
	seen := make(map[string]string)
	for i, env := range snk.envs {
		if old, ok := seen[env.IdempotencyKey]; ok && old != snk.raws[i] {
			t.Errorf("key %s stands for two messages", env.IdempotencyKey)
		}
		seen[env.IdempotencyKey] = snk.raws[i]
	}
	if len(seen) != 2 || seen["k/1"] == "" || seen["k/3"] == "" {
		t.Errorf("keys %v", seen)
	}
}

// A client that sends everything before it reads anything is served too.
func TestBatchSendThenRead(t *testing.T) {
	t.Parallel()
	const lines = 3000
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, addr := startOn(t, Options{Sink: discard{}}, narrow{ln})
	w := dial(t, addr)
	_ = w.SetDeadline(time.Now().Add(6 * patience)) // much to send, through a narrow way back
	var body bytes.Buffer
	for i := range lines {
		body.WriteString(lineTo(fmt.Sprintf("user%d@localhost", i%50), strings.Repeat("x", 4000)))
	}
	w.send(request(batchPath, batchField, body.String()))
	if got := results(t, w.read().body); len(got) != lines {
		t.Errorf("%d results", len(got))
	}
}

// narrow is a listener whose connections hold little that the peer has not read.
type narrow struct{ net.Listener }

func (l narrow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return c, err
}

// A client that leaves does not hold anything up: what was begun is stored, the
// rest is not read. (TestMain sees what stays behind.)
func TestBatchClientLeaves(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 10)
	snk := &sink{put: func(ctx context.Context, _ mcmt.Envelope, _ []byte) error {
		entered <- struct{}{}
		return ctx.Err() // the client's leaving must not end it
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Options{Sink: snk}).Serve(ctx, ln) }()
	w := dial(t, ln.Addr().String())
	w.send("POST " + batchPath + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
	w.chunk(lineTo("juliet@localhost", "1"))
	<-entered
	_ = w.Close()
	cancel()
	if err := <-done; err != nil || snk.stored() != 1 {
		t.Errorf("%v, %d stored", err, snk.stored())
	}
}

// The end of Serve's context ends the reading at once, and the client is told.
func TestBatchShutdown(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 10)
	snk := &sink{put: func(context.Context, mcmt.Envelope, []byte) error { entered <- struct{}{}; return nil }}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Options{Sink: snk, Grace: patience}).Serve(ctx, ln) }()
	w := dial(t, ln.Addr().String())
	w.send("POST " + batchPath + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
	w.chunk(lineTo("juliet@localhost", "1"))
	<-entered
	cancel()
	if got := statuses(results(t, w.read().body)); !slices.Equal(got, []string{"1:202", "2:503"}) {
		t.Errorf("got %v", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A bug that one message sets off costs that message only.
func TestBatchSurvivesPanic(t *testing.T) {
	t.Parallel()
	var once sync.Once
	snk := &sink{put: func(context.Context, mcmt.Envelope, []byte) error {
		once.Do(func() { panic("secret") })
		return nil
	}}
	_, addr := start(t, Options{Sink: snk})
	got := post(t, addr, batchPath, batchField, strings.Repeat(lineTo("juliet@localhost", "x"), 2))
	if have := statuses(results(t, got.body)); !slices.Equal(have, []string{"1:503", "2:202"}) || strings.Contains(got.body, "secret") {
		t.Errorf("got %s", got.body)
	}
}

// A batch over the rate is read more slowly, and one that would take too long
// is told so.
func TestBatchRate(t *testing.T) {
	t.Parallel()
	good := lineTo("juliet@localhost", "x")
	t.Run("slowly", func(t *testing.T) {
		t.Parallel()
		_, addr := start(t, Options{Config: stranger(PeerOptions{Rate: 100, Burst: 1})})
		begin := time.Now()
		got := results(t, post(t, addr, batchPath, batchField, strings.Repeat(good, 6)).body)
		if took := time.Since(begin); len(got) != 6 || took < 40*time.Millisecond {
			t.Errorf("%d results in %v", len(got), took)
		}
	})
	t.Run("too slowly", func(t *testing.T) {
		t.Parallel()
		_, addr := start(t, Options{BodyTimeout: time.Second, Config: stranger(PeerOptions{Rate: 0.1, Burst: 1})})
		got := results(t, post(t, addr, batchPath, batchField, strings.Repeat(good, 3)).body)
		if have := statuses(got); !slices.Equal(have, []string{"1:202", "2:429"}) {
			t.Errorf("got %v", have)
		}
	})
}
