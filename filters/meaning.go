package filters

import (
	"strings"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Namespaces that decide something.
const (
	nsChatStates = "http://jabber.org/protocol/chatstates" // XEP-0085
	nsReceipts   = "urn:xmpp:receipts"                     // XEP-0184
	nsMarkers    = "urn:xmpp:chat-markers:0"               // XEP-0333
	nsCarbons    = "urn:xmpp:carbons:2"                    // XEP-0280
	nsForward    = "urn:xmpp:forward:0"                    // XEP-0297
	nsMAM        = "urn:xmpp:mam:2"                        // XEP-0313
	nsOOB        = "jabber:x:oob"                          // XEP-0066
	nsReference  = "urn:xmpp:reference:0"                  // XEP-0372, around XEP-0385
	nsSIMS       = "urn:xmpp:sims:1"                       // XEP-0385
	nsSFS        = "urn:xmpp:sfs:0"                        // XEP-0447
	nsMUCUser    = "http://jabber.org/protocol/muc#user"   // XEP-0045
)

// meaningless are the elements that say nothing of their own beside a chat
// state, by namespace and name; an empty name is all of the namespace.
var meaningless = map[Name]bool{
	{Space: "urn:xmpp:delay"}:         true, // XEP-0203
	{Space: "jabber:x:delay"}:         true, // XEP-0091, its forerunner
	{Space: "urn:xmpp:hints"}:         true, // XEP-0334
	stanza.OriginID:                   true, // XEP-0359
	stanza.StanzaID:                   true,
	{Space: "jabber:x:event"}:         true, // XEP-0022
	{Space: "urn:xmpp:occupant-id:0"}: true, // XEP-0421: a room puts it on everything
}

// meanings name what the elements of a namespace mean. What is not listed means
// something too, only not to us.
var meanings = map[string]string{
	"eu.siacs.conversations.axolotl":      "OMEMO encryption",
	"urn:xmpp:omemo:1":                    "OMEMO encryption (XEP-0384)",
	"urn:xmpp:omemo:2":                    "OMEMO encryption (XEP-0384)",
	"urn:xmpp:openpgp:0":                  "OpenPGP encryption (XEP-0373)",
	"jabber:x:encrypted":                  "OpenPGP encryption (XEP-0027)",
	"jabber:x:signed":                     "OpenPGP signature (XEP-0027)",
	"urn:xmpp:eme:0":                      "encryption (XEP-0380)",
	nsReceipts:                            "delivery receipt (XEP-0184)",
	nsMarkers:                             "chat marker (XEP-0333)",
	"urn:xmpp:message-correct:0":          "correction (XEP-0308)",
	"urn:xmpp:reactions:0":                "reaction (XEP-0444)",
	"urn:xmpp:message-retract:0":          "retraction (XEP-0424)",
	"urn:xmpp:message-retract:1":          "retraction (XEP-0424)",
	"urn:xmpp:message-moderate:0":         "moderation (XEP-0425)",
	"urn:xmpp:message-moderate:1":         "moderation (XEP-0425)",
	"urn:xmpp:fasten:0":                   "message fastening (XEP-0422)",
	"jabber:x:conference":                 "invitation (XEP-0249)",
	nsMUCUser:                             "room message (XEP-0045)",
	"jabber:x:data":                       "form (XEP-0004)",
	nsOOB:                                 "link or file (XEP-0066)",
	nsReference:                           "reference (XEP-0372)",
	nsSIMS:                                "file (XEP-0385)",
	nsSFS:                                 "file (XEP-0447)",
	"urn:xmpp:bob":                        "data (XEP-0231)",
	"http://jabber.org/protocol/xhtml-im": "formatted text (XEP-0071)",
	"http://jabber.org/protocol/pubsub#event":             "event (XEP-0060)",
	"http://jabber.org/protocol/geoloc":                   "location (XEP-0080)",
	"http://jabber.org/protocol/rosterx":                  "contacts (XEP-0144)",
	"http://jabber.org/protocol/ibb":                      "data (XEP-0047)",
	"urn:xmpp:attention:0":                                "attention (XEP-0224)",
	"urn:xmpp:captcha":                                    "challenge (XEP-0158)",
	"urn:xmpp:jingle-message:0":                           "call (XEP-0353)",
	"urn:xmpp:call-invites:0":                             "call (XEP-0482)",
	"urn:xmpp:mix:core:1":                                 "channel message (XEP-0369)",
	"http://jabber.org/protocol/address":                  "extended addresses (XEP-0033)",
	"http://jabber.org/protocol/amp":                      "delivery rule (XEP-0079)",
	"http://jabber.org/protocol/shim":                     "headers (XEP-0131)",
	"http://jabber.org/protocol/nick":                     "nickname (XEP-0172)",
	"urn:xmpp:fallback:0":                                 "fallback indication (XEP-0428)",
	"urn:xmpp:reply:0":                                    "reply (XEP-0461)",
	"urn:xmpp:message-attaching:1":                        "attachment to a message (XEP-0367)",
	"urn:xmpp:http:online-meetings:invite:0":              "invitation (XEP-0483)",
	"http://jabber.org/protocol/commands":                 "command (XEP-0050)",
	"http://jabber.org/protocol/httpbind":                 "transport data (XEP-0124)",
	"http://jabber.org/protocol/si":                       "stream initiation (XEP-0095)",
	"http://jabber.org/protocol/si/profile/file-transfer": "file offer (XEP-0096)",
}

// maxForwarded is how many levels of wrapping, stanzas and what is around them,
// are looked at. What is wrapped deeper counts as meaning something.
const maxForwarded = 16

// reading is what a message holds, as far as filters ask.
type reading struct {
	state   string // first chat state, "" for none
	body    bool   // a body with more than white space
	media   bool   // a file or link to fetch
	meaning string // the first other thing that means something, "" for none
	kind    Kind   // of that
	blank   bool   // there was a body, but an empty one
}

// content reports whether there is something to show outside Jabber.
func (r *reading) content() bool { return r.body || r.media }

// read reads the message e and those it carries forwarded: a carbon copy
// (XEP-0280), a forwarded message (XEP-0297) or an archive's result (XEP-0313)
// is no more than the message inside.
func (r *reading) read(e *xmlwire.Element, depth int) {
	for i := range e.Children {
		c := e.Children[i].Element
		if c == nil {
			continue
		}
		if c.Name.Space == e.Name.Space {
			r.readOwn(e, c)
			continue
		}
		switch c.Name.Space {
		case nsChatStates:
			if r.state == "" {
				r.state = c.Name.Local
			}
		case nsCarbons, nsForward, nsMAM:
			r.readWrapper(c, depth)
		default:
			r.readOther(c)
		}
	}
}

// readOwn reads a child in the message's own namespace.
func (r *reading) readOwn(message, c *xmlwire.Element) {
	switch c.Name.Local {
	case "body":
		if isEmpty(c) {
			r.blank = true
		} else {
			r.body = true
		}
	case "thread":
	case "subject":
		// An empty one says something only in a room, where it removes the
		// subject (XEP-0045 §8.1).
		if !isEmpty(c) || message.Attr("type") == stanza.TypeGroupchat {
			r.means("subject")
		}
	case "error":
		r.means("error")
	default:
		r.means("unknown element " + c.Name.Local)
	}
}

// noiseKind is the kind of a message with nothing to write.
func (r *reading) noiseKind() Kind {
	switch {
	case r.meaning != "":
		return r.kind
	case r.state != "":
		return stateKind(r.state)
	}
	return Empty
}

// readOther reads a child of another namespace.
func (r *reading) readOther(c *xmlwire.Element) {
	switch {
	case isMeaningless(c):
		return
	case isMedia(c):
		r.media = true
	}
	if r.meaning != "" {
		return
	}
	switch c.Name.Space {
	case nsReceipts:
		r.kind = Receipt
	case nsMarkers:
		r.kind = Marker
	default:
		r.kind = Wordless
	}
	what, known := meanings[c.Name.Space]
	if !known {
		what = "unknown element " + c.Name.Local + " of " + c.Name.Space
	}
	r.meaning = what
}

func (r *reading) means(what string) {
	if r.meaning == "" {
		r.meaning, r.kind = what, Wordless
	}
}

// readWrapper reads what stands between a message and the one it carries:
// <received/>, <sent/>, <result/> and <forwarded/>, with the delay of the latter.
func (r *reading) readWrapper(w *xmlwire.Element, depth int) {
	if depth >= maxForwarded {
		r.means("message forwarded too many times")
		return
	}
	if w.Name.Space == nsCarbons && w.Name.Local == "private" {
		return // XEP-0280 §6: not a carbon, a request to make none
	}
	found := false
	for c := range w.Elements() {
		switch {
		case c.Name.Space == nsForward:
			r.readWrapper(c, depth+1)
			found = true
		case c.Name.Local == "message" && (c.Name.Space == stanza.Client || c.Name.Space == stanza.Server):
			r.read(c, depth+1)
			found = true
		case !isMeaningless(c):
			r.readOther(c)
			found = true
		}
	}
	if !found {
		r.means("empty " + w.Name.Local)
	}
}

// isMeaningless reports whether c says nothing beside a chat state.
func isMeaningless(c *xmlwire.Element) bool {
	if c.Name.Space == nsMUCUser && c.Name.Local == "x" {
		// An empty one only marks a private message of a room (XEP-0045 §7.5).
		for range c.Elements() {
			return false
		}
		return true
	}
	return meaningless[c.Name] || meaningless[Name{Space: c.Name.Space}]
}

// isMedia reports whether c offers a file or link.
func isMedia(c *xmlwire.Element) bool {
	switch c.Name.Space {
	case nsOOB:
		url := c.Child(Name{Space: nsOOB, Local: "url"})
		return url != nil && !isEmpty(url)
	case nsSFS:
		return c.Name.Local == "file-sharing"
	case nsReference:
		return c.Child(Name{Space: nsSIMS, Local: "media-sharing"}) != nil
	case nsSIMS:
		return c.Name.Local == "media-sharing"
	}
	return false
}

// isEmpty reports whether e has no character data but white space.
func isEmpty(e *xmlwire.Element) bool {
	for i := range e.Children {
		if !isBlank(e.Children[i].Text) {
			return false
		}
	}
	return true
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }
