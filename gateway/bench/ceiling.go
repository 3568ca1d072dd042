package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/backoff"
)

// Ceilings measures what the broker alone does with messages as large as those of o, in
// folders that are made in dir and removed: two streams and a copy, and the same with
// every publish on the disk before its answer. rate is that of the gateway.
func Ceilings(ctx context.Context, o Options, dir string, rate float64) ([]Ceiling, error) {
	o = o.orDefault()
	var all []Ceiling
	for _, c := range []struct {
		what   string
		always bool
		n      int
	}{
		{"JetStream, a copy between two streams", false, o.Messages},
		{"the same, each publish on the disk first", true, max(1, o.Messages/10)}, // it is slow
	} {
		r, err := copyRate(ctx, o, dir, c.always, c.n, c.what)
		if err != nil {
			return all, err
		}
		all = append(all, Ceiling{c.what, r, rate / r})
	}
	return all, nil
}

func copyRate(ctx context.Context, o Options, dir string, always bool, n int, what string) (rate float64, err error) {
	folder, err := os.MkdirTemp(dir, "mcmt2xmpp-ceiling-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	c, err := broker.OpenCeiling(ctx, folder, always)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	data := []byte(strings.Repeat("x", o.Size))
	start := time.Now()
	var next atomic.Int64
	var putting sync.WaitGroup
	for range o.Injected {
		putting.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := c.Put(ctx, "user"+strconv.FormatInt(i%int64(max(1, len(o.Target.Users))), 10), data); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	putting.Wait()
	for {
		arrived, err := c.Arrived()
		if err == nil {
			err = context.Cause(ctx)
		}
		switch {
		case err != nil:
			return 0, fmt.Errorf("%s: %w", what, err)
		case arrived >= int64(n):
			o.Progress(what, 1)
			return float64(n) / time.Since(start).Seconds(), nil
		}
		o.Progress(what, float64(arrived)/float64(n))
		backoff.Wait(ctx, time.Millisecond)
	}
}

func readFile(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}
