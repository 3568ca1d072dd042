package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

// Rules are what conversion obeys. They change on reload as one value.
type Rules struct {
	Converter *convert.Converter
	Filters   *filters.Chain
	Policy    Policy // nil: no scripts are asked
}

// Conversion turns messages of the INGEST stage into stanzas of the DELIVER
// stage. It holds nothing between messages, so any number may run.
type Conversion struct {
	Rules  func() Rules
	Limits mcmt.Limits
	Parsed *custody.Parsed // what intake of this process has parsed
	Made   *Made           // hands stanzas on to the delivery of this process
	// Keeps says whether the e-mail of a message for a domain is kept with its stanza,
	// to go out should that not arrive. Nil: for none.
	Keeps func(domain string) bool
	// Reporter tells who sent a message that cannot be converted, by messages that Store
	// stores. Nil: nobody does.
	Reporter Reporter
	Store    func(ctx context.Context, msgs ...broker.Message) error
	Trace    *trace.Bus
	Tickets  convert.Tickets // bring reports of mail as receipts
	Media    Media           // nil: files of multimedia messages are not offered
	Node     string          // of this process, for the record of what ended here
	// Log gets what an operator cannot see in the trace: bugs and filters that
	// fail. The zero value writes nothing.
	Log zerolog.Logger

	converted, passed, filtered, failed, receipts atomic.Uint64
}

// ConversionStats are counts since the start. Passed is mail that is not for Jabber,
// Receipts what has become one, and is among the Converted.
type ConversionStats struct{ Converted, Passed, Filtered, Failed, Receipts uint64 }

// Stats returns the counts since the start.
func (c *Conversion) Stats() ConversionStats {
	return ConversionStats{c.converted.Load(), c.passed.Load(), c.filtered.Load(), c.failed.Load(), c.receipts.Load()}
}

// filterRetry is the pause after a filter said not now.
const filterRetry = 5 * time.Second

// Handle converts a run of messages for one recipient, in order, up to the
// first that is to be given again: later ones must not overtake it.
func (c *Conversion) Handle(ctx context.Context, ds []*broker.Delivery) []broker.Disposition {
	rules := c.Rules()
	out := make([]broker.Disposition, 0, len(ds))
	for _, d := range ds {
		if ctx.Err() != nil {
			break // what is missing is given again
		}
		disposition, again := c.handle(ctx, rules, d)
		out = append(out, disposition)
		if again {
			break
		}
	}
	return out
}

// Made are stanzas that conversion has made, by the names of their messages in custody, for
// delivery.
type Made = custody.Passed[string, *stanza.Stanza]

// handle decides about one message. again says that it is to be given again.
func (c *Conversion) handle(ctx context.Context, rules Rules, d *broker.Delivery) (_ broker.Disposition, again bool) {
	rec, err := custody.Read(d)
	if err != nil {
		return c.fail(ctx, rec, d, err)
	}
	if rec.JID.IsZero() {
		return c.relay(ctx, rec, d)
	}
	var m made
	var action filters.Action
	var why string
	err = guard(func() (err error) {
		if m, err = c.convert(ctx, rules, &rec, d); err != nil {
			return err
		}
		if m.stanza == nil {
			action, why = filters.Drop, m.by
			return nil
		}
		m.stanza, action, why = c.filter(ctx, rules, &rec, m.stanza)
		if action == filters.Drop || action == filters.Defer {
			return nil
		}
		return c.keep(ctx, m.files)
	})
	if err != nil {
		return c.fail(ctx, rec, d, err)
	}
	switch action {
	case filters.Drop:
		c.filtered.Add(1)
		return settled(broker.Ack(), custody.Outcome{Record: rec, End: custody.Filtered, Why: why, Attempts: d.Attempt, Node: c.Node}), false
	case filters.Defer:
		c.deferred(rec, d, "a filter put it off: "+why)
		return broker.Retry(filterRetry), true
	}
	// Mostly somewhat less than the message it was made from.
	body := m.stanza.Append(make([]byte, 0, len(d.Body)+len(m.email)), "")
	if m.email != nil {
		rec.Stanza = len(body)
		body = append(body, m.email...)
	}
	msg, err := custody.Deliver(rec, d.ID, body)
	if err != nil {
		return c.fail(ctx, rec, d, err)
	}
	c.converted.Add(1)
	c.Made.Keep(msg.ID, body, m.stanza)
	return broker.Move(msg), false
}

