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
		Answer: get(r.version),
	})
	r.Provide(Service{
		Payloads: []xmlwire.Name{{Space: nsTime, Local: "time"}},
		Reach:    Domain, OfDomain: []string{nsTime},
		Answer: get(func(Request) (*xmlwire.Element, error) { return entityTime(time.Now()), nil }),
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

// version answers XEP-0092, without the operating system: that is nobody's business.
func (r *Router) version(Request) (*xmlwire.Element, error) {
	q := xmlwire.New(nsVersion, "query")
	q.Add(xmlwire.New(nsVersion, "name").AddText(r.o.Name))
	// §2: the element is required, so it is empty where there is no version.
	return q.Add(xmlwire.New(nsVersion, "version").AddText(r.o.Version)), nil
}

// entityTime is the answer of XEP-0202 §2.
func entityTime(now time.Time) *xmlwire.Element {
	t := xmlwire.New(nsTime, "time")
	t.Add(xmlwire.New(nsTime, "tzo").AddText(now.Format("-07:00")))
	return t.Add(xmlwire.New(nsTime, "utc").AddText(now.UTC().Format("2006-01-02T15:04:05Z")))
}

// disco answers XEP-0030 for a domain, and for an account to its owner and to who is
// subscribed to his presence: others may not know that it is there (§8).
func (r *Router) disco(rq Request) (*xmlwire.Element, error) {
	node := rq.Payload.Attr("node")
	switch {
	case rq.reach() == Others && !r.Roster(rq.To).State(rq.From).HasFrom():
		return nil, unavailable
	case node != "" && (rq.reach() != Domain || rq.Payload.Name.Space != nsInfo || node != r.capsNode()):
		return nil, &stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound} // §7
	}
	q := xmlwire.New(rq.Payload.Name.Space, "query")
	q.SetAttr("node", node) // XEP-0115 §6.2: the node comes back
	if rq.Payload.Name.Space == nsItems {
		return q, nil
	}
	in := r.info(rq.reach() != Domain)
	for _, i := range in.identities {
		e := xmlwire.New(nsInfo, "identity", "category", i.Category, "type", i.Type)
		e.SetAttr("name", i.Name)
		q.Add(e)
	}
	for _, f := range in.features {
		q.Add(xmlwire.New(nsInfo, "feature", "var", f))
	}
	for _, f := range in.forms {
		q.Add(f)
	}
	return q, nil
}
