package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/broker/natstest"
	"mcmt2xmpp/mcmt"
)

// diskSize is that of a file system that a gateway has for itself.
const diskSize = 96 << 20

// newDiskGateway is a gateway whose data folder is on the disk at dir.
func newDiskGateway(t *testing.T, dir, reserve string) *gateway {
	t.Helper()
	g := newGateway(t, fmt.Sprintf(`nats { disk_reserve = %q }`, reserve))
	g.replace(`data_dir = "data"`, fmt.Sprintf("data_dir = %q", filepath.Join(dir, "data")))
	g.start()
	return g
}

// notReady is what /readyz says, "" while the gateway is ready.
func (g *gateway) notReady() string {
	g.t.Helper()
	resp, err := http.Get(g.admin() + "/readyz")
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK {
		return ""
	}
	return string(text)
}

// wantsLater checks that err is an answer that asks the sender to come again:
// 451 or 452, or 503 with Retry-After. Anything else is a fault, and so is silence.
func wantsLater(err error) error {
	var r *mcmt.Refusal
	var h *refused
	switch {
	case errors.As(err, &r) && (r.Code == 451 || r.Code == 452):
		return nil
	case errors.As(err, &h) && h.status == http.StatusServiceUnavailable && h.retryAfter != "":
		return nil
	}
	return fmt.Errorf("%w: want 451, 452, or 503 with Retry-After", err)
}

// padded is a body of a few kilobytes that begins with text.
func padded(text string) string { return text + " " + strings.Repeat(".", 20<<10) }

// TestDiskFullOfOurs: what waits for somebody who is away fills the disk. What
// comes then is refused, over SMTP and HTTP and for everybody, and taken again,
// without a restart, when those that waited are delivered.
func TestDiskFullOfOurs(t *testing.T) {
	t.Parallel()
	natstest.OnDisk(t, diskSize*2/3, func(t *testing.T, dir string) {
		g := newDiskGateway(t, dir, "24m")
		users := []string{"smtp@localhost", "http@localhost"}
		boxes := make(map[string]*inbox)
		for _, u := range users {
			g.addUser(u, "secret")
			boxes[u] = newInbox()
		}
		s := startSenders(t, func(int) *gateway { return g }, users, padded, 5*time.Millisecond)
		// What moves on frees a little now and then: it need not stay so.
		g.eventually("readiness is gone", func() bool { return strings.Contains(g.notReady(), "bytes of disk are free") })
		s.refuse()

		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		defer clients.Wait()
		defer cancel()
		for _, u := range users {
			clients.Go(func() { boxes[u].stay(ctx, g.xmpp, u) })
		}
		s.flow("when there is room again")
		accepted := s.stop()
		for _, u := range users {
			boxes[u].await(t, accepted[u])
		}
		g.eventually("readiness is back", func() bool { return g.notReady() == "" })
		t.Logf("%d accepted, %d refused", s.accepted.Load(), s.refused.Load())
	})
}

// TestDiskFullOfOthers: somebody else fills the disk while messages flow, so that
// writes fail in the midst, and makes room again. Meanwhile senders are told to
// come again and /readyz says why; then everything goes on without a restart, with
// the sessions that were there, and a new one. What was accepted arrives in order.
func TestDiskFullOfOthers(t *testing.T) {
	t.Parallel()
	natstest.OnDisk(t, diskSize, func(t *testing.T, dir string) {
		g := newDiskGateway(t, dir, "1k") // or it might stop before a write fails
		c := newRegulars(t, g, "smtp@localhost", "http@localhost", "away@localhost", "gone@localhost")
		s := startSenders(t, func(int) *gateway { return g }, c.users, padded, 20*time.Millisecond)
		for round := range 2 {
			s.flow(fmt.Sprintf("before round %d", round))
			other := filepath.Join(dir, "other")
			natstest.Fill(t, other)
			g.eventually("readiness is gone", func() bool { return strings.Contains(g.notReady(), "no space left") })
			s.refuse()
			if err := os.Remove(other); err != nil {
				t.Fatal(err)
			}
			g.eventually("readiness is back", func() bool { return g.notReady() == "" })
		}
		s.flow("at the end")
		accepted := s.stop()
		copies := c.await(accepted)
		t.Logf("%d accepted, %d refused, %d copies", s.accepted.Load(), s.refused.Load(), copies)
	})
}
