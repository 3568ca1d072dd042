package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestReloadRefused: a configuration with mistakes is refused, each mistake is in
// the log, and the old one stays in force (SPEC 3.6).
func TestReloadRefused(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	good := g.config()
	from := g.reload(strings.Replace(good, `mcmt_reception = "allow"`, `mcmt_reception = "reject" mcmt_recption = "allow" idle_time = "soon"`, 1))
	g.logged(from, "the old one stays", `"level":"error"`)
	g.logged(from, "mcmt_recption", "gateway.conf:", `"level":"error"`)
	g.logged(from, "idle_time", "gateway.conf:", `"level":"error"`)
	if err := inject(t.Context(), g, true, "alice@localhost", "as before"); err != nil {
		t.Fatalf("after a refused configuration: %v", err)
	}
	alice.want("as before")
	// The old one again is fine, and the session outlived it all.
	from = g.reload(good)
	g.logged(from, "configuration reloaded")
	if err := inject(t.Context(), g, true, "alice@localhost", "and after"); err != nil {
		t.Fatal(err)
	}
	alice.want("and after")
}

// TestReload: the access list, filters, the recipient map and mcmt_reception of a
// new configuration hold for the next connection and the next message; what they
// cannot change is said.
func TestReload(t *testing.T) {
	t.Parallel()
	const mapped = "+4915112345678@sms.example"
	g := newGateway(t, `recipient_map "phones" { match = "\+(\d+)@sms\.example" jid = "alice@localhost" }`)
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	if err := inject(t.Context(), g, true, mapped, "before"); err != nil {
		t.Fatal(err)
	}
	alice.want("before")

	text := g.config()
	for old, new := range map[string]string{
		`jid = "alice@localhost"`:    `jid = "bob@localhost"`,
		`{ stream = "client" }`:      `{ stream = "client" listen_backlog = 7 peer "127.0.4.0/24" { always_deny = true } }`,
		`http_listener {`:            `filter "secret" { type = "element" namespace = "urn:x" element = "secret" action = "drop" } http_listener {`,
		`mcmt_reception = "allow"`:   `mcmt_reception = "passthru"`,
		`control_listener { Listen `: `control_listener { Listen "127.0.3.9:0" {} Listen `,
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("the configuration does not hold %s", old)
		}
		text = strings.Replace(text, old, new, 1)
	}
	w := dialWire(t, g.xmpp(), "127.0.4.1") // before: nobody is denied
	w.open()
	from := g.reload(text)
	g.logged(from, "configuration reloaded")
	g.logged(from, "after a restart", "listen_backlog")
	g.logged(from, "after a restart", "control_listener")

	denied := dialWire(t, g.xmpp(), "127.0.4.1")
	if b, err := io.ReadAll(denied.conn); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("a peer denied by the new configuration got %q, %v", b, err)
	}
	w.startTLS(nil) // one that was let in stays
	if err := inject(t.Context(), g, true, mapped, "after"); err != nil {
		t.Fatal(err)
	}
	bob.want("mail: after") // the map, and mcmt_reception
	for _, xmpp := range []string{`<message><body>a secret</body><secret xmlns='urn:x'/></message>`, `<message><body>no such thing</body></message>`} {
		resp := g.post("/v1/messages", "application/json", fmt.Sprintf(`{"from":"a@corp.example","to":["alice@localhost"],"text":"x","xmpp":%q}`, xmpp))
		if resp.status != http.StatusAccepted {
			t.Fatal(resp)
		}
	}
	alice.want("no such thing") // the filter took the other one
	if got := metricsOf(t, g)[`mcmt2xmpp_filter_verdicts_total{filter="secret",verdict="drop"}`]; got != 1 {
		t.Errorf("the new filter dropped %v messages, want 1", got)
	}
}

// TestReloadUnderLoad reloads again and again while messages flow in and out, by SIGHUP and
// by POST /v1/reload, each time with another filter, log and listener's options, and at times
// with a mistake: nothing is lost, out of order or twice there, no sender is refused and no
// session ends.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `xmpp_logger { logfile = "a.log" }`)
	g.start()
	c := newRegulars(t, g, onAndOff...)
	g.eventually("two sessions", func() bool { return metricsOf(t, g)["mcmt2xmpp_xmpp_sessions"] == 2 })
	traffic := startTraffic(t.Context(), g, c.users)
	good := g.config()
	const reloads = 30
	for i := range reloads {
		before := traffic.total.Load()
		g.eventually("some messages", func() bool { return traffic.total.Load() > before+20 })
		text := strings.Replace(good, `mcmt_reception = "allow"`, fmt.Sprintf(`mcmt_reception = "allow" max_message_size = %dk`, 500+i), 1)
		text = strings.Replace(text, `"a.log"`, fmt.Sprintf(`"%d.log"`, i%3), 1)
		text += fmt.Sprintf("\nfilter \"f%d\" { type = \"element\" namespace = \"urn:x\" element = \"e%d\" }\n", i, i)
		status, part, line := http.StatusOK, fmt.Sprintf(`"scope":"filter f%d"`, i), "configuration reloaded"
		if i%5 == 4 {
			text += "no_such_option = 1\n"
			status, part, line = http.StatusUnprocessableEntity, `"mistakes"`, "the old one stays"
		}
		if i%2 == 0 {
			g.logged(g.reload(text), line)
			continue
		}
		from := g.logSize()
		g.write("gateway.conf", text)
		resp, err := http.Post(g.admin()+"/v1/reload", "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		curled{resp.StatusCode, resp.Header, string(answer)}.is(t, status, part)
		g.logged(from, line)
	}
	accepted := traffic.stop()
	if m := metricsOf(t, g); m["mcmt2xmpp_xmpp_logins_total"] != 2 || m["mcmt2xmpp_xmpp_sessions"] != 2 ||
		m[`mcmt2xmpp_intake_total{outcome="refused"}`] != 0 || m[`mcmt2xmpp_intake_total{outcome="try_later"}`] != 0 {
		t.Errorf("sessions ended, or messages were not taken: %v", m)
	}
	if copies := c.await(accepted); copies != 0 {
		t.Errorf("%d messages came twice", copies)
	}
	t.Logf("%d reloads, %d messages", reloads, traffic.total.Load())
}
