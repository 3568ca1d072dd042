package filters_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// Elements of messages, by the specification that they are of.
const (
	paused    = `<paused xmlns='http://jabber.org/protocol/chatstates'/>`
	inactive  = `<inactive xmlns='http://jabber.org/protocol/chatstates'/>`
	gone      = `<gone xmlns='http://jabber.org/protocol/chatstates'/>`
	hi        = `<body>Hi</body>`
	request   = `<request xmlns='urn:xmpp:receipts'/>`
	markable  = `<markable xmlns='urn:xmpp:chat-markers:0'/>`
	replace   = `<replace xmlns='urn:xmpp:message-correct:0' id='1'/>`
	reaction  = `<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>👍</reaction></reactions>`
	retract   = `<retract xmlns='urn:xmpp:message-retract:1' id='1'/>`
	moderate  = `<retract xmlns='urn:xmpp:message-retract:1' id='1'><moderated xmlns='urn:xmpp:message-moderate:1'/></retract>`
	ox        = `<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>`
	eme       = `<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/>`
	mediated  = `<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>`
	direct    = `<x xmlns='jabber:x:conference' jid='r@c'/>`
	noStore   = `<no-store xmlns='urn:xmpp:hints'/>`
	originID  = `<origin-id xmlns='urn:xmpp:sid:0' id='1'/>`
	stanzaID  = `<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='a@b'/>`
	event     = `<x xmlns='jabber:x:event'><composing/><id>1</id></x>`
	subject   = `<subject>S</subject>`
	thread    = `<thread>t</thread>`
	isError   = `type='error'`
	room      = `type='groupchat'`
	errorMark = `<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`
)

