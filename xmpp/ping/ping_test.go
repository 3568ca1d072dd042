package ping

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// peer is the far side: it gets pings, and answers as the test says.
type peer struct {
	*Prover
	pings   chan *stanza.Stanza
	flushed int
	dead    int
}

func newPeer() *peer {
	p := &peer{pings: make(chan *stanza.Stanza, 10)}
	p.Prover = New(Options{
		From: jid.MustParse("irc.example"), To: jid.MustParse("p1.example"),
		Send:  func(_ context.Context, st *stanza.Stanza) error { p.pings <- st; return nil },
		Flush: func(context.Context) error { p.flushed++; return nil },
		Dead:  func() { p.dead++ },
	})
	return p
}

type result struct {
	answered bool
	err      error
}

func (p *peer) prove(t *testing.T) chan result {
	done := make(chan result, 1)
	go func() {
		answered, err := p.Prove(t.Context())
		done <- result{answered, err}
	}()
	synctest.Wait()
	return done
}

// TestShared: who comes while a ping is on the way shares the next one, because the first
// was sent before what he wants to be proven.
func TestShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		defer p.Close()
		first, second, third := p.prove(t), p.prove(t), p.prove(t)
		if n := len(p.pings); n != 1 {
			t.Fatalf("%d pings are on the way", n)
		}
		if !p.Answered((<-p.pings).Reply(stanza.TypeResult)) {
			t.Error("the answer was not recognised")
		}
		if r := <-first; !r.answered || r.err != nil {
			t.Errorf("first: %+v", r)
		}
		synctest.Wait()
		if len(second) != 0 || len(third) != 0 || len(p.pings) != 1 {
			t.Errorf("%d and %d are proven by an earlier ping, %d pings", len(second), len(third), len(p.pings))
		}
		if !p.Answered((<-p.pings).ErrorReply(&stanza.Error{Condition: stanza.ServiceUnavailable})) {
			t.Error("an error is an answer too")
		}
		for _, done := range []chan result{second, third} {
			if r := <-done; !r.answered || r.err != nil {
				t.Errorf("later: %+v", r)
			}
		}
	})
}

// TestForged: the answer of somebody else is none, nor is one with another id.
func TestForged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		done := p.prove(t)
		answer := (<-p.pings).Reply(stanza.TypeResult)
		for _, change := range []func(*stanza.Stanza){
			func(st *stanza.Stanza) { st.From = jid.MustParse("mallory@p1.example") },
			func(st *stanza.Stanza) { st.ID = "ping-1" },
			func(st *stanza.Stanza) { st.Kind = stanza.Message },
		} {
			forged := *answer
			change(&forged)
			if p.Answered(&forged) {
				t.Errorf("%s from %s with id %s counts as the answer", forged.Kind, forged.From, forged.ID)
			}
		}
		p.Close()
		if r := <-done; !errors.Is(r.err, ErrClosed) {
			t.Errorf("after the end: %+v", r)
		}
		if _, err := p.Prove(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// TestMute: for a peer that has never answered, written is all that can be known; it is
// waited for once only.
func TestMute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		defer p.Close()
		if r := <-p.prove(t); r.answered || r.err != nil || p.flushed != 1 {
			t.Errorf("%+v, flushed %d times", r, p.flushed)
		}
		before := time.Now()
		if r := <-p.prove(t); r.answered || r.err != nil || p.flushed != 2 || !time.Now().Equal(before) {
			t.Errorf("the second time: %+v, flushed %d times", r, p.flushed)
		}
		if p.dead != 0 {
			t.Error("a peer that never answers counts as dead")
		}
		// It may have been slow only.
		p.Probe()
		synctest.Wait()
		<-p.pings
		p.Answered((<-p.pings).Reply(stanza.TypeResult))
		done := p.prove(t)
		p.Answered((<-p.pings).Reply(stanza.TypeResult))
		if r := <-done; !r.answered {
			t.Errorf("a peer that answers after all: %+v", r)
		}
	})
}

// TestDead: a peer that has answered before and does not any more is dead, and nothing
// counts as proven.
func TestDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeer()
		done := p.prove(t)
		p.Answered((<-p.pings).Reply(stanza.TypeResult))
		<-done
		done = p.prove(t)
		time.Sleep(31 * time.Second) // of the bubble
		synctest.Wait()
		if p.dead != 1 || len(done) != 0 {
			t.Errorf("dead %d times, %d results", p.dead, len(done))
		}
		p.Close()
		if r := <-done; r.answered || !errors.Is(r.err, ErrClosed) {
			t.Errorf("%+v", r)
		}
	})
}

// TestNotSent: a ping that could not be sent fails the proof.
func TestNotSent(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	p := New(Options{Send: func(context.Context, *stanza.Stanza) error { return broken }})
	defer p.Close()
	if _, err := p.Prove(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
