package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// TestOverload: whoever asks for too much gets the error that the RFC has for it,
// and is counted, while others are served.
func TestOverload(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, `data_dir = "data"
log_format = "json"
xmpp {}
control_listener { listen "127.0.0.1:0" {} }
domain "localhost" { xmpp_role = "server" }
esmtp_listener { mcmt_reception = "allow" listen "127.0.0.1:0" {} listen "127.0.3.1:0" { max_connections_per_address = 2 } listen "127.0.3.2:0" { max_connections = 2 } }
http_listener { listen "127.0.0.1:0" {} listen "127.0.3.3:0" { max_connections_per_address = 2 } }
xmpp_listener {
  listen "127.0.0.1:0" {}
  listen "127.0.4.1:0" { max_connections_per_address = 2 }
  listen "127.0.4.2:0" { max_stanza_size = 10000 max_element_depth = 8 max_attributes = 8 max_preauth_size = 2000 }
  listen "127.0.4.3:0" { auth_timeout = 1 }
  listen "127.0.4.4:0" { tcp_send_buffer_size = 4096 }
  listen "127.0.4.5:0" { max_failed_logins = 2 }
}
`)
	g.start()
	for _, u := range []string{"alice", "bob", "mallory", "slow"} {
		g.addUser(u+"@localhost", "secret")
	}
	others := serveMeanwhile(t, g)
	// The tests run at the same time, and none waits for a place among the parallel ones
	// of the package while the others are being served.
	var all sync.WaitGroup
	at := func(name string, test func(*testing.T)) { all.Go(func() { t.Run(name, test) }) }
	for name, test := range map[string]func(*testing.T, *gateway){
		"connections from one address": tooManyStreams,
		"SMTP connections":             tooManySMTP,
		"HTTP connections":             tooManyHTTP,
		"failed logins":                tooManyLogins,
		"slow-loris":                   slowLoris,
		"slow reader":                  slowReader,
	} {
		at(name, func(t *testing.T) { test(t, g) })
	}
	for _, c := range tooMuch {
		at(c.name, func(t *testing.T) {
			w := dialWire(t, g.on("127.0.4.2"), "")
			if c.auth {
				w.session("mallory", "m"+strings.ReplaceAll(c.name, " ", ""))
			} else {
				w.open()
			}
			_, _ = io.WriteString(w.conn, c.text) // it may not be read to its end
			if got := w.failure(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	all.Wait()
	if served := others(); served < 10 {
		t.Errorf("others were served only %d times", served)
	}
	m := metricsOf(t, g)
	for name, least := range map[string]float64{
		`mcmt2xmpp_xmpp_limits_total{limit="per_address"}`: 1,
		`mcmt2xmpp_xmpp_limits_total{limit="too_large"}`:   6,
		`mcmt2xmpp_xmpp_limits_total{limit="too_slow"}`:    1,
		`mcmt2xmpp_xmpp_limits_total{limit="timeout"}`:     1,
		`mcmt2xmpp_smtp_limits_total{limit="connections"}`: 2,
		`mcmt2xmpp_http_limits_total{limit="connections"}`: 1,
		`mcmt2xmpp_xmpp_failed_logins_total`:               2,
	} {
		if got := m.value(t, name); got < least {
			t.Errorf("%s is %v, want %v at least", name, got, least)
		}
	}
}

// tooMuch is what a stream may not hold, and the error for it (RFC 6120 §4.9.3).
var tooMuch = []struct {
	name, text string
	auth       bool // after the login
	want       stream.Condition
}{
	{"stanza too large", "<message to='bob@localhost'><body>" + strings.Repeat("x", 11000) + "</body></message>", true, stream.PolicyViolation},
	{"stanza that never ends", "<message to='bob@localhost'><body>" + strings.Repeat("x", 200000), true, stream.PolicyViolation},
	{"too deep", "<message to='bob@localhost'>" + strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20) + "</message>", true, stream.PolicyViolation},
	{"too many attributes", "<message to='bob@localhost' a='' b='' c='' d='' e='' f='' g='' h='' i=''/>", true, stream.PolicyViolation},
	{"too large before login", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + strings.Repeat("x", 3000) + "</auth>", false, stream.PolicyViolation},
	{"a comment", "<!-- hello -->", true, stream.RestrictedXML},
	{"not XML", "<message to='bob@localhost'><body></message>", true, stream.NotWellFormed},
	{"not a stanza", "<query xmlns='urn:x'/>", true, stream.UnsupportedStanzaType},
}

// serveMeanwhile sends messages to a client all the time, until the function that
// it returns ends it and says how many arrived.
func serveMeanwhile(t *testing.T, g *gateway) (stop func() int) {
	t.Helper()
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	serve := func(n int) error {
		text := fmt.Sprintf("served %d", n)
		if err := inject(ctx, g, n%2 == 0, "alice@localhost", text); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case st, ok := <-alice.in:
			if !ok || bodyOf(st) != text {
				return fmt.Errorf("want %q, got another message or none", text)
			}
		case <-time.After(patience):
			return fmt.Errorf("%q does not arrive", text)
		}
		return nil
	}
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if err := serve(n); err != nil {
				t.Errorf("another client: %v", err)
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond): // load enough
			}
		}
		done <- n
	}()
	return func() int {
		cancel()
		return <-done
	}
}

