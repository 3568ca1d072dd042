package store

import (
	"context"
	"sync"
)

// turns are locks by name. The zero value is ready.
type turns struct {
	mu    sync.Mutex
	names map[string]*turn
}

type turn struct {
	free  chan struct{} // holds one while nobody has the turn
	users int           // who have it or wait for it; guarded by turns.mu
}

// take waits for the turn of a name until ctx ends. Whoever has it calls done.
func (t *turns) take(ctx context.Context, name string) (done func(), err error) {
	t.mu.Lock()
	n := t.names[name]
	if n == nil {
		n = &turn{free: make(chan struct{}, 1)}
		n.free <- struct{}{}
		if t.names == nil {
			t.names = make(map[string]*turn)
		}
		t.names[name] = n
	}
	n.users++
	t.mu.Unlock()
	select {
	case <-n.free:
		return func() {
			n.free <- struct{}{}
			t.leave(name, n)
		}, nil
	case <-ctx.Done():
		t.leave(name, n)
		return nil, ctx.Err()
	}
}

func (t *turns) leave(name string, n *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.users--; n.users == 0 {
		delete(t.names, name)
	}
}
