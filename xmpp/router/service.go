package router

import (
	"context"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Reach says to whom the requests of a service may be addressed.
type Reach uint8

const (
	// Owner: to an account by its own client (RFC 6121 §8.5.2.1.3).
	Owner Reach = 1 << iota
	// Others: to an account by anybody else.
	Others
	// Domain: to a domain of ours (RFC 6120 §10.5.1).
	Domain
)

// Service is what the server does with IQ requests of some elements, on behalf of
// an account or of the domain. Each specification is one, registered by
// [Router.Provide].
type Service struct {
	// Payloads are the elements that Answer answers.
	Payloads []xmlwire.Name
	// Reach is who may be asked.
	Reach Reach
	// OfDomain and OfAccount are the features that disco#info tells of a domain and
	// of an account (XEP-0030 §3.1).
	OfDomain, OfAccount []string
	// Identity is what the domain is by the service, besides (XEP-0030 §3.1); zero for
	// nothing.
	Identity Identity
	// Item lists the domain among its own items, and puts Identity first, for those who
	// look for a component that is the service and nothing else.
	Item bool
	// Form says more of the domain (XEP-0128); nil: nothing.
	Form *xmlwire.Element
	// Answer returns what the result holds, nil for an empty one. A *stanza.Error is
	// for who asks; of any other error he learns only that it may pass.
	Answer func(ctx context.Context, rq Request) (*xmlwire.Element, error)
}

// Identity is what a domain or an account is (XEP-0030 §3.1).
type Identity struct{ Category, Type, Name string }

// Request is an IQ get or set to a Service.
type Request struct {
	*stanza.Stanza
	// Payload is the child of the IQ.
	Payload *xmlwire.Element
	// Asker is the session of who asks, nil for somebody who has none here. Unlike a
	// session of the registry it may be sent to while its own request is answered.
	Asker Session
}

// Account is the account that is asked, zero for a domain.
func (rq Request) Account() jid.JID {
	if rq.To.Local() == "" {
		return jid.JID{}
	}
	return rq.To.Bare()
}

// reach is how a request is addressed.
func (rq Request) reach() Reach {
	switch {
	case rq.To.Local() == "":
		return Domain
	case rq.From.Bare() == rq.To.Bare():
		return Owner
	}
	return Others
}

// Provide has a service answer its requests from now on. Of two with one payload
// the later one does.
func (r *Router) Provide(s Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range s.Payloads {
		r.services[name] = &s
	}
	domain, account := r.ofDomain.Info, r.ofAccount.Info
	domain.Features = slices.Concat(domain.Features, s.OfDomain)
	switch {
	case s.Item:
		domain.Identities = slices.Concat([]Identity{s.Identity}, domain.Identities)
		r.ownItem = true
	case s.Identity != (Identity{}):
		domain.Identities = slices.Concat(domain.Identities, []Identity{s.Identity})
	}
	if s.Form != nil {
		domain.Forms = slices.Concat(domain.Forms, []*xmlwire.Element{s.Form})
	}
	account.Features = slices.Concat(account.Features, s.OfAccount)
	r.ofDomain, r.ofAccount = NewCapabilities(domain), NewCapabilities(account)
}

// service is what answers requests of an element, nil for nothing.
func (r *Router) service(name xmlwire.Name) *Service {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.services[name]
}

// capabilities are those of a domain, or of an account.
func (r *Router) capabilities(account bool) *Capabilities {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if account {
		return r.ofAccount
	}
	return r.ofDomain
}

// Answer answers an IQ request to a domain of ours or to an account, on its
// behalf; asker is the session that it came from, or nil. What no service answers
// is service-unavailable (RFC 6120 §8.4).
func (r *Router) Answer(ctx context.Context, asker Session, st *stanza.Stanza) (*stanza.Stanza, error) {
	rq := Request{Stanza: st, Asker: asker}
	for rq.Payload = range st.Element.Elements() {
		break
	}
	if rq.Payload == nil {
		return nil, unavailable
	}
	s := r.service(rq.Payload.Name)
	if s == nil || s.Reach&rq.reach() == 0 {
		return nil, unavailable
	}
	payload, err := s.Answer(ctx, rq)
	if err != nil {
		return nil, err
	}
	answer := st.Reply(stanza.TypeResult)
	if payload != nil {
		answer.Element.Add(payload)
	}
	return answer, nil
}
