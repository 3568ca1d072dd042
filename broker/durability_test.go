package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// disk is a disk of which we know what is on it: what the streams held when the
// last sync that has ended began.
type disk struct {
	b *Broker // set before the first sync

	// began gets a value when a sync begins, and each sync then ends with an
	// error from end. Both nil: it ends at once.
	began chan struct{}
	end   chan error

	mu    sync.Mutex
	on    map[string]bool // subjects
	syncs int
}

func (d *disk) open(string) (func() error, func() error, error) {
	return d.sync, func() error { return nil }, nil
}

func (d *disk) sync() error {
	subjects := make(map[string]bool)
	for _, stream := range []string{streamIngest, streamDeliver, streamDead} {
		s, err := d.b.admin.js.Stream(context.Background(), stream)
		if err != nil {
			return err
		}
		info, err := s.Info(context.Background(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			return err
		}
		for subject := range info.State.Subjects {
			subjects[subject] = true
		}
	}
	records, err := d.b.Records(context.Background(), "", "", time.Time{}, math.MaxInt)
	if err != nil {
		return err
	}
	for _, r := range records {
		subjects[r.subject()] = true
	}
	if d.began != nil {
		d.began <- struct{}{}
		if err := <-d.end; err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	for subject := range subjects {
		if d.on == nil {
			d.on = make(map[string]bool)
		}
		d.on[subject] = true
	}
	return nil
}

func (d *disk) has(subject string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.on[subject]
}

func openPower(t *testing.T, d *disk) *Broker {
	t.Helper()
	o := small(t.TempDir())
	o.Durability, o.openSync = DurabilityPower, d.open
	d.b = openTest(t, o)
	return d.b
}

// Store returns only after a sync has ended that began after its PubAck, and
// callers share syncs.
func TestPowerStore(t *testing.T) {
	t.Parallel()
	d := new(disk)
	b := openPower(t, d)
	ctx := testContext(t)
	const callers, each = 16, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				m := Message{Stage: Ingest, Route: routeName(c), Recipient: strconv.Itoa(i), Body: []byte("text")}
				if err := b.Store(ctx, m); err != nil {
					t.Error(err)
				}
				if subject := subjectOf(m.Stage, m.Route, m.Recipient); !d.has(subject) {
					t.Errorf("%s was accepted and is not on the disk", subject)
				}
			}
		})
	}
	wg.Wait()
	if d.syncs > callers*each/2 {
		t.Errorf("%d syncs for %d messages", d.syncs, callers*each)
	}
}

