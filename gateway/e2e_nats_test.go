package main

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// natsServer is an external broker of the test.
type natsServer struct {
	t testing.TB
	o *server.Options
	s *server.Server
}

func newNATS(t testing.TB) *natsServer {
	t.Helper()
	n := &natsServer{t: t, o: &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	n.start()
	t.Cleanup(n.stop)
	_, port, err := net.SplitHostPort(n.s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n.o.Port, _ = strconv.Atoi(port) // the same one when it starts again
	return n
}

func (n *natsServer) start() {
	n.t.Helper()
	o := *n.o // the server changes its options
	s, err := server.NewServer(&o)
	if err != nil {
		n.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		n.t.Fatal("the broker does not start")
	}
	n.s = s
}

func (n *natsServer) stop() {
	n.s.Shutdown()
	n.s.WaitForShutdown()
}

// TestExternalBroker: custody in a broker of its own. While that is away nothing
// is accepted, and senders are told so; when it is back everything goes on by
// itself.
func TestExternalBroker(t *testing.T) {
	t.Parallel()
	n := newNATS(t)
	g := newGateway(t, fmt.Sprintf(`nats { urls = ( "nats://127.0.0.1:%d" ) }`, n.o.Port))
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("away@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	both := func(text string) {
		t.Helper()
		for i, smtp := range []bool{true, false} {
			for _, to := range []string{"alice@localhost", "away@localhost"} {
				if err := inject(t.Context(), g, smtp, to, fmt.Sprint(text, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		alice.want(text + "0")
		alice.want(text + "1")
	}
	both("before")
	for round := range 2 {
		n.stop()
		g.eventually("readiness is gone", func() bool { return g.readiness() == http.StatusServiceUnavailable })
		a := g.post("/v1/messages", "application/json", `{"from":"a@corp.example","to":["alice@localhost"],"text":"refused"}`)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("without a broker: %s, Retry-After %q; want 503 and when to come again", a, a.header.Get("Retry-After"))
		}
		m := dialSMTP(t, g.smtp())
		m.say("EHLO client.example", "250")
		m.say("MAIL FROM:<a@corp.example>", "250")
		m.say("RCPT TO:<alice@localhost>", "250")
		m.say("DATA", "354")
		if err := m.text.PrintfLine("Subject: s\r\n\r\nrefused\r\n."); err != nil {
			t.Fatal(err)
		}
		m.want("451 4.3.0")
		// Jabber users talk on: what passes directly needs no broker.
		alice.say("alice@localhost", "<body>meanwhile</body>")
		alice.want("meanwhile")
		n.start()
		g.eventually("readiness is back", func() bool { return g.readiness() == http.StatusOK })
		both(fmt.Sprint("after", round))
	}
	away := login(t, g.xmpp(), "away@localhost/a", 0)
	for _, text := range []string{"before0", "before1", "after00", "after01", "after10", "after11"} {
		away.want(text)
	}
}

// readiness is the status of /readyz.
func (g *gateway) readiness() int {
	g.t.Helper()
	resp, err := http.Get(g.admin() + "/readyz")
	if err != nil {
		g.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
