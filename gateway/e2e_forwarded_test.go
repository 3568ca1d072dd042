package main

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
)

// from sends a request from an address of loopback, with X-Forwarded-For if forwarded is
// not empty, and returns the status.
func (g *gateway) from(source, addr, forwarded, request string) int {
	g.t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}).DialContext(g.t.Context(), "tcp", addr)
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	head, body, _ := strings.Cut(request, "\n\n")
	if forwarded != "" {
		head += "\nX-Forwarded-For: " + forwarded
	}
	if _, err := conn.Write([]byte(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body)); err != nil {
		g.t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// TestForwarded: behind a trusted proxy the client's address is what counts, for peer
// scopes, relay_hosts and who may operate the gateway (option trusted_proxies).
func TestForwarded(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, `data_dir = "data"
log_format = "json"
xmpp {}
relay_hosts = ( "127.0.0.0/8" "198.51.100.0/24" )
pathway "proxied" { trusted_proxies = ( "127.0.4.0/24" "10.0.0.0/8" ) }
http_listener { pathway = "proxied" listen "127.0.3.1:0" { peer "203.0.113.0/24" { always_deny = true } } }
xmpp_listener {
  trusted_proxies = "127.0.4.0/24"
  max_connections_per_address = 1
  listen "127.0.3.2:0" { stream = "websocket" peer "203.0.113.0/24" { always_deny = true } }
}
control_listener { listen "127.0.3.3:0" { pathway = "proxied" } }
control_listener { listen "127.0.0.1:0" {} }
domain "localhost" { xmpp_role = "server" }
`)
	g.start()
	g.addUser("alice@localhost", "secret")
	const message = `{"from":"news@corp.example","to":["alice@localhost"],"text":"hello"}`
	const post = "POST /v1/messages HTTP/1.1\nHost: localhost\nContent-Type: application/json\nContent-Length: 68\n\n" + message
	const upgrade = "GET /xmpp-websocket HTTP/1.1\nHost: localhost\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: xmpp\n\n"
	const users = "GET /v1/users HTTP/1.1\nHost: 127.0.3.3\n\n"
	for _, c := range []struct {
		name, source, listen, forwarded, request string
		want                                     int
	}{
		{"the proxy itself", "127.0.4.1", "127.0.3.1", "", post, 202},
		{"a stranger", "127.0.4.1", "127.0.3.1", "192.0.2.1", post, 403},
		{"one of relay_hosts", "127.0.4.1", "127.0.3.1", "198.51.100.7", post, 202},
		{"one of relay_hosts behind two", "127.0.4.1", "127.0.3.1", "198.51.100.7, 10.0.0.2", post, 202},
		{"a stranger who lies", "127.0.4.1", "127.0.3.1", "127.0.0.1, 198.51.100.7, 192.0.2.1", post, 403},
		{"one that is denied", "127.0.4.1", "127.0.3.1", "203.0.113.5", post, 403},
		{"one that is not told", "127.0.4.1", "127.0.3.1", "unknown", post, 403},
		{"a proxy that is not trusted", "127.0.5.1", "127.0.3.1", "192.0.2.1", post, 202},

		{"WebSocket, a stranger", "127.0.4.1", "127.0.3.2", "192.0.2.1", upgrade, 101},
		{"WebSocket, one that is denied", "127.0.4.1", "127.0.3.2", "203.0.113.5", upgrade, 403},
		{"WebSocket, the proxy itself", "127.0.4.1", "127.0.3.2", "", upgrade, 101},
		{"WebSocket, a proxy that is not trusted", "127.0.5.1", "127.0.3.2", "203.0.113.5", upgrade, 101},

		{"control, the proxy itself", "127.0.4.1", "127.0.3.3", "", users, 200},
		{"control, a stranger", "127.0.4.1", "127.0.3.3", "192.0.2.1", users, 401},
		{"control, one of relay_hosts", "127.0.4.1", "127.0.3.3", "198.51.100.7", users, 401},
		{"control, one that is not told", "127.0.4.1", "127.0.3.3", "unix:", users, 401},
		{"control, a proxy that is not trusted", "127.0.5.1", "127.0.3.3", "192.0.2.1", users, 200},
	} {
		if got := g.from(c.source, g.on(c.listen), c.forwarded, c.request); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := metricsOf(t, g).value(t, "mcmt2xmpp_forwarded_unreadable_total"); got != 2 {
		t.Errorf("%v unreadable ones are counted", got)
	}
	if log := g.logFrom(0); strings.Count(log, "client is unknown") != 1 || !strings.Contains(log, `"peer":"192.0.2.1:`) {
		t.Error("the log does not say who the client is, or that it is not known, once")
	}

	// Each client has its own connections, whatever proxy they come through.
	held := dialWire(t, g.on("127.0.3.2"), "127.0.4.1")
	held.send(strings.ReplaceAll(strings.TrimSuffix(upgrade, "\n"), "\n", "\r\n") + "X-Forwarded-For: 192.0.2.9\r\n\r\n")
	if answer, err := http.ReadResponse(bufio.NewReader(held.conn), nil); err != nil || answer.StatusCode != 101 {
		t.Fatalf("%v, %v", answer, err)
	}
	for forwarded, want := range map[string]int{"192.0.2.9": 429, "192.0.2.10": 101} {
		if got := g.from("127.0.4.1", g.on("127.0.3.2"), forwarded, upgrade); got != want {
			t.Errorf("a connection more of %s: %d, want %d", forwarded, got, want)
		}
	}
}
