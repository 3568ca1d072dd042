package convert

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// MailFormat is the form of a mail that is made of stanzas (mail_format).
type MailFormat uint8

const (
	PlainMail MailFormat = iota // an ordinary mail
	MCMTMail                    // an MCMT message: the ordinary mail, and the stanza
)

// MailInput is what a mail is made of.
type MailInput struct {
	// ID is what the Message-ID follows from, beside the ids of the stanzas: the queue ids.
	ID string
	// Stanzas are messages of which each Joins the first, oldest first; mostly one. They
	// are not changed.
	Stanzas  []*stanza.Stanza
	From, To string    // as AuthorAddress and MailRecipient return them
	Accepted time.Time // when custody of the last was taken; what answers a mail sooner than a person could may be a loop
	Format   MailFormat
	Subject  string // where no stanza has one (mail_subject)
	Ticket   string // see Tickets; empty: nobody asks for a receipt
}

// MailResult is a mail.
type MailResult struct {
	Raw       []byte // header and body, CRLF, no line over 998 bytes
	MessageID string // without angle brackets
	UTF8      bool   // an address is not ASCII: it needs SMTPUTF8 (RFC 6531)
}

// Mail makes one mail (RFC 5322) of messages from one Jabber user to one mail address.
// Like Convert it is pure. The error is a *ContentError for messages in which there is
// nothing to read, or a *LoopError.
func (c *Converter) Mail(in MailInput) (MailResult, error) {
	m := draft{c: c, in: in}
	for _, st := range in.Stanzas {
		k := stanzaMarks(st)
		if err := checkLoop(st, k, in.Accepted); err != nil {
			return MailResult{}, err
		}
		if m.marks.auto == "" {
			m.marks.auto = k.auto
		}
		m.marks.hops = max(m.marks.hops, k.hops)
	}
	if err := m.read(); err != nil {
		return MailResult{}, err
	}
	return m.build()
}

// Joins reports whether two messages may go as one mail: nothing but lines of text, of one
// author to one recipient in one thread.
func Joins(a, b *stanza.Stanza) bool {
	subject := readSubject(b, "")
	return a.From.Bare() == b.From.Bare() && a.To == b.To && threadOf(a) == threadOf(b) &&
		stanzaMarks(a) == stanzaMarks(b) && (subject == "" || subject == readSubject(a, "")) &&
		len(readBodies(a)) <= 1 && len(readBodies(b)) <= 1
}

// draft is the state of one Mail.
type draft struct {
	c       *Converter
	in      MailInput
	marks   marks
	subject string
	nick    string
	thread  string
	date    time.Time
	texts   []body // the first is the one that all see
}

// read takes out of the stanzas what stands in the mail.
func (m *draft) read() error {
	if len(m.in.Stanzas) == 0 || m.in.Format == MCMTMail && len(m.in.Stanzas) > 1 {
		return &ContentError{fmt.Sprintf("%d messages do not make one mail of this form", len(m.in.Stanzas))}
	}
	var lines []string
	for _, st := range m.in.Stanzas {
		if what := encrypted(st); what != "" {
			return &ContentError{"a message with " + what + " cannot be read outside Jabber"}
		}
		bodies := readBodies(st)
		text := withLinks(st, bodies)
		if strings.TrimSpace(text) == "" {
			return &ContentError{"there is no text to send"}
		}
		lines = append(lines, text)
		if len(m.texts) == 0 {
			m.texts = append([]body{{}}, bodies[min(1, len(bodies)):]...)
			if len(bodies) > 0 {
				m.texts[0].lang = bodies[0].lang
			}
		}
		if m.subject == "" {
			m.subject = readSubject(st, m.texts[0].lang)
		}
		if m.nick == "" {
			m.nick = readNick(st)
		}
		m.date = sentAt(st, m.in.Accepted)
	}
	m.texts[0].text = strings.Join(lines, "\n")
	m.thread = threadOf(m.in.Stanzas[0])
	if m.subject == "" {
		m.subject = oneLine(m.in.Subject)
	}
	return nil
}

// sentAt is when a stanza was sent, by its delay (XEP-0203) where that is not later than
// its acceptance.
func sentAt(st *stanza.Stanza, accepted time.Time) time.Time {
	if e := st.Element.Child(stanza.Delay); e != nil {
		at, err := time.Parse(time.RFC3339, e.Attr("stamp"))
		if at = at.UTC(); err == nil && at.Year() >= 1970 && at.Before(accepted) {
			return at
		}
	}
	return accepted
}

// build writes the mail.
func (m *draft) build() (MailResult, error) {
	key := m.in.ID
	for _, st := range m.in.Stanzas {
		key += "\x00" + stableID(st)
	}
	hops := m.marks.hops + 1
	res := MailResult{MessageID: m.c.messageID(key, m.thread, hops), UTF8: !ascii(m.in.From + m.in.To)}
	marks := mailField{hopsField, strconv.Itoa(hops)}.String()
	if m.in.Ticket != "" {
		marks += mailField{receiptField, m.in.Ticket}.String()
	}
	if m.marks.auto != "" {
		marks += mailField{autoSubmitted, m.marks.auto}.String() // RFC 3834 §5
	}
	root, reply := m.c.reference(m.thread)
	d := mcmt.Draft{From: m.in.From, To: []string{m.in.To}, Subject: m.subject, Date: m.date.UTC().Truncate(time.Second), MessageID: res.MessageID}
	if reply {
		d.InReplyTo = root
	}
	if root != "" {
		d.References = []string{root}
	}
	res.Raw = append(m.header(d, marks), m.content()...)
	if m.in.Format == PlainMail {
		return res, nil
	}
	d.Email, d.XMPP = res.Raw, exported(m.in.Stanzas[0])
	raw, err := mcmt.Build(d)
	if err != nil {
		return MailResult{}, &ContentError{err.Error()}
	}
	res.Raw = append([]byte(marks), raw...)
	return res, nil
}

// exported is a stanza as another gateway gets it: without the resource of its author, and
// without the ids that only our servers give.
func exported(st *stanza.Stanza) []byte {
	st = st.Clone()
	st.From, st.To = st.From.Bare(), st.To.Bare()
	kept := st.Element.Children[:0]
	for _, n := range st.Element.Children {
		if n.Element == nil || n.Element.Name != stanza.StanzaID {
			kept = append(kept, n)
		}
	}
	st.Element.Children = kept
	return st.Append(nil, "")
}

// stableID is the id of a message that does not change on its way (XEP-0359 §2.2).
func stableID(st *stanza.Stanza) string {
	if e := st.Element.Child(stanza.OriginID); e != nil && e.Attr("id") != "" {
		return e.Attr("id")
	}
	return st.ID
}

// readNick is the name that an author gives himself (XEP-0172). One that looks like an
// address is left out: mail programs show it in the place of the real one.
func readNick(st *stanza.Stanza) string {
	e := st.Element.Child(xmlwire.Name{Space: "http://jabber.org/protocol/nick", Local: "nick"})
	if e == nil {
		return ""
	}
	nick := oneLine(e.Text())
	if len(nick) > 100 || strings.Contains(nick, "@") {
		return ""
	}
	return nick
}
