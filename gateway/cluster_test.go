package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/broker/natstest"
)

var clusterOutages = flag.Int("cluster-outages", 1, "how often TestCluster kills a server of the cluster")

// documented is the account that README tells operators to make.
func documented(t *testing.T) natstest.Account {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	value := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindSubmatch(readme)
		if m == nil {
			t.Fatalf("README.md has no %s", pattern)
		}
		return string(m[1])
	}
	number := func(pattern string) int64 {
		n, err := strconv.ParseInt(value(pattern), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return natstest.Account{
		Subjects:  strings.Split(value(`--allow-pubsub '([^']+)'`), ","),
		Streams:   number(`--js-streams (\d+)`),
		DiskBytes: number(`--js-disk-storage (\d+)G`) << 30,
		MemBytes:  number(`--js-mem-storage (\d+)G`) << 30,
	}
}

// clusterConfig is the nats scope for a cluster.
func clusterConfig(c *natstest.Cluster) string {
	a := c.Access()
	return fmt.Sprintf(`nats { urls = ( "%s" ) credentials = %q tls_ca = %q replicas = 3 slices = 4 }`,
		strings.Join(a.URLs, `" "`), a.CredsFile, a.TLSCA)
}

// TestCluster: two processes share a cluster of three NATS servers, over TLS and with
// the account that README describes. While messages flow in over SMTP and HTTP a
// server is killed, and started again. Senders always hear something: 250 or 202,
// or that they are to come again; what was accepted arrives, each recipient's in
// order.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := natstest.New(t, 3, natstest.Options{TLS: true, Auth: natstest.Credentials, SyncAlways: true, Account: documented(t)})
	ingest, deliver := newGateway(t, clusterConfig(c)), newGateway(t, clusterConfig(c))
	ingest.role, deliver.role = "ingest,convert", "convert,deliver"
	ingest.start()
	deliver.start()
	var users []string
	boxes := make(map[string]*inbox)
	for i := range 8 {
		u := fmt.Sprintf("user%d@localhost", i)
		users = append(users, u)
		boxes[u] = newInbox()
		deliver.addUser(u, "secret")
		ingest.eventually("the other process knows the account", func() bool { return inject(t.Context(), ingest, false, u, "hello") == nil })
	}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	online, away := users[:6], users[6:]
	for _, u := range online {
		clients.Go(func() { boxes[u].stay(ctx, deliver.xmpp, u) })
	}
	s := startSenders(t, func(int) *gateway { return ingest }, users, func(text string) string { return text }, 100*time.Millisecond)
	arrive := func(when string) {
		t.Helper()
		s.flow(when)
		want := s.takenBy(online)
		deliver.eventually("messages arrive "+when, func() bool {
			for u, body := range want {
				if !boxes[u].has(body) {
					return false
				}
			}
			return true
		})
	}
	arrive("at first")
	for range *clusterOutages {
		i := c.Leader("INGEST")
		c.Kill(i)
		begin := time.Now()
		arrive("without a server")
		t.Logf("without a server messages arrive after %v", time.Since(begin).Round(time.Millisecond))
		c.Start(i)
		arrive("with all servers")
	}
	accepted := s.stop()
	for _, u := range away {
		clients.Go(func() { boxes[u].stay(ctx, deliver.xmpp, u) })
	}
	copies := 0
	for _, u := range users {
		copies += boxes[u].await(t, accepted[u])
	}
	for _, g := range []*gateway{ingest, deliver} {
		if served(t, g) == 0 {
			t.Errorf("%s serves nothing at the end", g.role)
		}
		g.eventually("readiness", func() bool { return g.notReady() == "" })
		if strings.Contains(strings.ToLower(g.logFrom(0)), "permissions violation") {
			t.Errorf("%s: a subject is missing in README: %s", g.role, g.logged(0, "ermissions"))
		}
	}
	t.Logf("%d accepted, %d refused, none lost, %d copies", s.accepted.Load(), s.refused.Load(), copies)
}
