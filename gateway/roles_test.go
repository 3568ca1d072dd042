package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	roleKills    = flag.Int("role-kills", 20, "how often TestKillRoles kills a process; 200 in the long run")
	roleMessages = flag.Int("role-messages", 20_000, "how many messages flow in TestKillRoles")
)

// fleet is a gateway in several processes with a broker of their own.
type fleet struct {
	t    *testing.T
	nats *natsServer

	mu    sync.Mutex
	nodes []*gateway
}

// newFleet starts one process for each of the roles.
func newFleet(t *testing.T, roles ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, nats: newNATS(t)}
	for _, role := range roles {
		f.join(role)
	}
	return f
}

// join starts one more process.
func (f *fleet) join(role string) *gateway {
	f.t.Helper()
	g := newGateway(f.t, fmt.Sprintf(`nats { urls = ( "nats://127.0.0.1:%d" ) slices = 4 }`, f.nats.o.Port))
	g.role = role
	g.start()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = append(f.nodes, g)
	return g
}

// with returns the processes that have a listener of that kind.
func (f *fleet) with(listener string) []*gateway {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*gateway
	for _, g := range f.nodes {
		if g.addr(listener) != "" {
			all = append(all, g)
		}
	}
	return all
}

// crowd are many recipients with an inbox each.
type crowd struct {
	users   []string
	inboxes map[string]*inbox
}

func newCrowd(admin *gateway, users []string) *crowd {
	c := &crowd{users: users, inboxes: make(map[string]*inbox)}
	for _, u := range users {
		c.inboxes[u] = newInbox()
		admin.addUser(u, "secret")
	}
	return c
}

// many are the names of n accounts.
func many(n int) (users []string) {
	for i := range n {
		users = append(users, fmt.Sprintf("user%d@localhost", i))
	}
	return users
}

// online keeps users logged in, each at one of the addresses, until ctx ends.
func (c *crowd) online(ctx context.Context, running *sync.WaitGroup, users []string, at func(i int) string) {
	for i, u := range users {
		running.Go(func() { c.inboxes[u].stay(ctx, func() string { return at(i) }, u) })
	}
}

// flow injects n messages for the users from several injectors, each recipient's
// by one of them so that the order of acceptance is known, until all n are
// accepted. It returns what was accepted by recipient.
func (c *crowd) flow(ctx context.Context, n int, total *atomic.Int64, at func(i int) *gateway) map[string][]string {
	const injectors = 8
	if len(c.users)%injectors != 0 {
		panic("a recipient would have several injectors")
	}
	accepted := make(map[string][]string)
	var mu sync.Mutex
	var running sync.WaitGroup
	for k := range injectors {
		running.Go(func() {
			for i := k; ctx.Err() == nil; i += injectors {
				u := c.users[i%len(c.users)]
				body := fmt.Sprintf("%s message %d", u, i)
				if inject(ctx, at(k), k%2 == 0, u, body) != nil {
					continue
				}
				mu.Lock()
				accepted[u] = append(accepted[u], body)
				mu.Unlock()
				if total.Add(1) >= int64(n) {
					return
				}
			}
		})
	}
	running.Wait()
	return accepted
}

// check waits until everybody has everything, in order, and returns the number of
// copies that came under the same stanza id.
func (c *crowd) check(t *testing.T, accepted map[string][]string) (copies int) {
	t.Helper()
	for _, u := range c.users {
		copies += c.inboxes[u].await(t, accepted[u])
	}
	return copies
}

