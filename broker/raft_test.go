package broker

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// raft is a cluster of three servers in this process.
type raft struct {
	t       testing.TB
	routes  []string
	ports   []int // of clients, then of routes
	dirs    []string
	servers []*server.Server
}

const raftSize = 3

func newRaft(t testing.TB) *raft {
	t.Helper()
	c := &raft{t: t, servers: make([]*server.Server, raftSize)}
	// All ports at once, so that no two are the same.
	for range 2 * raftSize {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.ports = append(c.ports, l.Addr().(*net.TCPAddr).Port)
		defer func() { _ = l.Close() }()
	}
	for i := range raftSize {
		c.routes = append(c.routes, fmt.Sprintf("nats://127.0.0.1:%d", c.ports[raftSize+i]))
		c.dirs = append(c.dirs, t.TempDir())
	}
	return c
}

func (c *raft) start(i int) {
	c.t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: c.ports[i], NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: c.dirs[i],
		Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: c.ports[raftSize+i]},
		Routes:  server.RoutesFromStr(strings.Join(c.routes, ",")),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	s.Start()
	c.servers[i] = s
	c.t.Cleanup(func() { stopServer(s) })
}

func (c *raft) options(slices int) Options {
	o := Options{MaxStore: 512 * mib, DiskReserve: -1, Slices: slices, Replicas: raftSize, Log: zerolog.Nop(), lease: patient}
	for i := range raftSize {
		o.URLs = append(o.URLs, fmt.Sprintf("nats://127.0.0.1:%d", c.ports[i]))
	}
	return o
}

// A server of a cluster goes and comes back while members leave: each message is
// handled, once and in order.
func TestReplicatedSlices(t *testing.T) {
	t.Parallel()
	const slices = 4
	r := newRaft(t)
	for i := range raftSize {
		r.start(i)
	}
	o := r.options(slices)
	var a *Broker
	eventually(t, "a leader", func() bool {
		var err error
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // nobody answers before
		defer cancel()
		a, err = Open(ctx, o)
		return err == nil
	})
	t.Cleanup(func() { closeTest(t, a) })
	b := openTest(t, o)
	w, h := watchOwners(t, Deliver), newOnce()
	consumeOn := func(br *Broker) func() error {
		return consume(t, br, Deliver, h.handle, ConsumeOptions{Own: w.own(br.members.name())})
	}
	stopA := consumeOn(a)
	consumeOn(b)
	eventually(t, "both with their slices", func() bool { return w.asWanted(slices, a, b) })
	stop := feed(t, b, Deliver, 12)
	messages := func() {
		before, _ := h.count()
		eventually(t, "messages", func() bool { n, _ := h.count(); return n > before+50 })
	}
	messages()
	stopServer(r.servers[0])
	messages()
	r.start(0)
	if err := stopA(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other with all slices", func() bool { return w.asWanted(slices, b) })
	messages()
	total := sum(stop())
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n >= total })
	h.inOrder(t)
	if n, _ := h.count(); n != total {
		t.Errorf("%d of %d messages", n, total)
	}
	if st := b.Stats().Stages[Deliver]; st.Losses > 0 {
		t.Errorf("stats %+v", st)
	}
}
