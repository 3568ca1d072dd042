package outmail

import (
	"errors"
	"fmt"

	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

// enhanced is a status code of RFC 3463: class, subject, detail.
type enhanced [3]int

func (e enhanced) String() string { return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2]) }

// valid reports whether e is the status of a failure.
func (e enhanced) valid() bool {
	return (e[0] == 4 || e[0] == 5) && e[1] >= 0 && e[1] <= 999 && e[2] >= 0 && e[2] <= 999
}

// statuses are the status codes of stanza errors, of class 5 here: why a message to a JID
// was given up. What is not listed has 5.0.0.
var statuses = map[stanza.Condition]enhanced{
	stanza.BadRequest:            {5, 6, 0}, // the stanza is not understood: its content
	stanza.Conflict:              {5, 3, 5}, // what the recipient's system has contradicts it
	stanza.FeatureNotImplemented: {5, 3, 3}, // the system cannot do what is asked
	stanza.Forbidden:             {5, 7, 1}, // delivery is not authorised
	stanza.Gone:                  {5, 1, 6}, // the recipient has moved, and no mail is forwarded
	stanza.InternalServerError:   {5, 3, 0}, // some fault of the other system
	stanza.ItemNotFound:          {5, 1, 1}, // there is no such user
	stanza.JIDMalformed:          {5, 1, 3}, // the address cannot be read
	stanza.NotAcceptable:         {5, 7, 1}, // the recipient does not want such messages: a block, or a privacy list
	stanza.NotAllowed:            {5, 7, 1}, // nobody is allowed to
	stanza.NotAuthorized:         {5, 7, 8}, // the sender would have to log in
	stanza.PolicyViolation:       {5, 7, 1}, // a rule of the other system
	stanza.RecipientUnavailable:  {5, 2, 1}, // the user takes no messages now
	stanza.Redirect:              {5, 1, 6}, // the recipient is elsewhere
	stanza.RegistrationRequired:  {5, 7, 2}, // only members may write there, as to a list
	stanza.RemoteServerNotFound:  {5, 1, 2}, // there is no server of that domain
	stanza.RemoteServerTimeout:   {5, 4, 1}, // no answer from the host
	stanza.ResourceConstraint:    {5, 2, 2}, // the store of the user is full
	stanza.ServiceUnavailable:    {5, 2, 1}, // the user takes no messages: what servers say of accounts, there or not (RFC 6121 §8.5)
	stanza.SubscriptionRequired:  {5, 7, 1}, // only contacts may write
	stanza.UndefinedCondition:    {5, 0, 0}, // it does not say
	stanza.UnexpectedRequest:     {5, 5, 0}, // out of order
}

// expired is the status of what was on its way too long: that of the last attempt is a
// temporary one, so this is of the class of what may work at another time.
var expired = enhanced{4, 4, 7}

// statusOf is the status of a failure.
func statusOf(err error) enhanced {
	var r *mcmt.Refusal
	var se *stanza.Error
	switch {
	case errors.As(err, &r) && enhanced(r.Enhanced).valid():
		return r.Enhanced
	case errors.As(err, &r) && r.Code >= 400 && r.Code < 500:
		return enhanced{4, 0, 0}
	case errors.As(err, &se):
		if s, ok := statuses[se.Condition]; ok {
			return s
		}
	}
	return enhanced{5, 0, 0}
}

// conditions are the stanza errors of refused mail, by subject and detail of the enhanced
// code; zero for the detail is what holds for the rest of the subject.
var conditions = map[[2]int]stanza.Condition{
	{1, 0}:  stanza.ItemNotFound,          // something is wrong with the address
	{1, 1}:  stanza.ItemNotFound,          // no such mailbox
	{1, 2}:  stanza.RemoteServerNotFound,  // no such domain
	{1, 3}:  stanza.JIDMalformed,          // the address cannot be read there
	{1, 6}:  stanza.Gone,                  // the mailbox has moved
	{1, 7}:  stanza.NotAllowed,            // the author's address is not taken
	{1, 8}:  stanza.NotAllowed,            // the author's domain is not taken
	{1, 10}: stanza.RemoteServerNotFound,  // the domain takes no mail (RFC 7505)
	{2, 0}:  stanza.RecipientUnavailable,  // something is wrong with the mailbox
	{2, 2}:  stanza.ResourceConstraint,    // the mailbox is full
	{2, 3}:  stanza.PolicyViolation,       // too long for the mailbox
	{3, 0}:  stanza.ServiceUnavailable,    // something is wrong with the system
	{3, 3}:  stanza.FeatureNotImplemented, // the system cannot do what is asked
	{3, 4}:  stanza.PolicyViolation,       // too long for the system
	{4, 0}:  stanza.RemoteServerTimeout,   // something is wrong on the way
	{4, 6}:  stanza.PolicyViolation,       // a loop
	{5, 0}:  stanza.ServiceUnavailable,    // the servers do not understand each other
	{6, 0}:  stanza.NotAcceptable,         // something is wrong with the content
	{7, 0}:  stanza.Forbidden,             // against a rule there
}

// stanzaError is what the author of a message in Jabber gets to read of a failure.
func stanzaError(err error, late bool) *stanza.Error {
	var r *mcmt.Refusal
	var se *stanza.Error
	e := &stanza.Error{Condition: stanza.UndefinedCondition, Type: stanza.Cancel}
	switch {
	case errors.As(err, &se):
		copied := *se
		e = &copied
	case errors.As(err, &r):
		e.Condition = conditionOf(r)
		e.Text = fmt.Sprintf("the mail was refused: %d %s %s", r.Code, enhanced(r.Enhanced), r.Text)
	default:
		e.Text = ownText(err)
	}
	if late {
		// RFC 6120 §8.3.3.16: it may work at another time.
		text := "the mail could not be sent in time"
		if e.Text != "" {
			text += ": " + e.Text
		}
		e.Type, e.Condition, e.Text = stanza.Wait, stanza.RemoteServerTimeout, text
	}
	e.Text = oneLine(e.Text, maxText)
	return e
}

// ownText is the text of an error of ours that is about the message and that its author
// may read; that of any other is for the log.
func ownText(err error) string {
	var content *convert.ContentError
	var address *convert.AddressError
	var loop *convert.LoopError
	switch {
	case errors.As(err, &content):
		return content.Error()
	case errors.As(err, &address):
		return address.Error()
	case errors.As(err, &loop):
		return loop.Error()
	}
	return ""
}

// conditionOf is the condition for a refusal, by its enhanced code, or by the reply code
// of a server that has none (RFC 5321 §4.2.3).
func conditionOf(r *mcmt.Refusal) stanza.Condition {
	if e := enhanced(r.Enhanced); e.valid() && e[1] != 0 {
		if c, ok := conditions[[2]int{e[1], e[2]}]; ok {
			return c
		}
		if c, ok := conditions[[2]int{e[1], 0}]; ok {
			return c
		}
	}
	switch r.Code {
	case 550, 551, 553:
		return stanza.ItemNotFound // mailbox unavailable, not local, not allowed
	case 552:
		return stanza.ResourceConstraint
	}
	return stanza.ServiceUnavailable
}
