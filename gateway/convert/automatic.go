package convert

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// How many mails a chain of answers may have that no person has begun anew: a chain that
// long is two programs that answer each other. MaxHops is for answers that come as quickly
// as those of programs, MaxSlowHops for all.
//
// What answers by itself answers to the very JID that a message came from, and so do some
// clients of people (RFC 6121 §5.1), but later. So what an automatic mail becomes, or one
// that answers a mail of ours, comes from a JID of the gateway with a resource that says so,
// and when; and a quick answer to that JID is not sent, or one hop further. The same stands
// in the stanza in headers of XEP-0131, for a stanza that is forwarded as it is, and in a
// field of the mail, for a gateway at the other end; the Message-ID has the count for all
// other servers.
const (
	MaxHops     = 20
	MaxSlowHops = 200
)

// quick is how long after a mail an answer is taken for a program's. A person who is that
// quick can send the answer again.
const quick = 10 * time.Second

// hopsField is the field of the header with the hop count.
const hopsField = "Jabber-Gateway-Hops"

// autoSubmitted is the field of RFC 3834 §5.
const autoSubmitted = "Auto-Submitted"

// What the resource of a JID that stands for a mail address begins with. The hop count
// follows and the time of the mail, in seconds since 1970 of base 36: "hop-3-thv2k5".
const (
	automaticResource = "automatic"
	hopResource       = "hop"
)

// headers is the name of what holds header fields in a stanza (XEP-0131 §2).
var headers = xmlwire.Name{Space: "http://jabber.org/protocol/shim", Local: "headers"}

// LoopError is a message that is not sent because it may be part of a loop.
type LoopError struct{ Text string }

// Error returns the reason.
func (e *LoopError) Error() string { return e.Text }

// Temporary reports false: the message stays what it is.
func (e *LoopError) Temporary() bool { return false }

// marks are what is known of how a message came to be.
type marks struct {
	auto string // value of Auto-Submitted: how it was made without a person; "" for no
	hops int    // mails before it in a chain of answers
}

// answered are what is known of the mail that a stanza answers, by the JID that it is to.
type answered struct {
	automatic bool
	hops      int
	at        time.Time // when it was accepted; zero: not known
}

// resource is what says so.
func (a answered) resource() string {
	kind := hopResource
	if a.automatic {
		kind = automaticResource
	}
	return fmt.Sprintf("%s-%d-%s", kind, a.hops, strconv.FormatInt(a.at.Unix(), 36))
}

// answeredBy reads the resource of the JID that a stanza is to. One that is another's
// choice says nothing.
func answeredBy(resource string) (a answered) {
	kind, rest, _ := strings.Cut(resource, "-")
	if kind != hopResource && kind != automaticResource {
		return a
	}
	a.automatic = kind == automaticResource
	if rest == "" {
		return a
	}
	hops, at, _ := strings.Cut(rest, "-")
	a.hops = count(hops)
	if sec, err := strconv.ParseInt(at, 36, 64); err == nil && at != "" {
		a.at = time.Unix(sec, 0)
	}
	return a
}

// quickly says whether an answer of then comes as quickly as a program's.
func (a answered) quickly(then time.Time) bool {
	return a.at.IsZero() || then.Sub(a.at) < quick
}

// count reads a number of hops; what is none, or beyond all bounds, is a loop.
func count(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return MaxSlowHops
	}
	return min(int(n), MaxSlowHops) //nolint:gosec // 16 bits
}

// mailMarks reads those of a mail.
func (c *Converter) mailMarks(from string, m *mcmt.Message) marks {
	var k marks
	for _, h := range []mcmt.Header{m.Header, m.Email.Header} {
		if auto := automatic(h); auto != "" && k.auto == "" {
			k.auto = auto
		}
		if v := h.Get(hopsField); v != "" {
			k.hops = max(k.hops, count(v))
		}
	}
	for _, id := range append(m.Email.References, m.Email.InReplyTo) {
		k.hops = max(k.hops, c.hopsIn(id))
	}
	if from == "" && k.auto == "" {
		k.auto = "auto-replied" // the null path is that of answers (RFC 3834 §3.3)
	}
	return k
}

