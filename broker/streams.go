package broker

import (
	"context"
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

// The journal: how long the record of a finished message can be looked up where the
// options do not say, and how many messages it has at most. Each message has a subject
// of its own, of which the server keeps an index in memory: 100 bytes, and 250 while what is near it in
// the file was in use within two minutes. So their number is bounded beside the
// bytes: 52 MiB of memory for the 209,715 of a store of 8 GiB, were each record to
// go by itself (measured: 57 MiB for 200,000 just written, 20 later). Bundles hold
// more of them.
const (
	traceAge   = 7 * 24 * time.Hour
	traceShare = 40 * kib // of the store, for each message
	traceMost  = 1_000_000
)

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
	trace := kept(streamTrace, "trace.*.*", 3, o.Journal)
	trace.MaxMsgs = min(max(o.MaxStore/traceShare, 1), traceMost)
	trace.MaxMsgsPerSubject = 1           // a repetition takes the place of the first
	trace.MaxMsgSize = maxRecord + 16<<10 // the record with its header
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
	// Records of the layout that knew no recipients, trace.<id>.
	if err := b.streams[streamTrace].Purge(ctx, jetstream.WithPurgeSubject("trace.*")); err != nil {
		return fmt.Errorf("broker: stream %s: %w", streamTrace, err)
	}
	b.recovered = make(map[Stage]uint64)
	for _, q := range queues {
		b.recovered[q] = b.streams[streamOf(q)].CachedInfo().State.LastSeq
	}
	return nil
}

// ensureStream makes or changes one stream. A cluster that is being started knows of
// servers that it has not heard from yet: those are waited for.
func (b *Broker) ensureStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout/2)
	defer cancel()
	for {
		s, err := b.admin.js.CreateOrUpdateStream(ctx, cfg)
		if !peerOffline(err) || !pause(ctx, 500*time.Millisecond) {
			return s, err
		}
	}
}

// createTimeout is how long a cluster has to make a consumer, and half of it a
// stream. It may choose a server for its leader that has just died; then it takes
// an election.
const createTimeout = 30 * time.Second

// createConsumer makes a consumer, which needs a name: who gets no answer asks for
// the same again.
func (b *Broker) createConsumer(ctx context.Context, stage Stage, cfg jetstream.ConsumerConfig) (cons jetstream.Consumer, err error) {
	err = b.work.insist(ctx, createTimeout, func(ctx context.Context) (err error) {
		cons, err = b.work.js.CreateConsumer(ctx, streamOf(stage), cfg)
		return err
	})
	return cons, err
}
