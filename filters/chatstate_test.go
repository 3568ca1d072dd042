package filters_test

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/xmpp/stanza"
)

// Pieces of messages.
const (
	active    = `<active xmlns='http://jabber.org/protocol/chatstates'/>`
	composing = `<composing xmlns='http://jabber.org/protocol/chatstates'/>`
	delay     = `<delay xmlns='urn:xmpp:delay' stamp='2026-01-02T03:04:05Z'/>`
	omemo     = `<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/><payload>x</payload></encrypted>`
	sims      = `<reference xmlns='urn:xmpp:reference:0' type='data'><media-sharing xmlns='urn:xmpp:sims:1'/></reference>`
	sfs       = `<file-sharing xmlns='urn:xmpp:sfs:0'><sources/></file-sharing>`
	oob       = `<x xmlns='jabber:x:oob'><url>https://a/b.jpg</url></x>`
	form      = `<x xmlns='jabber:x:data' type='form'/>`
)

// carbon, forwarded and archived wrap a message as XEP-0280, 0297 and 0313 do.
func carbon(inner string) string {
	return `<received xmlns='urn:xmpp:carbons:2'>` + forwarded(inner) + `</received>`
}

func sentCarbon(inner string) string {
	return `<sent xmlns='urn:xmpp:carbons:2'>` + forwarded(inner) + `</sent>`
}

func forwarded(inner string) string {
	return `<forwarded xmlns='urn:xmpp:forward:0'>` + delay +
		`<message xmlns='jabber:client' from='a@b/c' to='d@e' type='chat'>` + inner + `</message></forwarded>`
}

func archived(inner string) string {
	return `<result xmlns='urn:xmpp:mam:2' queryid='q' id='1'>` + forwarded(inner) + `</result>`
}

func nested(levels int, inner string) string {
	for range levels {
		inner = forwarded(inner)
	}
	return inner
}

// verdict is an action with its reason.
type verdict struct {
	action filters.Action
	reason string
}

var (
	noState   = verdict{filters.Continue, "no chat state"}
	hasBody   = verdict{filters.Continue, "has a body"}
	noBody    = verdict{filters.Drop, "nothing to write: no body"}
	emptyBody = verdict{filters.Drop, "nothing to write: empty body"}
)

// noise is the verdict on a chat state and nothing else, in both directions.
func noise(state string) verdict {
	return verdict{filters.Drop, "chat state " + state + ", nothing else"}
}

// with is the verdict towards Jabber on a chat state with something else.
func with(what string) verdict { return verdict{filters.Continue, "chat state with " + what} }

// only is the verdict towards mail on a message that means something, but has
// nothing to write.
func only(what string) verdict {
	return verdict{filters.Drop, "nothing to write: no body, only " + what}
}

