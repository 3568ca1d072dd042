// Package natstest runs real NATS servers for tests: each is a process of its
// own, so that it can be killed, stopped in the midst and started again on the
// same folder, and the servers of a cluster reach one another over connections
// that the test can interrupt. An in-process server that shuts down is graceful
// and proves nothing.
//
// The servers are the test binary itself: call Main first thing in TestMain.
// Everything listens on 127.0.0.1, and ends with the test, also when that is
// killed.
package natstest

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Patience bounds every wait. Only a failure waits so long.
const Patience = 60 * time.Second

// Options of the servers. The zero value is one that anybody may use in clear text.
type Options struct {
	// TLS makes clients use TLS, with a certificate for 127.0.0.1 of an authority
	// that exists for this test alone.
	TLS bool

	// Auth is how clients prove who they are.
	Auth Auth

	// SyncAlways is `sync_interval: always`: what is answered is on the disk.
	SyncAlways bool

	// Account bounds what comes with Credentials.
	Account Account
}

// Account is what an operator has allowed. The zero value is everything.
type Account struct {
	Subjects            []string // that may be published and subscribed to
	Streams             int64
	DiskBytes, MemBytes int64
}

// Auth is a way to prove who one is.
type Auth int

// The ways. Credentials are decentralised: a credentials file with an NKEY and a
// JWT of an account, which an operator has signed.
const (
	Nobody Auth = iota
	Password
	Token
	Credentials
)

// Access is what a client needs. What the servers do not ask for is empty.
type Access struct {
	URLs                  []string
	CredsFile             string
	User, Password, Token string
	TLSCA                 string
}

// Cluster is a number of servers that belong together. Its methods belong to the
// goroutine of the test, but for Partition, Isolate and Heal.
type Cluster struct {
	t       testing.TB
	dir     string
	o       Options
	access  Access
	secrets secrets
	nodes   []*node
	links   map[[2]int]*relay // how the first reaches the second
}

// New starts n servers and waits until they are ready: one by itself, or a
// cluster with JetStream, which short runs do without.
func New(t testing.TB, n int, o Options) *Cluster {
	t.Helper()
	if n > 1 && testing.Short() {
		t.Skip("starts servers of a cluster")
	}
	c := &Cluster{t: t, dir: t.TempDir(), o: o, links: make(map[[2]int]*relay)}
	var err error
	if c.access, c.secrets, err = issue(c.dir, o); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		nd := newNode(t, fmt.Sprintf("n%d", i+1), filepath.Join(c.dir, fmt.Sprintf("n%d", i+1)))
		nd.front = newRelay(t, func() string { return nd.at(clientPort) })
		c.nodes = append(c.nodes, nd)
		c.access.URLs = append(c.access.URLs, c.url(i))
	}
	for i := range n {
		for j, nd := range c.nodes {
			if i != j {
				c.links[[2]int{i, j}] = newRelay(t, func() string { return nd.at(routePort) })
			}
		}
	}
	t.Cleanup(func() {
		for _, nd := range c.nodes {
			nd.end()
		}
		if t.Failed() {
			for _, nd := range c.nodes {
				t.Logf("log of server %s:\n%s", nd.name, nd.tail())
			}
		}
	})
	for i := range n {
		c.launch(i)
	}
	c.WaitReady()
	return c
}

// Access is what a client of the servers needs, with the addresses of all.
func (c *Cluster) Access() Access {
	a := c.access
	a.URLs = c.URLs()
	return a
}

// URLs are the addresses for clients. They stay the same over restarts.
func (c *Cluster) URLs() []string { return slices.Clone(c.access.URLs) }

// Running are the servers that have been started, and neither ended nor paused.
func (c *Cluster) Running() []int {
	var up []int
	for i, nd := range c.nodes {
		if nd.running() && !nd.paused {
			up = append(up, i)
		}
	}
	return up
}

// Start starts a server again, on its folder, and waits until it listens.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	c.launch(i)
}

func (c *Cluster) launch(i int) {
	c.t.Helper()
	if err := c.nodes[i].start(c.config(i)); err != nil {
		c.t.Fatalf("server %s: %v\n%s", c.nodes[i].name, err, c.nodes[i].tail())
	}
}

// Kill ends a server at once, as the system would (SIGKILL).
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	c.nodes[i].kill()
}

// Stop asks a server to end (SIGTERM) and waits for it.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	if err := c.nodes[i].stop(); err != nil {
		c.t.Fatalf("server %s: %v", c.nodes[i].name, err)
	}
}

// Pause keeps a server from running (SIGSTOP): its connections stay and are
// silent.
func (c *Cluster) Pause(i int) { c.nodes[i].pause() }

// Continue undoes Pause.
func (c *Cluster) Continue(i int) { c.nodes[i].resume() }

// Partition interrupts the connections between two servers: what they send one
// another does not arrive, and neither is told. Clients reach both.
func (c *Cluster) Partition(i, j int) {
	c.links[[2]int{i, j}].setDark(true)
	c.links[[2]int{j, i}].setDark(true)
}

// Isolate is Partition from all others.
func (c *Cluster) Isolate(i int) {
	for j := range c.nodes {
		if j != i {
			c.Partition(i, j)
		}
	}
}

// Heal undoes every Partition. What was sent meanwhile on a connection that both
// sides still have arrives now, as TCP would send it again.
func (c *Cluster) Heal() {
	for _, r := range c.links {
		r.setDark(false)
	}
}
