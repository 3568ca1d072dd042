package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// echo answers what is asked of a subject, in the reverse order of each dozen.
func echo(t *testing.T, b *Broker, subject string) {
	t.Helper()
	var held []*nats.Msg
	_, err := b.work.nc.Subscribe(subject, func(m *nats.Msg) {
		if held = append(held, m); len(held) < 12 {
			return
		}
		for i := len(held) - 1; i >= 0; i-- {
			if err := held[i].Respond(held[i].Data); err != nil {
				t.Error(err)
			}
		}
		held = nil
	})
	if err := errors.Join(err, b.work.nc.Flush()); err != nil {
		t.Fatal(err)
	}
}

// Each question gets its own answer, in whatever order they come; where one does
// not come, the others are told.
func TestRequestAll(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	echo(t, b, "echo")
	ask := func(n int) []*nats.Msg {
		msgs := make([]*nats.Msg, n)
		for i := range msgs {
			msgs[i] = &nats.Msg{Subject: "echo", Data: []byte(fmt.Sprint(i))}
		}
		return msgs
	}
	answers, err := b.pub.in.requestAll(testContext(t), ask(24), patience)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range answers {
		if string(m.Data) != fmt.Sprint(i) {
			t.Errorf("answer %d is %q", i, m.Data)
		}
	}
	answers, err = b.pub.in.requestAll(testContext(t), ask(13), 100*time.Millisecond)
	if !errors.Is(err, nats.ErrTimeout) || answers[0] == nil || answers[11] == nil || answers[12] != nil {
		t.Errorf("answers %v, %v", answers, err)
	}
	if len(b.pub.in.open) != 0 {
		t.Errorf("%d exchanges are still open", len(b.pub.in.open))
	}
}

// Nobody waits for answers on a connection that is lost.
func TestExchangeLost(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	sent := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- b.pub.in.exchange(context.Background(), time.Hour,
			func(string) error { close(sent); return nil },
			func(string, *nats.Msg) bool { return true })
	}()
	<-sent
	if err := b.pub.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, errDisconnected) {
			t.Errorf("error %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it waits on")
	}
}

// An answer of a batch that has been lost on the way is noticed: what is behind
// the gap must not be taken for what comes next.
func TestReadChain(t *testing.T) {
	t.Parallel()
	answer := func(seq, last string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{
			"Nats-Sequence": {seq}, "Nats-Time-Stamp": {"2026-01-02T03:04:05Z"}, "Nats-Subject": {"s"}, "Nats-Last-Sequence": {last},
		}}
	}
	first, err := readMsg(answer("5", "0"), nil)
	if err != nil || first.seq != 5 || first.subject != "s" || first.at.Year() != 2026 {
		t.Fatalf("got %+v, %v", first, err)
	}
	if _, err := readMsg(answer("9", "5"), []storedMsg{first}); err != nil {
		t.Error(err)
	}
	if _, err := readMsg(answer("9", "7"), []storedMsg{first}); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a gap: %v", err)
	}
	if _, err := readMsg(answer("9", "5"), nil); err == nil {
		t.Error("the first is missing")
	}
	for _, bad := range []*nats.Msg{answer("x", "0"), {Header: nats.Header{"Nats-Sequence": {"1"}, "Nats-Last-Sequence": {"0"}}}} {
		if _, err := readMsg(bad, nil); err == nil {
			t.Errorf("%v was read", bad.Header)
		}
	}
}