// configurations are chains as an operator writes them.
var configurations = map[string][]filters.Spec{
	"":               nil,
	"pass":           {{Name: "states", Type: "chat_state", Action: "pass", Direction: "all"}},
	"throttle":       {{Name: "states", Type: "chat_state", Action: "throttle", Direction: "all"}},
	"shadow":         {{Name: "states", Type: "chat_state", Mode: "shadow", Direction: "all"}},
	"strip":          {{Name: "states", Type: "chat_state", Strip: true, Direction: "all"}},
	"in":             {{Name: "states", Type: "chat_state", Direction: "in"}},
	"out":            {{Name: "states", Type: "chat_state", Direction: "out"}},
	"between":        {{Name: "states", Type: "chat_state", Direction: "between"}},
	"all":            {{Name: "states", Type: "chat_state", Direction: "all"}},
	"capulet":        {{Name: "states", Type: "chat_state", Domains: []string{"capulet.lit"}}},
	"montague":       {{Name: "states", Type: "chat_state", Domains: []string{"other.example", "Montague.LIT"}}},
	"corp":           {{Name: "states", Type: "chat_state", Domains: []string{"corp.example"}}},
	".corp":          {{Name: "states", Type: "chat_state", Domains: []string{".corp.example"}}},
	".example":       {{Name: "states", Type: "chat_state", Domains: []string{"*.example"}}},
	"example":        {{Name: "states", Type: "chat_state", Domains: []string{"example"}}},
	"orp":            {{Name: "states", Type: "chat_state", Domains: []string{".orp.example"}}},
	"empty":          {{Name: "empty", Type: "empty_body", Direction: "all"}},
	"empty defer":    {{Name: "empty", Type: "empty_body", Direction: "all", Action: "defer"}},
	"empty pass":     {{Name: "empty", Type: "empty_body", Direction: "all", Action: "pass"}},
	"receipts":       {{Name: "receipts", Type: "receipts", Direction: "all"}},
	"receipts strip": {{Name: "receipts", Type: "receipts", Direction: "all", Action: "strip"}},
	"receipts pass":  {{Name: "receipts", Type: "receipts", Direction: "all", Action: "pass"}},
	"markers":        {{Name: "markers", Type: "markers", Direction: "all"}},
	"markers strip":  {{Name: "markers", Type: "markers", Direction: "all", Action: "strip"}},
	"markers pass":   {{Name: "markers", Type: "markers", Direction: "all", Action: "pass"}},
	"element":        {{Name: "forms", Type: "element", Namespace: "jabber:x:data", Element: "x", Direction: "all"}},
	"element strip":  {{Name: "forms", Type: "element", Namespace: "jabber:x:data", Action: "strip", Direction: "all"}},
	"element defer":  {{Name: "forms", Type: "element", Namespace: "jabber:x:data", Action: "defer", Direction: "all"}},
	"element pass":   {{Name: "forms", Type: "element", Namespace: "jabber:x:data", Action: "pass", Direction: "all"}, {Name: "all", Type: "size", Max: 1, Direction: "all"}},
	"regex":          {{Name: "spam", Type: "body_regex", Pattern: `(?i)\bfree money\b`, Direction: "all"}},
	"regex whole":    {{Name: "spam", Type: "body_regex", Pattern: `^Hi$`, Direction: "all"}},
	"regex defer":    {{Name: "spam", Type: "body_regex", Pattern: `Hi`, Direction: "all", Action: "defer"}},
	"regex pass":     {{Name: "spam", Type: "body_regex", Pattern: `Hi`, Direction: "all", Action: "pass"}, {Name: "all", Type: "size", Max: 1, Direction: "all"}},
	"regex empty":    {{Name: "spam", Type: "body_regex", Pattern: `^\s*$`, Direction: "all"}},
	"regex shadow":   {{Name: "spam", Type: "body_regex", Pattern: `Hi`, Direction: "all", Mode: "shadow"}},
	"size":           {{Name: "large", Type: "size", Max: 200, Direction: "all"}},
	"size defer":     {{Name: "large", Type: "size", Max: 200, Direction: "all", Action: "defer"}},
	"size pass":      {{Name: "large", Type: "size", Max: 10, Direction: "all", Action: "pass"}, {Name: "spam", Type: "body_regex", Pattern: "Hi", Direction: "all"}},
	"rate":           {{Name: "flood", Type: "rate", Count: 1, Per: time.Hour, Direction: "all"}},
	"rate defer":     {{Name: "flood", Type: "rate", Count: 1, Per: time.Hour, Direction: "all", Action: "defer"}},
	"rate shadow":    {{Name: "flood", Type: "rate", Count: 1, Per: time.Hour, Direction: "all", Mode: "shadow"}},
	"all pass":       {{Name: "states", Type: "chat_state", Direction: "in"}, {Name: "markers", Type: "markers", Action: "pass"}, {Name: "friends", Type: "element", Namespace: "u", Action: "pass", Direction: "all"}},
	"order": {{Name: "strip", Type: "element", Namespace: "jabber:x:data", Action: "strip"}, {Name: "friends", Type: "body_regex", Pattern: "Hi", Action: "pass"},
		{Name: "forms", Type: "element", Namespace: "jabber:x:data"}, {Name: "rest", Type: "size", Max: 1}},
}