// decisions are messages of type chat (or what attrs says) with the verdict that
// the filter gives towards Jabber and towards mail and mobile.
var decisions = []struct {
	name, attrs, inside string
	in, out             verdict
}{
	{"active alone", "", active, noise("active"), noise("active")},
	{"composing alone", "", composing, noise("composing"), noise("composing")},
	{"paused alone", "", `<paused xmlns='http://jabber.org/protocol/chatstates'/>`, noise("paused"), noise("paused")},
	{"inactive alone", "", `<inactive xmlns='http://jabber.org/protocol/chatstates'/>`, noise("inactive"), noise("inactive")},
	{"gone alone", "", `<gone xmlns='http://jabber.org/protocol/chatstates'/>`, noise("gone"), noise("gone")},
	{"a state that XEP-0085 does not know", "", `<dancing xmlns='http://jabber.org/protocol/chatstates'/>`,
		verdict{filters.Drop, "unknown chat state, nothing else"}, verdict{filters.Drop, "unknown chat state, nothing else"}},
	{"two states", "", composing + active, noise("composing"), noise("composing")},
	{"state in a room", "type='groupchat'", composing, noise("composing"), noise("composing")},
	{"state without a type", "type=''", composing, noise("composing"), noise("composing")},
	{"state in a headline", "type='headline'", composing, noise("composing"), noise("composing")},
	{"white space around a state", "", "\n  " + composing + "\n", noise("composing"), noise("composing")},

	{"state with a thread", "", composing + `<thread parent='p'>t1</thread>`, noise("composing"), noise("composing")},
	{"state with an empty body", "", composing + `<body/>`, noise("composing"), noise("composing")},
	{"state with a body of white space", "", composing + "<body> \n\t</body>", noise("composing"), noise("composing")},
	{"state with a body of no-break spaces", "", composing + "<body>\u00A0\u2003</body>", noise("composing"), noise("composing")},
	{"state with an empty body that has a language", "", composing + `<body xml:lang='de'/>`, noise("composing"), noise("composing")},
	{"state with empty bodies in two languages", "", composing + `<body xml:lang='de'> </body><body xml:lang='en'/>`, noise("composing"), noise("composing")},
	{"state with a delay", "", composing + delay, noise("composing"), noise("composing")},
	{"state with the delay of XEP-0091", "", composing + `<x xmlns='jabber:x:delay' stamp='20260102T03:04:05'/>`, noise("composing"), noise("composing")},
	{"state with no-store", "", composing + `<no-store xmlns='urn:xmpp:hints'/>`, noise("composing"), noise("composing")},
	{"state with no-permanent-store and no-copy", "", composing + `<no-permanent-store xmlns='urn:xmpp:hints'/><no-copy xmlns='urn:xmpp:hints'/>`, noise("composing"), noise("composing")},
	{"state with store: a hint to servers, of nothing to store", "", composing + `<store xmlns='urn:xmpp:hints'/>`, noise("composing"), noise("composing")},
	{"state with origin-id", "", composing + `<origin-id xmlns='urn:xmpp:sid:0' id='1'/>`, noise("composing"), noise("composing")},
	{"state with stanza-id", "", composing + `<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='a@b'/>`, noise("composing"), noise("composing")},
	{"state with jabber:x:event", "", composing + `<x xmlns='jabber:x:event'><composing/><id>1</id></x>`, noise("composing"), noise("composing")},
	{"state with a room's mark of its sender", "type='groupchat'", composing + `<occupant-id xmlns='urn:xmpp:occupant-id:0' id='1'/>`, noise("composing"), noise("composing")},
	{"state in a room's private message", "", composing + `<x xmlns='http://jabber.org/protocol/muc#user'/>`, noise("composing"), noise("composing")},
	{"state that asks for no carbons", "", composing + `<private xmlns='urn:xmpp:carbons:2'/>`, noise("composing"), noise("composing")},
	{"state with all that means nothing", "", composing + `<thread>t</thread><body/>` + delay + `<no-store xmlns='urn:xmpp:hints'/>` +
		`<origin-id xmlns='urn:xmpp:sid:0' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' id='2' by='a@b'/><x xmlns='jabber:x:event'/>`, noise("composing"), noise("composing")},

	{"body", "", `<body>Hi</body>`, hasBody, hasBody},
	{"body with active", "", `<body>Hi</body>` + active, hasBody, hasBody},
	{"body with composing", "", composing + `<body>Hi</body>`, hasBody, hasBody},
	{"body in one language of two", "", active + `<body xml:lang='en'/><body xml:lang='de'>Hallo</body>`, hasBody, hasBody},
	{"two bodies of which the second is empty", "", active + `<body>Hi</body><body xml:lang='de'> </body>`, hasBody, hasBody},
	{"body of one character", "", `<body>.</body>`, hasBody, hasBody},
	{"body beside an element inside", "", active + `<body><b xmlns='u'/>x</body>`, hasBody, hasBody},
	{"body of another namespace is none", "", composing + `<body xmlns='u'>Hi</body>`, with("unknown element body of u"), only("unknown element body of u")},
	{"zero width space is text", "", composing + "<body>\u200B</body>", hasBody, hasBody},

	{"nothing at all", "", ``, noState, noBody},
	{"empty body", "", `<body/>`, noState, emptyBody},
	{"body of white space", "", `<body> </body>`, noState, emptyBody},
	{"thread only", "", `<thread>t</thread>`, noState, noBody},

	{"subject", "", `<subject>S</subject>`, noState, only("subject")},
	{"state with a subject", "", active + `<subject>S</subject>`, with("subject"), only("subject")},
	{"state with an empty subject", "", active + `<subject/>`, noise("active"), noise("active")},
	{"change of a room's subject", "type='groupchat'", `<subject>S</subject>`, noState, only("subject")},
	{"change of a room's subject with a state", "type='groupchat'", active + `<subject>S</subject>`, with("subject"), only("subject")},
	{"removal of a room's subject with a state", "type='groupchat'", active + `<subject/>`, with("subject"), only("subject")},

	{"OMEMO without a fallback body", "", active + omemo, with("OMEMO encryption"), only("OMEMO encryption")},
	{"OMEMO with a fallback body", "", active + omemo + `<body>You received an OMEMO message</body>`, hasBody, hasBody},
	{"OMEMO with an empty body", "", composing + omemo + `<body/>`, with("OMEMO encryption"), only("OMEMO encryption")},
	{"OMEMO 2", "", composing + `<encrypted xmlns='urn:xmpp:omemo:2'/>`, with("OMEMO encryption (XEP-0384)"), only("OMEMO encryption (XEP-0384)")},
	{"OX", "", composing + `<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>`, with("OpenPGP encryption (XEP-0373)"), only("OpenPGP encryption (XEP-0373)")},
	{"legacy OpenPGP", "", composing + `<x xmlns='jabber:x:encrypted'>x</x>`, with("OpenPGP encryption (XEP-0027)"), only("OpenPGP encryption (XEP-0027)")},
	{"explicit encryption", "", composing + `<encryption xmlns='urn:xmpp:eme:0' namespace='u'/>`, with("encryption (XEP-0380)"), only("encryption (XEP-0380)")},
	{"receipt", "", `<received xmlns='urn:xmpp:receipts' id='1'/>`, noState, only("delivery receipt (XEP-0184)")},
	{"state with a receipt", "", composing + `<received xmlns='urn:xmpp:receipts' id='1'/>`, with("delivery receipt (XEP-0184)"), only("delivery receipt (XEP-0184)")},
	{"state with a request for a receipt", "", composing + `<request xmlns='urn:xmpp:receipts'/>`, with("delivery receipt (XEP-0184)"), only("delivery receipt (XEP-0184)")},
	{"marker", "", `<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>`, noState, only("chat marker (XEP-0333)")},
	{"state with a marker", "", active + `<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>`, with("chat marker (XEP-0333)"), only("chat marker (XEP-0333)")},
	{"state with a correction", "", active + `<replace xmlns='urn:xmpp:message-correct:0' id='1'/>`, with("correction (XEP-0308)"), only("correction (XEP-0308)")},
	{"state with a corrected body", "", active + `<replace xmlns='urn:xmpp:message-correct:0' id='1'/><body>Hi</body>`, hasBody, hasBody},
	{"state with a reaction", "", active + `<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>👍</reaction></reactions>`, with("reaction (XEP-0444)"), only("reaction (XEP-0444)")},
	{"state with a retraction", "", active + `<retract xmlns='urn:xmpp:message-retract:1' id='1'/>`, with("retraction (XEP-0424)"), only("retraction (XEP-0424)")},
	{"state with a retraction of the first version", "", active + `<apply-to xmlns='urn:xmpp:fasten:0' id='1'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>`,
		with("message fastening (XEP-0422)"), only("message fastening (XEP-0422)")},
	{"state with a direct invitation", "", active + `<x xmlns='jabber:x:conference' jid='r@c'/>`, with("invitation (XEP-0249)"), only("invitation (XEP-0249)")},
	{"state with a mediated invitation", "", active + `<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>`, with("room message (XEP-0045)"), only("room message (XEP-0045)")},
	{"mediated invitation", "", `<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>`, noState, only("room message (XEP-0045)")},
	{"state with a form", "", active + form, with("form (XEP-0004)"), only("form (XEP-0004)")},
	{"state with attention", "", active + `<attention xmlns='urn:xmpp:attention:0'/>`, with("attention (XEP-0224)"), only("attention (XEP-0224)")},
	{"state with an event", "", active + `<event xmlns='http://jabber.org/protocol/pubsub#event'/>`, with("event (XEP-0060)"), only("event (XEP-0060)")},
	{"state with a call", "", active + `<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>`, with("call (XEP-0353)"), only("call (XEP-0353)")},
	{"state with formatted text only", "", active + `<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>x</body></html>`,
		with("formatted text (XEP-0071)"), only("formatted text (XEP-0071)")},
	{"state with an element of stanza ids that is none", "", composing + `<other xmlns='urn:xmpp:sid:0'/>`,
		with("unknown element other of urn:xmpp:sid:0"), only("unknown element other of urn:xmpp:sid:0")},
	{"state with an unknown element", "", composing + `<x xmlns='urn:example:unknown'/>`, with("unknown element x of urn:example:unknown"), only("unknown element x of urn:example:unknown")},
	{"state with an unknown element of its own namespace", "", composing + `<x/>`, with("unknown element x"), only("unknown element x")},
	{"unknown element", "", `<x xmlns='urn:example:unknown'/>`, noState, only("unknown element x of urn:example:unknown")},

	{"link", "", oob, noState, noState},
	{"state with a link", "", active + oob, with("link or file (XEP-0066)"), with("link or file (XEP-0066)")},
	{"link without an address", "", active + `<x xmlns='jabber:x:oob'><url/></x>`, with("link or file (XEP-0066)"), only("link or file (XEP-0066)")},
	{"shared media (XEP-0385)", "", sims, noState, noState},
	{"state with shared media (XEP-0385)", "", active + sims, with("reference (XEP-0372)"), with("reference (XEP-0372)")},
	{"reference to something else", "", active + `<reference xmlns='urn:xmpp:reference:0' type='mention'/>`, with("reference (XEP-0372)"), only("reference (XEP-0372)")},
	{"shared file (XEP-0447)", "", sfs + `<store xmlns='urn:xmpp:hints'/>`, noState, noState},
	{"state with a shared file (XEP-0447)", "", active + sfs, with("file (XEP-0447)"), with("file (XEP-0447)")},

	{"error", "type='error'", `<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`,
		verdict{filters.Continue, "error"}, verdict{filters.Drop, "an error does not become mail"}},
	{"error about a state", "type='error'", composing + `<error type='cancel'/>`,
		verdict{filters.Continue, "error"}, verdict{filters.Drop, "an error does not become mail"}},
	{"error with a body", "type='error'", `<body>Hi</body><error type='cancel'/>`,
		verdict{filters.Continue, "error"}, verdict{filters.Drop, "an error does not become mail"}},
	{"error element without the type", "", composing + `<error type='cancel'/>`, with("error"), only("error")},

	{"carbon of a state", "", carbon(composing), noise("composing"), noise("composing")},
	{"carbon of a state that was sent", "", sentCarbon(composing + `<thread>t</thread>`), noise("composing"), noise("composing")},
	{"carbon of a body", "", carbon(`<body>Hi</body>` + active), hasBody, hasBody},
	{"carbon of a body without a state", "", carbon(`<body>Hi</body>`), hasBody, hasBody},
	{"carbon of a receipt with a state", "", carbon(composing + `<received xmlns='urn:xmpp:receipts' id='1'/>`), with("delivery receipt (XEP-0184)"), only("delivery receipt (XEP-0184)")},
	{"carbon of nothing", "", carbon(``), noState, noBody},
	{"forwarded state", "", forwarded(composing), noise("composing"), noise("composing")},
	{"forwarded body", "", forwarded(`<body>Hi</body>`), hasBody, hasBody},
	{"forwarded state with words of the one who forwards", "", forwarded(composing) + `<body>Look</body>`, hasBody, hasBody},
	{"forwarded state beside a body and a state", "", active + forwarded(composing+`<body> </body>`), noise("active"), noise("active")},
	{"forwarded subject", "", active + forwarded(`<subject>S</subject>`), with("subject"), only("subject")},
	{"forwarded file", "", forwarded(active + sfs), with("file (XEP-0447)"), with("file (XEP-0447)")},
	{"forwarded iq", "", active + `<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='get' id='1'/></forwarded>`,
		with("unknown element iq of jabber:client"), only("unknown element iq of jabber:client")},
	{"forwarded message of a server stream", "", `<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:server'>` + composing + `<thread>t</thread></message></forwarded>`,
		noise("composing"), noise("composing")},
	{"forwarded error about a state", "", `<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' type='error'>` + composing + `<error type='cancel'/></message></forwarded>`,
		with("error"), only("error")},
	{"empty forwarded", "", active + `<forwarded xmlns='urn:xmpp:forward:0'/>`, with("empty forwarded"), only("empty forwarded")},
	{"state of an archive", "", archived(composing), noise("composing"), noise("composing")},
	{"body of an archive", "", archived(active + `<body>Hi</body>`), hasBody, hasBody},
	{"marker of an archive with a state", "", archived(active + `<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>`), with("chat marker (XEP-0333)"), only("chat marker (XEP-0333)")},
	{"carbon of a forwarded state", "", carbon(forwarded(composing)), noise("composing"), noise("composing")},
	{"state forwarded too many times to look", "", active + nested(17, composing), with("message forwarded too many times"), only("message forwarded too many times")},
}

