package broker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"mcmt2xmpp/broker/natstest"
)

// leadElsewhere moves the leader of a stream away from the server that answers our
// reads.
func leadElsewhere(t *testing.T, b *Broker, stream string) {
	t.Helper()
	ctx := testContext(t)
	for {
		s, err := b.admin.js.Stream(ctx, stream)
		if err == nil && s.CachedInfo().Cluster.Leader != "" && s.CachedInfo().Cluster.Leader != b.admin.nc.ConnectedServerName() {
			return
		}
		if err == nil {
			_, err = b.admin.request(ctx, &nats.Msg{Subject: fmt.Sprintf(server.JSApiStreamLeaderStepDownT, stream)}, patience)
		}
		if !pause(ctx, 200*time.Millisecond) {
			t.Fatalf("the leader stays: %v", err)
		}
	}
}

// With replicas, any of which may answer: drains are exact, and what looks into
// the store finds what is there.
func TestReplicas(t *testing.T) {
	t.Parallel()
	o := clusterOptions(natstest.New(t, 3, natstest.Options{}), zerolog.Nop())
	o.StoreTimeout = patience
	b := openTest(t, o)
	leadElsewhere(t, b, streamPark)
	ctx := testContext(t)
	const routes, per = 5, 150
	fill(t, b, Park, routes, per)
	got, err := b.Routes(ctx, Park)
	if err != nil || len(got) != routes || got[routeName(0)] != per {
		t.Fatalf("routes %v, %v", got, err)
	}
	c := collect(routes * per)
	for r := range routes {
		n, err := b.Drain(ctx, Park, routeName(r), HandlerFunc(func(ctx context.Context, ds []*Delivery) []Disposition {
			out := c.handle(ctx, ds)
			for i, d := range ds {
				out[i] = out[i].Recorded(d.ID, d.Recipient, []byte("done"))
			}
			return out
		}))
		if n != per || err != nil {
			t.Fatalf("drained %d, %v", n, err)
		}
	}
	c.inOrder(t)
	if c.n != routes*per {
		t.Errorf("%d handed over, want %d", c.n, routes*per)
	}
	drainAgain(t, b)
	await(t, "an empty stage", holds(t, b, map[string]uint64{streamPark: 0}))
	recorded := 0
	for recorded < routes*per && pause(ctx, 5*time.Millisecond) { // they may not be everywhere yet
		rs, err := b.Records(ctx, "", "", time.Time{}, 2*routes*per)
		if err != nil {
			t.Fatal(err)
		}
		recorded = len(rs)
	}
	if recorded != routes*per {
		t.Errorf("%d records", recorded)
	}

	die(t, b, Term("bad"), Message{Stage: Ingest, Route: "r", ID: "a", Body: []byte("text")})
	if err := b.Revive(ctx, 1, func(p *Peeked) (Message, error) {
		return Message{Stage: Park, Route: p.Route, ID: p.FromID, BodyOf: &p.Delivery}, nil
	}); err != nil {
		t.Fatal(err)
	}
	var revived []Peeked
	for len(revived) == 0 && pause(ctx, time.Millisecond) { // it may not be everywhere yet
		if revived, _, err = b.Peek(ctx, Park, "r", 0, 10); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []bool{true, false} {
		if removed, err := b.Remove(ctx, Park, revived[0].Seq); removed != want || err != nil {
			t.Errorf("removed %v, %v; want %v", removed, err, want)
		}
	}
	census, err := b.Census(ctx)
	if err != nil || census[Dead].Messages != 0 || census[Park].Messages != 0 || census[Journal].Messages == 0 {
		t.Errorf("census %+v, %v", census, err)
	}
}

// drainAgain drains the same route at once after it was drained. What was removed
// a moment ago must not be handed over again by a server that does not know of it
// yet.
func drainAgain(t *testing.T, b *Broker) {
	t.Helper()
	ctx := testContext(t)
	for i := range 200 {
		if err := b.Store(ctx, Message{Stage: Park, Route: "r", ID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{1, 0} {
			n, err := b.Drain(ctx, Park, "r", HandlerFunc(collect(-1).handle))
			if n != want || err != nil {
				t.Fatalf("%d: drained %d, %v; want %d", i, n, err, want)
			}
		}
	}
}
