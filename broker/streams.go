package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stage is a place where messages wait for the next step; it is also the first
// token of their subjects.
type Stage string

// The stages. Messages are put into Ingest, Deliver, Park and Mail by Store and
// Move; into Dead only by Term.
const (
	Ingest  Stage = "in"   // accepted, to be converted
	Deliver Stage = "dlv"  // converted, to be delivered
	Park    Stage = "park" // the route cannot take it now
	Mail    Stage = "mail" // to be relayed as mail
	Dead    Stage = "dead" // given up, kept for people to look at
)

// The names of the streams; they are part of the layout (DESIGN 3.2).
const (
	streamIngest  = "INGEST"
	streamDeliver = "DELIVER"
	streamPark    = "PARK"
	streamMail    = "MAIL"
	streamDead    = "DEAD"
	streamTrace   = "TRACE"
	streamBody    = "BODY"
)

// streamOf returns the stream of a stage, "" when there is no such stage.
func streamOf(s Stage) string {
	switch s {
	case Ingest:
		return streamIngest
	case Deliver:
		return streamDeliver
	case Park:
		return streamPark
	case Mail:
		return streamMail
	case Dead:
		return streamDead
	}
	return ""
}

// queues are the stages that are work queues, in the order of the pipeline.
var queues = []Stage{Ingest, Deliver, Park, Mail}

// traceAge is how long the records of finished messages can be looked up.
const traceAge = 7 * 24 * time.Hour

// layout is the table of DESIGN 3.2. The shares add up to 100.
func layout(o Options) []jetstream.StreamConfig {
	queue := func(s Stage, share int64, window time.Duration) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: streamOf(s), Subjects: []string{string(s) + ".*.*.*"},
			Retention: jetstream.WorkQueuePolicy, MaxBytes: o.MaxStore / 100 * share,
			Duplicates: window, AllowAtomicPublish: true,
			// Read by sequence when a held message was dropped from memory.
			AllowDirect: true,
		}
	}
	kept := func(name, subject string, share int64, age time.Duration) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: []string{subject},
			Retention: jetstream.LimitsPolicy, MaxBytes: o.MaxStore / 100 * share,
			MaxAge: age, Duplicates: min(age, 2*time.Minute), AllowDirect: true,
		}
	}
	trace := kept(streamTrace, "trace.*", 3, traceAge)
	cfgs := []jetstream.StreamConfig{
		queue(Ingest, 20, 2*time.Minute),
		queue(Deliver, 15, time.Minute),
		queue(Park, 22, time.Minute),
		queue(Mail, 10, time.Minute),
		kept(streamDead, "dead.*.*.*", 5, o.Expiration),
		trace,
		// MaxAge only catches bodies whose last reference was lost in a crash:
		// a message lives for Expiration and then as long again in DEAD.
		kept(streamBody, "body.>", 25, 2*o.Expiration+24*time.Hour),
	}
	for i := range cfgs {
		cfgs[i].Storage = jetstream.FileStorage
		cfgs[i].Replicas = o.Replicas
		cfgs[i].Discard = jetstream.DiscardNew
		if cfgs[i].Name == streamTrace {
			cfgs[i].Discard = jetstream.DiscardOld // a record of the past, not custody
		}
	}
	return cfgs
}

// ensureStreams makes the streams, or brings them to the present layout.
func (b *Broker) ensureStreams(ctx context.Context) error {
	b.streams = make(map[string]jetstream.Stream)
	for _, cfg := range layout(b.o) {
		s, err := b.ensureStream(ctx, cfg)
		if err != nil {
			return fmt.Errorf("broker: stream %s: %w", cfg.Name, streamError(b.o, cfg, err))
		}
		b.streams[cfg.Name] = s
	}
	b.recovered = make(map[Stage]uint64)
	for _, q := range queues {
		b.recovered[q] = b.streams[streamOf(q)].CachedInfo().State.LastSeq
	}
	return nil
}

// ensureStream makes or changes one stream.
func (b *Broker) ensureStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout/2)
	defer cancel()
	return b.admin.js.CreateOrUpdateStream(ctx, cfg)
}

const (
	// createTimeout is how long a cluster has to make a stream or consumer. It may
	// choose a server for its leader that has just died; then it takes an election.
	createTimeout = 30 * time.Second

	// createTry is after what time it is asked again for the same.
	createTry = 5 * time.Second
)

// createConsumer makes a consumer, which needs a name.
func (b *Broker) createConsumer(ctx context.Context, stage Stage, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	for begin := time.Now(); ; {
		try, cancel := b.work.within(ctx, createTry)
		cons, err := b.work.js.CreateConsumer(try, streamOf(stage), cfg)
		if err != nil && try.Err() != nil {
			err = context.Cause(try)
		}
		cancel()
		var late noAnswer
		if !errors.As(err, &late) || time.Since(begin) > createTimeout {
			return cons, err
		}
	}
}
