// Package gateway is the Jabber side of a gateway to another network (XEP-0100): it
// answers for a domain in which a JID stands for each address of that network, such as
// alice\40corp.example@mail.example for a mail address or +4915112345678@mail.example
// for a phone (XEP-0106).
//
//	gateway.go   who is addressed, and what goes where
//	iq.go        requests that the domain and every address answer
//	disco.go     what they are and can do (XEP-0030, XEP-0115)
//	register.go  registration (XEP-0077; XEP-0100 §4.1 to §4.3)
//	prompt.go    the JID of an address that a person types (XEP-0100 §6.3)
//	presence.go  subscriptions and presence (XEP-0100 §4.4 to §4.7)
//	message.go   messages (XEP-0100 §4.8)
//
// It is no client proxy, for which XEP-0100 is written (§1): its users have no accounts
// on the other network, so there is nothing to log in to, and it can be used without
// registration. It keeps nothing but registrations, and nothing of strangers. Presence to all
// registered users at its start and end (§8) is left out: it is there as long as any
// process is, and a server asks for it when its user comes (RFC 6121 §4.3).
package gateway

import (
	"context"
	"errors"
	"sync/atomic"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Kind is what an address is on its network.
type Kind uint8

// The kinds. NoAddress is that of a JID which stands for nothing.
const (
	NoAddress Kind = iota
	Mail           // an e-mail address
	Phone          // a phone number in E.164, which gets short messages
)

// Addresses knows what the JIDs of the gateway stand for. Its methods may be called from
// any goroutine, and for any domain that Take is the host of.
type Addresses interface {
	// JID returns the JID of an address as a person types it at a gateway. The error is
	// for that person to read.
	JID(gateway jid.JID, text string) (jid.JID, error)
	// Address returns the address that a bare JID stands for; NoAddress: none.
	Address(j jid.JID) (address string, kind Kind)
}

// Options are what a Gateway is made of. Router and Addresses are needed.
type Options struct {
	Router    *router.Router
	Addresses Addresses
	// Kinds are those of the addresses that can be written to. None: Mail.
	Kinds []Kind
	// Registrations keeps who has registered. Nil: nobody can.
	Registrations Registrations
	// Filter returns what goes on of a message, nil for nothing: it is dropped in
	// silence. A *stanza.Error is for the sender. Nil: all goes on. The note is for
	// Message, which gets it with the message.
	Filter func(ctx context.Context, st *stanza.Stanza) (_ *stanza.Stanza, note string, err error)
	// Message takes a message to an address. A *stanza.Error is for its sender. Nil: no
	// message can be sent.
	Message func(ctx context.Context, st *stanza.Stanza, note string) error
	// Returned gets the messages from addresses that come back as errors. Nil: they are
	// dropped.
	Returned func(ctx context.Context, st *stanza.Stanza)
	// Name and Version are what XEP-0092 tells. Empty: mcmt2xmpp, and no version.
	Name, Version string
}

// Gateway answers for the domains that its Take is the host of. Its methods may be
// called from any goroutine.
type Gateway struct {
	o       Options
	answers map[xmlwire.Name]answer
	self    *router.Capabilities          // of a domain
	others  map[Kind]*router.Capabilities // of an address
	stats   counters
}

// New returns a Gateway. It does nothing before a router has it as a host.
func New(o Options) *Gateway {
	if o.Name == "" {
		o.Name = "mcmt2xmpp"
	}
	if len(o.Kinds) == 0 {
		o.Kinds = []Kind{Mail}
	}
	g := &Gateway{o: o}
	g.answers = g.listAnswers()
	g.self, g.others = g.describe()
	return g
}

// entity is who is addressed: the gateway itself, or an address.
type entity struct {
	jid     jid.JID // bare
	address string  // empty for the gateway
	kind    Kind    // NoAddress for the gateway
}

func (e entity) gateway() bool { return e.kind == NoAddress }

// entity finds who has a JID. What it has of a resource does not matter: an address has
// none (XEP-0100 §4.4.1). ok is false for a JID that stands for nothing.
func (g *Gateway) entity(j jid.JID) (e entity, ok bool) {
	e.jid = j.Bare()
	if j.Local() == "" {
		return e, true
	}
	e.address, e.kind = g.o.Addresses.Address(e.jid)
	return e, e.kind != NoAddress
}

// Take takes the stanzas to a domain and to all addresses in it: it is a router.Host.
func (g *Gateway) Take(ctx context.Context, asker router.Session, st *stanza.Stanza) error {
	if st.Kind == stanza.Message && st.Type == stanza.TypeError && g.o.Returned != nil {
		g.o.Returned(ctx, st)
	}
	if st.Type == stanza.TypeError || st.Kind == stanza.IQ && st.Type == stanza.TypeResult {
		return nil // RFC 6120 §8.3.1: never answered; and we have asked nothing
	}
	to, ok := g.entity(st.To)
	if !ok {
		g.stats.unknown.Add(1)
	}
	switch st.Kind {
	case stanza.Message:
		return g.message(ctx, st, to, ok)
	case stanza.Presence:
		return g.presence(ctx, asker, st, to, ok)
	}
	if !ok {
		return g.noAddress(to.jid)
	}
	return g.iq(ctx, asker, st, to)
}

// send sends what nobody waits for. One whom it does not reach has no use for it.
func (g *Gateway) send(ctx context.Context, asker router.Session, st *stanza.Stanza) {
	_ = g.o.Router.Reply(ctx, asker, st)
}

// unavailable is the error for what is not done here (RFC 6120 §8.4).
var unavailable = &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}

// noAddress is the error for a JID that stands for nothing (XEP-0100 §4.8.2), with how to
// write one that does. Nothing is given away by it: whether somebody reads what an
// address gets is not known here.
func (g *Gateway) noAddress(j jid.JID) error {
	text := "this JID stands for no address"
	for _, k := range g.o.Kinds {
		text += "; that of " + kinds[k].typed + " is " + kinds[k].local + "@" + j.Domain()
	}
	return &stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound, Text: text}
}

// refused says whether an error is one for the sender.
func refused(err error) bool {
	var e *stanza.Error
	return errors.As(err, &e)
}

// Stats are counts since New.
type Stats struct {
	Registered   uint64 // registrations
	Unregistered uint64 // registrations taken back
	Prompted     uint64 // JIDs given for addresses that were typed
	Subscribed   uint64 // subscriptions granted
	Messages     uint64 // messages taken
	Filtered     uint64 // messages that the filter dropped
	Refused      uint64 // messages refused
	Unknown      uint64 // stanzas to JIDs that stand for nothing
}

type counters struct {
	registered, unregistered, prompted, subscribed, messages, filtered, refused, unknown atomic.Uint64
}

// Stats returns the counts.
func (g *Gateway) Stats() Stats {
	c := &g.stats
	return Stats{
		Registered: c.registered.Load(), Unregistered: c.unregistered.Load(), Prompted: c.prompted.Load(), Subscribed: c.subscribed.Load(),
		Messages: c.messages.Load(), Filtered: c.filtered.Load(), Refused: c.refused.Load(), Unknown: c.unknown.Load(),
	}
}
