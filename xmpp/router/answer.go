package router

import (
	"context"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	nsPing    = "urn:xmpp:ping"
	nsVersion = "jabber:iq:version"
	nsInfo    = "http://jabber.org/protocol/disco#info"
	nsItems   = "http://jabber.org/protocol/disco#items"
)

// iq delivers an IQ to a full JID (RFC 6121 §8.5.3.1) or answers it as the
// server (§8.5.2.1.3, RFC 6120 §10.5.1).
func (r *Router) iq(ctx context.Context, st *stanza.Stanza) (answer *stanza.Stanza, err error) {
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
	return r.Answer(st)
}

// Answer answers an IQ request to a domain of ours or to an account, on its
// behalf. What the server does not know of is service-unavailable (RFC 6120
// §8.4).
func (r *Router) Answer(st *stanza.Stanza) (*stanza.Stanza, error) {
	var payload *xmlwire.Element
	for payload = range st.Element.Elements() {
		break
	}
	if payload == nil || st.Type != stanza.TypeGet {
		return nil, unavailable
	}
	answer := st.Reply(stanza.TypeResult)
	switch {
	case payload.Name == xmlwire.Name{Space: nsPing, Local: "ping"}: // XEP-0199 §4.1
	case payload.Name.Local != "query":
		return nil, unavailable
	case payload.Name.Space == nsVersion && st.To.Local() == "":
		answer.Element.Add(r.version())
	case payload.Name.Space == nsInfo || payload.Name.Space == nsItems:
		return r.disco(st, answer, payload)
	default:
		return nil, unavailable
	}
	return answer, nil
}

// version answers XEP-0092, without the operating system: that is nobody's business.
func (r *Router) version() *xmlwire.Element {
	q := xmlwire.New(nsVersion, "query")
	q.Add(xmlwire.New(nsVersion, "name").AddText(r.o.Name))
	// §2: the element is required, so it is empty where there is no version.
	return q.Add(xmlwire.New(nsVersion, "version").AddText(r.o.Version))
}

// disco answers XEP-0030 for a domain, and for an account to its owner and to who is
// subscribed to his presence: others may not know that it is there (§8).
func (r *Router) disco(st, answer *stanza.Stanza, query *xmlwire.Element) (*stanza.Stanza, error) {
	account := st.To.Local() != ""
	switch {
	case account && st.From.Bare() != st.To.Bare() && !r.Roster(st.To).State(st.From).HasFrom():
		return nil, unavailable
	case query.Attr("node") != "":
		return nil, &stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound} // §7
	}
	q := xmlwire.New(query.Name.Space, "query")
	answer.Element.Add(q)
	if query.Name.Space == nsItems {
		return answer, nil
	}
	features := []string{nsInfo, nsItems, nsPing}
	if account {
		q.Add(xmlwire.New(nsInfo, "identity", "category", "account", "type", "registered"))
	} else {
		q.Add(xmlwire.New(nsInfo, "identity", "category", "server", "type", "im", "name", r.o.Name))
		// A client's stream has it; that is said in its features too.
		features = append(features, nsVersion, stream.NSManagement)
		if r.o.Custody != nil {
			features = append(features, "msgoffline") // XEP-0160
		}
	}
	for _, f := range features {
		q.Add(xmlwire.New(nsInfo, "feature", "var", f))
	}
	return answer, nil
}
