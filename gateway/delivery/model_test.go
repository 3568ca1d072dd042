package delivery

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// move is one step of a recipient's life.
type move string

const (
	put     move = "put"     // a message comes in
	login   move = "login"   // a client that answers
	zombie  move = "zombie"  // a client that is connected and does not answer
	deafen  move = "deafen"  // the latest client stops answering
	logout  move = "logout"  // the latest client is gone
	logouts move = "logouts" // all are
	settle  move = "settle"  // until what came in is delivered, waits, or was sent in vain
)

// life is what one recipient gets to see, and the rules that it must obey. Messages
// are numbered from zero in the order of their acceptance.
type life struct {
	user jid.JID

	mu     sync.Mutex
	number map[string]int // by stanza id
	last   int            // number of the latest stanza sent, -1 before
	proven map[int]bool   // received by a client that said so
	again  map[int]bool   // may be sent again although proven: one before it was not
	faults []string
}

// sent checks one stanza against the rules. No message is left out. Going back
// is to the first that is not proven, and what follows it may come again.
func (l *life) sent(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.number[id]
	fault := func(format string, args ...any) {
		l.faults = append(l.faults, fmt.Sprintf("message %d after %d: ", n, l.last)+fmt.Sprintf(format, args...))
	}
	switch {
	case n > l.last+1:
		fault("others were left out")
	case n < l.last:
		for i := range n {
			if !l.proven[i] {
				fault("message %d comes first", i)
				break
			}
		}
		if l.proven[n] {
			fault("it was proven")
		}
		for i := n; i <= l.last; i++ {
			l.again[i] = true
		}
	case l.proven[n] && !l.again[n]:
		fault("it was proven")
	}
	l.last = n
}

func (l *life) prove(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.proven[l.number[id]] = true
	}
}

// live plays the moves and then has everything delivered.
func (l *life) live(w *world, moves []move) {
	var clients []*client
	bind := func(deaf bool) {
		clients = append(clients, w.login(fmt.Sprintf("%s/r%d", l.user, len(clients)), func(c *client) {
			c.deaf, c.sent, c.proved = deaf, l.sent, l.prove
		}))
	}
	for _, m := range moves {
		switch m {
		case put:
			l.put(w)
		case login:
			bind(false)
		case zombie:
			bind(true)
		case deafen:
			if len(clients) > 0 {
				c := clients[len(clients)-1]
				c.mu.Lock()
				c.deaf = true
				c.mu.Unlock()
			}
		case logout:
			if len(clients) > 0 {
				w.logout(clients[len(clients)-1])
			}
		case logouts:
			for _, c := range clients {
				w.logout(c)
			}
		case settle:
			l.settle(w, clients)
		}
	}
	for _, c := range clients {
		w.logout(c)
	}
	bind(false)
	defer func() { w.logout(clients[len(clients)-1]) }()
	eventually(w.t, fmt.Sprintf("%s: all of %d messages delivered after %v", l.user, len(l.number), moves), func() bool {
		return l.count(w, trace.Delivered) == len(l.number)
	})
}

func (l *life) put(w *world) {
	st := stanza.NewMessage(l.user, news, stanza.TypeChat, "hello")
	l.mu.Lock()
	st.ID = fmt.Sprintf("%s-%d", l.user.Local(), len(l.number))
	l.number[st.ID] = len(l.number)
	l.mu.Unlock()
	if err := w.broker.Store(context.Background(), w.message(st)); err != nil {
		w.t.Error(err)
	}
}

// settle waits until every message was sent or parked, or may be stuck behind a
// client that does not answer.
func (l *life) settle(w *world, clients []*client) {
	for _, c := range clients {
		c.mu.Lock()
		deaf := c.deaf
		c.mu.Unlock()
		if deaf {
			return
		}
	}
	eventually(w.t, "messages sent or parked", func() bool {
		l.mu.Lock()
		sent := l.last + 1
		l.mu.Unlock()
		return sent >= len(l.number) || l.count(w, trace.Deferred)+l.count(w, trace.Delivered) >= len(l.number)
	})
}

func (l *life) count(w *world, stage trace.Stage) int {
	return w.events.counted(stage, l.user.String())
}

// TestModel lets recipients come, go, fall silent and die at random while
// messages flow. Each gets every message, in order, once; or again after a
// delivery that was not proven.
func TestModel(t *testing.T) {
	if err := flag.Set("rapid.checks", "20"); err != nil { // a fifth of it with -short
		t.Fatal(err)
	}
	w := newWorld(t)
	w.run()
	round := 0
	moves := rapid.SliceOfN(rapid.SampledFrom([]move{put, put, put, put, login, zombie, deafen, logout, logouts, settle}), 5, 40)
	rapid.Check(t, func(rt *rapid.T) {
		round++
		var lives []*life
		var living sync.WaitGroup
		for i := range 8 {
			l := &life{
				user:   jid.MustParse(fmt.Sprintf("user%d-%d@localhost", round, i)),
				number: make(map[string]int), last: -1, proven: make(map[int]bool), again: make(map[int]bool),
			}
			lives = append(lives, l)
			plan := moves.Draw(rt, fmt.Sprintf("moves %d", i))
			living.Go(func() { l.live(w, plan) })
		}
		living.Wait()
		for _, l := range lives {
			for _, f := range l.faults {
				rt.Errorf("%s: %s", l.user, f)
			}
		}
		w.idle()
	})
	if s := w.dl.Stats(); s.Failed != 0 || s.Parked != 0 || len(w.waiting()) != 0 {
		t.Errorf("at the end: %+v, PARK holds %v", s, w.waiting())
	}
}
