package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// chunk is the size of the pieces in which a body is stored.
	chunk = 1 << 20

	// maxBodies bounds the bytes of bodies read back for handlers at one time.
	maxBodies = 64 << 20

	// settle is how long after opening a body that nobody refers to any more
	// stays. A crash between a move and its acknowledgement gives the moved
	// message to both stages for a moment: the second may finish and release
	// the body before the first has read it, to find that it was moved already.
	settle = 2 * time.Minute

	// sweepInterval is how often bodies are looked for that were released
	// but not removed.
	sweepInterval = time.Minute

	// choreInterval is how often something that failed is tried again.
	choreInterval = 5 * time.Second
)

// body is stored once for n messages: `body.<id>.c<i>` are its pieces, and
// `body.<id>.d.<k>` says that the k-th message is done with it. Marks are a set,
// so that marking twice does no harm; with n of them everything is purged.
// The id ends in "-<n>".
type body struct {
	id   string
	n    int // references to be stored
	refs int // references given out so far
	data []byte
}

// bodyRef is what a message holds in place of its body.
type bodyRef struct {
	id   string
	k, n int
	size int64
}

func (r *bodyRef) String() string { return fmt.Sprintf("%s %d %d %d", r.id, r.k, r.n, r.size) }

func parseRef(s string) (*bodyRef, error) {
	r := new(bodyRef)
	if _, err := fmt.Sscanf(s, "%s %d %d %d", &r.id, &r.k, &r.n, &r.size); err != nil || r.size < 0 || token(r.id) != r.id {
		return nil, fmt.Errorf("reference to a body: %q", s)
	}
	return r, nil
}

func newBodyID(n int) string { return rand.Text() + "-" + strconv.Itoa(n) }

func bodyPiece(id string, i int) string { return "body." + id + ".c" + strconv.Itoa(i) }
func bodyMark(id string, k int) string  { return "body." + id + ".d." + strconv.Itoa(k) }

// writeBodies stores bodies ahead of the messages that refer to them. A crash
// in between leaves pieces that nothing refers to, until the stream's MaxAge.
func (b *Broker) writeBodies(ctx context.Context, bodies []*body) error {
	for i, bd := range bodies {
		for j := 0; j*chunk < len(bd.data); j++ {
			piece := bd.data[j*chunk : min((j+1)*chunk, len(bd.data))]
			if _, err := b.publish(ctx, &nats.Msg{Subject: bodyPiece(bd.id, j), Data: piece}); err != nil {
				b.dropBodies(bodies[:i+1])
				return fmt.Errorf("body: %w", err)
			}
		}
	}
	return nil
}

// maxChores is how many bodies may wait to be removed or released.
const maxChores = 1024

// dropBodies has bodies removed that no stored message refers to. It does not wait
// for that: the server may be in trouble.
func (b *Broker) dropBodies(bodies []*body) {
	for _, bd := range bodies {
		b.later(func(ctx context.Context) error { return b.purgeBody(ctx, bd.id) })
	}
}

// later has something about a body done by sweepBodies, and tried again until it
// succeeds. What is too much, or cut off by the end of the process, goes with the
// stream's MaxAge.
func (b *Broker) later(chore func(context.Context) error) {
	select {
	case b.chores <- chore:
	default:
		b.log.Warn().Msg("a body is left behind until its age")
	}
}

// readBody fetches what r refers to: errBodyMissing when a piece is not there,
// anything else is temporary.
func (b *Broker) readBody(ctx context.Context, r *bodyRef) ([]byte, error) {
	data := make([]byte, 0, r.size)
	for i := 0; int64(len(data)) < r.size; i++ {
		m, err := b.readLast(ctx, streamBody, bodyPiece(r.id, i))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil, fmt.Errorf("%w: %s piece %d", errBodyMissing, r.id, i)
		case err != nil:
			return nil, fmt.Errorf("body %s: %w", r.id, err)
		case len(m.data) == 0 || int64(len(data)+len(m.data)) > r.size:
			return nil, fmt.Errorf("%w: %s piece %d has %d bytes", errBodyMissing, r.id, i, len(m.data))
		}
		data = append(data, m.data...)
	}
	return data, nil
}

