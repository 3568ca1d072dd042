package broker

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// replicated starts three servers that keep everything three times, and opens a
// broker on them.
func replicated(t testing.TB) *Broker {
	t.Helper()
	var ports []int
	var routes []*url.URL
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // again
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		_ = l.Close()
	}
	o := Options{Replicas: 3, MaxStore: 512 * mib, DiskReserve: -1, Log: zerolog.Nop(), StoreTimeout: patience}
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port}, Routes: routes,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { stopServer(s) })
		if !s.ReadyForConnections(patience) {
			t.Fatal("server does not start")
		}
		o.URLs = append(o.URLs, s.ClientURL())
	}
	for ctx := testContext(t); ; {
		octx, cancel := context.WithTimeout(ctx, patience/10)
		b, err := Open(octx, o)
		cancel()
		if err == nil {
			t.Cleanup(func() { closeTest(t, b) })
			return b
		}
		if !pause(ctx, 200*time.Millisecond) { // no leader yet
			t.Fatal(err)
		}
	}
}

// With replicas, any of which may answer: drains are exact, and what looks into
// the store finds what is there.
func TestReplicas(t *testing.T) {
	t.Parallel()
	b := replicated(t)
	ctx := testContext(t)
	const routes, per = 5, 150
	fill(t, b, Park, routes, per)
	got, err := b.Routes(ctx, Park)
	if err != nil || len(got) != routes || got[routeName(0)] != per {
		t.Fatalf("routes %v, %v", got, err)
	}
	c := collect(routes * per)
	for r := range routes {
		// One after the other without a pause: what was removed last is still there
		// for a server that lags.
		for _, want := range []int{per, 0} {
			n, err := b.Drain(ctx, Park, routeName(r), HandlerFunc(func(ctx context.Context, ds []*Delivery) []Disposition {
				out := c.handle(ctx, ds)
				for i, d := range ds {
					out[i] = out[i].Recorded(d.ID, d.Recipient, []byte("done"))
				}
				return out
			}))
			if n != want || err != nil {
				t.Fatalf("drained %d, %v; want %d", n, err, want)
			}
		}
	}
	c.inOrder(t)
	if c.n != routes*per {
		t.Errorf("%d handed over, want %d", c.n, routes*per)
	}
	await(t, "all records", holds(t, b, map[string]uint64{streamTrace: routes * per, streamPark: 0}))

	die(t, b, Term("bad"), Message{Stage: Ingest, Route: "r", ID: "a", Body: []byte("text")})
	if err := b.Revive(ctx, 1, func(p *Peeked) (Message, error) {
		return Message{Stage: Park, Route: p.Route, ID: p.FromID, BodyOf: &p.Delivery}, nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if removed, err := b.Remove(ctx, Park, routes*per+1); removed != want || err != nil {
			t.Errorf("removed %v, %v; want %v", removed, err, want)
		}
	}
	census, err := b.Census(ctx)
	if err != nil || census[Dead].Messages != 0 || census[Park].Messages != 0 || census[Journal].Messages != routes*per {
		t.Errorf("census %+v, %v", census, err)
	}
}
