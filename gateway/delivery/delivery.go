// Package delivery carries messages from custody to the router: conversion
// turns stored messages into stanzas, delivery hands stanzas to the sessions of
// their recipient and lets go of them only when their arrival is proven, and
// what cannot be delivered now waits in the PARK stage, in order.
//
//	conversion.go  INGEST stage: message to stanza, filters
//	delivery.go    the parts of a Delivery, Run, Keep
//	live.go        DELIVER stage: a run of messages for one recipient
//	send.go        one message to the router, and what it means when it is not taken
//	prove.go       what sessions say about what they got
//	route.go       the routes that are in use or have parked messages
//	drain.go       PARK stage: what waited, when the recipient is back
package delivery

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// grace is how long delivery may go on after the end of its context, where
// ConsumeOptions do not say: time for clients to prove what they were sent.
const grace = 15 * time.Second

// Broker is what delivery needs of the broker.
type Broker interface {
	Store(ctx context.Context, msgs ...broker.Message) error
	Consume(ctx context.Context, stage broker.Stage, h broker.Handler, o broker.ConsumeOptions) error
	Drain(ctx context.Context, stage broker.Stage, route string, h broker.Handler) (int, error)
	Routes(ctx context.Context, stage broker.Stage) (map[string]int, error)
	Last(ctx context.Context, stage broker.Stage, route string) (*broker.Delivery, error)
}

// Router is what delivery needs of the router.
type Router interface {
	// DeliverKept sends st to the sessions that RFC 6121 §8.5 names and returns
	// those that took it; had says that a client has received it before.
	DeliverKept(ctx context.Context, st *stanza.Stanza) (took []router.Session, had bool, err error)
	// Reachable says whether DeliverKept would find anyone for a message to bare.
	Reachable(bare jid.JID) bool
}

// Delivery owns the way from the DELIVER stage to the router.
type Delivery struct {
	broker Broker
	router Router
	trace  *trace.Bus
	log    zerolog.Logger
	wake   chan struct{} // holds one when woken is not empty

	mu     sync.Mutex // guards what follows, and the fields of routes that say so
	routes map[string]*route
	woken  []string        // routes to be drained, each there once
	marks  map[string]mark // see resume.go

	delivered, deferred, failed atomic.Uint64
}

// Stats are counts since the start; Parked is what waits now.
type Stats struct {
	Delivered, Deferred, Failed uint64
	Parked, ParkedRoutes        int
}

// New returns a Delivery; Run makes it work.
func New(b Broker, r Router, bus *trace.Bus, log zerolog.Logger) *Delivery {
	return &Delivery{broker: b, router: r, trace: bus, log: log,
		wake: make(chan struct{}, 1), routes: make(map[string]*route)}
}

// Run delivers until ctx ends, then finishes what it began, for o.Grace at
// most. The error is the broker's, which then gives us no more messages.
func (dl *Delivery) Run(ctx context.Context, o broker.ConsumeOptions) error {
	switch err := dl.recoverParked(ctx); {
	case ctx.Err() != nil:
		return nil // before it began
	case err != nil:
		return err
	}
	if o.Grace <= 0 {
		o.Grace = grace
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()

	var parts sync.WaitGroup
	idle := make(chan struct{})
	parts.Go(func() {
		defer close(idle)
		dl.drainer(ctx, work)
	})
	parts.Go(func() {
		<-ctx.Done()
		t := time.NewTimer(o.Grace)
		defer t.Stop()
		select {
		case <-t.C:
			abort()
		case <-idle:
		}
	})
	err := dl.broker.Consume(ctx, broker.Deliver, dl, o)
	stop()
	if err != nil {
		abort() // nothing of what is begun can be carried out
	}
	parts.Wait()
	return err
}

// recoverParked finds what a former process has parked, and has it tried: its
// recipients may have logged in already.
func (dl *Delivery) recoverParked(ctx context.Context) error {
	parked, err := dl.broker.Routes(ctx, broker.Park)
	if err != nil {
		return fmt.Errorf("delivery: parked routes: %w", err)
	}
	total := 0
	if err := dl.findMarks(ctx, parked); err != nil {
		return err
	}
	for name, n := range parked {
		rt := dl.lock(name)
		rt.parked.Add(int64(n))
		dl.unlock(name, rt)
		dl.wakeRoute(name)
		total += n
	}
	if total > 0 {
		dl.log.Info().Int("messages", total).Int("routes", len(parked)).Msg("waiting for their recipients")
	}
	return nil
}

// Keep takes custody of a message from one Jabber user to another who is away
// (XEP-0160 §3). It is a router.Custody.
func (dl *Delivery) Keep(ctx context.Context, st *stanza.Stanza) error {
	now := time.Now()
	// It came from no mail address: the null path, so that no mail bounces.
	rec := custody.Record{ID: mcmt.NewID(now), To: mcmt.Recipient{Address: st.To.Bare().String()},
		Listener: "xmpp_listener", Accepted: now, JID: st.To, StanzaID: st.ID, Part: "xmpp"}
	msg, err := custody.Deliver(rec, string(rec.ID), st.Append(nil, ""))
	if err != nil {
		return fmt.Errorf("keep message: %w", err)
	}
	if err := dl.broker.Store(ctx, msg); err != nil {
		return fmt.Errorf("keep message: %w", err)
	}
	dl.trace.Emit(event(trace.Stored, rec, trace.Event{Listener: rec.Listener, Size: len(msg.Body)}))
	return nil
}

// Stats returns the counts since the start, and what waits now.
func (dl *Delivery) Stats() Stats {
	s := Stats{Delivered: dl.delivered.Load(), Deferred: dl.deferred.Load(), Failed: dl.failed.Load()}
	dl.mu.Lock()
	defer dl.mu.Unlock()
	for _, rt := range dl.routes {
		if n := rt.parked.Load(); n > 0 {
			s.Parked += int(n)
			s.ParkedRoutes++
		}
	}
	return s
}

// event fills in what is known of the message.
func event(stage trace.Stage, r custody.Record, e trace.Event) trace.Event {
	e.Stage, e.ID, e.StanzaID, e.From, e.To = stage, string(r.ID), r.StanzaID, r.From, r.To.Address
	if !r.JID.IsZero() {
		e.JID = r.JID.String()
	}
	if !r.Accepted.IsZero() {
		e.Since = time.Since(r.Accepted)
	}
	return e
}
