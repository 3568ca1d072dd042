package broker

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// joint has those who store several messages of a stage at the same time share the
// server's batches. Each one costs it milliseconds, whatever is in it: it keeps a store
// of its own for a batch. Who comes alone waits for nobody, who comes while a batch is
// under way is in the next.
type joint struct {
	mu      sync.Mutex
	waiting []*rider
	busy    bool // a batch is under way
}

// rider is a group that waits for a batch.
type rider struct {
	g    *group
	done chan error // holds one
}

// errApart is what those hear whose batch was refused, be it because of one of them:
// each tries by itself.
var errApart = errors.New("refused together with others")

// publishJointly publishes the messages of g, all or none, with those of others.
func (b *Broker) publishJointly(ctx context.Context, g *group) error {
	j, r := b.joints[g.stage], &rider{g, make(chan error, 1)}
	j.mu.Lock()
	j.waiting = append(j.waiting, r)
	first := !j.busy
	j.busy = true
	j.mu.Unlock()
	if first {
		b.calls.Add(1) // our caller has one
		go func() {
			defer b.calls.Done()
			b.publishAll(j)
		}()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
	}
	if j.withdraw(r) {
		return requestRefusal(context.Cause(ctx))
	}
	return <-r.done // its bodies are in use until then
}

// withdraw says whether r was still waiting.
func (j *joint) withdraw(r *rider) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	at := slices.Index(j.waiting, r)
	if at < 0 {
		return false
	}
	j.waiting = slices.Delete(j.waiting, at, at+1)
	return true
}

// publishAll publishes until nobody waits.
func (b *Broker) publishAll(j *joint) {
	for riders := j.next(); len(riders) > 0; riders = j.next() {
		msgs := make([]*nats.Msg, 0, maxBatch)
		for _, r := range riders {
			msgs = append(msgs, r.g.msgs...)
		}
		err := b.publishBatch(context.Background(), msgs) // each request has a time of its own
		if len(riders) > 1 && answered(err) && !crowded(err) {
			err = errApart
		}
		for _, r := range riders {
			r.done <- err
		}
	}
}

// next takes those who fit into one batch, none when nobody waits.
func (j *joint) next() (riders []*rider) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, size := 0, int64(0)
	for i, r := range j.waiting {
		if err := r.g.flow.entitled(); err != nil { // the wait may have been long
			r.done <- refuse(ErrUnavailable, err)
			continue
		}
		n, size = n+len(r.g.msgs), size+r.g.text()
		if len(riders) > 0 && (n > maxBatch || size > maxInlineSum) {
			j.waiting = slices.Delete(j.waiting, 0, i)
			return riders
		}
		riders = append(riders, r)
	}
	j.waiting, j.busy = nil, len(riders) > 0
	return riders
}

// crowded says that the server had no room to collect a batch.
func crowded(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && server.ErrorIdentifier(api.ErrorCode) == server.JSAtomicPublishTooManyInflight
}
