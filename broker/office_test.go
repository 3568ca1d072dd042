package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// desk is an office that several brokers of a test preside over.
type desk struct {
	t    *testing.T
	busy atomic.Int32
	turn atomic.Int64 // how often somebody began

	mu   sync.Mutex
	last *Broker // who began last
}

// preside has b preside until stop, which waits for the end.
func (d *desk) preside(b *Broker) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Preside(ctx, "test", func(ctx, _ context.Context) {
			if d.busy.Add(1) > 1 {
				d.t.Error("two preside")
			}
			d.mu.Lock()
			d.last = b
			d.mu.Unlock()
			d.turn.Add(1)
			<-ctx.Done()
			d.busy.Add(-1)
		}); err != nil {
			d.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	d.t.Cleanup(stop)
	return stop
}

func (d *desk) at(b *Broker) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.busy.Load() == 1 && d.last == b
}

// One presides at a time, whoever comes and goes, and somebody always does.
func TestPreside(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	d := &desk{t: t}
	first := s.node(s.options(nodeSlices))
	stop := d.preside(first)
	eventually(t, "the first presides", func() bool { return d.at(first) })
	if err := first.Preside(testContext(t), "test", nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("presides twice: %v", err)
	}
	second := s.node(s.options(nodeSlices))
	d.preside(second)
	stop()
	eventually(t, "the second after the first has resigned", func() bool { return d.at(second) })
	// Without a lease nobody does; with one again the same.
	turn := d.turn.Load()
	second.lease.revoke()
	second.beatNow()
	eventually(t, "another turn", func() bool { return d.turn.Load() > turn && d.at(second) })
	closeTest(t, second)
	stop = d.preside(first)
	eventually(t, "the first again", func() bool { return d.at(first) })
	stop()
	if d.busy.Load() != 0 {
		t.Error("presides after Preside has returned")
	}
}

// Who is killed is replaced, and who is stopped for longer than its lease resigns
// when it goes on.
func TestPresideKilled(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	d := &desk{t: t}
	b := s.node(s.options(nodeSlices))
	d.preside(b)
	eventually(t, "the first presides", func() bool { return d.at(b) })
	var p *process
	for p == nil || wantedOwners("office-test", 1, []string{p.name, b.members.name()})[0] != p.name {
		if p != nil {
			p.kill()
		}
		p = startProcess(t, s, "", "")
	}
	p.await("presides")
	if d.busy.Load() != 0 {
		t.Error("two preside")
	}
	p.kill()
	eventually(t, "the first after the death of the other", func() bool { return d.at(b) })
}

// With the embedded server there is nobody else.
func TestPresideAlone(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	d := &desk{t: t}
	stop := d.preside(b)
	eventually(t, "it presides", func() bool { return d.at(b) })
	stop()
	stop = d.preside(b)
	eventually(t, "it presides again", func() bool { return d.at(b) })
	closeTest(t, b)
	if d.busy.Load() != 0 {
		t.Error("presides over a closed broker")
	}
	stop()
}

// What was begun may go on for a moment when the office is given up in order.
func TestPresideGrace(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx, cancel := context.WithCancel(testContext(t))
	ended := false
	err := b.Preside(ctx, "test", func(ctx, work context.Context) {
		cancel()
		<-ctx.Done()
		if work.Err() != nil {
			t.Error("the work ends at once")
		}
		<-work.Done()
		ended = true
	})
	if err != nil || !ended {
		t.Errorf("ended %t: %v", ended, err)
	}
}
