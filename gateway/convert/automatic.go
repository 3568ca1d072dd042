package convert

import (
	"fmt"
	"strconv"
	"strings"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// MaxHops is how many mails a chain of answers may have that no person has begun anew: a
// chain that long is two programs that answer each other.
//
// What answers by itself answers to the very JID that a message came from, and a person's
// client mostly to the bare one. So what an automatic mail becomes, or one that answers a
// mail of ours, comes from a JID of the gateway with a resource that says so, and an answer
// to that JID is not sent, or one hop further. The same stands in the stanza in headers of
// XEP-0131, for a stanza that is forwarded as it is, and in a field of the mail, for a
// gateway at the other end; the Message-ID has the count for all other servers.
const MaxHops = 20

// hopsField is the field of the header with the hop count.
const hopsField = "Jabber-Gateway-Hops"

// autoSubmitted is the field of RFC 3834 §5.
const autoSubmitted = "Auto-Submitted"

// The resources of JIDs that stand for mail addresses.
const (
	automaticResource = "automatic"
	hopResource       = "hop-" // and the count
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

// count reads a number of hops; what is none, or beyond all bounds, is a loop.
func count(s string) int {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return MaxHops
	}
	return min(int(n), MaxHops) //nolint:gosec // 16 bits
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
	if n, ok := strings.CutPrefix(st.To.Resource(), hopResource); ok {
		k.hops = max(k.hops, count(n))
	}
	if st.Type == stanza.TypeHeadline && k.auto == "" {
		k.auto = "auto-generated" // no answer is expected to it (RFC 6121 §5.2.2)
	}
	return k
}

// checkLoop refuses what would go on a loop.
func checkLoop(st *stanza.Stanza, k marks) error {
	switch {
	case st.Type == stanza.TypeError:
		return &LoopError{"an error is never sent as mail"}
	case st.To.Resource() == automaticResource:
		return &LoopError{fmt.Sprintf("this answers an automatic mail; a person may write to %s", st.To.Bare())}
	case k.hops >= MaxHops:
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
	resource := ""
	if m.hops > 0 {
		resource = hopResource + strconv.Itoa(m.hops)
		e.Add(xmlwire.New(headers.Space, "header", "name", hopsField).AddText(strconv.Itoa(m.hops)))
	}
	if m.auto != "" {
		resource = automaticResource
		e.Add(xmlwire.New(headers.Space, "header", "name", autoSubmitted).AddText(m.auto))
	}
	st.Element.Add(e)
	st.From = k.c.marked(st.From, resource)
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
