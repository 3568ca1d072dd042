package outmail

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// Report returns the notification by which the envelope sender of a letter hears of its
// end, if he wants to (RFC 3461 §4.1): of a failure unless he has said otherwise, of
// success where he has asked. None goes to the null path (RFC 3461 §6.1), and none where
// the server that has taken the mail reports by itself. The message has an ID that follows
// from the letter's, so that it is stored once. A Jabber user hears of a failure by a
// stanza error; told says that it was sent.
func (o *Outmail) Report(ctx context.Context, l custody.Letter, e custody.Ending) (reports []broker.Message, told bool) {
	if l.Author != "" {
		return nil, o.tell(ctx, l, e)
	}
	act := o.actionOf(l, e)
	if act == "" || l.From == "" {
		return nil, false
	}
	return o.notify(l, o.describe(l, e, act)), false
}

// Delayed returns the notification that a letter has not arrived yet and is tried until
// then, where its sender has asked for that (RFC 3461 §4.1, DELAY). As Report's, it is
// stored once. err is that of the last attempt.
func (o *Outmail) Delayed(l custody.Letter, err error, until time.Time) []broker.Message {
	if l.Author != "" || l.From == "" || !l.Wants("DELAY") {
		return nil
	}
	n := o.describe(l, custody.Ending{Err: err}, delayed)
	n.Until = until
	return o.notify(l, n)
}

// actionOf is what is to be said of an ending; empty for nothing.
func (o *Outmail) actionOf(l custody.Letter, e custody.Ending) action {
	failure, success := l.Wants("FAILURE"), l.Wants("SUCCESS")
	switch e.End {
	case custody.Failed, custody.Expired:
		if failure {
			return failed
		}
	case custody.Delivered:
		switch {
		case !success:
		case o.reached(l, e):
			return delivered
		default:
			return relayed // another server has it, and reports nothing more
		}
	case custody.Relayed:
		if success && !e.Reports {
			return relayed
		}
	}
	return ""
}

// reached says whether the recipient's own client has proven a delivery: one of ours always
// has, and one elsewhere when it has said so itself.
func (o *Outmail) reached(l custody.Letter, e custody.Ending) bool {
	return e.Client || l.JID.IsZero() || o.o.Serves(l.JID.Domain())
}

// tell tells the Jabber user who wrote a letter that it was not sent (RFC 6120 §8.3).
func (o *Outmail) tell(ctx context.Context, l custody.Letter, e custody.Ending) bool {
	if e.End != custody.Failed && e.End != custody.Expired {
		return false
	}
	st, err := parse(l)
	if err != nil {
		o.o.Log.Error().Err(err).Str("id", string(l.ID)).Msg("author cannot be told that a mail was not sent")
		return false
	}
	answer := st.ErrorReply(stanzaError(e.Err, e.End == custody.Expired))
	if answer == nil || o.o.Forward(ctx, answer) != nil {
		return false // he is gone: the letter stays where an operator sees it
	}
	o.told.Add(1)
	return true
}

// describe says what there is to say.
func (o *Outmail) describe(l custody.Letter, e custody.Ending, act action) *notification {
	n := &notification{
		Host: o.o.Hostname, To: l.From, Action: act, Date: time.Now(),
		EnvelopeID: l.EnvelopeID, Arrival: l.Accepted, Original: l.To.ORCPT, Recipient: l.To.Address,
		MessageID: l.MessageID, Message: original(l), Full: l.Return == "FULL",
	}
	n.ID = "dsn." + string(act) + "." + digestOf(l.Key+"\x00"+string(act)) + "@" + atom(o.o.Hostname)
	if !l.JID.IsZero() && act != delivered {
		n.Remote = "x-xmpp; " + l.JID.Domain()
	}
	switch act {
	case delivered:
		n.Status = enhanced{2, 1, 5} // destination address valid
		n.Explain = []string{
			fmt.Sprintf("The message to %s was delivered to a Jabber client.", l.To.Address),
			"This is known by: " + proof(e) + ".",
		}
	case relayed:
		n.Status = enhanced{2, 1, 9} // relayed to a system that reports no more (RFC 3886 §3.3.4)
		n.Explain = []string{
			fmt.Sprintf("The message to %s was passed on to a server that takes it, and that does not report what becomes of it.", l.To.Address),
			"This is known by: " + proof(e) + ".",
		}
	default:
		n.failure(l, e)
	}
	return n
}

