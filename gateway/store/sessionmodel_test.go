package store

import (
	"flag"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
)

// deed is one step in the life of a cluster.
type deed string

const (
	doBind    deed = "bind"
	doUnbind  deed = "unbind"
	doChange  deed = "change" // of the priority
	doQuit    deed = "quit"   // a node ends
	doKill    deed = "kill"   // a node dies
	doJoin    deed = "join"   // a node starts
	doFreeze  deed = "freeze" // a node is cut off, and thought dead
	doSever   deed = "sever"  // a node is cut off, and nobody knows
	doThaw    deed = "thaw"   // all nodes that were cut off are back
	doForget  deed = "forget" // the bucket is lost
	doObserve deed = "observe"
)

// world is a cluster and what should be known of it.
type world struct {
	*cluster
	rt    *rapid.T
	user  string
	nodes []*node
	held  map[*node]func()
	bound []*client        // in the order of binding; those that were unbound or died are taken out
	later map[*client]bool // another one was bound after it elsewhere
}

func (w *world) any(what string, n int) int { return rapid.IntRange(0, n-1).Draw(w.rt, what) }

func (w *world) do(d deed) {
	n := w.nodes[w.any("node", len(w.nodes))]
	switch d {
	case doBind:
		c := n.client(fmt.Sprintf("%s@localhost/%d", w.user, w.any("resource", 3)))
		c.ends = true
		if rapid.Bool().Draw(w.rt, "available") {
			c.rank.Store(int32(w.any("priority", 5)))
		}
		w.out(func(o *client) bool { return o.node == n && o.full == c.full }) // replaced as in any registry
		if err := n.router.Bind(c); err != nil {
			w.rt.Fatal(err)
		}
		for _, o := range w.bound {
			if o.full == c.full {
				w.later[o] = true
			}
		}
		w.bound = append(w.bound, c)
	case doUnbind, doChange:
		if len(w.bound) == 0 {
			return
		}
		c := w.bound[w.any("session", len(w.bound))]
		if d == doChange {
			c.rank.Store(int32(w.any("priority", 5)))
			c.node.router.Changed(c)
			return
		}
		c.node.router.Unbind(c)
		w.out(func(o *client) bool { return o == c })
	case doQuit, doKill:
		if len(w.nodes) == 1 || w.held[n] != nil {
			return
		}
		w.out(func(o *client) bool { return o.node == n })
		w.nodes = slices.DeleteFunc(w.nodes, func(o *node) bool { return o == n })
		if d == doQuit {
			n.close()
		} else {
			n.die()
		}
	case doJoin:
		if len(w.nodes) < 4 {
			w.nodes = append(w.nodes, w.node())
		}
	case doFreeze, doSever:
		if w.held[n] == nil && len(w.held) < len(w.nodes)-1 {
			w.held[n] = n.gate.hold()
			w.living.set(n.broker.Node(), d == doSever)
		}
	case doThaw:
		w.thaw()
	case doForget:
		_ = outsideJetStream(w.t, n).DeleteKeyValue(soon(w.t), sessionBucket)
	case doObserve:
		if len(w.held) == 0 {
			w.agree()
		}
	}
}

func (w *world) out(gone func(*client) bool) { w.bound = slices.DeleteFunc(w.bound, gone) }

func (w *world) thaw() {
	for n, release := range w.held {
		release()
		w.living.set(n.broker.Node(), true)
		delete(w.held, n)
	}
}

// agree waits until all nodes know the same sessions: of each full JID the one
// that was bound last, if it still is, and at most one that was bound before. One
// is closed only where another was bound after it.
func (w *world) agree() {
	w.t.Helper()
	fault := ""
	for end := soon(w.t); ; {
		if fault = w.fault(); fault == "" {
			break
		}
		select {
		case <-end.Done():
			w.rt.Fatalf("no agreement: %s", fault)
		case <-poll():
		}
	}
	w.out((*client).conflicted)
}

func (w *world) fault() string {
	var want []string
	seen := make(map[jid.JID]bool)
	for _, c := range slices.Backward(w.bound) { // the last one first
		switch closed := c.conflicted(); {
		case closed && !w.later[c]:
			return fmt.Sprintf("%s is closed, and nothing was bound after it", c.full)
		case closed:
			continue
		case seen[c.full]:
			return fmt.Sprintf("%s is bound again elsewhere and not closed", c.full)
		}
		seen[c.full] = true
		want = append(want, c.describe())
	}
	slices.Sort(want)
	for i, n := range w.nodes {
		var got []string
		for _, s := range n.sessions.Sessions(jid.MustParse(w.user + "@localhost")) {
			got = append(got, describe(s))
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Sprintf("node %d of %d knows %q, want %q", i, len(w.nodes), got, want)
		}
	}
	return ""
}

func describe(s router.Session) string {
	p, ok := s.Priority()
	return fmt.Sprint(s.JID().Resource(), " ", p, " ", ok)
}

func (c *client) describe() string { return describe(c) }

// TestSessionsAgree: whatever happens to sessions, nodes and the bucket, in the
// end all nodes know the same sessions.
func TestSessionsAgree(t *testing.T) {
	checks := "30"
	if testing.Short() {
		checks = "5"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		t.Fatal(err)
	}
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t)
	deeds := rapid.SliceOfN(rapid.SampledFrom([]deed{
		doBind, doBind, doBind, doBind, doBind, doUnbind, doUnbind, doChange, doChange, doQuit, doKill, doJoin, doJoin,
		doFreeze, doSever, doThaw, doThaw, doForget, doObserve,
	}), 5, 40)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		w := &world{cluster: c, rt: rt, user: fmt.Sprint("u", round), held: make(map[*node]func()), later: make(map[*client]bool)}
		defer func() {
			w.thaw()
			for _, n := range w.nodes {
				n.close()
			}
		}()
		for range 3 {
			w.nodes = append(w.nodes, c.node())
		}
		for _, d := range deeds.Draw(rt, "deeds") {
			w.do(d)
		}
		w.thaw()
		w.agree()
	})
}
