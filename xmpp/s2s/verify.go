package s2s

import (
	"context"
	"errors"
	"time"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// question is a key that an authoritative server was asked about on one stream.
type question struct {
	pair Pair
	id   string // of the stream that the key came in on
}

// verdict is its answer.
type verdict struct {
	valid bool
	err   error // why there is none
}

// claimed deals with the claim of the peer to speak for a domain (XEP-0220 §2.2.1). The
// error ends the stream.
func (c *conn) claimed(ctx context.Context, p Pair, key string) error {
	condition, text := c.unwelcome(p)
	if condition != "" {
		c.v.stats.refused.Add(1)
		c.log.Info().Str("domain", p.Theirs).Str("to", p.Ours).Str("condition", string(condition)).Str("reason", text).Msg("server refused")
		return c.result(ctx, p, "", condition, text)
	}
	c.mu.Lock()
	known := c.in[p] != ""
	_, running := c.verifying[p]
	c.mu.Unlock()
	switch {
	case running:
		// The verdict on the first key is that on the pair: an answer of the authoritative
		// server does not say which key of a stream it is about.
		return nil
	case known:
		return c.result(ctx, p, typeValid, "", "")
	case c.asked >= maxPairs:
		// A certificate may prove any number, as *.example does.
		return c.result(ctx, p, "", stanza.ResourceConstraint, "too many domains on one stream")
	}
	c.asked++
	if proves(c.s.TLS(), c.v.policy(p.Theirs), p.Theirs) == nil {
		// A certificate that names the domain is more than its word by another stream.
		c.s.Prove(domainJID(p.Theirs), byCertificate)
		c.allow(p, byCertificate)
		return c.result(ctx, p, typeValid, "", "")
	}
	select {
	case c.checking <- struct{}{}:
	default:
		return c.result(ctx, p, "", stanza.ResourceConstraint, "too many domains at once on one stream")
	}
	c.mu.Lock()
	c.verifying[p] = struct{}{}
	c.mu.Unlock()
	// Stanzas and other claims go on meanwhile.
	if !c.v.spawn(func() {
		defer func() { <-c.checking }()
		if err := c.check(ctx, p, key); err != nil {
			c.end(err)
		}
	}) {
		return stream.Shutdown
	}
	return nil
}

const byCertificate = "certificate"

// unwelcome is why a claim is refused whatever its key; empty: it is not.
func (c *conn) unwelcome(p Pair) (condition stanza.Condition, text string) {
	pol := c.v.policy(p.Theirs)
	switch {
	case !c.v.o.Serves(p.Ours):
		return stanza.ItemNotFound, "no such domain here"
	case pol.Deny, c.v.o.Serves(p.Theirs):
		return stanza.NotAllowed, "streams with the domain are not allowed here"
	case pol.TLS == TLSRequired && c.s.TLS() == nil:
		return stanza.PolicyViolation, "tls is required before dialback"
	case pol.Verify == VerifyNone:
		return "", ""
	case c.s.TLS() == nil:
		return stanza.NotAuthorized, "a certificate is required"
	}
	if err := suits(c.s, pol, p.Theirs); err != nil {
		var f *Failure
		errors.As(err, &f)
		return stanza.NotAuthorized, f.Err.Error()
	}
	return "", ""
}

// check asks the authoritative server about a key and tells the peer.
func (c *conn) check(ctx context.Context, p Pair, key string) error {
	valid, by, err := c.verify(ctx, p, key)
	if err == nil && valid {
		c.prove(p.Theirs, byDialback)
		c.allow(p, byDialback)
	}
	c.mu.Lock()
	delete(c.verifying, p) // not before the pair is known, and before the peer hears and may claim again
	c.mu.Unlock()
	if by != nil && c.isBidi() {
		defer by.closeUnused() // what we have to say goes the other way on this one
	}
	switch {
	case err != nil:
		condition := verifyCondition(err)
		c.log.Warn().Str("domain", p.Theirs).Str("to", p.Ours).Err(err).Msg("dialback key not verified")
		return c.result(ctx, p, "", condition, conditionText[condition])
	case valid:
		return c.result(ctx, p, typeValid, "", "")
	}
	c.v.stats.spoofed.Add(1)
	c.log.Warn().Str("domain", p.Theirs).Str("to", p.Ours).Msg("dialback key is invalid: peer is misconfigured, or pretends to be the domain")
	if c.proven() {
		// §2.2.1: others' stanzas on the stream are none the worse for it.
		return c.result(ctx, p, "", stanza.Forbidden, "the authoritative server does not know the key")
	}
	if err := c.result(ctx, p, typeInvalid, "", ""); err != nil {
		return err
	}
	return errInvalidKey
}

var errInvalidKey = &stream.Error{Condition: stream.NotAuthorized, Text: "the dialback key is invalid"}

// conditionText is what an error of verify is in words. Its own, with the addresses that
// we have tried, stay here.
var conditionText = map[stanza.Condition]string{
	stanza.RemoteServerNotFound: "the domain has no server, or that does not know the domain",
	stanza.RemoteServerTimeout:  "the server of the domain gives no verdict on the key",
	stanza.ResourceConstraint:   "too many domains at once",
	remoteConnectionFailed:      "the server of the domain cannot be reached",
}

// verifyCondition is what the peer is told of an error of verify (XEP-0220 §2.5).
func verifyCondition(err error) stanza.Condition {
	var d *dns.Error
	var said *stanza.Error
	var closed *stream.PeerError
	switch {
	case errors.Is(err, errTooMany):
		return stanza.ResourceConstraint
	case errors.As(err, &d) && (d.Kind == dns.NoDomain || d.Kind == dns.NoService), errors.As(err, &said):
		return stanza.RemoteServerNotFound
	case errors.As(err, &closed) && closed.Err.Condition == stream.HostUnknown:
		return stanza.RemoteServerNotFound
	case errors.Is(err, errEnded), errors.Is(err, context.DeadlineExceeded):
		return stanza.RemoteServerTimeout
	}
	return remoteConnectionFailed
}

// remoteConnectionFailed is no condition of RFC 6120 §8.3.3, but XEP-0220 §2.5 has it.
const remoteConnectionFailed stanza.Condition = "remote-connection-failed"

// result answers a claim: by a type, or with an error.
func (c *conn) result(ctx context.Context, p Pair, typ string, condition stanza.Condition, text string) error {
	e := xmlwire.New(nameResult.Space, nameResult.Local, "from", p.Ours, "to", p.Theirs)
	if condition != "" {
		refuse(e, condition, text)
	} else {
		e.SetAttr("type", typ)
	}
	return c.s.Send(ctx, e)
}

// verify asks the authoritative server of a domain about a key, on a stream that we have
// opened to it, by: never on the one that the key came in on (XEP-0288 §2.2).
func (c *conn) verify(ctx context.Context, p Pair, key string) (valid bool, by *conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, verdictTime/2) // the peer waits as long as we would
	defer cancel()
	other, err := c.v.peer(p.Theirs)
	if err != nil {
		return false, nil, err
	}
	for {
		by, err = other.authority(ctx, p.Ours, c)
		if err != nil {
			return false, nil, err
		}
		valid, err = by.ask(ctx, question{p, c.s.ID()}, key)
		by.release()
		if err == nil || !other.doubts(by) {
			return valid, by, err
		}
	}
}

