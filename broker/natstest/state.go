package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pollInterval is how often servers are asked for what gives no sign of its own.
const pollInterval = 50 * time.Millisecond

// WaitReady waits until the running servers are healthy, have a leader for
// JetStream and one for each stream, and have got everything.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	c.eventually(func() error {
		leaders, meta := make(map[string]bool), false
		var up []string
		for _, i := range c.Running() {
			up = append(up, c.nodes[i].name)
		}
		for _, i := range c.Running() {
			r, err := c.nodes[i].ask()
			switch {
			case err != nil:
				return fmt.Errorf("server %s: %w", c.nodes[i].name, err)
			case !r.Healthy:
				return fmt.Errorf("server %s: %s", c.nodes[i].name, r.Unhealthy)
			}
			meta = meta || r.MetaLeader || len(c.nodes) == 1
			for _, s := range r.Streams {
				lead := s.Leader == c.nodes[i].name
				leaders[s.Name] = leaders[s.Name] || lead
				if behind := common(s.Behind, up); lead && len(behind) > 0 {
					return fmt.Errorf("stream %s: %s behind", s.Name, strings.Join(behind, ", "))
				}
			}
		}
		if !meta {
			return fmt.Errorf("no leader for JetStream")
		}
		for name, has := range leaders {
			if !has {
				return fmt.Errorf("stream %s has no leader", name)
			}
		}
		return nil
	})
}

// LeadsJetStream reports whether a server leads JetStream, that is, places streams
// and consumers.
func (c *Cluster) LeadsJetStream(i int) bool {
	c.t.Helper()
	r, err := c.nodes[i].ask()
	if err != nil {
		c.t.Fatalf("server %s: %v", c.nodes[i].name, err)
	}
	return r.MetaLeader
}

func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// Leader is the server that leads a stream; it waits until one does, of those
// that run and are not among the excepted.
func (c *Cluster) Leader(stream string, except ...int) int {
	c.t.Helper()
	found := -1
	c.eventually(func() error {
		for _, i := range c.Running() {
			if slices.Contains(except, i) {
				continue
			}
			r, err := c.nodes[i].ask()
			if err != nil {
				return err
			}
			for _, s := range r.Streams {
				if s.Name == stream && s.Leader == c.nodes[i].name {
					found = i
					return nil
				}
			}
		}
		return fmt.Errorf("nobody leads stream %s", stream)
	})
	return found
}

// eventually waits until try returns nil.
func (c *Cluster) eventually(try func() error) {
	c.t.Helper()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	timeout := time.After(Patience)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			c.t.Fatalf("servers not ready: %v", err)
		}
	}
}

// Snapshot copies the folder of a server that does not run.
func (c *Cluster) Snapshot(i int) {
	c.t.Helper()
	c.replaceStore(i, "store", "snapshot")
}

// Restore puts the last Snapshot in the place of the folder of a server that does
// not run: it has forgotten everything since.
func (c *Cluster) Restore(i int) {
	c.t.Helper()
	c.replaceStore(i, "snapshot", "store")
}

func (c *Cluster) replaceStore(i int, from, to string) {
	c.t.Helper()
	n := c.nodes[i]
	if n.running() {
		c.t.Fatalf("server %s runs: its folder cannot be copied", n.name)
	}
	from, to = filepath.Join(n.dir, from), filepath.Join(n.dir, to)
	if err := os.RemoveAll(to); err != nil {
		c.t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		c.t.Fatal(err)
	}
}
