package httpd

import (
	"net/netip"
	"strings"
	"testing"
)

// proxied holds loopback for a proxy that names one client, and the client to opt.
func proxied(client string, opt PeerOptions) func(netip.AddrPort) PeerOptions {
	return func(p netip.AddrPort) PeerOptions {
		if !p.Addr().IsLoopback() {
			return opt
		}
		return PeerOptions{Trusted: true, Forwarded: func(fields []string) netip.Addr {
			if len(fields) == 0 {
				return p.Addr()
			}
			return netip.MustParseAddr(client)
		}}
	}
}

const forwardedFor = "X-Forwarded-For: 192.0.2.1\n"

// What holds for the client holds behind a proxy, and nothing of the proxy's; secrets
// need TLS on both ways.
func TestForwarded(t *testing.T) {
	t.Parallel()
	password := basic("jörg", "pass:wörd")
	for name, tc := range map[string]struct {
		opt     PeerOptions // of the client
		fields  string
		status  int
		trusted bool
	}{
		"the proxy itself":          {PeerOptions{}, "", 202, true},
		"a stranger":                {PeerOptions{}, forwardedFor, 403, false},
		"one that is denied":        {PeerOptions{Deny: true}, forwardedFor, 403, false},
		"one in relay_hosts":        {PeerOptions{Trusted: true}, forwardedFor, 202, true},
		"a password over TLS":       {PeerOptions{Authenticator: users{}}, forwardedFor + "X-Forwarded-Proto: https\n" + password, 202, true},
		"a password without TLS":    {PeerOptions{Authenticator: users{}}, forwardedFor + "X-Forwarded-Proto: http\n" + password, 403, false},
		"a password, nobody knows":  {PeerOptions{Authenticator: users{}}, forwardedFor + password, 403, false},
		"a client that says both":   {PeerOptions{Authenticator: users{}}, forwardedFor + "X-Forwarded-Proto: http\nX-Forwarded-Proto: https\n" + password, 403, false},
		"in clear text, if allowed": {PeerOptions{Authenticator: users{}, AllowPlainWithoutTLS: true}, forwardedFor + password, 202, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{}
			_, addr := start(t, Options{Sink: snk, Config: proxied("192.0.2.1", tc.opt)})
			got := post(t, addr, "/v1/messages", jsonField+tc.fields, goodJSON)
			if got.status != tc.status {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if tc.status != 202 {
				return
			}
			env, _ := snk.one(t)
			if want := map[bool]string{true: "192.0.2.1", false: "127.0.0.1"}[strings.Contains(tc.fields, "Forwarded-For")]; env.Trusted != tc.trusted || env.Peer.Addr().String() != want {
				t.Errorf("peer %v, trusted %v", env.Peer, env.Trusted)
			}
		})
	}
}

// Rates are those of each client, and the connections of a proxy are not counted
// against its one address.
func TestForwardedLimits(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{MaxConnectionsPerAddress: 1, Config: func(p netip.AddrPort) PeerOptions {
		o := PeerOptions{Trusted: true, Rate: 0.01, Burst: 1}
		if p.Addr().IsLoopback() {
			o.Forwarded = func(fields []string) netip.Addr { return netip.MustParseAddr(fields[0]) }
		}
		return o
	}})
	for _, c := range []struct {
		client string
		want   int
	}{{"192.0.2.1", 202}, {"192.0.2.1", 429}, {"192.0.2.2", 202}} {
		w := dial(t, addr) // stays open
		w.send(request("/v1/messages", jsonField+"X-Forwarded-For: "+c.client+"\n", goodJSON))
		if got := w.read(); got.status != c.want {
			t.Errorf("%s: %d, want %d", c.client, got.status, c.want)
		}
	}
}
