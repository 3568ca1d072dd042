package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker/natstest"
)

// A server that is alive and cut off from the others does not keep us: we go to
// another, and store and consume there.
func TestMovesOn(t *testing.T) {
	t.Parallel()
	c := natstest.New(t, 3, natstest.Options{})
	b := openTest(t, clusterOptions(c, zerolog.Nop()))
	ctx := testContext(t)
	for _, l := range b.links() {
		for l.nc.ConnectedServerName() != "n1" {
			back := l.reconnected()
			if err := l.nc.ForceReconnect(); err != nil {
				t.Fatal(err)
			}
			await(t, "connection", back)
		}
	}
	got := collect(10 * 20)
	stop := consume(t, b, Ingest, got.handle, ConsumeOptions{})
	fill(t, b, Ingest, 10, 10)
	c.Isolate(0)
	var wg sync.WaitGroup
	for r := range 10 {
		wg.Go(func() {
			for i := 10; i < 20; i++ {
				m := Message{Stage: Ingest, Route: routeName(r), ID: fmt.Sprintf("%s-%d", routeName(r), i)}
				for b.Store(ctx, m) != nil && pause(ctx, 50*time.Millisecond) {
				}
			}
		})
	}
	wg.Wait()
	await(t, "all messages", got.all)
	for _, l := range b.links() {
		if l.nc.ConnectedServerName() == "n1" {
			t.Errorf("%s is still with the server that is cut off", l.nc.Opts.Name)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	got.inOrder(t)
}

// Who stores into a server that has become silent is refused: the first after a
// while, the others at once, until it answers again.
func TestSilence(t *testing.T) {
	t.Parallel()
	c := natstest.New(t, 1, natstest.Options{})
	o := clusterOptions(c, zerolog.Nop())
	o.Replicas, o.StoreTimeout = 1, 500*time.Millisecond
	b := openTest(t, o)
	ctx := testContext(t)
	m := Message{Stage: Ingest, Route: "r"}
	if err := b.Store(ctx, m); err != nil {
		t.Fatal(err)
	}
	c.Pause(0)
	impatient, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := b.Store(impatient, m); err == nil {
		t.Error("stored in a server that does not run")
	}
	if err := b.Store(ctx, m); !errors.Is(err, noAnswer(o.StoreTimeout)) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("the first: %v", err)
	}
	var err error
	for range 10 { // one in a second tries
		if err = b.Store(ctx, m); errors.Is(err, errSilent) {
			break
		}
	}
	if !errors.Is(err, errSilent) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("the others: %v", err)
	}
	if err := b.Store(ctx, Message{Stage: Mail, Route: "r"}); !errors.Is(err, noAnswer(o.StoreTimeout)) {
		t.Errorf("another stage: %v", err)
	}
	if err := b.Healthy(); !errors.Is(err, errSilent) {
		t.Errorf("health: %v", err)
	}
	c.Continue(0)
	for b.Store(ctx, m) != nil {
		if !pause(ctx, 10*time.Millisecond) {
			t.Fatal("nothing can be stored any more")
		}
	}
	if err := b.Healthy(); errors.Is(err, errSilent) && errors.Is(b.silences["in"].broken(), errSilent) {
		t.Errorf("health: %v", err)
	}
}