// outcomes are messages on their way with what the whole chain makes of each: the
// action, and whose it is; in brackets what a filter in shadow mode would have
// done. Messages are from romeo@montague.lit/orchard to juliet@capulet.lit; in the
// direction in the sender's mail address is news@corp.example, and in the direction
// out the recipient's is alice@corp.example. A rate has seen one message before.
var outcomes = []struct {
	reason, conf  string
	direction     filters.Direction
	attrs, inside string
	want          string
}{
	// SPEC: a chat state alone is noise on every path that begins or ends outside.
	{"composing into Jabber", "", filters.In, "", composing, "drop chat-states"},
	{"composing to mail", "", filters.Out, "", composing, "drop chat-states"},
	{"composing from user to user", "", filters.Between, "", composing, "pass"},
	{"composing into storage", "", filters.Store, "", composing, "drop offline-states"},
	{"active into Jabber", "", filters.In, "", active, "drop chat-states"},
	{"active to mail", "", filters.Out, "", active, "drop chat-states"},
	{"paused into Jabber", "", filters.In, "", paused, "drop chat-states"},
	{"paused into storage", "", filters.Store, "", paused, "drop offline-states"},
	{"inactive to mail", "", filters.Out, "", inactive, "drop chat-states"},
	{"gone to mail", "", filters.Out, "", gone, "drop chat-states"},
	{"gone from user to user", "", filters.Between, "", gone, "pass"},
	{"a state in a room", "", filters.In, room, composing, "drop chat-states"},

	// Meaningless beside a chat state.
	{"thread", "", filters.In, "", composing + thread, "drop chat-states"},
	{"empty body", "", filters.In, "", composing + `<body/>`, "drop chat-states"},
	{"body of white space", "", filters.In, "", composing + "<body> \n\t </body>", "drop chat-states"},
	{"body of wide white space", "", filters.In, "", composing + "<body>\u2003\u3000</body>", "drop chat-states"},
	{"empty bodies in two languages", "", filters.In, "", composing + `<body xml:lang='de'/><body xml:lang='en'> </body>`, "drop chat-states"},
	{"delay", "", filters.In, "", composing + delay, "drop chat-states"},
	{"no-store", "", filters.In, "", composing + noStore, "drop chat-states"},
	{"store does not make it worth storing", "", filters.Store, "", composing + `<store xmlns='urn:xmpp:hints'/>`, "drop offline-states"},
	{"origin-id", "", filters.In, "", composing + originID, "drop chat-states"},
	{"stanza-id", "", filters.In, "", composing + stanzaID, "drop chat-states"},
	{"legacy event", "", filters.In, "", composing + event, "drop chat-states"},
	{"all of them", "", filters.In, "", thread + `<body/>` + composing + delay + noStore + originID + stanzaID + event, "drop chat-states"},
	{"all of them into storage", "", filters.Store, "", thread + `<body/>` + composing + delay + noStore + originID + stanzaID + event, "drop offline-states"},

	// Meaningful, so passed into Jabber and into storage; to mail there is nothing to write.
	{"body", "", filters.In, "", hi + active, "pass"},
	{"body to mail", "", filters.Out, "", hi + active, "pass"},
	{"body into storage", "", filters.Store, "", hi + composing, "pass"},
	{"body in one language of two", "", filters.Out, "", active + `<body xml:lang='en'/><body xml:lang='de'>Hallo</body>`, "pass"},
	{"subject", "", filters.In, "", active + subject, "pass"},
	{"subject to mail", "", filters.Out, "", active + subject, "drop chat-states"},
	{"OMEMO", "", filters.In, "", composing + omemo, "pass"},
	{"OMEMO to mail", "", filters.Out, "", omemo, "drop chat-states"},
	{"OMEMO with its hint in a body", "", filters.Out, "", omemo + eme + hi, "pass"},
	{"OMEMO into storage", "", filters.Store, "", active + omemo, "pass"},
	{"OX", "", filters.In, "", composing + ox, "pass"},
	{"OX to mail", "", filters.Out, "", ox, "drop chat-states"},
	{"XEP-0380", "", filters.In, "", composing + eme, "pass"},
	{"XEP-0380 to mail", "", filters.Out, "", eme, "drop chat-states"},
	{"receipt", "", filters.In, "", composing + receipt, "pass"},
	{"receipt to mail", "", filters.Out, "", receipt, "drop chat-states"},
	{"receipt into storage", "", filters.Store, "", receipt, "pass"},
	{"request for a receipt", "", filters.In, "", active + request, "pass"},
	{"marker", "", filters.In, "", active + marker, "pass"},
	{"marker to mail", "", filters.Out, "", marker, "drop chat-states"},
	{"marker into storage", "", filters.Store, "", active + marker, "pass"},
	{"correction", "", filters.In, "", active + replace, "pass"},
	{"correction with its text to mail", "", filters.Out, "", replace + hi, "pass"},
	{"correction without text to mail", "", filters.Out, "", active + replace, "drop chat-states"},
	{"reaction", "", filters.In, "", active + reaction, "pass"},
	{"reaction to mail", "", filters.Out, "", reaction, "drop chat-states"},
	{"reaction into storage", "", filters.Store, "", reaction + active, "pass"},
	{"retraction", "", filters.In, "", active + retract, "pass"},
	{"retraction to mail", "", filters.Out, "", retract, "drop chat-states"},
	{"retraction by a moderator", "", filters.In, room, active + moderate, "pass"},
	{"mediated invitation", "", filters.In, "", active + mediated, "pass"},
	{"mediated invitation to mail", "", filters.Out, "", mediated, "drop chat-states"},
	{"direct invitation", "", filters.In, "", active + direct, "pass"},
	{"direct invitation to mail", "", filters.Out, "", direct, "drop chat-states"},
	{"form", "", filters.In, "", active + form, "pass"},
	{"form to mail", "", filters.Out, "", form, "drop chat-states"},
	{"link", "", filters.In, "", active + oob, "pass"},
	{"link to mail: it is media", "", filters.Out, "", active + oob, "pass"},
	{"file to mail (XEP-0385)", "", filters.Out, "", active + sims, "pass"},
	{"file to mail (XEP-0447)", "", filters.Out, "", sfs, "pass"},
	{"what is not known means something", "", filters.In, "", active + `<x xmlns='urn:example:new'/>`, "pass"},
	{"what is not known is nothing to write", "", filters.Out, "", `<x xmlns='urn:example:new'/>`, "drop chat-states"},
	{"nothing at all into Jabber", "", filters.In, "", ``, "pass"},
	{"nothing at all to mail", "", filters.Out, "", ``, "drop chat-states"},
	{"thread only to mail", "", filters.Out, "", thread, "drop chat-states"},
	{"body of white space to mail", "", filters.Out, "", "<body>\n</body>", "drop chat-states"},

	// Errors are told to Jabber and never become mail.
	{"error", "", filters.In, isError, errorMark, "pass"},
	{"error about a state", "", filters.In, isError, composing + errorMark, "pass"},
	{"error with the text that it is about", "", filters.Out, isError, hi + errorMark, "drop chat-states"},
	{"error about a state to mail", "", filters.Out, isError, composing + errorMark, "drop chat-states"},
	{"error from user to user", "", filters.Between, isError, composing + errorMark, "pass"},
	{"error to mail, states pass", "pass", filters.Out, isError, hi + errorMark, "drop states"},
	{"error to mail, states are judged on the way in only", "in", filters.Out, isError, hi + errorMark, "drop mail-content"},

	// A wrapped message is judged by the one inside.
	{"carbon of a state", "", filters.In, "", carbon(composing + thread), "drop chat-states"},
	{"carbon of a state to mail", "", filters.Out, "", sentCarbon(composing), "drop chat-states"},
	{"carbon of a body", "", filters.In, "", carbon(hi + active), "pass"},
	{"carbon of a body to mail", "", filters.Out, "", carbon(hi), "pass"},
	{"carbon of a receipt", "", filters.In, "", carbon(active + receipt), "pass"},
	{"forwarded state", "", filters.In, "", forwarded(composing), "drop chat-states"},
	{"forwarded state into storage", "", filters.Store, "", forwarded(composing), "drop offline-states"},
	{"forwarded body", "", filters.Out, "", forwarded(hi), "pass"},
	{"forwarded state with words about it", "", filters.In, "", forwarded(composing) + hi, "pass"},
	{"state of an archive", "", filters.In, "", archived(composing), "drop chat-states"},
	{"body of an archive", "", filters.In, "", archived(hi), "pass"},
	{"state of an archive in a carbon", "", filters.In, "", carbon(forwarded(composing)), "drop chat-states"},

	// Actions, directions and modes of the type chat_state.
	{"pass into Jabber", "pass", filters.In, "", composing, "pass states"},
	{"pass between users", "pass", filters.Between, "", composing, "pass states"},
	{"pass makes no mail", "pass", filters.Out, "", composing, "drop states"},
	{"pass keeps nothing for later", "pass", filters.Store, "", composing, "drop offline-states"},
	{"throttle lets the first through", "throttle", filters.In, "", composing, "pass states"},
	{"throttle makes no mail", "throttle", filters.Out, "", composing, "drop states"},
	{"throttle keeps nothing for later", "throttle", filters.Store, "", composing, "drop offline-states"},
	{"throttle does not touch a body", "throttle", filters.In, "", hi + composing, "pass"},
	{"shadow into Jabber", "shadow", filters.In, "", composing, "pass [drop states]"},
	{"shadow makes no mail", "shadow", filters.Out, "", composing, "drop mail-content [drop states]"},
	{"shadow keeps nothing for later", "shadow", filters.Store, "", composing, "drop offline-states"},
	{"strip beside a body", "strip", filters.In, "", hi + active, "strip states"},
	{"strip beside a body to mail", "strip", filters.Out, "", hi + active, "strip states"},
	{"strip beside a body between users", "strip", filters.Between, "", hi + active, "strip states"},
	{"strip leaves a body alone", "strip", filters.In, "", hi, "pass"},
	{"strip and a state alone", "strip", filters.In, "", composing, "drop states"},
	{"strip does not reach inside", "strip", filters.In, "", carbon(hi + active), "pass"},
	{"in, into Jabber", "in", filters.In, "", composing, "drop states"},
	{"in, to mail", "in", filters.Out, "", composing, "drop mail-content"},
	{"in, between", "in", filters.Between, "", composing, "pass"},
	{"out, into Jabber", "out", filters.In, "", composing, "pass"},
	{"out, to mail", "out", filters.Out, "", composing, "drop states"},
	{"between, between", "between", filters.Between, "", composing, "drop states"},
	{"between, into Jabber", "between", filters.In, "", composing, "pass"},
	{"between, to mail", "between", filters.Out, "", composing, "drop mail-content"},
	{"all, between", "all", filters.Between, "", composing, "drop states"},
	{"all, into Jabber", "all", filters.In, "", composing, "drop states"},
	{"between, a body", "between", filters.Between, "", hi + composing, "pass"},

	// Domains: of either JID or mail address, with or without subdomains.
	{"the recipient's domain", "capulet", filters.In, "", composing, "drop states"},
	{"the sender's domain, however it is spelt", "montague", filters.In, "", composing, "drop states"},
	{"the domain of the sender's mail address", "corp", filters.In, "", composing, "drop states"},
	{"the domain of the recipient's mail address", "corp", filters.Out, "", composing, "drop states"},
	{"a domain with its subdomains takes itself in", ".corp", filters.In, "", composing, "drop states"},
	{"a domain of a domain", ".example", filters.In, "", composing, "drop states"},
	{"a domain of a domain, which is not asked for", "example", filters.In, "", composing, "pass"},
	{"the end of a name is no domain of it", "orp", filters.In, "", composing, "pass"},
	{"none of theirs", "orp", filters.Out, "", composing, "drop mail-content"},

	// empty_body, receipts, markers.
	{"empty: a receipt", "empty", filters.In, "", receipt, "drop empty"},
	{"empty: a reaction between users", "empty", filters.Between, "", reaction, "drop empty"},
	{"empty: a body", "empty", filters.In, "", hi, "pass"},
	{"empty: a file", "empty", filters.In, "", sfs, "pass"},
	{"empty: an error tells something", "empty", filters.In, isError, errorMark, "pass"},
	{"empty: put off", "empty defer", filters.In, "", receipt, "defer empty"},
	{"empty: passes, and is no mail", "empty pass", filters.Out, "", receipt, "drop chat-states"},
	{"receipts: alone", "receipts", filters.In, "", receipt, "drop receipts"},
	{"receipts: alone between users", "receipts", filters.Between, "", receipt, "drop receipts"},
	{"receipts: beside a body", "receipts", filters.In, "", hi + request, "strip receipts"},
	{"receipts: a marker", "receipts", filters.In, "", marker, "pass"},
	{"receipts: strip alone", "receipts strip", filters.In, "", receipt, "strip receipts"},
	{"receipts: strip, then there is nothing for mail", "receipts strip", filters.Out, "", receipt, "drop chat-states"},
	{"receipts: pass", "receipts pass", filters.In, "", receipt, "pass receipts"},
	{"receipts: an error that quotes one", "receipts", filters.In, isError, receipt + errorMark, "pass"},
	{"markers: alone", "markers", filters.In, "", marker, "drop markers"},
	{"markers: beside a body", "markers", filters.Out, "", hi + markable, "strip markers"},
	{"markers: a receipt", "markers", filters.In, "", receipt, "pass"},
	{"markers: strip", "markers strip", filters.In, "", hi + markable, "strip markers"},
	{"markers: pass", "markers pass", filters.Between, "", marker, "pass markers"},

	// element, body_regex, size, rate.
	{"element", "element", filters.In, "", hi + form, "drop forms"},
	{"element between users", "element", filters.Between, "", form, "drop forms"},
	{"element: another one", "element", filters.In, "", hi + oob, "pass"},
	{"element: within another does not count", "element", filters.In, "", forwarded(form), "pass"},
	{"element: strip", "element strip", filters.Out, "", hi + form, "strip forms"},
	{"element: put off", "element defer", filters.In, "", form, "defer forms"},
	{"element: pass ends the chain", "element pass", filters.In, "", form, "pass forms"},
	{"element: without it the chain goes on", "element pass", filters.In, "", hi, "drop all"},
	{"regex", "regex", filters.In, "", `<body>FREE Money for you</body>`, "drop spam"},
	{"regex to mail", "regex", filters.Out, "", `<body>get free money</body>`, "drop spam"},
	{"regex between users", "regex", filters.Between, "", `<body>free money</body>`, "drop spam"},
	{"regex in the second language", "regex", filters.In, "", `<body>Hallo</body><body xml:lang='en'>free money</body>`, "drop spam"},
	{"regex in a carbon", "regex", filters.In, "", carbon(`<body>free money</body>`), "drop spam"},
	{"regex in an archive", "regex", filters.In, "", archived(`<body>free money</body>`), "drop spam"},
	{"regex: not found", "regex", filters.In, "", `<body>carefree moneybags</body>`, "pass"},
	{"regex: a subject is no body", "regex", filters.In, "", `<subject>free money</subject>` + hi, "pass"},
	{"regex: a body of another namespace is none", "regex", filters.In, "", `<body xmlns='u'>free money</body>`, "pass"},
	{"regex: an error quotes another's words", "regex", filters.In, isError, `<body>free money</body>` + errorMark, "pass"},
	{"regex: the whole body", "regex whole", filters.In, "", hi, "drop spam"},
	{"regex: more than that", "regex whole", filters.In, "", `<body>Hi there</body>`, "pass"},
	{"regex: put off", "regex defer", filters.In, "", hi, "defer spam"},
	{"regex: pass ends the chain", "regex pass", filters.In, "", hi, "pass spam"},
	{"regex: no body is not an empty one", "regex empty", filters.In, "", receipt, "pass"},
	{"regex: an empty body", "regex empty", filters.In, "", `<body/>` + receipt, "drop spam"},
	{"regex: shadow", "regex shadow", filters.In, "", hi, "pass [drop spam]"},
	{"size", "size", filters.In, "", `<body>` + strings.Repeat("x", 200) + `</body>`, "drop large"},
	{"size: small", "size", filters.In, "", hi, "pass"},
	{"size: put off", "size defer", filters.Between, "", `<body>` + strings.Repeat("x", 200) + `</body>`, "defer large"},
	{"size: pass ends the chain", "size pass", filters.In, "", hi, "pass large"},
	{"rate", "rate", filters.In, "", hi, "drop flood"},
	{"rate to mail", "rate", filters.Out, "", hi, "drop flood"},
	{"rate: what is noise is dropped before", "rate", filters.In, "", composing, "drop chat-states"},
	{"rate: put off", "rate defer", filters.In, "", hi, "defer flood"},
	{"rate: shadow", "rate shadow", filters.In, "", hi, "pass [drop flood]"},

	// The filters at the end hold after a pass too.
	{"a marker that is let pass is no mail", "all pass", filters.Out, "", marker, "drop mail-content"},
	{"a state that is let pass is no mail", "all pass", filters.Out, "", composing + `<x xmlns='u'/>`, "drop mail-content"},
	{"an error that is let pass is no mail", "all pass", filters.Out, isError, hi + `<x xmlns='u'/>` + errorMark, "drop mail-content"},
	{"text that is let pass is", "all pass", filters.Out, "", hi + `<x xmlns='u'/>`, "pass friends"},
	{"a marker that is let pass into Jabber", "all pass", filters.In, "", marker, "pass markers"},

	// The order is that in which they are written.
	{"what was stripped is not seen again", "order", filters.In, "", hi + form, "strip strip"},
	{"pass ends the chain", "order", filters.In, "", hi, "pass friends"},
	{"strip, and dropped by another", "order", filters.In, "", form, "drop rest"},
	{"states are first where no filter is about them", "order", filters.In, "", composing, "drop chat-states"},
	{"filters of both do not judge between users", "order", filters.Between, "", hi + form, "pass"},
}

