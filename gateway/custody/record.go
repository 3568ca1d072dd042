// Package custody is the shape of a message while the gateway holds it: which
// subject it lies under, which id makes a second copy of it recognisable, and
// what is known of it beside its bytes. Every stage reads and writes messages
// through it, so that a message stored by one version of a stage is understood
// by the next stage of another.
package custody

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// header carries the Record. One header in JSON rather than one header per
// field: addresses may hold bytes that a header line cannot.
const header = "Custody"

// maxReason bounds the Reason of a Record in bytes: it is for a person, and must
// not be what makes a header too large to store.
const maxReason = 512

// Record is what the gateway knows of one message for one recipient. It is
// written once at acceptance and grows at each stage.
type Record struct {
	ID         mcmt.ID        `json:"id"`
	From       string         `json:"from"` // reverse-path; empty: no bounces
	To         mcmt.Recipient `json:"to"`
	Reception  mcmt.Reception `json:"reception,omitempty"`
	Listener   string         `json:"listener,omitempty"`
	Peer       string         `json:"peer,omitempty"`
	User       string         `json:"user,omitempty"`
	Trusted    bool           `json:"trusted,omitempty"`
	PartFrom   bool           `json:"part_from,omitempty"` // the XMPP part's own from may stand
	EnvelopeID string         `json:"envid,omitempty"`
	Return     string         `json:"ret,omitempty"`
	Accepted   time.Time      `json:"accepted"`
	Same       string         `json:"same,omitempty"` // what all submissions of the message have in common, for its stanza id; empty: ID

	// From conversion on.
	JID       jid.JID   `json:"-"`                  // Read takes it from the message's recipient
	Sent      time.Time `json:"sent,omitzero"`      // when its author sent it; zero: as Accepted
	MessageID string    `json:"mid,omitempty"`      // of the mail, without angle brackets
	StanzaID  string    `json:"sid,omitempty"`      // the id by which a client knows a second copy
	Part      string    `json:"part,omitempty"`     // what the stanza was made from
	Parked    time.Time `json:"parked,omitzero"`    // when it began to wait; zero: it never did
	Deferred  bool      `json:"deferred,omitempty"` // the journal has that it waits, or did; it stays so until it is revived
	Revived   time.Time `json:"revived,omitzero"`   // when an operator sent it once more; zero: never
	Source    uint64    `json:"src,omitempty"`      // its position in DELIVER, or MAIL, before it was parked
	Reason    string    `json:"reason,omitempty"`

	// Of mail, and of what may become mail.
	Stanza   int    `json:"stanza,omitempty"`   // length of the stanza at the beginning of the body; what follows is the e-mail for the fallback. Zero: the body is one thing
	Author   string `json:"author,omitempty"`   // the Jabber user who wrote what goes out as mail; empty: it came as mail
	Origin   string `json:"origin,omitempty"`   // whom it was for at first, where that is another one now
	Rerouted int    `json:"rerouted,omitempty"` // how often a script has sent it elsewhere

	// For those who ask what became of it.
	Of    int   `json:"of,omitempty"`    // recipients that the submission had; zero: one, or not known where there are no Steps
	Steps Steps `json:"steps,omitempty"` // so far
}

// mailto begins the routes of mail. No JID begins so: a localpart has no colon (RFC 7622
// §3.3.1).
const mailto = "mailto:"

// MailRoute is the route of mail to an address, which also is its recipient.
func MailRoute(address string) string {
	i := strings.LastIndexByte(address, '@')
	return mailto + address[:i+1] + strings.ToLower(address[i+1:])
}

// IsMail says whether a route is one of mail.
func IsMail(route string) bool { return strings.HasPrefix(route, mailto) }

// Recipient is whom the message is for, as the broker and the journal have it: a JID, or
// the route of mail.
func (r Record) Recipient() string {
	switch {
	case !r.JID.IsZero():
		return r.JID.String()
	case r.To.Address == "":
		return "" // of a record that could not be read
	}
	return MailRoute(r.To.Address)
}

