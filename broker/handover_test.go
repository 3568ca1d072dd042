package broker

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker/natstest"
)

// What one owner has acknowledged the next does not get again, although a cluster
// takes its time to remove it.
func TestHandover(t *testing.T) {
	t.Parallel()
	c := natstest.New(t, 3, natstest.Options{})
	const rounds, per = 6, 200
	ctx := testContext(t)
	var brokers []*Broker
	for range 2 {
		brokers = append(brokers, openTest(t, clusterOptions(c, zerolog.Nop())))
	}
	fill(t, brokers[0], Deliver, 1, rounds*per)
	fill(t, brokers[0], Park, 1, rounds*per)
	deliver, park := collect(rounds*per), collect(rounds*per)
	for i := range rounds {
		b := brokers[i%2]
		some := make(chan struct{})
		stop := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
			deliver.mu.Lock()
			n := (i+1)*per - deliver.n
			deliver.mu.Unlock()
			if n <= 0 {
				return nil
			}
			out := deliver.handle(ctx, ds[:min(n, len(ds))])
			if n <= len(ds) {
				close(some)
			}
			return out
		}, ConsumeOptions{})
		await(t, "some messages", some)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		left := per
		_, err := b.Drain(ctx, Park, routeName(0), HandlerFunc(func(ctx context.Context, ds []*Delivery) []Disposition {
			out := park.handle(ctx, ds[:min(left, len(ds))])
			left -= len(out)
			return out
		}))
		if err != nil && !errors.Is(err, ErrPutOff) {
			t.Error(err)
		}
	}
	deliver.inOrder(t)
	park.inOrder(t)
	if park.n != rounds*per || deliver.n != rounds*per {
		t.Errorf("%d and %d messages, want %d", park.n, deliver.n, rounds*per)
	}
}

// A server that has just died keeps no drain from its work: it may be chosen for
// the leader of a new consumer, and then there is an election first.
func TestDrainWithoutServer(t *testing.T) {
	t.Parallel()
	c := natstest.New(t, 3, natstest.Options{})
	b := openTest(t, clusterOptions(c, zerolog.Nop()))
	const routes = 12
	fill(t, b, Park, routes, 3)
	c.WaitReady()
	dead := 0
	for dead == c.Leader(streamPark) || c.LeadsJetStream(dead) {
		dead++
	}
	c.Kill(dead)
	ctx := testContext(t)
	for b.Store(ctx, Message{Stage: Park, Route: "other"}) != nil && pause(ctx, soonest) {
	}
	var all sync.WaitGroup
	for r := range routes {
		all.Go(func() {
			got := collect(3)
			if n, err := b.Drain(ctx, Park, routeName(r), HandlerFunc(got.handle)); n != 3 || err != nil {
				t.Errorf("route %d: drained %d, %v", r, n, err)
			}
		})
	}
	all.Wait()
}
