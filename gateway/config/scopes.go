package config

import "strings"

// scopeSet is a set of kinds of scope.
type scopeSet uint32

// The kinds of scope. inGlobal is a file outside all braces.
const (
	inGlobal scopeSet = 1 << iota
	inXMPP
	inESMTPListener
	inHTTPListener
	inXMPPListener
	inControlListener
	inListen
	inPeer
	inPathway
	inPathwayGroup
	inBinding
	inBindingGroup
	inDomain
	inNATS
	inThreadpool
	inFilter
	inRecipientMap
	inXMPPLogger
	inRelay
	inLink
	inScriptlet
	inScript
	inDKIM
	inWebhook
	inOperator

	// nowhere is for options that are in effect in all their scopes, everywhere
	// for those that are in none.
	nowhere    scopeSet = 0
	everywhere          = ^nowhere

	// Sets that many options share.
	inListeners = inESMTPListener | inHTTPListener | inXMPPListener | inControlListener
	inPathways  = inPathway | inPathwayGroup
	inBindings  = inBinding | inBindingGroup
	inModules   = inXMPP | inXMPPLogger | inScriptlet | inDKIM
)

// labelRule says whether a scope takes a label.
type labelRule uint8

const (
	labelNone labelRule = iota
	labelOptional
	labelRequired
)

// scope is one kind of scope of the language.
type scope struct {
	name    string
	bit     scopeSet
	parents scopeSet // where it may stand
	label   labelRule
	means   string // what the label is, for documentation and hints
	doc     string
	once    bool   // at most one of the kind in its parent
	fixed   bool   // a change of what is in it takes effect only after a restart
	planned bool   // a later version gives it its effect
	inert   string // why it has no effect and never will, empty for the others
}

// scopes is every scope of the language, in the order of the reference.
var scopes = []*scope{
	{name: "global", bit: inGlobal, doc: "the file itself, outside all braces"},
	{name: "xmpp", bit: inXMPP, parents: inGlobal, once: true,
		doc: "the XMPP module; it has to stand before the first xmpp_listener"},
	{name: "esmtp_listener", bit: inESMTPListener, parents: inGlobal, label: labelOptional, means: "a name of your choice",
		doc: "takes messages by SMTP"},
	{name: "http_listener", bit: inHTTPListener, parents: inGlobal, label: labelOptional, means: "a name of your choice",
		doc: "takes messages by HTTP; always MCMT-enabled"},
	{name: "xmpp_listener", bit: inXMPPListener, parents: inGlobal, label: labelOptional, means: "a name of your choice",
		doc: "takes XMPP streams of clients, servers and components"},
	{name: "control_listener", bit: inControlListener, parents: inGlobal, label: labelOptional, means: "a name of your choice",
		doc: "the admin HTTP: health, metrics, JSON API, dashboard"},
	{name: "listen", bit: inListen, parents: inListeners, label: labelRequired,
		means: `the address: "*:PORT", ":PORT", "ADDRESS:PORT", "[IPV6]:PORT" or "/PATH" of a Unix socket`,
		doc:   "one socket of a listener"},
	{name: "peer", bit: inPeer, parents: inListeners | inListen, label: labelRequired,
		means: `the peers' addresses: a CIDR such as "192.0.2.0/24", or one address`,
		doc:   "options for peers of some addresses; the most specific peer that holds an address wins alone"},
	{name: "pathway", bit: inPathway, parents: inGlobal | inPathwayGroup, label: labelRequired, means: "the name that pathway = refers to",
		doc: "a named set of options that a listener, listen or peer takes in"},
	{name: "pathway_group", bit: inPathwayGroup, parents: inGlobal, label: labelRequired, means: "a name of your choice",
		doc: "options that several pathways share"},
	{name: "binding", bit: inBinding, parents: inGlobal | inBindingGroup, label: labelRequired, means: "a name of your choice",
		doc: "a named set of options for outgoing streams", planned: true},
	{name: "binding_group", bit: inBindingGroup, parents: inGlobal, label: labelRequired, means: "a name of your choice",
		doc: "options that several bindings share", planned: true},
	{name: "operator", bit: inOperator, parents: inGlobal, label: labelRequired, means: "a name of your choice; it shows in the audit log",
		doc: "somebody who may use the admin HTTP from anywhere, by a bearer token"},
	{name: "domain", bit: inDomain, parents: inGlobal, label: labelRequired,
		means: `the domain, or "#xmpp#DOMAIN" or "#smtp#DOMAIN" for one protocol of it`,
		doc:   "a domain: whether we answer for it, and how it is reached"},
	{name: "nats", bit: inNATS, parents: inGlobal, once: true, fixed: true,
		doc: "the broker: embedded, or an external cluster"},
	{name: "threadpool", bit: inThreadpool, parents: inGlobal, label: labelRequired, means: "the name that pool_name refers to", fixed: true,
		doc: "a bound on negotiations that several listeners share"},
	{name: "filter", bit: inFilter, parents: inGlobal, label: labelRequired, means: "a name of your choice; it shows in verdicts",
		doc: "one filter; filters apply in the order they are written"},
	{name: "recipient_map", bit: inRecipientMap, parents: inGlobal, label: labelRequired, means: "a name of your choice",
		doc: "maps recipient addresses, such as phone numbers, to JIDs; the first that matches counts"},
	{name: "xmpp_logger", bit: inXMPPLogger, parents: inGlobal, label: labelOptional, means: "a name of your choice",
		doc: "a log of stanzas, and of what becomes of messages, in formats that you choose"},
	{name: "relay", bit: inRelay, parents: inGlobal, once: true,
		doc: "how mail is sent: by a smart host, or to the MX hosts of its domain"},
	{name: "link", bit: inLink, parents: inGlobal, label: labelRequired, means: "a name of your choice",
		doc: "an account on, or a component of, an existing server, through which domains are reached"},
	{name: "webhook", bit: inWebhook, parents: inGlobal, label: labelRequired, means: "a name of your choice",
		doc: "a receiver that hears by HTTP how messages end"},
	{name: "scriptlet", bit: inScriptlet, parents: inGlobal, label: labelOptional, means: "a name of your choice",
		doc: "policy scripts, in Lua"},
	{name: "script", bit: inScript, parents: inScriptlet, label: labelRequired, means: "a name of your choice",
		doc: "one policy script"},
	{name: "dkim_sign", bit: inDKIM, parents: inGlobal, label: labelOptional, means: "a name of your choice",
		doc:   "accepted where a file brings it along as the Solaris work-around for dialback",
		inert: "SHA-256 is always there: dialback needs no dkim_sign"},
}

// scopeByName returns the scope a name opens, or nil. Names are lower case.
func scopeByName(name string) *scope {
	for _, s := range scopes[1:] {
		if s.name == name {
			return s
		}
	}
	return nil
}

// names lists the scopes of a set in the order of the reference.
func (set scopeSet) names() []string {
	var names []string
	for _, s := range scopes {
		if set&s.bit != 0 {
			names = append(names, s.name)
		}
	}
	return names
}

// String returns the names, with commas.
func (set scopeSet) String() string { return strings.Join(set.names(), ", ") }