// Encode returns the record for others to keep, without JID.
func (r Record) Encode() ([]byte, error) {
	data, err := r.encode()
	return []byte(data), err
}

// DecodeRecord reads what Encode has written, of a message to a recipient.
func DecodeRecord(data []byte, to jid.JID) (Record, error) {
	var r Record
	if err := r.decode(string(data)); err != nil {
		return r, fmt.Errorf("custody: record: %w", err)
	}
	r.JID = to
	return r, nil
}

// Wants says whether who sent it wants to hear of "SUCCESS", "FAILURE" or "DELAY"; where he
// says nothing, of failure (RFC 3461 §4.1).
func (r Record) Wants(notify string) bool {
	return slices.Contains(r.To.Notify, notify) || notify == "FAILURE" && len(r.To.Notify) == 0
}

// Name is the recipient under whom the journal has the message: whom it was for at first.
func (r Record) Name() string {
	if r.Origin != "" {
		return r.Origin
	}
	return r.Recipient()
}

// Domain is that of the recipient.
func (r Record) Domain() string {
	if r.JID.IsZero() {
		return DomainOf(MailRoute(r.To.Address))
	}
	return r.JID.Domain()
}

// DomainOf is the domain of a route: a bare JID, or a mail address whose local part may be
// a string with an @ in it (RFC 5321 §4.1.2).
func DomainOf(route string) string { return route[strings.LastIndexByte(route, '@')+1:] }

// Stamp is when the message was sent, as far as is known.
func (r Record) Stamp() time.Time {
	if r.Sent.IsZero() {
		return r.Accepted
	}
	return r.Sent
}

// Expires is when the message is given up, if it may be on its way for so long.
func (r Record) Expires(after time.Duration) time.Time {
	from := r.Accepted
	if r.Revived.After(from) {
		from = r.Revived
	}
	return from.Add(after)
}

// Ingest is the message that the INGEST stream holds: raw as accepted, routed by
// the recipient's bare JID so that one recipient's messages stay in order, or by his
// address where he has none. n counts the recipients of the message from zero.
func Ingest(r Record, n int, raw []byte) (broker.Message, error) {
	recipient := r.Recipient()
	route := recipient
	if !r.JID.IsZero() && !r.JID.IsBare() {
		route = r.JID.Bare().String()
	}
	return message(broker.Ingest, r, route, recipient, string(r.ID)+"."+strconv.Itoa(n), raw)
}

// Deliver is the message that the DELIVER stream holds: a stanza, routed by
// where it goes. src is the id of the message that it was made from; the same
// source makes the same id, so that a repetition after a crash is recognised.
func Deliver(r Record, src string, stanza []byte) (broker.Message, error) {
	return message(broker.Deliver, r, bare(r.JID), r.JID.String(), "d."+src, stanza)
}

// Mail is the message that the MAIL stream holds, for r.To: an e-mail, or a stanza where
// Part is "xmpp". src is as that of Deliver.
func Mail(r Record, src string, body []byte) (broker.Message, error) {
	r.JID, r.Stanza = jid.JID{}, 0
	return message(broker.Mail, r, r.Recipient(), r.Recipient(), "m."+src, body)
}

// Park is the message that the PARK stream holds: what d was, waiting for d's
// route since now for the given reason.
func Park(d *broker.Delivery, r Record, reason string, now time.Time) (broker.Message, error) {
	r.Parked, r.Reason = now, clip(reason)
	if d.Stage == broker.Deliver || d.Stage == broker.Mail {
		r.Source = d.Seq
	}
	return message(broker.Park, r, d.Route, r.Recipient(), "p."+d.ID, d.Body) // the route where whoever parks it counts it
}

// bare is the route of who is at an address.
func bare(to jid.JID) string {
	if to.IsBare() {
		return to.String()
	}
	return to.Bare().String()
}