func message(attrs, inside string) string {
	if !strings.Contains(attrs, "type=") {
		attrs += " type='chat'"
	}
	return `<message xmlns='jabber:client' from='romeo@montague.lit/orchard' to='juliet@capulet.lit' ` + attrs + `>` + inside + `</message>`
}

func TestChatState(t *testing.T) {
	t.Parallel()
	if len(decisions) < 90 {
		t.Errorf("only %d decisions", len(decisions))
	}
	filter := filters.NewChatState(filters.ChatStateOptions{})
	for _, test := range decisions {
		for _, way := range []struct {
			direction filters.Direction
			want      verdict
		}{{filters.In, test.in}, {filters.Out, test.out}} {
			t.Run(fmt.Sprintf("%s/%s", test.name, way.direction), func(t *testing.T) {
				t.Parallel()
				s := parse(t, message(test.attrs, test.inside))
				v, err := filter.Apply(t.Context(), &filters.Item{Stanza: s, Direction: way.direction})
				if err != nil {
					t.Fatal(err)
				}
				if got := (verdict{v.Action, v.Reason}); got != way.want {
					t.Errorf("%s\n got %s: %s\nwant %s: %s", s, got.action, got.reason, way.want.action, way.want.reason)
				}
			})
		}
	}
}

// TestOtherKinds: presence and iq are none of its business.
func TestOtherKinds(t *testing.T) {
	t.Parallel()
	filter := filters.NewChatState(filters.ChatStateOptions{})
	for _, text := range []string{
		`<presence xmlns='jabber:client'>` + active + `</presence>`,
		`<iq xmlns='jabber:client' type='get' id='1'>` + active + `</iq>`,
	} {
		for _, d := range []filters.Direction{filters.In, filters.Out, filters.Between} {
			v, err := filter.Apply(t.Context(), &filters.Item{Stanza: parse(t, text), Direction: d})
			if err != nil || v != (filters.Verdict{Reason: "not a message"}) {
				t.Errorf("%s: %+v, %v", text, v, err)
			}
		}
	}
}

