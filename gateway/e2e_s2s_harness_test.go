package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/peertest"
)

// serverText is the configuration of a gateway that answers for one domain of the
// network's others and is found there. Failures are tried again soon.
func serverText(n *peertest.Network, domain, secret string) string {
	return fmt.Sprintf(`data_dir = "data"
log_format = "json"
resolvers = ( %q )
retry_interval = 1
max_retry_interval = 2
tls_ca = %q
xmpp {}
xmpp_listener {
  AuthPlainParameters = [ uri = "nats://accounts" ]
  Listen "127.0.0.1:0" { stream = "client" }
  Listen %q { stream = "server" }
}
esmtp_listener { mcmt_reception = "allow" Listen "127.0.0.1:0" {} }
http_listener { Listen "127.0.0.1:0" {} }
control_listener { Listen "127.0.0.1:0" {} }
domain %q { XMPP_Role = "server" XMPP_Dialback_Secret = %q }
`, n.DNS.Addr(), n.CA.File, n.Addr(domain), domain, secret)
}

// certified adds the certificate that the gateway shows to everybody.
func certified(n *peertest.Network, kind peertest.Certificate, domain string) string {
	return fmt.Sprintf("tls_certificate = %q\n", n.CA.Issue(kind, domain, "mail."+domain))
}

// clients makes domains those that messages are taken for.
func clients(domains ...string) string {
	var text strings.Builder
	for _, d := range domains {
		fmt.Fprintf(&text, "domain \"#xmpp#%s\" { XMPP_Role = \"client\" }\n", d)
	}
	return text.String()
}

// newServer starts a gateway for a domain of the network's others, with an account
// ann@ and more of the configuration.
func newServer(t *testing.T, n *peertest.Network, domain, extra string) *gateway {
	t.Helper()
	g := newGatewayOf(t, serverText(n, domain, "s3cr3t")+extra)
	g.start()
	g.addUser("ann@"+domain, "secret")
	return g
}

// within has the failures of a gateway be those of a subtest, beside which no other
// runs.
func (g *gateway) within(t *testing.T) {
	parent := g.t
	g.t = t
	t.Cleanup(func() { g.t = parent })
}

// others are the domains of a gateway, and of its mail users, for peertest.
func others(domain string) []string { return []string{domain, "mail." + domain} }

// serverStream is an entry of GET /v1/s2s: a stream to or from a domain, or what
// became of the attempt to have one, or a link.
type serverStream struct {
	Link                     string // the name; "": it is none
	Domain, Direction, State string
	Authenticated            string // by what: dialback, EXTERNAL; "": it is not
	TLS                      string // the version; "": none
	Since                    time.Time
	Queue                    int
	Failure                  *struct {
		Step, Text string
		At         time.Time
	}
	NextTry *time.Time `json:"next_try"`
}

// streams are the entries that are wanted.
func (g *gateway) streams(wanted func(s serverStream) bool) (some []serverStream) {
	g.t.Helper()
	var all []serverStream
	if code := g.ask("/v1/s2s", &all); code != http.StatusOK {
		g.t.Fatalf("streams: %d", code)
	}
	for _, s := range all {
		if wanted(s) {
			some = append(some, s)
		}
	}
	return some
}

func with(domain string) func(serverStream) bool {
	return func(s serverStream) bool { return s.Domain == domain && s.Link == "" }
}

// connected waits until there is a stream to a domain that is authenticated in one
// way, within TLS or not.
func (g *gateway) connected(domain, method string, tls bool) {
	g.t.Helper()
	g.eventually("a stream to "+domain+" by "+method, func() bool {
		for _, s := range g.streams(with(domain)) {
			if (s.Direction == "out" || s.Direction == "both") && strings.EqualFold(s.Authenticated, method) && (s.TLS != "") == tls && !s.Since.IsZero() {
				return true
			}
		}
		return false
	})
}

// fails waits until the operator sees at which step streams to a domain fail, with
// all the words in the reason, and when it is tried again: after the loss of one that
// was in use that is at once. It says whether that is so: a server that says nothing
// fails after a minute.
func (g *gateway) fails(domain, step string, words ...string) bool {
	g.t.Helper()
	return g.failing(domain, with(domain), step, words)
}

// linkFails is fails for a link.
func (g *gateway) linkFails(name, step string, words ...string) bool {
	g.t.Helper()
	return g.failing("link "+name, func(s serverStream) bool { return s.Link == name }, step, words)
}

func (g *gateway) failing(what string, wanted func(serverStream) bool, step string, words []string) bool {
	g.t.Helper()
	var seen []serverStream
	ok := soon(2*patience, func() bool {
		seen = g.streams(wanted)
		for _, s := range seen {
			if f := s.Failure; f != nil && f.Step == step && holdsAll(f.Text, words) && !f.At.IsZero() && (s.NextTry != nil || step == "use") {
				return true
			}
		}
		return false
	})
	if !ok {
		text, _ := json.Marshal(seen) // plain data
		g.t.Errorf("%s does not fail at %s with %q; the operator sees %s", what, step, words, text)
	}
	return ok
}

// remains waits until so many messages for a domain are in the queue in one state,
// and nothing else of the domain, with all the words in the reason.
func (g *gateway) remains(domain string, state admin.QueueState, messages int, words ...string) {
	g.t.Helper()
	var all []admin.QueueRoute
	ok := soon(patience, func() bool {
		all = g.routes("domain", domain)
		return len(all) == 1 && all[0].State == state && all[0].Messages == messages && holdsAll(all[0].Reason, words)
	})
	if !ok {
		g.t.Errorf("want %d %s for %s with %q; the queue has %+v", messages, state, domain, words, all)
	}
}

// soon waits a while for something that gives no sign of its own, and says whether it
// came to be.
func soon(while time.Duration, holds func() bool) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(while)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			return false
		}
	}
	return true
}

// holdsAll says whether all the words are in a text, in whatever case.
func holdsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
			return false
		}
	}
	return true
}

// injects injects an MCMT message of a sender, over SMTP or HTTP.
func (g *gateway) injects(smtp bool, from, to, text string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	raw := sample(to, text)
	if smtp {
		if _, err := relay.Submit(ctx, g.smtp(), from, []string{to}, []byte(raw)); err != nil {
			g.t.Fatalf("%s to %s over SMTP: %v", from, to, err)
		}
		return
	}
	if a := g.post("/v1/messages?from="+from+"&to="+to, "message/rfc822", raw); a.status != http.StatusAccepted {
		g.t.Fatalf("%s to %s over HTTP: %s", from, to, a)
	}
}