// acks counts the acknowledgements that the server gets for a stream.
func acks(t *testing.T, b *Broker, stream string, each func(seq uint64)) *nats.Subscription {
	t.Helper()
	sub, err := b.admin.nc.Subscribe("$JS.ACK."+stream+".>", func(m *nats.Msg) {
		if string(m.Data) != string(ackBody) {
			return
		}
		seq, err := strconv.ParseUint(strings.Split(m.Subject, ".")[5], 10, 64)
		if err != nil {
			t.Errorf("%s: %v", m.Subject, err)
		}
		each(seq)
	})
	if err == nil {
		err = b.admin.nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// The source of a Move or Term is acknowledged only when what follows from it
// is on the disk; the route need not wait for that.
func TestPowerMove(t *testing.T) {
	t.Parallel()
	d := new(disk)
	b := openPower(t, d)
	const n = 20
	fill(t, b, Ingest, 1, n)
	d.began, d.end = make(chan struct{}, 100), make(chan error)
	target := func(seq uint64) string { // of the message at seq
		if seq%5 == 0 {
			return deadSubject("bad", &Delivery{Route: routeName(0), Recipient: strconv.FormatUint(seq, 10)})
		}
		return subjectOf(Deliver, routeName(0), strconv.FormatUint(seq, 10))
	}
	var mu sync.Mutex
	acked := make(map[uint64]bool)
	acks(t, b, streamIngest, func(seq uint64) {
		mu.Lock()
		defer mu.Unlock()
		acked[seq] = true
		if !d.has(target(seq)) {
			t.Errorf("%d acknowledged, and %s is not on the disk", seq, target(seq))
		}
	})
	stop := consume(t, b, Ingest, func(_ context.Context, ds []*Delivery) []Disposition {
		var out []Disposition
		for _, del := range ds {
			del.Recipient = strconv.FormatUint(del.Seq, 10)
			if del.Seq%5 == 0 {
				out = append(out, Term("bad"))
				continue
			}
			out = append(out, Move(Message{Stage: Deliver, Route: del.Route, Recipient: del.Recipient, ID: del.ID, BodyOf: del}))
		}
		return out
	}, ConsumeOptions{Batch: 3})
	await(t, "sync", d.began)
	await(t, "the whole route, while the first sync runs", holds(t, b, map[string]uint64{streamDeliver: n - n/5, streamDead: n / 5}))
	if err := errors.Join(b.work.nc.Flush(), b.admin.nc.Flush()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if len(acked) > 0 {
		t.Errorf("acknowledged before anything was on the disk: %v", acked)
	}
	mu.Unlock()
	close(d.end)
	await(t, "an empty stage", emptied(t, b, streamIngest))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(d.began) > 2 {
		t.Errorf("%d more syncs for acknowledgements that had to wait together", len(d.began))
	}
}

// holds closes the channel when the streams hold so many messages.
func holds(t *testing.T, b *Broker, want map[string]uint64) <-chan struct{} {
	t.Helper()
	ch := make(chan struct{})
	ctx := testContext(t)
	go func() {
		defer close(ch)
		for stream, n := range want {
			for pause(ctx, 5*time.Millisecond) {
				if s, err := b.admin.js.Stream(ctx, stream); err == nil && s.CachedInfo().State.Msgs == n {
					break
				}
			}
		}
	}()
	return ch
}

// What a sync that failed was to put on the disk is neither accepted nor
// acknowledged, nor is anything after it; the restarted process hands it on.
func TestPowerSyncFails(t *testing.T) {
	t.Parallel()
	d := &disk{began: make(chan struct{}, 100), end: make(chan error)}
	dir := t.TempDir()
	o := small(dir)
	o.Durability, o.openSync = DurabilityPower, d.open
	d.b = openTest(t, o)
	b := d.b
	ctx := testContext(t)
	fails := errors.New("no such luck")

	// The source of a Move, stored while the disk still works.
	go func() { d.end <- nil }()
	if err := b.Store(ctx, Message{Stage: Ingest, Route: "r", ID: "r-0", Body: []byte("text")}); err != nil {
		t.Fatal(err)
	}
	<-d.began
	acks(t, b, streamIngest, func(seq uint64) { t.Errorf("%d acknowledged", seq) })
	stop := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	await(t, "sync", d.began)
	stored := make(chan error, 1)
	go func() { stored <- b.Store(ctx, Message{Stage: Mail, Route: "r"}) }()
	d.end <- fails
	close(d.end) // the disk works again, but what it lost it has lost

	if err := <-stored; !errors.Is(err, ErrUnavailable) || permanent(err) {
		t.Errorf("error %v, want a temporary ErrUnavailable", err)
	}
	before := messages(t, b, streamMail)
	if err := b.Store(ctx, Message{Stage: Mail, Route: "r"}); !errors.Is(err, errSync) {
		t.Errorf("error %v, want that of the sync", err)
	}
	if messages(t, b, streamMail) != before {
		t.Error("a message that is refused was stored")
	}
	if err := b.Healthy(); !errors.Is(err, errSync) {
		t.Errorf("healthy says %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	closeTest(t, b)

	o.openSync = nil
	b = openTest(t, o)
	c := collect(1)
	stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	stopOut := consume(t, b, Deliver, c.handle, ConsumeOptions{})
	await(t, "the message", c.all)
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		t.Fatal(err)
	}
}

// The real sync of the real file system: all arrives, large bodies and parked
// messages too.
func TestPower(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	o.Durability = DurabilityPower
	b := openTest(t, o)
	const routes, per = 8, 25
	fill(t, b, Ingest, routes, per)
	large := Message{Stage: Ingest, Route: routeName(0), ID: fmt.Sprintf("%s-%d", routeName(0), per), Body: pattern(maxInline + 1)}
	if err := b.Store(testContext(t), large); err != nil {
		t.Fatal(err)
	}
	stop := consume(t, b, Ingest, mover(Park), ConsumeOptions{})
	await(t, "an empty stage", emptied(t, b, streamIngest))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c := collect(routes*per + 1)
	for r := range routes {
		if _, err := b.Drain(testContext(t), Park, routeName(r), HandlerFunc(func(ctx context.Context, ds []*Delivery) []Disposition {
			out := c.handle(ctx, ds)
			for i, d := range ds {
				out[i] = Move(Message{Stage: Deliver, Route: d.Route, ID: d.ID, Body: d.Body}) // not BodyOf: the old body is released
			}
			return out
		})); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all parked messages", c.all)
	c.inOrder(t)
	if n := messages(t, b, streamPark); n != 0 {
		t.Errorf("%d messages left in the stage", n)
	}
}