// proofs say for a sender of mail what the words of the router mean.
var proofs = map[string]string{
	string(router.ProofAck):     "stream management has counted it at the other end of the stream (XEP-0198)",
	string(router.ProofAnswer):  "the client has answered a query that was sent after it",
	string(router.ProofWritten): "it was written to the stream of the recipient's server, which has no way to say more",
}

// proof is how a success is known, for a person. What is not in the table, such as the
// answer of a mail server, is said as it is.
func proof(e custody.Ending) string {
	return cmp.Or(proofs[e.Proof], e.Proof, "the server's answer")
}

// failure says why, of what has failed or is late.
func (n *notification) failure(l custody.Letter, e custody.Ending) {
	n.Status = statusOf(e.Err)
	n.Diagnostic = diagnostic(e.Err)
	reason := reasonOf(e.Err)
	switch {
	case n.Action == delayed:
		n.Status[0] = 4
		n.Explain = append(n.Explain, fmt.Sprintf("The message to %s has not been delivered yet. It is tried again; nothing is to be done.", l.To.Address))
	case e.End == custody.Expired:
		n.Status = expired
		n.Explain = append(n.Explain, fmt.Sprintf("The message to %s could not be delivered in time. It is not tried any more.", l.To.Address))
	default:
		n.Status[0] = 5
		n.Explain = append(n.Explain, fmt.Sprintf("The message to %s could not be delivered. It is not tried any more.", l.To.Address))
	}
	if l.Origin != "" {
		n.Explain = append(n.Explain, fmt.Sprintf("It was sent as mail because %s could not be reached by Jabber.", l.Origin))
	}
	if reason != "" {
		n.Explain = append(n.Explain, "The reason: "+reason)
	}
}

// diagnostic is what the other system has said, with the type of its codes: those of SMTP,
// or the conditions of XMPP.
func diagnostic(err error) string {
	var r *mcmt.Refusal
	var se *stanza.Error
	switch {
	case errors.As(err, &r):
		code := fmt.Sprintf("smtp; %d ", r.Code)
		if enhanced(r.Enhanced).valid() {
			code += enhanced(r.Enhanced).String() + " "
		}
		return code + r.Text
	case errors.As(err, &se):
		text := "x-xmpp; " + string(cmp.Or(se.Condition, stanza.UndefinedCondition))
		if se.Text != "" {
			text += ": " + se.Text
		}
		return text
	}
	return ""
}

// reasonOf is why, for a person outside: what another system has said, or what is wrong
// with the message.
func reasonOf(err error) string {
	var r *mcmt.Refusal
	var se *stanza.Error
	switch {
	case errors.As(err, &r):
		text := fmt.Sprintf("%d %s", r.Code, r.Text)
		if r.Where != "" {
			text += " (" + r.Where + ")"
		}
		return text
	case errors.As(err, &se):
		return se.Error()
	}
	return ownText(err)
}

// original is the mail that a letter was, nil where it is not at hand: what follows the
// stanza where that was made of it, and all before.
func original(l custody.Letter) []byte {
	switch {
	case isStanza(l):
		return nil
	case l.JID.IsZero(), l.Part == "":
		return l.Body
	case l.Stanza > 0 && l.Stanza < len(l.Body):
		return l.Body[l.Stanza:]
	}
	return nil
}

// notify makes the message that tells the envelope sender: one that goes out as mail, or
// one that comes in where his address is a Jabber user's.
func (o *Outmail) notify(l custody.Letter, n *notification) []broker.Message {
	rec := custody.Record{ID: mcmt.ID(digestOf(l.Key + "\x00" + string(n.Action))), To: mcmt.Recipient{Address: l.From},
		Accepted: n.Date, MessageID: n.ID}
	raw := n.build()
	var msg broker.Message
	var err error
	if to, bad := o.o.Converter().Recipient(l.From); bad == nil {
		rec.JID = to
		msg, err = custody.Ingest(rec, 0, raw)
	} else {
		msg, err = custody.Mail(rec, string(rec.ID), raw)
	}
	if err != nil {
		o.o.Log.Error().Err(err).Str("id", string(l.ID)).Msg("sender cannot be told how a message ended")
		return nil
	}
	switch n.Action {
	case failed:
		o.failures.Add(1)
	case delivered:
		o.successes.Add(1)
	case relayed:
		o.relays.Add(1)
	case delayed:
		o.delays.Add(1)
	}
	return []broker.Message{msg}
}

// digestOf is a short name for s, the same each time.
func digestOf(s string) string {
	sum := sha256.Sum256([]byte("mcmt2xmpp report\x00" + s))
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:14]))
}