// relay hands on what is not for Jabber, untouched.
func (c *Conversion) relay(ctx context.Context, rec custody.Record, d *broker.Delivery) (_ broker.Disposition, again bool) {
	rec.Part = "email"
	msg, err := custody.Mail(rec, d.ID, nil)
	if err != nil {
		return c.fail(ctx, rec, d, err)
	}
	msg.BodyOf = d
	c.passed.Add(1)
	return broker.Move(msg), false
}

// made is what a message has become.
type made struct {
	stanza *stanza.Stanza // nil: a script has dealt with it
	by     string         // which one
	email  []byte         // that goes out should the stanza not arrive; nil: none does
	files  []convert.File // that the stanza offers
}

// convert parses the message as its listener's mcmt_reception said, makes the
// stanza and notes in rec what it is.
func (c *Conversion) convert(ctx context.Context, rules Rules, rec *custody.Record, d *broker.Delivery) (m made, err error) {
	start := time.Now()
	msg, err := c.parse(*rec, d.Body)
	if err != nil {
		return m, err
	}
	if st, ours := c.receipt(rules, *rec, msg); ours {
		if st == nil {
			m.by = "report: it does not say that the mail has arrived"
			return m, nil
		}
		c.receipts.Add(1)
		rec.JID, rec.StanzaID, rec.Part, rec.MessageID = st.To, st.ID, "report", msg.Email.MessageID
		c.converts(rec, d, start)
		m.stanza = st
		return m, nil
	}
	scripts := c.scripted(rules, *rec, msg)
	if m.by, err = scripts.before(ctx); m.by != "" || err != nil {
		return m, err
	}
	id := cmp.Or(rec.Same, string(rec.ID))
	res, err := rules.Converter.Convert(convert.Input{
		ID: id, From: rec.From, To: scripts.msg.To, Message: msg,
		Received: rec.Accepted, Now: start, PartFromAllowed: rec.PartFrom, Place: c.place(id),
	})
	if err != nil {
		return m, err
	}
	if rec.Wants("SUCCESS") {
		convert.RequestReceipt(res.Stanza)
	}
	if res.Stanza, m.by, err = scripts.after(ctx, res.Stanza); res.Stanza == nil {
		return m, err
	}
	if d.Attempt > 1 {
		convert.MarkDelayed(res.Stanza, rules.Converter.Gateway(), res.Stamp) // it was put off
	}
	if msg.Email != nil {
		rec.MessageID = msg.Email.MessageID
	}
	rec.JID, rec.StanzaID, rec.Part, rec.Sent = res.Stanza.To, res.Stanza.ID, res.Part, res.Stamp
	c.converts(rec, d, start)
	if c.Keeps != nil && c.Keeps(rec.JID.Domain()) {
		m.email = msg.Email.Raw
	}
	m.stanza, m.files = res.Stanza, res.Files
	return m, nil
}

// parse reads a message as it was read when it was accepted.
func (c *Conversion) parse(rec custody.Record, raw []byte) (*mcmt.Message, error) {
	if msg, ok := c.Parsed.Take(rec.Parsing(), raw); ok {
		return msg, nil
	}
	if rec.Reception == mcmt.PassThrough {
		return mcmt.ParseMail(raw, c.Limits)
	}
	return mcmt.Parse(raw, c.Limits)
}

// converts tells of what has become a stanza since start, and notes it in rec.
func (c *Conversion) converts(rec *custody.Record, d *broker.Delivery, start time.Time) {
	now := time.Now()
	rec.Steps = rec.Steps.With(custody.Step{At: now, Kind: custody.StepConverted, Node: c.Node, Name: rec.Part})
	c.Trace.Emit(event(trace.Converted, *rec, trace.Event{Part: rec.Part, Took: now.Sub(start), Attempt: d.Attempt}))
}

// receipt is what a mail is that brings nothing but the report of another, which its author
// has asked for by Jabber. Scripts are not asked: it is an answer to what they have seen.
func (c *Conversion) receipt(rules Rules, rec custody.Record, msg *mcmt.Message) (st *stanza.Stanza, ours bool) {
	return rules.Converter.Receipt(c.Tickets, convert.Input{ID: string(rec.ID), From: rec.From, To: rec.To.Address, Message: msg, Received: rec.Accepted})
}

