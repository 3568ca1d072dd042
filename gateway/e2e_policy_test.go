package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPolicyScripts: mail goes to who is online in the words of a script, and the
// usual way to who is not; what a client writes is injected as mail; a script that is
// replaced is asked no more (SPEC 11).
func TestPolicyScripts(t *testing.T) {
	t.Parallel()
	text := func(name string) string {
		script, err := os.ReadFile(filepath.Join("policy", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(script)
	}
	g := newGateway(t, `scriptlet "policy" {
  script "mail" { source = "mail.lua" }
  script "jabber" { source = "jabber.lua" }
}
`)
	g.write("mail.lua", text("mail-to-jabber.lua"))
	g.write("jabber.lua", text("jabber-to-mail.lua"))
	g.start()
	for _, u := range []string{"alice", "bob"} {
		g.addUser(u+"@localhost", "secret")
	}
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	m := dialSMTP(t, g.smtp())
	m.say("EHLO client.example", "250")

	// The script's stanza, and not the one that conversion would have made.
	m.mail("news@corp.example", "alice@localhost", "From: a\r\nSubject: s\r\n\r\nby the script\r\n")
	if st := alice.want("by the script"); st.From.String() != "robot@no-replies.example" || st.Child("subject") != nil || st.ID == "" {
		t.Errorf("got %s", st)
	}
	m.mail("news@corp.example", "bob@localhost", "From: a\r\nSubject: s\r\n\r\nthe usual way\r\n")
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	if st := bob.want("the usual way"); st.From.Domain() != "mail.localhost" {
		t.Errorf("got %s", st)
	}

	// What a client writes is injected, and comes as mail does.
	alice.say("bob@localhost", "<body>from a client</body>")
	if st := bob.want("from a client"); st.From.String() != "alice@localhost" {
		t.Errorf("got %s, want it from the bare JID, as mail", st)
	}

	s := metricsOf(t, g)
	for name, want := range map[string]float64{
		`script_calls_total{script="mail"}`: 2, `script_calls_total{script="jabber"}`: 1, `script_failures_total{script="mail"}`: 0,
		`conversion_total{outcome="filtered"}`: 1, `conversion_total{outcome="converted"}`: 2,
	} {
		if got := s.value(t, "mcmt2xmpp_"+name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	// Without the script that took it the message goes to bob as it is.
	from := g.reload(strings.Replace(g.config(), `script "jabber" { source = "jabber.lua" }`, "", 1))
	g.eventually("the reload", func() bool { return g.logged(from, "configuration reloaded") != "" })
	alice.say("bob@localhost", "<body>as it is</body>")
	if st := bob.want("as it is"); st.From.String() != "alice@localhost/a" {
		t.Errorf("got %s", st)
	}
}

// TestDeliveryScripts: a script sends a message elsewhere before it is delivered, and when
// its recipient cannot be reached; one that it has dealt with ends there.
func TestDeliveryScripts(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `scriptlet "delivery" { script "way" { source = "way.lua" } }
domain "down.example" { xmpp_role = "client" routes = ( "xmpp-server://127.0.0.1:1" ) retry_interval = 1 max_retry_interval = 1 message_expiration = 1 }
`)
	g.write("way.lua", `local m = {}
function m:delivery_before_send(msg, stanza)
  if msg:rcptto() == "alice@localhost" then msg:rcptto("bob@localhost") end
  if stanza:attr("type") == "headline" then return msys.xmpp.DONE end
end
function m:delivery_failed(msg, stanza, reason)
  if msg:routing_domain() == "down.example" and reason:match("^expired: ") then msg:rcptto("bob@localhost") end
end
msys.registerModule("way", m)
`)
	g.start()
	for _, u := range []string{"alice", "bob"} {
		g.addUser(u+"@localhost", "secret")
	}
	alice, bob := login(t, g.xmpp(), "alice@localhost/a", 0), login(t, g.xmpp(), "bob@localhost/b", 0)
	send(t, g, "alice@localhost", "before it was sent")
	bob.want("before it was sent")
	if a := g.post("/v1/messages", "application/json", `{"from":"news@corp.example","to":["bob@localhost"],"text":"x","xmpp":"<message type='headline'><body>dealt with</body></message>"}`); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	send(t, g, "x@down.example", "when it was too late")
	bob.want("when it was too late")
	alice.say("alice@localhost/a", "<body>to myself</body>")
	alice.want("to myself") // and nothing before
	if n := metric(t, g, `delivery_total{outcome="filtered"}`); n != 1 {
		t.Errorf("%v are filtered", n)
	}
}