// automatic returns how a mail came to be without a person, by its header: RFC 3834 §5,
// and what programs write that are older than that.
func automatic(h mcmt.Header) string {
	if v := h.Get(autoSubmitted); v != "" {
		return autoValue(v)
	}
	switch strings.ToLower(h.Get("Precedence")) {
	case "auto_reply", "junk": // Exchange and others; vacation(1)
		return "auto-replied"
	}
	if h.Get("X-Autoreply") != "" || h.Get("X-Autorespond") != "" {
		return "auto-replied"
	}
	return ""
}

// autoValue is a value of Auto-Submitted without its parameters, "" for no. One that is
// not known is an extension, which means that the message is automatic (RFC 3834 §5).
func autoValue(v string) string {
	if i := strings.IndexAny(v, ";( \t"); i >= 0 {
		v = v[:i]
	}
	switch v = strings.ToLower(v); v {
	case "no":
		return ""
	case "auto-replied", "auto-notified":
		return v
	}
	return "auto-generated"
}

// stanzaMarks reads those of a stanza to a mail address.
func stanzaMarks(st *stanza.Stanza) marks {
	var k marks
	for e := range st.Element.Elements() {
		if e.Name != headers {
			continue
		}
		for h := range e.Elements() {
			switch name := h.Attr("name"); {
			case strings.EqualFold(name, autoSubmitted) && k.auto == "":
				k.auto = autoValue(strings.TrimSpace(h.Text()))
			case strings.EqualFold(name, hopsField):
				k.hops = max(k.hops, count(strings.TrimSpace(h.Text())))
			}
		}
	}
	k.hops = max(k.hops, answeredBy(st.To.Resource()).hops)
	if st.Type == stanza.TypeHeadline && k.auto == "" {
		k.auto = "auto-generated" // no answer is expected to it (RFC 6121 §5.2.2)
	}
	return k
}

// checkLoop refuses what would go on a loop, of a stanza that was accepted then.
func checkLoop(st *stanza.Stanza, k marks, then time.Time) error {
	a := answeredBy(st.To.Resource())
	most := MaxSlowHops
	if a.hops < k.hops || a.quickly(then) {
		most = MaxHops // headers that were copied are a program's
	}
	switch {
	case st.Type == stanza.TypeError:
		return &LoopError{"an error is never sent as mail"}
	case a.automatic && a.quickly(then):
		return &LoopError{fmt.Sprintf("this answers an automatic mail as quickly as a program; a person may send it again, or write to %s", st.To.Bare())}
	case k.hops >= most:
		return &LoopError{fmt.Sprintf("%d answers to answers; a person may write to %s", k.hops, st.To.Bare())}
	}
	return nil
}

// mark makes known what st was made of, to whoever answers it.
func (k *conversion) mark(st *stanza.Stanza) {
	m := k.c.mailMarks(k.in.From, k.in.Message)
	if m == (marks{}) {
		return
	}
	e := xmlwire.New(headers.Space, headers.Local)
	if m.hops > 0 {
		e.Add(xmlwire.New(headers.Space, "header", "name", hopsField).AddText(strconv.Itoa(m.hops)))
	}
	if m.auto != "" {
		e.Add(xmlwire.New(headers.Space, "header", "name", autoSubmitted).AddText(m.auto))
	}
	st.Element.Add(e)
	st.From = k.c.marked(st.From, answered{m.auto != "", m.hops, k.in.Received}.resource())
	k.step("loop", "automatic: %q, hops: %d", m.auto, m.hops)
}

// marked gives the JID of a mail address the resource. That of a user is his own.
func (c *Converter) marked(j jid.JID, resource string) jid.JID {
	if j.Domain() != c.gateway.Domain() || j.Local() == "" {
		return j
	}
	if with, err := j.WithResource(resource); err == nil {
		return with
	}
	return j
}