// release marks r as done with; the last one removes the body. It is called
// after the acknowledgement of the message is certain: a message without its
// body would be worse than a body without its message.
func (b *Broker) release(ctx context.Context, r *bodyRef) {
	if r == nil {
		return
	}
	if err := b.releaseNow(ctx, r); err != nil {
		b.log.Debug().Err(err).Str("body", r.id).Msg("body not released yet")
		b.later(func(ctx context.Context) error { return b.releaseNow(ctx, r) })
	}
}

func (b *Broker) releaseNow(ctx context.Context, r *bodyRef) error {
	_, err := b.publish(ctx, &nats.Msg{Subject: bodyMark(r.id, r.k)})
	if err == nil && time.Since(b.opened) > settle {
		err = b.purgeIfDone(ctx, r)
	}
	return err
}

func (b *Broker) purgeIfDone(ctx context.Context, r *bodyRef) error {
	if r.n > 1 {
		done, err := b.released(ctx, bodyMark(r.id, 0)[:len(bodyMark(r.id, 0))-1]+"*")
		if err != nil || done[r.id] < r.n {
			return err
		}
	}
	return b.purgeBody(ctx, r.id)
}

// released counts the marks under filter, by body.
func (b *Broker) released(ctx context.Context, filter string) (map[string]int, error) {
	s, err := b.admin.js.Stream(ctx, streamBody) // a value of our own: Info writes into it
	if err != nil {
		return nil, fmt.Errorf("marks of bodies: %w", err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("marks of bodies: %w", err)
	}
	done := make(map[string]int)
	for subject := range info.State.Subjects {
		if t := strings.Split(subject, "."); len(t) == 4 {
			done[t[1]]++
		}
	}
	return done, nil
}

func (b *Broker) purgeBody(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, b.o.StoreTimeout)
	defer cancel()
	if err := b.streams[streamBody].Purge(ctx, jetstream.WithPurgeSubject("body."+id+".>")); err != nil {
		return fmt.Errorf("purge body %s: %w", id, err)
	}
	return nil
}

// sweepBodies does the chores, and removes released bodies that nobody has removed:
// those of the first minutes, and those whose release was cut off by a crash.
func (b *Broker) sweepBodies(ctx context.Context) {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	retry := time.NewTicker(choreInterval)
	defer retry.Stop()
	seen := make(map[string]time.Time)
	var again []func(context.Context) error // chores that have failed
	for {
		select {
		case <-ctx.Done():
			return
		case chore := <-b.chores:
			if chore(ctx) != nil && len(again) < maxChores {
				again = append(again, chore)
			}
		case now := <-t.C:
			if err := b.sweep(ctx, seen, now, settle); err != nil && ctx.Err() == nil {
				b.log.Warn().Err(err).Msg("released bodies not removed")
			}
		case <-retry.C:
			for len(again) > 0 {
				chore := again[0]
				again = again[1:]
				if chore(ctx) != nil {
					again = append(again, chore) // the others may fare better
					break
				}
			}
		}
	}
}

// sweep removes the bodies that seen knows to be done with for at least age,
// and brings seen up to date.
func (b *Broker) sweep(ctx context.Context, seen map[string]time.Time, now time.Time, age time.Duration) error {
	done, err := b.released(ctx, "body.*.d.*")
	if err != nil {
		return err
	}
	for id := range seen {
		if _, ok := done[id]; !ok {
			delete(seen, id)
		}
	}
	for id, marks := range done {
		n, err := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
		if err != nil || marks < n {
			continue
		}
		if first, ok := seen[id]; !ok {
			seen[id] = now
			if age > 0 {
				continue
			}
		} else if now.Sub(first) < age {
			continue
		}
		if err := b.purgeBody(ctx, id); err != nil {
			return err
		}
		delete(seen, id)
	}
	return nil
}
