package app

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// journal notes what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// waits is a part that runs until its context ends and then needs a while.
func (j *journal) waits(name string, while time.Duration, err error) part {
	return part{name, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(while) // in a synctest bubble: no real time passes
		j.add(name)
		return err
	}}
}

var errBroken = errors.New("broken")

func TestRunParts(t *testing.T) {
	t.Parallel()
	const grace = 5 * time.Second
	for _, c := range []struct {
		name  string
		parts func(*journal) []part
		stop  time.Duration // when ctx ends; 0: never
		ends  []string      // in this order
		err   string
		is    error
	}{
		{
			name: "in reverse order, each when the one after it is done",
			parts: func(j *journal) []part {
				return []part{j.waits("a", 0, nil), j.waits("b", 0, nil), j.waits("c", time.Second, nil)}
			},
			stop: time.Minute, ends: []string{"c", "b", "a"},
		}, {
			name: "one that hangs does not keep those before it running",
			parts: func(j *journal) []part {
				return []part{j.waits("a", 0, nil), j.waits("b", time.Minute, nil), j.waits("c", 0, nil)}
			},
			stop: time.Minute, ends: []string{"c", "a", "b"},
		}, {
			name: "one that fails takes the others with it",
			parts: func(j *journal) []part {
				return []part{j.waits("a", 0, nil), {"b", func(context.Context) error { return errBroken }}, j.waits("c", 0, nil)}
			},
			ends: []string{"c", "a"}, err: "b: broken", is: errBroken,
		}, {
			name: "one that ends without a reason has failed",
			parts: func(j *journal) []part {
				return []part{j.waits("a", 0, nil), {"b", func(context.Context) error { return nil }}}
			},
			ends: []string{"a"}, err: "b: ended by itself",
		}, {
			name:  "what goes wrong at the end is told",
			parts: func(j *journal) []part { return []part{j.waits("a", 0, errBroken), j.waits("b", 0, nil)} },
			stop:  time.Second, ends: []string{"b", "a"}, err: "a: broken", is: errBroken,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.stop > 0 {
					defer time.AfterFunc(c.stop, cancel).Stop()
				}
				j := new(journal)
				err := runParts(ctx, c.parts(j), grace)
				if !slices.Equal(j.lines, c.ends) {
					t.Errorf("ended in the order %v, want %v", j.lines, c.ends)
				}
				switch {
				case c.err == "" && err != nil, c.err != "" && (err == nil || err.Error() != c.err):
					t.Errorf("error %v, want %q", err, c.err)
				case c.is != nil && !errors.Is(err, c.is):
					t.Errorf("error %v does not wrap its cause", err)
				}
			})
		})
	}
}
