package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// Streams is how streams with the servers of a domain are opened and accepted.
type Streams struct {
	// TLS is "no", "ifavailable" or "required".
	TLS string
	// Verify is "no", "ca" (an authority has signed the certificate) or "host" (it names
	// the domain too).
	Verify string
	// CA is the path of a PEM file with the authorities. Empty: the system's.
	CA string
	// Routes are the domain's servers, instead of those that the DNS names.
	Routes []Route
	// Prohibited are addresses that are never connected to.
	Prohibited []netip.Prefix
	// MaxConnections is how many we open at once.
	MaxConnections int
	// IdleTimeout is the silence after which we close one.
	IdleTimeout time.Duration
}

// Route is a server of a domain.
type Route struct {
	Host   string // a name, or an address without brackets
	Port   uint16
	Direct bool // TLS from the first byte (XEP-0368)
}

// inOutgoing is where options for what we send are set.
const inOutgoing = inGlobal | inDomain | inRelay

var (
	tlsWords    = []string{"no", "ifavailable", "required"}
	verifyWords = []string{"no", "ca", "host"}
)

// streamOptions hold for streams between servers.
var streamOptions = []*option{
	{name: "gateway", kind: kindAddress, scopes: inDomain | inRelay | inLink,
		doc: "host:port to connect to, instead of asking the DNS; of relay the smart host, where port 465 has TLS from the first byte, and without it mail goes to the MX hosts of its domain"},
	{name: "idle_timeout", kind: kindDuration, def: "600", min: 1, scopes: inGlobal | inDomain,
		doc: "silence after which an outgoing connection is closed"},
	{name: "max_outbound_connections", kind: kindNumber, def: "20", min: 1, max: maxSmall, scopes: inOutgoing,
		doc: "connections at once to one domain; of relay to one mail server"},
	{name: "prohibited_hosts", kind: kindCIDR, list: true, scopes: inOutgoing,
		doc: "addresses that are never connected to, whatever the DNS says"},
	{name: "resolvers", kind: kindAddress, list: true, defDoc: "the system's", scopes: inGlobal,
		doc: "DNS servers to ask"},
	{name: "routes", kind: kindURI, list: true, schemes: []string{"xmpp-server", "xmpps-server"}, scopes: inDomain,
		doc: "servers of the domain, as \"xmpp-server://host:port\", \"xmpps-server\" for TLS from the first byte; instead of asking the DNS"},
	{name: "s2s_default", kind: kindEnum, words: []string{"allow", "deny"}, def: "allow", scopes: inGlobal,
		doc: "streams from and to domains without an xmpp_role"},
	{name: "tls", kind: kindEnum, words: tlsWords, def: "ifavailable", scopes: inOutgoing | inLink,
		doc: "TLS with other servers, in streams that we open and in theirs; of relay, where it is not set, required if there is a user; of a link, where it is not set, required for an account and no for a component, which has TLS from the first byte or none"},
	{name: "tls_verify", kind: kindEnum, words: verifyWords, def: "no", scopes: inOutgoing | inLink,
		doc: "their certificates: \"no\", any will do where dialback proves the domain; \"ca\", signed by an authority; \"host\", naming the domain too, or the mail server; of a link with TLS required, and of relay with a user, where it is not set, host"},
	{name: "tls_ca", kind: kindPath, defDoc: "the system's authorities", scopes: inOutgoing | inLink | inWebhook,
		doc: "PEM file of the authorities that sign others' certificates"},
}

// streams are those options as they hold in a scope.
func (v view) streams() Streams {
	s := Streams{
		TLS: v.text("tls"), Verify: v.text("tls_verify"), CA: v.text("tls_ca"),
		Prohibited: typed[netip.Prefix](v.get("prohibited_hosts")), MaxConnections: v.number("max_outbound_connections"),
		IdleTimeout: v.duration("idle_timeout"),
	}
	if v.in&inDomain == 0 {
		return s
	}
	for _, text := range v.words("routes") {
		if u, err := url.Parse(text); err == nil {
			s.Routes = append(s.Routes, route(u.Host, u.Scheme == "xmpps-server"))
		}
	}
	if gateway := v.text("gateway"); gateway != "" && len(s.Routes) == 0 {
		s.Routes = []Route{route(gateway, false)}
	}
	return s
}

// route reads host:port; without a port it is that of the service.
func route(address string, direct bool) Route {
	port := uint16(5269)
	if direct {
		port = 5270
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return Route{address, port, direct}
	}
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		port = uint16(n)
	}
	return Route{host, port, direct}
}

// checkStreamsOf reports what is wrong with the options of a domain, or of all.
func (t *tree) checkStreamsOf(v view) {
	if s := v.set("tls_ca"); s != nil {
		t.checkAuthorities(s)
	}
	if v.text("tls") == "no" && v.text("tls_verify") != "no" {
		t.report.errorf(v.pos("tls_verify"), "", "tls_verify = %s needs certificates, and tls = no at %s has none", v.text("tls_verify"), v.pos("tls"))
	}
	if v.in&inDomain == 0 {
		return
	}
	routes, gateway := v.set("routes"), v.set("gateway")
	if routes != nil && gateway != nil {
		t.report.warnf(gateway.pos, "", "gateway has no effect: routes, at %s, say where the servers are", routes.pos)
	}
}
