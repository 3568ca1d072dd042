// Package delivery carries messages from custody to the router: conversion
// turns stored messages into stanzas, delivery hands stanzas to the sessions of
// their recipient and lets go of them only when their arrival is proven, and
// what cannot be delivered now waits in the PARK stage, in order.
//
//	conversion.go  INGEST stage: message to stanza, filters
//	policy.go      what scripts decide about a message at conversion
//	delivery.go    the parts of a Delivery, Run, Keep
//	live.go        DELIVER stage: a run of messages for one recipient
//	kept.go        the order of messages between users, some of which took this way
//	send.go        one message to the router, and what it means when it is not taken
//	carry.go       MAIL stage: a run of mail for one recipient
//	policy.go      scripts at conversion; hooks.go those at delivery
//	divert.go      the e-mail of a message that is not delivered
//	mail.go        who carries mail, and who tells of ends
//	prove.go       what sessions say about what they got
//	owned.go       a slice of the stage that this process owns, and its routes
//	route.go       the routes that are in use or have parked messages
//	deferred.go    what others hear of messages that begin to wait
//	schedule.go    when a route that has failed is tried again
//	drain.go       PARK stage: what waited, when its time has come
//	resume.go      what a crash left in two stages
//	before.go      what a crash left recorded and not acknowledged
//	tried.go       the attempts on a route, for the messages that wait
//	throttle.go    messages to one domain in some time
//	outcome.go     how messages end
//	orders.go      what operators want done with messages that wait
package delivery

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
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
	RoutesIn(ctx context.Context, stage broker.Stage, in func(partition int) bool) (map[string]int, error)
	Last(ctx context.Context, stage broker.Stage, route string) (*broker.Delivery, error)
	Peek(ctx context.Context, stage broker.Stage, route string, from uint64, limit int) ([]broker.Peeked, uint64, error)
	Record(ctx context.Context, r broker.Record) error
	Records(ctx context.Context, id, recipient string, since time.Time, limit int) ([]broker.Record, error)
}

// Router is what delivery needs of the router.
type Router interface {
	// DeliverKept sends st to the sessions that RFC 6121 §8.5 names and returns
	// those that took it; had says that a client has received it before.
	DeliverKept(ctx context.Context, st *stanza.Stanza) (took []router.Session, had bool, err error)
	// Reachable says whether it is worth while to call DeliverKept for a message to
	// bare.
	Reachable(bare jid.JID) bool
	// Forward sends a stanza on its way: an error to who wrote a message.
	Forward(ctx context.Context, st *stanza.Stanza) error
	// Serves says whether the users of a domain are ours. Others' servers are
	// asked by sending.
	Serves(domain string) bool
}

// States keeps the schedule of routes beyond the life of a process. Save and
// Forget do not block.
type States interface {
	Load(ctx context.Context, partitions []int) (map[string]store.RouteState, error)
	Save(route string, s store.RouteState)
	Forget(route string)
}

// Holds says what an operator holds back: recipients by their bare JID, domains.
type Holds interface{ Held(names ...string) bool }

// Options are what a Delivery is made of. Broker is required, and Router or Carrier.
type Options struct {
	Broker Broker
	Router Router
	Made   *Made // what conversion of this process has made
	// Carrier makes it the delivery of mail: of the MAIL stage, with what of it is parked.
	// Nil: it is that of stanzas, of the DELIVER stage, to the Router.
	Carrier Carrier
	// Reporter tells who sent mail; nil: nobody does.
	Reporter Reporter
	// Hooks returns the scripts that hold now; nil: nobody is asked.
	Hooks func() Hooks
	// Resolve returns the JID of an address that a script has chosen, zero where it is one
	// of mail. Nil: it is a JID.
	Resolve func(address string) (jid.JID, error)
	// Receipts; nil: those of clients are not known.
	Receipts Receipts
	// States and Holds; nil: schedules begin anew with the process, and nothing
	// is held.
	States States
	Holds  Holds
	// Exchange carries operators' orders; nil: there are none.
	Exchange Exchange
	// Outgoing says how messages are sent to a domain. It changes on reload.
	// Nil: the defaults of the configuration for all.
	Outgoing func(domain string) config.Outgoing
	// Filter says why a message must not wait for its recipient and is dropped
	// instead; empty: it may. Nil: all may.
	Filter func(ctx context.Context, rec custody.Record, st *stanza.Stanza) (why string)
	// Deferrals says whether the journal is to have when messages begin to wait. It changes
	// on reload. Nil: it is not.
	Deferrals func() bool
	Trace     *trace.Bus
	Log       zerolog.Logger
	Node      string // of this process, for the record of what it delivered
}

