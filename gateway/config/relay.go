package config

import (
	"net"
	"net/netip"
	"time"
)

// Relay is how mail is sent: to a smart host or, without one, to the MX hosts of
// each domain. It holds without a scope relay, too.
type Relay struct {
	// Gateway is the smart host, host:port; at port 465 with TLS from the first byte.
	// Empty: the MX hosts.
	Gateway string
	// User logs in at the smart host with Password. Empty: no login.
	User     string
	Password Secret
	// TLS is "no", "ifavailable" or "required".
	TLS string
	// Verify is "no", "ca" or "host", and CA the path of a PEM file with the
	// authorities, empty for the system's.
	Verify, CA string
	// RetryInterval and MaxRetryInterval are the first and the longest pause between
	// attempts to send a mail.
	RetryInterval, MaxRetryInterval time.Duration
	// Expiration is how long a mail may be on its way.
	Expiration time.Duration
	// DelayWarning is how long one waits until its author hears of it who has asked for
	// that; zero: he never does.
	DelayWarning time.Duration
	// Throttle bounds the mails sent to one domain.
	Throttle Rate
	// MaxConnections is how many are open to one host at once.
	MaxConnections int
	// IdleTimeout is how long an unused connection is kept.
	IdleTimeout time.Duration
	// Prohibited are addresses that are never connected to.
	Prohibited []netip.Prefix
}

// Outgoing is what of it holds for any message on its way.
func (r Relay) Outgoing() Outgoing {
	return Outgoing{RetryInterval: r.RetryInterval, MaxRetryInterval: r.MaxRetryInterval, Expiration: r.Expiration, DelayWarning: r.DelayWarning, Throttle: r.Throttle}
}

// relayOptions hold for mail that is sent.
var relayOptions = []*option{
	{name: "retry_interval", kind: kindDuration, def: "1200", min: 1, scopes: inRelay,
		doc: "pause before the first retry of a mail; doubles, with jitter"},
	{name: "max_retry_interval", kind: kindDuration, def: "43200", min: 1, scopes: inRelay,
		doc: "longest pause between retries of a mail"},
	{name: "idle_timeout", kind: kindDuration, def: "60", min: 1, scopes: inRelay,
		doc: "how long an unused connection to a mail server is kept for the next mail"},
	{name: "user", kind: kindString, scopes: inRelay,
		doc: "user name at the smart host, by SCRAM-SHA-256, SCRAM-SHA-1, PLAIN or LOGIN; without TLS on loopback only"},
	{name: "password", kind: kindString, secret: true, scopes: inRelay | inLink,
		doc: "password at the other server"},
}

// buildRelay reads the scope relay, or what holds without one.
func (t *tree) buildRelay(c *Config) {
	n := &node{scope: scopeByName("relay"), parent: t.root, pos: t.root.pos}
	if written := t.root.of(inRelay); len(written) > 0 {
		n = written[0] // a second one is reported already
	}
	v := t.view(n)
	c.Relay = Relay{
		Gateway: v.text("gateway"), User: v.text("user"), Password: Secret(v.text("password")),
		TLS: v.text("tls"), Verify: v.text("tls_verify"), CA: v.text("tls_ca"),
		RetryInterval: v.duration("retry_interval"), MaxRetryInterval: v.duration("max_retry_interval"),
		Expiration: v.duration("message_expiration"), DelayWarning: v.duration("delay_warning"), Throttle: v.rate("outbound_throttle_messages"),
		MaxConnections: v.number("max_outbound_connections"), IdleTimeout: v.duration("idle_timeout"),
		Prohibited: v.cidrs("prohibited_hosts"),
	}
	c.Relay.defaults(v)
	t.checkRelay(n, v, c.Relay)
}

// defaults are what holds where nothing is written, here or outside: a password goes
// to nobody who has not proven who he is, but to a server on this machine.
func (r *Relay) defaults(v view) {
	if r.User != "" && !loopback(r.Gateway) {
		if v.set("tls") == nil {
			r.TLS = "required"
		}
		if v.set("tls_verify") == nil && r.TLS == "required" {
			r.Verify = "host"
		}
	}
	if v.chain[0].settings["tls_verify"] == nil && r.TLS == "no" {
		r.Verify = "no" // one that is written for all is not meant for what has no TLS
	}
}

// loopback says whether a server is on this machine.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// checkRelay reports what keeps mail from being sent.
func (t *tree) checkRelay(n *node, v view, r Relay) {
	if r.MaxRetryInterval < r.RetryInterval {
		pos := v.pos("retry_interval")
		if s := v.set("max_retry_interval"); s != nil {
			pos = s.pos
		}
		t.report.errorf(pos, "", "max_retry_interval is shorter than retry_interval")
	}
	if s := n.settings["tls_ca"]; s != nil && !s.bad {
		t.checkAuthorities(s)
	}
	_, port, _ := net.SplitHostPort(r.Gateway)
	switch {
	case r.TLS != "no":
	case r.Verify != "no":
		t.report.errorf(v.pos("tls_verify"), "", "tls_verify = %s needs certificates, and tls = no at %s has none", r.Verify, v.pos("tls"))
	case port == "465":
		t.report.errorf(v.pos("tls"), "", "at port 465 TLS is there from the first byte, and tls is no")
	case r.User != "" && !loopback(r.Gateway):
		t.report.errorf(v.pos("tls"), "set tls = required", "a password is not sent without TLS, and tls is no")
	}
	t.checkRelayLogin(v, r)
}

// checkRelayLogin reports a login that lacks something.
func (t *tree) checkRelayLogin(v view, r Relay) {
	user, password := v.set("user"), v.set("password")
	switch {
	case r.User == "" && password != nil:
		t.report.errorf(password.pos, "", "password without user")
	case r.User != "" && r.Password == "":
		t.report.errorf(user.pos, "", "user without password")
	}
	if user != nil && r.Gateway == "" {
		t.report.errorf(user.pos, "add gateway, or leave it out", "user is for a smart host, and there is no gateway")
	}
}