// tooManyStreams opens one connection more than an address may have.
func tooManyStreams(t *testing.T, g *gateway) {
	addr := g.on("127.0.4.1")
	a, b := dialWire(t, addr, "127.0.5.1"), dialWire(t, addr, "127.0.5.1")
	a.open()
	b.open()
	over := dialWire(t, addr, "127.0.5.1")
	over.send(openLocalhost)
	if got := over.failure(); got != stream.PolicyViolation {
		t.Errorf("%s, want policy-violation", got)
	}
	dialWire(t, addr, "127.0.5.2").open() // another address is free
	_ = a.conn.Close()
	g.eventually("room again", func() bool {
		w := dialWire(t, addr, "127.0.5.1")
		defer w.conn.Close()
		w.send(openLocalhost)
		e, err := w.tryFeatures()
		return err == nil && e.Name.Local == "features"
	})
}

// tooManySMTP does so over SMTP (RFC 5321 §3.8).
func tooManySMTP(t *testing.T, g *gateway) {
	for _, host := range []string{"127.0.3.1", "127.0.3.2"} {
		a, b := dialSMTP(t, g.on(host)), dialSMTP(t, g.on(host))
		a.say("NOOP", "250")
		b.say("NOOP", "250")
		conn, err := net.Dial("tcp", g.on(host))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "421") {
			t.Errorf("%s: one more connection gets %q, %v; want 421", host, line, err)
		}
	}
}

// tooManyHTTP does so over HTTP, where a connection too many is closed.
func tooManyHTTP(t *testing.T, g *gateway) {
	for range 2 {
		conn, err := net.Dial("tcp", g.on("127.0.3.3"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		// A whole request, so that it is known to be in.
		_, _ = io.WriteString(conn, "GET /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	over, err := net.Dial("tcp", g.on("127.0.3.3"))
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	_ = over.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(over); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("one more connection gets %q, %v; want it closed", b, err)
	}
}

// tooManyLogins guesses (RFC 6120 §6.4.5).
func tooManyLogins(t *testing.T, g *gateway) {
	w := dialWire(t, g.on("127.0.4.5"), "")
	w.open()
	w.startTLS(nil)
	for range 2 {
		w.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AG1hbGxvcnkAZ3Vlc3M=</auth>")
		if e := w.next(); e.Name.Local != "failure" {
			t.Fatalf("a wrong password is answered %s", e)
		}
	}
	if got := w.failure(); got != stream.PolicyViolation {
		t.Errorf("%s, want policy-violation", got)
	}
}

// slowLoris sends its stream header byte by byte.
func slowLoris(t *testing.T, g *gateway) {
	w := dialWire(t, g.on("127.0.4.3"), "")
	ended := make(chan struct{})
	defer func() { <-ended }()
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for _, c := range openLocalhost + strings.Repeat(" ", 5000) {
			<-tick.C
			if _, err := io.WriteString(w.conn, string(c)); err != nil {
				return
			}
		}
	}()
	// It is not over before 100 s.
	if got := w.failure(); got != stream.ConnectionTimeout {
		t.Errorf("%s, want connection-timeout", got)
	}
	_ = w.conn.Close()
}

// slowReader floods a client that does not read: it is disconnected with
// resource-constraint.
func slowReader(t *testing.T, g *gateway) {
	conn, err := net.Dial("tcp", g.on("127.0.4.4"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	slow := &wire{t: t, conn: conn}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	slow.session("slow", "s") // from here on it does not read

	flood := login(t, g.xmpp(), "bob@localhost/flood", 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		text := strings.Repeat("x", 50<<10)
		for ctx.Err() == nil {
			st := stanza.NewMessage(jid.MustParse("slow@localhost/s"), jid.JID{}, "chat", text)
			if flood.c.Send(ctx, st) != nil {
				return
			}
		}
	}()
	g.logged(0, "slow@localhost/s", "session ended", string(stream.ResourceConstraint))
}