// defaultOutgoing are the defaults of the options.
var defaultOutgoing = config.Outgoing{RetryInterval: 30 * time.Second, MaxRetryInterval: 30 * time.Minute, Expiration: 14 * 24 * time.Hour}

// Delivery owns the way from the DELIVER stage to the router, or from the MAIL stage to a
// Carrier.
type Delivery struct {
	o        Options
	stage    broker.Stage
	broker   Broker
	router   Router // nil: of mail
	trace    *trace.Bus
	log      zerolog.Logger
	throttle throttle
	kept     kept

	mu     sync.Mutex // guards what follows, and the fields of routes that say so
	routes map[string]*route
	owned  []*owned

	delivered, relayed, fellBack, deferred, failed, expired, dropped, filtered atomic.Uint64
}

// Stats are counts since the start; Parked is what waits now.
type Stats struct {
	Delivered, Relayed, FellBack, Deferred, Failed, Expired, Dropped, Filtered uint64
	Parked, ParkedRoutes                                                       int
}

// New returns a Delivery; Run makes it work.
func New(o Options) *Delivery {
	if o.Outgoing == nil {
		o.Outgoing = func(string) config.Outgoing { return defaultOutgoing }
	}
	if o.Resolve == nil {
		o.Resolve = nowhere
	}
	stage := broker.Deliver
	if o.Carrier != nil {
		stage, o.Router = broker.Mail, nil
	}
	return &Delivery{o: o, stage: stage, broker: o.Broker, router: o.Router, trace: o.Trace, log: o.Log, routes: make(map[string]*route)}
}

// Run delivers until ctx ends, then finishes what it began, for o.Grace at
// most. The error is the broker's.
func (dl *Delivery) Run(ctx context.Context, o broker.ConsumeOptions) error {
	if o.Grace <= 0 {
		o.Grace = grace
	}
	o.Own = dl.own
	return dl.broker.Consume(ctx, dl.stage, dl, o)
}

// keptListener is where messages of Jabber users come from.
const keptListener = "xmpp_listener"

// Keep takes custody of a message from one Jabber user to another who is away
// (XEP-0160 §3). It and Waits are a router.Custody.
func (dl *Delivery) Keep(ctx context.Context, st *stanza.Stanza) error {
	return dl.KeepAs(ctx, st, mcmt.NewID(time.Now()), keptListener)
}

// KeepAs is Keep for a message that has its id already, so that one which is kept
// again is known, and comes from somewhere else.
func (dl *Delivery) KeepAs(ctx context.Context, st *stanza.Stanza, id mcmt.ID, listener string) error {
	now := time.Now()
	st = stamped(st, string(id))
	// It came from no mail address: the null path, so that no mail bounces.
	rec := custody.Record{ID: id, To: mcmt.Recipient{Address: st.To.Bare().String()},
		Listener: listener, Accepted: now, JID: st.To, StanzaID: st.ID, Part: "xmpp", Steps: custody.Begun(now, dl.o.Node)}
	msg, err := custody.Deliver(rec, string(rec.ID), st.Append(nil, ""))
	if err != nil {
		return fmt.Errorf("keep message: %w", err)
	}
	defer dl.kept.begin(st.To.Bare().String())()
	if err := dl.broker.Store(ctx, msg); err != nil {
		return fmt.Errorf("keep message: %w", err)
	}
	dl.trace.Emit(event(trace.Stored, rec, trace.Event{Listener: rec.Listener, Size: len(msg.Body)}))
	return nil
}

// Stats returns the counts since the start, and what waits now.
func (dl *Delivery) Stats() Stats {
	s := Stats{Delivered: dl.delivered.Load(), Relayed: dl.relayed.Load(), FellBack: dl.fellBack.Load(), Deferred: dl.deferred.Load(), Failed: dl.failed.Load(),
		Expired: dl.expired.Load(), Dropped: dl.dropped.Load(), Filtered: dl.filtered.Load()}
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
	e.JID = r.Recipient()
	if !r.Accepted.IsZero() {
		e.Since = time.Since(r.Accepted)
	}
	return e
}