// filter returns the stanza as the filters leave it, what they decided and why, tells
// each verdict and notes it in rec.
func (c *Conversion) filter(ctx context.Context, rules Rules, rec *custody.Record, st *stanza.Stanza) (_ *stanza.Stanza, _ filters.Action, why string) {
	it := &filters.Item{Stanza: st, Direction: filters.In, Sender: rec.From, Recipient: rec.To.Address}
	outcome := rules.Filters.Apply(ctx, it)
	for _, v := range outcome.Verdicts {
		if v.Err != nil {
			c.Log.Warn().Err(v.Err).Str("id", string(rec.ID)).Str("filter", v.Filter).Msg("filter failed, the message goes on")
		}
		if !v.Shadow && v.Action == outcome.Action {
			why = v.Filter + ": " + v.Reason
		}
	}
	for _, s := range c.judged(rec, outcome.Verdicts) {
		c.Trace.Emit(event(trace.Filtered, *rec, trace.Event{Filter: s.Name, Verdict: s.Verdict, Shadow: s.Shadow, Reason: s.Answer}))
	}
	return it.Stanza, outcome.Action, why
}

// judged notes verdicts in rec and returns them.
func (c *Conversion) judged(rec *custody.Record, all []filters.Applied) []custody.Step {
	steps := custody.Verdicts(time.Now(), all)
	for i := range steps {
		steps[i].Node = c.Node
	}
	rec.Steps = rec.Steps.With(steps...)
	return steps
}

// fail decides about a message that could not be converted: it is given again
// where that can help, else it is kept as a dead message with the reason.
func (c *Conversion) fail(ctx context.Context, rec custody.Record, d *broker.Delivery, err error) (_ broker.Disposition, again bool) {
	var temporary interface{ Temporary() bool }
	if !errors.As(err, &temporary) || temporary.Temporary() {
		c.deferred(rec, d, err.Error())
		return broker.Retry(0).Because(err), true
	}
	rec = Known(rec, d)
	if err := c.report(ctx, &rec, d, err); err != nil {
		c.deferred(rec, d, err.Error())
		return broker.Retry(0).Because(err), true
	}
	c.failed.Add(1)
	reason := failure(err)
	var bug *panicError
	if errors.As(err, &bug) {
		c.Log.Error().Str("id", string(rec.ID)).Interface("panic", bug.value).Bytes("stack", bug.stack).Msg("conversion panicked")
	}
	c.Trace.Emit(event(trace.Failed, rec, trace.Event{Reason: reason, Attempt: d.Attempt}))
	return settled(broker.Term(reason), custody.Outcome{Record: rec, End: custody.Failed, Why: reason, Attempts: d.Attempt, Node: c.Node}), false
}

// report tells who sent a message that it was not converted, and notes that.
func (c *Conversion) report(ctx context.Context, rec *custody.Record, d *broker.Delivery, why error) error {
	if c.Reporter == nil {
		return nil
	}
	reports, _ := c.Reporter.Report(ctx, custody.Letter{Record: *rec, Key: d.ID, Body: d.Body}, custody.Ending{End: custody.Failed, Err: why})
	if len(reports) == 0 {
		return nil
	}
	if err := c.Store(ctx, reports...); err != nil {
		return fmt.Errorf("author not told: %w", err)
	}
	rec.Steps = rec.Steps.With(reported(rec.From, custody.Failed, c.Node, reports)...)
	return nil
}

// failure is the reason of a dead message: its kind, a colon, and what a person
// may know, which is nothing of the text.
func failure(err error) string {
	var bad *custody.Error
	var bug *panicError
	var refusal *mcmt.Refusal
	switch {
	case errors.As(err, &bad):
		return "unreadable: " + err.Error()
	case errors.As(err, &bug):
		return bug.Error()
	case errors.As(err, &refusal):
		// Its text may quote the line that was not understood.
		return fmt.Sprintf("not converted: %d %d.%d.%d at %q", refusal.Code, refusal.Enhanced[0], refusal.Enhanced[1], refusal.Enhanced[2], refusal.Where)
	default:
		return "not converted: " + err.Error()
	}
}

// deferred tells that a message waits, once and not at every attempt, and notes each.
func (c *Conversion) deferred(rec custody.Record, d *broker.Delivery, reason string) {
	custody.Note(d, custody.Step{At: time.Now(), Kind: custody.StepDeferred, Node: c.Node, Answer: reason})
	if d.Attempt <= 1 {
		c.Trace.Emit(event(trace.Deferred, rec, trace.Event{Reason: reason, Attempt: d.Attempt}))
	}
}
