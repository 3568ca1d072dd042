package stream

import (
	"strings"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/xmlwire"
)

// WireLog returns what writes each element to the log at debug, for Options.Wire; nil
// at other levels. Secrets and the text of messages are blanked.
func WireLog(log zerolog.Logger) func(out bool, e *xmlwire.Element) {
	if log.GetLevel() > zerolog.DebugLevel || zerolog.GlobalLevel() > zerolog.DebugLevel {
		return nil
	}
	return func(out bool, e *xmlwire.Element) {
		way := "in"
		if out {
			way = "out"
		}
		e = e.Clone()
		blank(e)
		log.Debug().Str("way", way).Stringer("xml", e).Msg("wire")
	}
}

// blank replaces all text but that of negotiation and errors, which is about the
// stream and not about people; of negotiation, what SASL exchanges.
func blank(e *xmlwire.Element) {
	for i := range e.Children {
		n := &e.Children[i]
		switch {
		case n.Element != nil:
			blank(n.Element)
		case !public(e.Name):
			n.Text = "***"
		}
	}
}

func public(n xmlwire.Name) bool {
	switch n.Local {
	case "auth", "response", "challenge", "success", "initial-response", "additional-data":
		return false
	case "priority", "show":
		return n.Space == "jabber:client"
	}
	return strings.HasPrefix(n.Space, "urn:ietf:params:xml:ns:xmpp-") || n.Space == "urn:xmpp:sasl:2"
}
