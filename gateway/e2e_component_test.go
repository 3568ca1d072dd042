package main

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/admin"
)

// hubText is the configuration of a gateway that another one joins as a component, over
// TLS from the first byte.
const hubText = `data_dir = "data"
log_format = "json"
retry_interval = 1
max_retry_interval = 2
s2s_default = deny
xmpp {}
xmpp_listener {
  AuthPlainParameters = [ uri = "nats://accounts" ]
  Listen "127.0.0.1:0" { stream = "client" }
  Listen "127.0.5.1:0" { stream = "component" use_ssl = true }
}
esmtp_listener { mcmt_reception = "allow" Listen "127.0.0.1:0" {} }
http_listener { Listen "127.0.0.1:0" {} }
control_listener { Listen "127.0.0.1:0" {} }
domain "hub.example" { xmpp_role = "server" }
domain "leaf.example" { component_secret = "s3cret" }
`

// TestComponentListener: one gateway is a component of another (XEP-0114). What is for it
// while it is away waits in custody, and people on both sides talk.
func TestComponentListener(t *testing.T) {
	t.Parallel()
	hub := newGatewayOf(t, hubText)
	hub.start()
	hub.addUser("ann@hub.example", "secret")
	ann := meet(t, hub.xmpp(), "ann@hub.example/a")
	for i, text := range []string{"by SMTP", "by HTTP"} {
		hub.injects(i == 0, "news@corp.example", "bob@leaf.example", text)
	}
	if r := hub.waits("bob@leaf.example", admin.Deferred, 2); !strings.Contains(r.Reason, "not connected") {
		t.Errorf("the queue says %q", r.Reason)
	}

	link := fmt.Sprintf(`link "hub" { type = "component" jid = "leaf.example" gateway = %q password = "s3cret" tls = required tls_verify = no domains = ( "hub.example" "mail.hub.example" ) }`,
		hub.on("127.0.5.1"))
	leaf := newLinked(t, "leaf.example", link)
	leaf.addUser("bob@leaf.example", "secret")
	bob := meet(t, leaf.xmpp(), "bob@leaf.example/b")
	for _, text := range []string{"by SMTP", "by HTTP"} {
		if st := bob.message(text); st.From.String() != `news\40corp.example@mail.hub.example` {
			t.Errorf("an MCMT message came as %s", st.Element)
		}
	}
	ann.says(bob, "from the hub")
	bob.says(ann, "from the leaf")
	ann.pings("leaf.example")
	bob.pings("hub.example")
	if s := leaf.streams(func(s serverStream) bool { return s.Link == "hub" }); len(s) != 1 || s[0].State != "open" || s[0].TLS != "1.3" && s[0].TLS != "TLS 1.3" {
		t.Errorf("the operator sees %+v", s)
	}
	if n := metric(t, hub, "component_sessions"); n != 1 {
		t.Errorf("%v components", n)
	}
	if n := metric(t, leaf, `link_up{link="hub"}`); n != 1 {
		t.Errorf("link_up is %v", n)
	}
}

// TestReloadLinks: a reload ends the links that are gone, and begins those that are new or
// changed; the component side has its secret looked at again.
func TestReloadLinks(t *testing.T) {
	t.Parallel()
	hub := newGatewayOf(t, hubText)
	hub.start()
	hub.addUser("ann@hub.example", "secret")
	link := func(secret string) string {
		return fmt.Sprintf(`link "hub" { type = "component" jid = "leaf.example" gateway = %q password = %q tls = required tls_verify = no domains = ( "hub.example" ) }`,
			hub.on("127.0.5.1"), secret)
	}
	leaf := newLinked(t, "leaf.example")
	leaf.addUser("bob@leaf.example", "secret")
	ann, bob := meet(t, hub.xmpp(), "ann@hub.example/a"), meet(t, leaf.xmpp(), "bob@leaf.example/b")
	without := leaf.config()

	leaf.reload(without + link("guess"))
	leaf.linkFails("hub", "handshake", "not-authorized")
	leaf.reload(without + link("s3cret"))
	hub.eventually("the component", func() bool { return metric(t, hub, "component_sessions") == 1 })
	bob.says(ann, "over the link")
	ann.says(bob, "and back")

	// The same again changes nothing.
	from := leaf.reload(without + "\n\n" + link("s3cret"))
	leaf.logged(from, "configuration reloaded")
	ann.says(bob, "still")
	if log := leaf.logFrom(from); strings.Contains(log, "link is up") {
		t.Errorf("a reload without changes made the link anew:\n%s", log)
	}

	hub.reload(strings.Replace(hub.config(), "s3cret", "another", 1))
	leaf.linkFails("hub", "session", "the secret has changed")
	leaf.reload(without + link("another"))
	hub.eventually("the component, by its new secret", func() bool { return metric(t, hub, "component_sessions") == 1 })

	leaf.reload(without)
	hub.eventually("no component", func() bool { return metric(t, hub, "component_sessions") == 0 })
	ann.send(`<message xmlns='jabber:client' type='chat' to='%s' id='m'><body>waits</body></message>`, bob.bare())
	hub.waits("bob@leaf.example", admin.Deferred, 1)
}
