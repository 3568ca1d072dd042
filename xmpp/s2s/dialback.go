package s2s

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/dialback"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

var (
	nameResult = xmlwire.Name{Space: stanza.Dialback, Local: "result"}
	nameVerify = xmlwire.Name{Space: stanza.Dialback, Local: "verify"}
)

// The types of an answer (XEP-0220 §2.1, §2.5).
const (
	typeValid   = "valid"
	typeInvalid = "invalid"
)

const byDialback = "dialback"

// claim is ours, on one stream, to speak for a domain of ours to one of the peer's.
type claim struct {
	done chan struct{} // closed when it is settled
	once sync.Once
	err  error
	how  string
}

func newClaim() *claim { return &claim{done: make(chan struct{})} }

// settle sets the verdict, nil for a good one. Only the first counts.
func (cl *claim) settle(err error) {
	cl.once.Do(func() {
		cl.err = err
		close(cl.done)
	})
}

// settled says whether there is a verdict.
func (cl *claim) settled() bool {
	select {
	case <-cl.done:
		return true
	default:
		return false
	}
}

// valid says whether the verdict was good.
func (cl *claim) valid() bool { return cl.settled() && cl.err == nil }

// may says whether we may send stanzas of a pair on the stream.
func (c *conn) may(p Pair) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl := c.out[p]
	return !c.over && cl != nil && cl.valid()
}

// asks says whether the peer can be asked to take another pair: it speaks dialback, and
// listens to us. Beyond the first pair that goes for streams with XEP-0288 only. COMPAT
// Prosody 0.12: what it answers to stanzas of another pair it sends on its stream to the
// first, where that pair is not proven.
func (c *conn) asks() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return false
	case c.incoming:
		return c.bidi && len(c.in) > 0
	}
	return c.dialback && (c.bidi || len(c.out) == 0)
}

// granted records that we may send stanzas of a pair, and how that is known. On a stream
// that we opened with XEP-0288 the peer may then send those of its inverse: it is where
// its domain is.
func (c *conn) granted(p Pair, how string) {
	c.mu.Lock()
	cl := c.out[p]
	if cl == nil {
		cl = newClaim()
		c.out[p] = cl
	}
	cl.how = how
	if !c.incoming && c.bidi {
		c.in[p] = how
	}
	c.mu.Unlock()
	c.enable() // before anybody sends: what is sent before is not counted
	cl.settle(nil)
	c.log.Info().Str("domain", p.Theirs).Str("from", p.Ours).Str("by", how).Bool("tls", c.s.TLS() != nil).Msg("server takes our stanzas")
}

// verdictTime bounds the waiting for a verdict (XEP-0220 §2.1.1).
const verdictTime = 40 * time.Second