// TestDefaultChain: the same decisions through the default chain, which lets
// everything pass between two Jabber users and leaves the stanza alone.
func TestDefaultChain(t *testing.T) {
	t.Parallel()
	chain := filters.Default()
	for _, test := range decisions {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := parse(t, message(test.attrs, test.inside))
			before := s.String()
			for direction, want := range map[filters.Direction]filters.Action{
				filters.In: test.in.action, filters.Out: test.out.action, filters.Between: filters.Continue,
			} {
				if want == filters.Continue {
					want = filters.Pass
				}
				it := &filters.Item{Stanza: s, Direction: direction}
				out := chain.Apply(t.Context(), it)
				if out.Action != want || it.Stanza != s {
					t.Errorf("%s: %s (%+v), want %s", direction, out.Action, out.Verdicts, want)
				}
			}
			if after := s.String(); after != before {
				t.Errorf("the stanza became %s", after)
			}
		})
	}
}

func TestStrip(t *testing.T) {
	t.Parallel()
	chain, err := filters.Build([]filters.Spec{{Type: "chat_state", Strip: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, inside, left string
		want               filters.Action
	}{
		{"state beside a body", `<body>Hi</body>` + active + `<thread>t</thread>`, `<body>Hi</body><thread>t</thread>`, filters.Strip},
		{"no state", `<body>Hi</body>`, `<body>Hi</body>`, filters.Pass},
		{"state alone", active, active, filters.Drop},
		{"state beside a receipt stays", composing + `<received xmlns='urn:xmpp:receipts' id='1'/>`, composing + `<received xmlns='urn:xmpp:receipts' id='1'/>`, filters.Pass},
		{"state of the message inside stays", forwarded(active + `<body>Hi</body>`), forwarded(active + `<body>Hi</body>`), filters.Pass},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			given := parse(t, message("", test.inside))
			before := given.String()
			it := &filters.Item{Stanza: given, Direction: filters.In}
			if out := chain.Apply(t.Context(), it); out.Action != test.want {
				t.Errorf("%s, want %s", out.Action, test.want)
			}
			if got, want := it.Stanza.String(), parse(t, message("", test.left)).String(); got != want {
				t.Errorf("left\n got %s\nwant %s", got, want)
			}
			if after := given.String(); after != before {
				t.Errorf("the given stanza became %s", after)
			}
		})
	}
}

// FuzzChatState: whatever comes, a verdict comes of it, and noise is only what
// carries a chat state and no text in a body.
func FuzzChatState(f *testing.F) {
	for _, test := range decisions {
		f.Add(message(test.attrs, test.inside))
	}
	filter := filters.NewChatState(filters.ChatStateOptions{})
	f.Fuzz(func(t *testing.T, text string) {
		s, err := stanza.ParseBytes([]byte(text), limits)
		if err != nil {
			return
		}
		v, err := filter.Apply(t.Context(), &filters.Item{Stanza: s, Direction: filters.In})
		if err != nil {
			t.Fatal(err)
		}
		if v.Action == filters.Continue {
			return
		}
		if v.Action != filters.Drop || v.Reason == "" {
			t.Errorf("%s: %+v", s, v)
		}
		body := s.Child("body")
		if !strings.Contains(s.String(), "chatstates") || s.Type == stanza.TypeError || body != nil && strings.TrimSpace(body.Text()) != "" {
			t.Errorf("%s: dropped: %s", s, v.Reason)
		}
	})
}