// TestOutcomes is what each configuration makes of each message on its way.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	if len(outcomes) < 120 {
		t.Errorf("only %d outcomes", len(outcomes))
	}
	used := make(map[string]bool)
	seen := make(map[string]bool)
	for _, test := range outcomes {
		used[test.conf] = true
		if seen[test.reason] {
			t.Errorf("two rows are for %q", test.reason)
		}
		seen[test.reason] = true
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			specs, ok := configurations[test.conf]
			if !ok {
				t.Fatalf("no configuration %q", test.conf)
			}
			chain := build(t, specs...)
			if strings.HasPrefix(test.conf, "rate") {
				judge(t, chain, test.direction, "", hi)
			}
			if got := judge(t, chain, test.direction, test.attrs, test.inside); got != test.want {
				t.Errorf("%s: %s\n got %s\nwant %s", test.direction, test.inside, got, test.want)
			}
		})
	}
	for name := range configurations {
		if !used[name] {
			t.Errorf("no row is for the configuration %q", name)
		}
	}
}

// judge returns what a chain makes of a message, as outcomes has it.
func judge(t *testing.T, chain *filters.Chain, d filters.Direction, attrs, inside string) string {
	t.Helper()
	it := &filters.Item{Stanza: parse(t, message(attrs, inside)), Direction: d}
	switch d {
	case filters.In:
		it.Sender, it.Recipient = "news@Corp.example", "juliet@capulet.lit"
	case filters.Out:
		it.Recipient = "alice@corp.example"
	}
	out := chain.Apply(t.Context(), it)
	got, by, would := out.Action.String(), "", ""
	for _, v := range out.Verdicts {
		switch {
		case v.Shadow && v.Action != filters.Continue:
			would += " [" + v.Action.String() + " " + v.Filter + "]"
		case !v.Shadow && v.Action == out.Action:
			by = " " + v.Filter
		}
		if v.Reason == "" {
			t.Errorf("%s gives no reason", v.Filter)
		}
	}
	return got + by + would
}