// TestKillRoles kills the processes that take messages in, convert and deliver
// them at random moments while 20,000 messages for 200 recipients flow in over
// SMTP and HTTP. Nothing that was accepted is lost, each recipient's order is
// exact, and a copy bears the same stanza id.
func TestKillRoles(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills processes again and again")
	}
	kills, messages := *roleKills, *roleMessages
	f := newFleet(t, "ingest", "convert", "deliver")
	ingest, deliver := f.nodes[0], f.nodes[2]
	c := newCrowd(deliver, many(200))
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	half := len(c.users) / 2
	c.online(ctx, &clients, c.users[:half], func(int) string { return deliver.xmpp() })

	var total atomic.Int64
	flowing, stop := context.WithCancel(ctx)
	defer stop()
	accepted := make(chan map[string][]string, 1)
	go func() {
		accepted <- c.flow(flowing, messages, &total, func(int) *gateway { return ingest })
	}()
	killed := make(map[string]int)
	for i := range kills {
		due := int64(messages) * int64(i+1) / int64(kills+1)
		ingest.eventually("messages flow", func() bool { return total.Load() >= due })
		<-time.After(rand.N(100 * time.Millisecond)) // the random moment
		g := f.nodes[rand.IntN(len(f.nodes))]
		g.kill()
		g.start()
		killed[g.role]++
	}
	all := <-accepted
	c.online(ctx, &clients, c.users[half:], func(int) string { return deliver.xmpp() })
	copies := c.check(t, all)
	t.Logf("killed %v, %d messages accepted, none lost, %d copies", killed, total.Load(), copies)
}

// TestFleet: two processes that convert and two that deliver join, leave and die
// while messages flow. The work goes on within seconds each time, a client gets
// its messages whichever process it is connected to, and none is lost or out of
// order.
func TestFleet(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts and ends five processes")
	}
	const between = 600 // messages from one change to the next
	f := newFleet(t, "ingest", "convert", "deliver")
	ingest, convert1, deliver1 := f.nodes[0], f.nodes[1], f.nodes[2]
	c := newCrowd(deliver1, many(64))
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	// A client that finds its server gone tries the next one.
	var turn atomic.Int64
	c.online(ctx, &clients, c.users, func(i int) string {
		all := f.with("xmpp_listener")
		return all[(i+int(turn.Add(1)))%len(all)].xmpp()
	})

	var total atomic.Int64
	flowing, stop := context.WithCancel(ctx)
	defer stop()
	accepted := make(chan map[string][]string, 1)
	go func() {
		accepted <- c.flow(flowing, 1<<30, &total, func(int) *gateway { return ingest })
	}()
	var deliver2, convert2 *gateway
	for _, change := range []struct {
		what string
		do   func()
	}{
		{"a second process that delivers joins", func() { deliver2 = f.join("deliver") }},
		{"a second one that converts joins", func() { convert2 = f.join("convert") }},
		{"the first that converts dies", convert1.kill},
		{"the first that delivers dies", deliver1.kill},
		{"both are back", func() { convert1.start(); deliver1.start() }},
		{"the second that delivers leaves", func() { deliver2.stop() }},
		{"the second that converts leaves", func() { convert2.stop() }},
	} {
		due := total.Load() + between
		ingest.eventually("messages flow", func() bool { return total.Load() >= due })
		change.do()
		before := c.arrived()
		ingest.eventually("messages arrive after "+change.what, func() bool { return c.arrived() > before+20 })
	}
	stop()
	copies := c.check(t, <-accepted)
	t.Logf("%d messages accepted, none lost, %d copies", total.Load(), copies)
	for _, g := range []*gateway{convert1, deliver1} {
		if served(t, g) == 0 {
			t.Errorf("%s serves nothing at the end", g.role)
		}
	}
}

// arrived is how many messages have come, to whomever.
func (c *crowd) arrived() (n int) {
	for _, b := range c.inboxes {
		b.mu.Lock()
		n += len(b.bodies)
		b.mu.Unlock()
	}
	return n
}

// served is how many slices the process owns.
func served(t testing.TB, g *gateway) (n int) {
	t.Helper()
	for name, v := range metricsOf(t, g) {
		if strings.HasPrefix(name, "mcmt2xmpp_custody_slices_owned{") {
			n += int(v)
		}
	}
	return n
}