// claim sends a key for a pair and waits for the verdict (XEP-0220 §2.1.1).
func (c *conn) claim(ctx context.Context, p Pair) error {
	if !c.incoming && !c.dialback {
		return failed(StepSASL, c.errUnproven())
	}
	c.mu.Lock()
	cl, first := c.out[p], false
	switch {
	case c.over || c.unused:
		c.mu.Unlock()
		return errEnded
	case cl == nil && len(c.out) >= maxPairs:
		c.mu.Unlock()
		return fmt.Errorf("the stream has %d pairs of domains already", maxPairs)
	case cl == nil:
		cl, first = newClaim(), true
		c.out[p] = cl
	}
	c.mu.Unlock()
	if first {
		key := dialback.Key(c.v.o.Secret(p.Ours), p.Theirs, p.Ours, c.s.ID())
		e := xmlwire.New(nameResult.Space, nameResult.Local, "from", p.Ours, "to", p.Theirs).AddText(key)
		if err := c.s.Send(ctx, e); err != nil {
			cl.settle(err)
		}
	}
	late := time.NewTimer(verdictTime)
	defer late.Stop()
	select {
	case <-cl.done:
	case <-late.C:
		cl.settle(errors.New("peer gives no verdict on our dialback key"))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if cl.err != nil {
		c.forget(p, cl)
	}
	return cl.err
}

// forget has a claim that came to nothing be made anew another time: an error is not
// fatal for the stream, and may pass (XEP-0220 §2.5).
func (c *conn) forget(p Pair, cl *claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out[p] == cl {
		delete(c.out, p)
	}
}

// takeDialback deals with an element of dialback. Those of the receiving server have no
// type, those with one answer something that we have asked (XEP-0220 §2.2).
func (c *conn) takeDialback(ctx context.Context, e *xmlwire.Element) error {
	from, err1 := jid.Parse(e.Attr("from"))
	to, err2 := jid.Parse(e.Attr("to"))
	if err1 != nil || err2 != nil || from.Local() != "" || to.Local() != "" || !from.IsBare() || !to.IsBare() {
		return &stream.Error{Condition: stream.ImproperAddressing, Text: "from and to of dialback are domains"}
	}
	p := Pair{Ours: to.Domain(), Theirs: from.Domain()}
	typ, answers := e.LookupAttr(xmlwire.Name{Local: "type"})
	switch {
	case e.Name == nameResult && answers:
		return c.judged(p, typ, e)
	case e.Name == nameVerify && answers:
		c.verified(p, e.Attr("id"), typ, e)
		return nil
	case e.Name == nameResult && (c.incoming || c.bidi):
		return c.claimed(ctx, p, e.Text())
	case e.Name == nameVerify && (c.incoming || c.bidi):
		return c.answer(ctx, p, e)
	}
	return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not an element of dialback to send now"}
}

// judged takes the verdict on a claim of ours. One that we did not make on this stream
// is dropped: else anybody might make us send him what is for others (XEP-0220 §3.1).
func (c *conn) judged(p Pair, typ string, e *xmlwire.Element) error {
	c.mu.Lock()
	cl := c.out[p]
	c.mu.Unlock()
	if cl == nil || cl.settled() {
		c.unasked(p)
		return nil
	}
	switch typ {
	case typeValid:
		c.s.Prove(domainJID(p.Theirs), byDialback)
		c.granted(p, byDialback)
	case typeInvalid:
		cl.settle(errInvalid)
	default:
		cl.settle(fmt.Errorf("peer answers our dialback key with %w", parseError(e)))
	}
	return nil
}

// errInvalid is the verdict that our key is none.
var errInvalid = errors.New("peer says that our dialback key is invalid: its dns leads it to another server than this one, or that has another xmpp_dialback_secret")

func (c *conn) unasked(p Pair) {
	c.v.stats.unasked.Add(1)
	c.log.Warn().Str("domain", p.Theirs).Str("to", p.Ours).Msg("answer of dialback that nobody asked for, dropped")
}

// parseError reads the error of an answer (XEP-0220 §2.5).
func parseError(e *xmlwire.Element) *stanza.Error {
	for c := range e.Elements() {
		if c.Name.Local == "error" {
			parsed := stanza.ParseError(c)
			if c.Child(xmlwire.Name{Space: stanza.Errors, Local: string(remoteConnectionFailed)}) != nil {
				parsed.Condition = remoteConnectionFailed // which RFC 6120 does not have
			}
			return parsed
		}
	}
	return &stanza.Error{Condition: stanza.UndefinedCondition}
}

// answer judges a key that another server has got, as the authoritative one for a domain
// of ours (XEP-0220 §2.2.2). Who asks need not be proven.
func (c *conn) answer(ctx context.Context, p Pair, e *xmlwire.Element) error {
	id := e.Attr("id")
	out := xmlwire.New(nameVerify.Space, nameVerify.Local, "from", p.Ours, "to", p.Theirs, "id", id)
	switch {
	case !c.v.o.Serves(p.Ours):
		refuse(out, stanza.ItemNotFound, "")
	case dialback.Verify(c.v.o.Secret(p.Ours), p.Theirs, p.Ours, id, e.Text()):
		out.SetAttr("type", typeValid)
	default:
		c.v.stats.invalidKeys.Add(1)
		c.log.Warn().Str("domain", p.Theirs).Str("of", p.Ours).Msg("another server asks about a dialback key that is not ours")
		out.SetAttr("type", typeInvalid)
	}
	return c.s.Send(ctx, out)
}

// refuse makes an element of dialback an error (XEP-0220 §2.5): <error/> is in the
// namespace of the stream.
func refuse(e *xmlwire.Element, condition stanza.Condition, text string) {
	e.SetAttr("type", stanza.TypeError)
	out := (&stanza.Error{Type: stanza.Cancel, Condition: condition, Text: text}).Element()
	out.Name.Space = stanza.Server
	e.Add(out)
}
