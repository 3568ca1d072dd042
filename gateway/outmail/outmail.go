// Package outmail is the way from Jabber to mail: messages of Jabber users to mail
// addresses come into custody, stanzas become mail when they are sent, and the authors of
// messages, in Jabber or by mail, hear of it when those have ended.
//
//	outmail.go  what an Outmail is made of
//	take.go     messages from Jabber, into custody
//	carry.go    out of custody, to the relay; digests
//	report.go   who hears what of an ending
//	dsn.go      delivery status notifications
//	status.go   reply codes and stanza errors in each other's words
//
// Standards: RFC 5321 §4.4 (trace), RFC 3461 (who is to be told), RFC 3464 and 6522 (the
// form), RFC 3463 (status codes), RFC 3834 (automatic answers), RFC 6533 (addresses).
package outmail

import (
	"context"
	"sync/atomic"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// Store is what outmail needs of the broker.
type Store interface {
	// Store returns after all messages, or none, are stored.
	Store(ctx context.Context, msgs ...broker.Message) error
}

// Options are what an Outmail is made of. Store, Converter, Hostname, Forward and Send are
// required.
type Options struct {
	Store Store
	// Converter returns the address rules that hold now; they change on reload.
	Converter func() *convert.Converter
	// Hostname is the name that the gateway gives itself.
	Hostname string
	// Forward sends a stanza on its way: an error to the author of a message.
	Forward func(ctx context.Context, st *stanza.Stanza) error
	// Send hands a mail to where the recipient's domain takes it. An error whose
	// Temporary is false is for good.
	Send func(ctx context.Context, m relay.Message) (relay.Result, error)
	// Settings says how messages become mail to a domain. Nil: each alone, plain, with an
	// empty subject.
	Settings func(domain string) config.Mail
	// Fetch returns the files behind addresses that a message offers, without those that
	// cannot be had: they stay links. Nil: all do.
	Fetch func(ctx context.Context, urls []string) []mcmt.Media
	// Serves says whether the users of a Jabber domain are ours, so that what a stream has
	// proven was proven by their client. Nil: all are.
	Serves func(domain string) bool
	// May says whether a Jabber user may send mail: with streams from any server the
	// gateway would else be an open relay. Nil: all may.
	May func(author jid.JID) bool
	// Tickets ask for receipts.
	Tickets convert.Tickets
	Trace   *trace.Bus
	// Log gets bugs, and reports that could not be made.
	Log zerolog.Logger
}

// Outmail carries mail out. Its methods may be called from any goroutine.
type Outmail struct {
	o Options
	counters
}

// New returns an Outmail.
func New(o Options) *Outmail {
	if o.Settings == nil {
		o.Settings = func(string) config.Mail { return config.Mail{} }
	}
	if o.Serves == nil {
		o.Serves = func(string) bool { return true }
	}
	if o.May == nil {
		o.May = func(jid.JID) bool { return true }
	}
	return &Outmail{o: o}
}

type counters struct {
	taken, notAllowed, noAddress, noContent, loops, notStored atomic.Uint64
	mails, lines, relayed, waits                              atomic.Uint64
	refused, deferred                                         atomic.Uint64
	told, failures, successes, relays, delays                 atomic.Uint64
}

// Stats are counts since the start.
type Stats struct {
	Taken      uint64 // messages of Jabber users, into custody
	NotAllowed uint64 // refused: an author who may send no mail
	NoAddress  uint64 // refused: an address that mail cannot go from or to
	NoContent  uint64 // refused: nothing in it to read outside Jabber
	Loops      uint64 // refused: they may be part of a loop
	NotStored  uint64 // refused: the store is full or away

	Mails    uint64 // made of messages of Jabber users, and sent
	Lines    uint64 // messages that they were made of
	Relayed  uint64 // mails sent as they came
	Waits    uint64 // times that a digest was not sent yet
	Refused  uint64 // attempts to send that failed for good
	Deferred uint64 // attempts to send that failed for now

	Told      uint64 // Jabber users told that their message was not sent
	Failures  uint64 // delivery status notifications, by their action: failed
	Successes uint64 // delivered
	Relays    uint64 // relayed
	Delays    uint64 // delayed
}

// Stats returns the counts since the start.
func (o *Outmail) Stats() Stats {
	return Stats{
		Taken: o.taken.Load(), NotAllowed: o.notAllowed.Load(), NoAddress: o.noAddress.Load(), NoContent: o.noContent.Load(), Loops: o.loops.Load(), NotStored: o.notStored.Load(),
		Mails: o.mails.Load(), Lines: o.lines.Load(), Relayed: o.relayed.Load(), Waits: o.waits.Load(),
		Refused: o.refused.Load(), Deferred: o.deferred.Load(),
		Told: o.told.Load(), Failures: o.failures.Load(), Successes: o.successes.Load(), Relays: o.relays.Load(), Delays: o.delays.Load(),
	}
}
