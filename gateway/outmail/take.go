package outmail

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

// listener is where messages of Jabber users come from.
const listener = "xmpp_listener"

// Take takes custody of a message from a Jabber user to a JID that stands for a mail
// address, and returns when it is stored. The error is a *stanza.Error for the author. An
// error stanza is dropped: it answers something, and is never sent as mail.
func (o *Outmail) Take(ctx context.Context, st *stanza.Stanza) error {
	if st.Type == stanza.TypeError {
		o.loops.Add(1)
		return nil
	}
	if !o.o.May(st.From) {
		o.notAllowed.Add(1)
		return &stanza.Error{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "you may not send mail here"}
	}
	rec, st, err := o.accept(st)
	if err != nil {
		return err
	}
	msg, err := custody.Mail(rec, string(rec.ID), st.Append(nil, ""))
	if err == nil {
		err = o.o.Store.Store(ctx, msg)
	}
	if err != nil {
		o.notStored.Add(1)
		return o.notKept(rec, err)
	}
	o.taken.Add(1)
	o.o.Trace.Emit(trace.Event{Stage: trace.Stored, ID: string(rec.ID), StanzaID: rec.StanzaID, Listener: listener, From: rec.From,
		To: rec.To.Address, JID: rec.Recipient(), Part: rec.Part, Size: len(msg.Body), Took: time.Since(rec.Accepted)})
	return nil
}

// accept returns the record of a message that can become mail, and the message with an id.
func (o *Outmail) accept(st *stanza.Stanza) (rec custody.Record, _ *stanza.Stanza, err error) {
	now := time.Now()
	rec = custody.Record{ID: mcmt.NewID(now), Listener: listener, Accepted: now, Part: "xmpp", Author: st.From.String()}
	if rec.From, rec.To.Address, err = o.addresses(st); err != nil {
		o.noAddress.Add(1)
		return rec, nil, err
	}
	if st.ID == "" {
		// Errors and receipts name it, and it is the same at every attempt.
		st = st.Clone()
		st.ID = string(rec.ID)
	}
	rec.StanzaID = st.ID
	o.ask(&rec, st)
	// What can become no mail is refused while its author is there to be told.
	mail, err := o.compose([]custody.Letter{{Record: rec}}, []*stanza.Stanza{st})
	if err != nil {
		return rec, nil, o.unfit(err)
	}
	rec.MessageID = mail.MessageID
	return rec, st, nil
}

// ask asks the mail server for what the author's client asks for: to hear that the message
// has arrived (XEP-0184, RFC 3461 §4.1).
func (o *Outmail) ask(rec *custody.Record, st *stanza.Stanza) {
	if !o.o.Settings(rec.Domain()).Receipts {
		return
	}
	ticket := o.o.Tickets.Of(st, rec.To.Address)
	if ticket == "" {
		return
	}
	rec.EnvelopeID, rec.Return, rec.To.Notify = ticket, "HDRS", []string{"SUCCESS", "FAILURE"}
	if isASCII(rec.To.Address) {
		rec.To.ORCPT = "rfc822;" + rec.To.Address
	}
}

// addresses are the mail addresses of author and recipient.
func (o *Outmail) addresses(st *stanza.Stanza) (from, to string, err error) {
	conv := o.o.Converter()
	if st.Type == stanza.TypeGroupchat {
		return "", "", &stanza.Error{Condition: stanza.NotAcceptable, Text: "a mail address is no room"}
	}
	if to, err = conv.MailRecipient(st.To); err != nil {
		return "", "", &stanza.Error{Condition: stanza.ItemNotFound, Text: "this JID stands for no mail address"}
	}
	if !strings.Contains(to, "@") {
		return "", "", &stanza.Error{Condition: stanza.FeatureNotImplemented, Text: "short messages to phone numbers are not sent, only mail"}
	}
	if from, err = conv.AuthorAddress(st.From); err != nil {
		return "", "", &stanza.Error{Condition: stanza.NotAllowed, Text: "your JID is no mail address that could be answered"}
	}
	return from, to, nil
}

// unfit is the answer to a message of which no mail can be made.
func (o *Outmail) unfit(err error) *stanza.Error {
	var loop *convert.LoopError
	if errors.As(err, &loop) {
		o.loops.Add(1)
		return &stanza.Error{Type: stanza.Cancel, Condition: stanza.PolicyViolation, Text: loop.Text}
	}
	o.noContent.Add(1)
	return &stanza.Error{Condition: stanza.NotAcceptable, Text: err.Error()}
}

// notKept is the answer to a message that could not be stored.
func (o *Outmail) notKept(rec custody.Record, err error) *stanza.Error {
	var temporary interface{ Temporary() bool }
	switch {
	case errors.Is(err, broker.ErrFull):
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "there is no room for the message now"}
	case errors.As(err, &temporary) && !temporary.Temporary():
		return &stanza.Error{Type: stanza.Modify, Condition: stanza.NotAcceptable, Text: "the message cannot be stored"}
	}
	o.o.Log.Warn().Err(err).Str("id", string(rec.ID)).Msg("message to mail cannot be stored")
	return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "the message cannot be stored now"}
}

// compose makes the mail of letters that are stanzas; sts are they.
func (o *Outmail) compose(run []custody.Letter, sts []*stanza.Stanza) (convert.MailResult, error) {
	first, last := run[0], run[len(run)-1]
	settings := o.o.Settings(first.Domain())
	in := convert.MailInput{Stanzas: sts, From: first.From, To: first.To.Address, Accepted: last.Accepted, Subject: settings.Subject}
	for _, l := range run {
		in.ID += string(l.ID) + " "
	}
	if len(run) == 1 {
		in.Ticket = first.EnvelopeID // a report of several would be about all of them
	}
	if settings.Format == "mcmt" {
		in.Format = convert.MCMTMail
	}
	mail, err := o.o.Converter().Mail(in)
	if err != nil {
		return mail, fmt.Errorf("make mail: %w", err)
	}
	return mail, nil
}
