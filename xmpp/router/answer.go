package router

import (
	"context"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	nsPing    = "urn:xmpp:ping"
	nsVersion = "jabber:iq:version"
	nsTime    = "urn:xmpp:time"
	nsInfo    = "http://jabber.org/protocol/disco#info"
	nsItems   = "http://jabber.org/protocol/disco#items"
)

// iq delivers an IQ to a full JID (RFC 6121 §8.5.3.1) or answers it as the
// server (§8.5.2.1.3, RFC 6120 §10.5.1). from is the session that it came from, or
// nil.
func (r *Router) iq(ctx context.Context, from Session, st *stanza.Stanza) (answer *stanza.Stanza, err error) {
	if st.To.Local() != "" && !st.To.IsBare() {
		s := r.Session(st.To)
		if s == nil || s.Send(ctx, st) != nil {
			return nil, unavailable
		}
		r.stats.delivered.Add(1)
		return nil, nil
	}
	if st.Type != stanza.TypeGet && st.Type != stanza.TypeSet {
		return nil, nil // an answer to nothing that we asked
	}
	if st.To.Local() != "" {
		if err := r.known(ctx, st.To.Bare()); err != nil {
			return nil, err
		}
	}
	return r.Answer(ctx, from, st)
}

// provideOwn registers what every router answers.
func (r *Router) provideOwn() {
	r.Provide(Service{
		Payloads: []xmlwire.Name{{Space: nsInfo, Local: "query"}, {Space: nsItems, Local: "query"}},
		Reach:    Owner | Others | Domain,
		OfDomain: []string{nsInfo, nsItems}, OfAccount: []string{nsInfo, nsItems},
		Answer: get(r.disco),
	})
	r.Provide(Service{
		Payloads: []xmlwire.Name{{Space: nsPing, Local: "ping"}},
		Reach:    Owner | Others | Domain,
		OfDomain: []string{nsPing}, OfAccount: []string{nsPing},
		Answer: get(func(Request) (*xmlwire.Element, error) { return nil, nil }), // XEP-0199 §4.1
	})
	r.Provide(Service{
		Payloads: []xmlwire.Name{{Space: nsVersion, Local: "query"}},
		Reach:    Domain, OfDomain: []string{nsVersion},
		Answer: get(func(Request) (*xmlwire.Element, error) { return SoftwareVersion(r.o.Name, r.o.Version), nil }),
	})
	r.Provide(Service{
		Payloads: []xmlwire.Name{{Space: nsTime, Local: "time"}},
		Reach:    Domain, OfDomain: []string{nsTime},
		Answer: get(func(Request) (*xmlwire.Element, error) { return EntityTime(time.Now()), nil }),
	})
	r.provideCarbons()
	// A client's stream has it; that is said in its features too.
	r.Provide(Service{OfDomain: []string{stream.NSManagement}})
	if r.o.Custody != nil {
		r.Provide(Service{OfDomain: []string{"msgoffline"}}) // XEP-0160
	}
}

// get is the answer of a service that knows no IQ set.
func get(f func(Request) (*xmlwire.Element, error)) func(context.Context, Request) (*xmlwire.Element, error) {
	return func(_ context.Context, rq Request) (*xmlwire.Element, error) {
		if rq.Type != stanza.TypeGet {
			return nil, unavailable
		}
		return f(rq)
	}
}

// SoftwareVersion is the answer of XEP-0092 §2, without the operating system: that is
// nobody's business. The element of a version is required, so it is empty where there
// is none.
func SoftwareVersion(name, version string) *xmlwire.Element {
	q := xmlwire.New(nsVersion, "query")
	q.Add(xmlwire.New(nsVersion, "name").AddText(name))
	return q.Add(xmlwire.New(nsVersion, "version").AddText(version))
}

// EntityTime is the answer of XEP-0202 §2.
func EntityTime(now time.Time) *xmlwire.Element {
	t := xmlwire.New(nsTime, "time")
	t.Add(xmlwire.New(nsTime, "tzo").AddText(now.Format("-07:00")))
	return t.Add(xmlwire.New(nsTime, "utc").AddText(now.UTC().Format("2006-01-02T15:04:05Z")))
}

var errNoNode = &stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}

// disco answers XEP-0030 for a domain, and for an account to its owner and to who is
// subscribed to his presence: others may not know that it is there (§8).
func (r *Router) disco(rq Request) (*xmlwire.Element, error) {
	node, account := rq.Payload.Attr("node"), rq.reach() != Domain
	switch {
	case rq.reach() == Others && !r.Roster(rq.To).State(rq.From).HasFrom():
		return nil, unavailable
	case rq.Payload.Name.Space == nsInfo && account && node != "":
		return nil, errNoNode // §7: an account shows its features in no presence of its own
	case rq.Payload.Name.Space == nsInfo:
		return r.capabilities(account).Query(node)
	case node != "":
		return nil, errNoNode
	}
	q := xmlwire.New(nsItems, "query")
	if !account {
		for _, item := range r.items(rq.To) {
			q.Add(item)
		}
	}
	return q, nil
}