// authority is an open stream to the domain's servers, other than one, made if there is
// none. It is held.
func (p *peer) authority(ctx context.Context, ours string, other *conn) (*conn, error) {
	tried := make(map[*conn]bool)
	for {
		for _, c := range p.streams() {
			if !c.incoming && c != other && c.hold() {
				return c, nil
			}
			tried[c] = true
		}
		c, err := p.open(ctx, ours, tried)
		switch {
		case err != nil:
			p.v.stats.failed(failed(StepTCP, err).Step)
			return nil, err
		case c == nil: // there is one that was not tried
		case c.hold():
			return c, nil
		default:
			return nil, failed(StepUse, errEnded)
		}
	}
}

// ask sends a key and waits for the verdict.
func (c *conn) ask(ctx context.Context, q question, key string) (bool, error) {
	answer := make(chan verdict, 1)
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return false, errEnded
	}
	c.asking[q] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.asking, q)
		c.mu.Unlock()
	}()
	c.touch()
	e := xmlwire.New(nameVerify.Space, nameVerify.Local, "from", q.pair.Ours, "to", q.pair.Theirs, "id", q.id).AddText(key)
	if err := c.s.Send(ctx, e); err != nil {
		return false, err
	}
	late := time.NewTimer(verdictTime)
	defer late.Stop()
	select {
	case a := <-answer:
		return a.valid, a.err
	case <-late.C:
		return false, context.DeadlineExceeded
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// verified takes the answer of an authoritative server. One to a question that was not
// asked on this stream is dropped (XEP-0220 §2.1.2, §3.1).
func (c *conn) verified(p Pair, id, typ string, e *xmlwire.Element) {
	q := question{p, id}
	c.mu.Lock()
	answer := c.asking[q]
	delete(c.asking, q)
	c.mu.Unlock()
	if answer == nil {
		c.unasked(p)
		return
	}
	v := verdict{valid: typ == typeValid}
	if typ != typeValid && typ != typeInvalid {
		v.err = parseError(e)
	}
	answer <- v
}
