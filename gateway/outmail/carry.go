package outmail

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// The bounds of a digest. What is over begins the next.
const (
	maxDigest      = 100      // lines
	maxDigestBytes = 64 << 10 // of stanzas
)

// Carry sends the first letters of a run, all to one recipient, as one mail: a letter that
// is a mail as it is, stanzas as what they become. Several of these go together where they
// join the first and came within digest_window of it; until that has passed nothing is
// sent, and Wait says how long it still takes.
func (o *Outmail) Carry(ctx context.Context, run []custody.Letter) (custody.Carried, error) {
	if len(run) == 0 {
		return custody.Carried{}, nil
	}
	if !isStanza(run[0]) {
		return o.relay(ctx, run[0])
	}
	sts, closed, err := o.digest(run)
	if err != nil {
		o.refused.Add(1)
		return custody.Carried{N: 1}, err
	}
	run = run[:len(sts)]
	if wait := time.Until(run[0].Accepted.Add(o.window(run[0]))); wait > 0 && !closed {
		o.waits.Add(1)
		return custody.Carried{N: len(run), Wait: wait}, nil
	}
	mail, err := o.compose(run, sts)
	if err != nil {
		o.refused.Add(1)
		return custody.Carried{N: len(run)}, err
	}
	if mail.Raw, err = o.attach(ctx, run[0], mail.Raw, sts); err != nil {
		o.refused.Add(1)
		return custody.Carried{N: len(run)}, err
	}
	l := run[len(run)-1]
	m := relay.Message{From: l.From, To: l.To, EnvelopeID: l.EnvelopeID, Return: l.Return, UTF8: mail.UTF8, Raw: mail.Raw}
	if len(run) > 1 {
		// A report would be about all of them, and a ticket is that of one.
		m.To, m.EnvelopeID, m.Return = mcmt.Recipient{Address: l.To.Address}, "", ""
	}
	c, err := o.send(ctx, l, m)
	c.N = len(run)
	if err == nil {
		o.mails.Add(1)
		o.lines.Add(uint64(len(run)))
	}
	return c, err
}

// maxFiles is how many files of messages are attached to their mail.
const maxFiles = 10

// attach fetches the files that messages offer and attaches them to their mail, but to one
// for another gateway, which gets the messages themselves.
func (o *Outmail) attach(ctx context.Context, l custody.Letter, raw []byte, sts []*stanza.Stanza) ([]byte, error) {
	if o.o.Fetch == nil || o.o.Settings(l.Domain()).Format == "mcmt" {
		return raw, nil
	}
	var urls []string
	for _, st := range sts {
		urls = append(urls, convert.Files(st, maxFiles-len(urls))...)
	}
	if len(urls) == 0 {
		return raw, nil
	}
	with, err := mcmt.Attach(raw, o.o.Fetch(ctx, urls))
	if err != nil {
		return nil, fmt.Errorf("attach files: %w", err)
	}
	return with, nil
}

// isStanza says whether the mail is still to be made.
func isStanza(l custody.Letter) bool { return l.JID.IsZero() && l.Part == "xmpp" }

// window is how long a letter waits for others. An MCMT message holds one stanza.
func (o *Outmail) window(l custody.Letter) time.Duration {
	settings := o.o.Settings(l.Domain())
	if settings.Format == "mcmt" {
		return 0
	}
	return settings.DigestWindow
}

// digest returns the stanzas at the beginning of a run that go as one mail. closed says
// that no other can join them any more.
func (o *Outmail) digest(run []custody.Letter) (sts []*stanza.Stanza, closed bool, err error) {
	first, err := parse(run[0])
	if err != nil {
		return nil, false, err
	}
	sts = []*stanza.Stanza{first}
	window := o.window(run[0])
	if window == 0 {
		return sts, true, nil
	}
	size := len(run[0].Body)
	end := run[0].Accepted.Add(window)
	for _, l := range run[1:] {
		size += len(l.Body)
		if !isStanza(l) || l.Accepted.After(end) || l.From != run[0].From || len(sts) == maxDigest || size > maxDigestBytes {
			return sts, true, nil
		}
		st, err := parse(l)
		if err != nil || !convert.Joins(first, st) {
			return sts, true, nil
		}
		sts = append(sts, st)
	}
	return sts, false, nil
}

// parse reads the stanza of a letter. It was within the limits of its stream.
func parse(l custody.Letter) (*stanza.Stanza, error) {
	st, err := stanza.ParseBytes(l.Body, xmlwire.Limits{Bytes: max(len(l.Body), 1)})
	if err == nil && st.Kind != stanza.Message {
		err = errors.New("not a message")
	}
	if err != nil {
		return nil, &convert.ContentError{Text: fmt.Sprintf("stanza of %s cannot be read: %s", l.ID, err)}
	}
	return st, nil
}

// relay sends a mail as it is, with what was asked of us about reports (RFC 3461 §5.2.1).
func (o *Outmail) relay(ctx context.Context, l custody.Letter) (custody.Carried, error) {
	c, err := o.send(ctx, l, relay.Message{From: l.From, To: l.To, EnvelopeID: l.EnvelopeID, Return: l.Return,
		UTF8: !isASCII(l.From + l.To.Address), Raw: l.Body})
	c.N = 1
	if err == nil {
		o.relayed.Add(1)
	}
	return c, err
}

// send sends m with our trace field on top.
func (o *Outmail) send(ctx context.Context, l custody.Letter, m relay.Message) (custody.Carried, error) {
	m.Raw = append([]byte(o.received(l)), m.Raw...)
	res, err := o.o.Send(ctx, m)
	if err != nil {
		if permanent(err) {
			o.refused.Add(1)
		} else {
			o.deferred.Add(1)
		}
		return custody.Carried{}, fmt.Errorf("send mail: %w", err)
	}
	return custody.Carried{Proof: strings.TrimSpace(res.Host + " " + oneLine(res.Reply, maxText)), Reports: res.DSN}, nil
}

// received is the trace field (RFC 5321 §4.4): when we took the message, and how. Its
// words are Atoms, ours where there is no registered one for the protocol.
func (o *Outmail) received(l custody.Letter) string {
	with := "ESMTP"
	switch kind, _, _ := strings.Cut(l.Listener, " "); {
	case kind == listener:
		with = "XMPP"
	case kind == "http_listener":
		with = "HTTP"
	case l.Listener == "":
		with = "local" // a report of ours
	}
	by := atom(o.o.Hostname)
	s := "Received: by " + by + " (mcmt2xmpp) with " + with + " id " + atom(string(l.ID))
	if isASCII(l.To.Address) {
		s += "\r\n\tfor <" + oneLine(l.To.Address, maxText) + ">"
	}
	return s + ";\r\n\t" + l.Accepted.Format(dateLayout) + "\r\n"
}

// dateLayout is the date-time of RFC 5322 §3.3.
const dateLayout = "Mon, 02 Jan 2006 15:04:05 -0700"

// atom makes a name harmless in a trace field.
func atom(s string) string {
	s = strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f && !strings.ContainsRune(`()<>@,;\"`, r) {
			return r
		}
		return '-'
	}, s)
	if s == "" {
		return "localhost"
	}
	return s
}

// permanent reports whether err says of itself that trying again is useless.
func permanent(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && !t.Temporary()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
