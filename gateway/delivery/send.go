package delivery

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// outgoing is a message that was handed to sessions, that a client had before, or
// that has ended otherwise.
type outgoing struct {
	rec      custody.Record
	sessions []router.Session
	had      bool
	// end gives it up, for one that has ended otherwise; nil: it has not. It is
	// called when all before it have ended.
	end func() broker.Disposition
}

// via names the sessions.
func (out *outgoing) via() string {
	switch len(out.sessions) {
	case 0:
		return ""
	case 1:
		return out.sessions[0].JID().String()
	}
	names := make([]string, len(out.sessions))
	for i, s := range out.sessions {
		names[i] = s.JID().String()
	}
	return strings.Join(names, ", ")
}

// errNobody puts off a headline that nobody would see. RFC 6121 §8.5.2.2.1 has a
// server that gets one for an absent user ignore it; this gateway is its sender,
// has promised its delivery, and waits with sending.
var errNobody = errors.New("nobody is there to see a headline")

// send hands one message to the router. An error means not now.
func (dl *Delivery) send(ctx context.Context, d *broker.Delivery, now time.Time) (outgoing, error) {
	rec, err := dl.record(d)
	if err != nil {
		return dl.dead(ctx, rec, d, "unreadable: "+err.Error()), nil
	}
	switch dl.endedBefore(ctx, d, rec) {
	case "":
	case custody.Diverted:
		return outgoing{rec: rec, end: func() broker.Disposition { return dl.divert(ctx, rec, d, "", true) }}, nil
	default:
		return outgoing{rec: rec, end: broker.Ack}, nil
	}
	if reason := dl.outlived(rec, now); reason != "" {
		return outgoing{rec: rec, end: func() broker.Disposition { return dl.expire(ctx, rec, d, reason) }}, nil
	}
	st, err := dl.read(d, rec, now)
	if err != nil {
		return dl.dead(ctx, rec, d, "unreadable: "+err.Error()), nil
	}
	if end, err := dl.beforeSend(ctx, rec, d, st); end != nil || err != nil {
		return outgoing{rec: rec, end: end}, err
	}
	if dl.o.Receipts != nil && rec.Wants("SUCCESS") {
		if err := dl.o.Receipts.Expect(ctx, custody.Letter{Record: rec, Key: d.ID}); err != nil {
			return outgoing{}, err
		}
	}
	if dl.comesBack(rec) {
		dl.o.Receipts.Sent(custody.Letter{Record: rec, Key: d.ID})
	}
	var sessions []router.Session
	var had bool
	err = guard(func() (err error) {
		sessions, had, err = dl.router.DeliverKept(ctx, st)
		return err
	})
	var refused *stanza.Error
	var bug *panicError
	switch {
	case errors.As(err, &bug):
		dl.log.Error().Str("id", string(rec.ID)).Interface("panic", bug.value).Bytes("stack", bug.stack).Msg("delivery panicked")
		return dl.dead(ctx, rec, d, bug.Error()), nil
	case errors.Is(err, router.ErrOffline):
		return outgoing{}, err
	// Not any error that says it is permanent: a broken connection does, and
	// means only that this session is gone.
	case errors.As(err, &refused) && !refused.Temporary():
		return outgoing{rec: rec, end: func() broker.Disposition { return dl.refused(ctx, rec, d, st, refused) }}, nil
	case err != nil:
		return outgoing{}, err
	case had:
		return outgoing{rec: rec, had: true}, nil
	case len(sessions) > 0:
		return outgoing{rec: rec, sessions: sessions}, nil
	case st.Type == stanza.TypeHeadline && (st.To.IsBare() || !dl.router.Reachable(st.To.Bare())):
		return outgoing{}, errNobody
	}
	return dl.dead(ctx, rec, d, fmt.Sprintf("ignored: no resource takes a message of type %.20q", st.Type)), nil
}

// dead is a message that is given up.
func (dl *Delivery) dead(ctx context.Context, rec custody.Record, d *broker.Delivery, reason string) outgoing {
	return outgoing{rec: rec, end: func() broker.Disposition { return dl.bury(ctx, rec, d, reason) }}
}

// read returns the stanza as it is to leave now.
func (dl *Delivery) read(d *broker.Delivery, rec custody.Record, now time.Time) (*stanza.Stanza, error) {
	st, ok := dl.o.Made.Take(d.ID, d.Body)
	if !ok {
		var err error
		if st, err = parse(d, rec); err != nil {
			return nil, err
		}
	}
	by, err := jid.New("", rec.JID.Domain(), "")
	if err != nil {
		return nil, err
	}
	if rec.Parked.IsZero() && d.Attempt <= 1 {
		convert.AddDelay(st, by, rec.Stamp(), now)
	} else {
		convert.MarkDelayed(st, by, rec.Stamp()) // it was put off, for however short a time
	}
	return st, nil
}

// parse reads the stanza of a message, which an e-mail may follow.
func parse(d *broker.Delivery, rec custody.Record) (*stanza.Stanza, error) {
	body := d.Body
	if rec.Stanza > 0 && rec.Stanza <= len(body) {
		body = body[:rec.Stanza]
	}
	return stanza.ParseBytes(body, storedLimits(body))
}

// storedLimits are for a stanza that was within the limits when it came in, and
// has got attributes and children of ours since.
func storedLimits(body []byte) xmlwire.Limits {
	lim := xmlwire.DefaultLimits
	lim.Bytes = len(body) + 1
	lim.Attrs += 16
	lim.Children += 16
	return lim
}

// Known is rec with what the broker knows of a message whose record cannot be
// read.
func Known(rec custody.Record, d *broker.Delivery) custody.Record {
	if rec.ID == "" {
		rec.ID = unknownID(d)
	}
	if rec.JID.IsZero() {
		rec.JID, _ = jid.Parse(d.Recipient) // it may be what is wrong
	}
	return rec
}

// unknownID names a message that has no record by the id it has in the broker.
func unknownID(d *broker.Delivery) mcmt.ID {
	if d.ID == "" {
		return mcmt.ID(fmt.Sprintf("%s-%d", d.Stage, d.Seq))
	}
	return mcmt.ID(d.ID)
}

// panicError is a bug of ours that one message brought out.
type panicError struct {
	value any
	stack []byte
}

// Error returns the panic's value.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// Temporary reports false: the same message would do it again.
func (e *panicError) Temporary() bool { return false }

// guard runs a step for one message. A panic becomes an error: the message is
// given up, with others of its run unharmed, and the process lives.
func guard(step func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return step()
}