func message(stage broker.Stage, r Record, route, recipient, id string, body []byte) (broker.Message, error) {
	r.MessageID = clip(r.MessageID)
	data, err := r.encode()
	if err != nil {
		return broker.Message{}, fmt.Errorf("custody: record of %s: %w", r.ID, err)
	}
	return broker.Message{
		Stage:     stage,
		Route:     route,
		Recipient: recipient,
		ID:        id,
		Header:    map[string]string{header: data},
		Body:      body,
	}, nil
}

// Error is a message that no stage has written, or that is damaged.
type Error struct {
	Stage broker.Stage
	Seq   uint64 // its position in the stage
	Err   error
}

// Error returns the place and the reason.
func (e *Error) Error() string {
	return fmt.Sprintf("custody: message %d of %s: %v", e.Seq, e.Stage, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports false: what is stored does not change.
func (e *Error) Temporary() bool { return false }

// Read returns the record of a message from any stage. The error is an *Error.
func Read(d *broker.Delivery) (Record, error) {
	var r Record
	bad := func(err error) (Record, error) { return r, &Error{d.Stage, d.Seq, err} }
	data, ok := d.Header[header]
	if !ok {
		return bad(errors.New("there is no record"))
	}
	if err := r.decode(data); err != nil {
		return bad(fmt.Errorf("record: %w", err))
	}
	r.stored(d)
	// The ids of the next stages are made of these: without them two messages
	// would pass for copies of one.
	if r.ID == "" || d.ID == "" {
		return bad(errors.New("there is no id"))
	}
	if IsMail(d.Recipient) {
		return r, nil
	}
	to, err := jid.Parse(d.Recipient)
	if err != nil {
		return bad(fmt.Errorf("recipient: %w", err))
	}
	r.JID = to
	return r, nil
}

// stored notes when the broker took the message, which who accepted it could not know: its
// record was written before.
func (r *Record) stored(d *broker.Delivery) {
	if !r.Steps.Whole() || strings.Contains(string(r.Steps), "|"+string(StepStored)+";") || d.Stored.IsZero() || d.Stage == broker.Dead {
		return
	}
	r.Steps = r.Steps.With(Step{At: d.Stored, Kind: StepStored})
}

// Note adds steps to the record of a delivery that is given again: they last as long as this
// process has it, and go with it wherever it is moved.
func Note(d *broker.Delivery, more ...Step) {
	r, err := Read(d)
	if err != nil {
		return
	}
	r.Steps = r.Steps.With(more...)
	if data, err := r.encode(); err == nil {
		d.Header[header] = data
	}
}

// IDOf is the id of a message that is to be stored; empty where it has no record.
func IDOf(m broker.Message) string {
	var r Record
	if err := r.decode(m.Header[header]); err != nil {
		return ""
	}
	return string(r.ID)
}

// clip shortens s to maxReason bytes, between characters.
func clip(s string) string {
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Revive returns what makes of a dead message the one that is sent on its way
// again, at now: at the stage where it died, or where it would be delivered.
func Revive(now time.Time) func(*broker.Peeked) (broker.Message, error) {
	return func(p *broker.Peeked) (broker.Message, error) {
		r, err := Read(&p.Delivery)
		if err != nil {
			return broker.Message{}, err
		}
		r.Revived, r.Parked, r.Deferred, r.Reason, r.Source = now, time.Time{}, false, "", 0
		r.Steps = r.Steps.With(Step{At: p.Died, Kind: died(p.Reason), Answer: p.Reason}, Step{At: now, Kind: StepRevived})
		stage := p.From
		switch {
		case stage == broker.Park && IsMail(p.Route):
			stage = broker.Mail
		case stage == broker.Park:
			stage = broker.Deliver
		}
		// Under another id: the old one may be remembered as stored.
		msg, err := message(stage, r, p.Route, r.Recipient(), fmt.Sprintf("r%d.%s", now.UnixNano(), p.FromID), nil)
		msg.BodyOf = &p.Delivery
		return msg, err
	}
}

// died is the end of a message among the dead, by the reason that it is there for.
func died(reason string) StepKind {
	if strings.HasPrefix(reason, "expired") {
		return StepKind(Expired)
	}
	return StepKind(Failed)
}