// FuzzChain: whatever comes through whatever filters, each is asked at most once, what
// is dropped is counted once, an error or what has neither body nor media is no mail, and
// the given stanza stays as it is.
func FuzzChain(f *testing.F) {
	var names []string
	for name := range configurations {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, test := range outcomes {
		f.Add(message(test.attrs, test.inside), uint8(slices.Index(names, test.conf)), uint8(test.direction), "news@corp.example", "http://gajim.org")
	}
	f.Fuzz(func(t *testing.T, text string, conf, direction uint8, address, node string) {
		s, err := stanza.ParseBytes([]byte(text), limits)
		if err != nil {
			return
		}
		before := s.String()
		chain := build(t, configurations[names[int(conf)%len(names)]]...)
		it := &filters.Item{Stanza: s, Direction: filters.Direction(direction % 4), Sender: address, Recipient: address, Software: func(jid.JID) string { return node }}
		out := chain.Apply(t.Context(), it)
		if out.Action == filters.Continue || out.Action > filters.Defer {
			t.Errorf("%s: %s", text, out.Action)
		}
		if after := s.String(); after != before {
			t.Errorf("the given stanza became %s", after)
		}
		r := chain.Report()
		if len(out.Verdicts) > len(r.Filters) {
			t.Errorf("%d filters, and %d verdicts", len(r.Filters), len(out.Verdicts))
		}
		dropped := out.Action == filters.Drop
		if dropped != (r.Suppressed.Messages == 1) || r.Suppressed.Messages > 1 {
			t.Errorf("%s: %s, and %d are counted", text, out.Action, r.Suppressed.Messages)
		}
		if it.Direction == filters.Out && s.Kind == stanza.Message && s.Type == stanza.TypeError && !dropped && out.Action != filters.Defer {
			t.Errorf("%s becomes mail", text)
		}
		for client := range r.Suppressed.ByClient {
			if len(client) > 64 || strings.ContainsAny(client, " @/<>\n") {
				t.Errorf("%q is shown as a client", client)
			}
		}
	})
}
