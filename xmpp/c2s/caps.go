package c2s

import (
	"context"

	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// caps names the features of the server, so that a client that knows them need not
// ask (XEP-0115 §6.3).
type caps struct{ server *Server }

// Name is <c/>.
func (caps) Name() xmlwire.Name {
	return xmlwire.Name{Space: "http://jabber.org/protocol/caps", Local: "c"}
}

// Advertise names them to a client that has logged in.
func (f caps) Advertise(s *stream.Stream) *xmlwire.Element {
	if s.Mechanism() == "" {
		return nil
	}
	return f.server.o.Router.Caps()
}

// Negotiate refuses: there is nothing to negotiate.
func (caps) Negotiate(context.Context, *stream.Stream, *xmlwire.Element) (stream.Next, error) {
	return 0, notNegotiated
}
