package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/xmpptest"
)

// newLogins is a gateway that offers each mechanism somewhere: on 127.0.3.1, and by
// WebSocket on .2, all but DIGEST-MD5, and EXTERNAL to who shows the certificate, which is
// that of external@localhost; PLAIN alone on .3; DIGEST-MD5 alone on .4, and by WebSocket
// on .5. The users have the password "secret".
func newLogins(t *testing.T, users ...string) (g *gateway, certificate string) {
	t.Helper()
	g = newGatewayOf(t, "")
	var hashes strings.Builder
	for _, user := range users {
		fmt.Fprintf(&hashes, "%s:localhost:%s\n", user, md5hex(user+":localhost:secret"))
	}
	digest := `[ uri = "digest://` + g.write("htdigest", hashes.String()) + `" ]`
	ca := xmpptest.NewAuthority(t)
	leaf := ca.Issue(t, xmpptest.Leaf{XMPP: []string{"external@localhost"}})
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	g.write("gateway.conf", xmppOnly+`
xmpp_listener {
  tls_client_ca = "`+g.write("ca.pem", block("CERTIFICATE", ca.Certificate.Raw))+`"
  listen "127.0.3.1:0" {}
  listen "127.0.3.2:0" { stream = "websocket" use_ssl = true }
  listen "127.0.3.3:0" { authplainparameters = `+digest+` }
}
xmpp_listener {
  authdigestmd5parameters = `+digest+`
  listen "127.0.3.4:0" {}
  listen "127.0.3.5:0" { stream = "websocket" use_ssl = true }
}
`)
	g.start()
	for _, user := range users {
		g.addUser(user+"@localhost", "secret")
	}
	return g, g.write("client.pem", block("CERTIFICATE", leaf.Certificate[0])+block("PRIVATE KEY", key))
}

// loggedIn waits for the session of a user who came by a mechanism.
func (g *gateway) loggedIn(user, mechanism string) {
	g.t.Helper()
	g.logged(0, `"session opened"`, `"jid":"`+user+`@localhost/`, `"mechanism":"`+mechanism+`"`)
}

// TestInteropMechanisms: clients nobody here wrote log in by each SASL mechanism that they
// and we have.
func TestInteropMechanisms(t *testing.T) {
	t.Parallel()
	names := []string{"external", "go-sendxmpp", "mcabber", "profanity"}
	for i := range 10 {
		names = append(names, fmt.Sprint("slixmpp", i), fmt.Sprint("node", i))
	}
	g, certificate := newLogins(t, names...)
	t.Run("slixmpp", func(t *testing.T) {
		t.Parallel()
		users := map[string]string{"SCRAM-SHA-256-PLUS": "slixmpp0", "SCRAM-SHA-1-PLUS": "slixmpp1", "SCRAM-SHA-256": "slixmpp2", "SCRAM-SHA-1": "slixmpp3", "PLAIN": "slixmpp4", "EXTERNAL": "external"}
		args := []string{"secret", certificate}
		for mechanism, user := range users {
			args = append(args, user+"@localhost="+mechanism)
		}
		client := runSlixmpp(t, "slixmpp_login.py", g.on("127.0.3.1"), args...)
		for range users {
			e := client.wait("online")
			user, _, _ := strings.Cut(e.JID, "@")
			if users[e.Mechanism] != user {
				t.Errorf("%s logged in by %s", e.JID, e.Mechanism)
			}
			g.loggedIn(user, e.Mechanism)
		}
	})
	for i, c := range []struct{ library, scheme, host, mechanism string }{
		{"strophe", "wss", "127.0.3.2", "SCRAM-SHA-256"},
		{"strophe", "wss", "127.0.3.2", "SCRAM-SHA-1"},
		{"strophe", "wss", "127.0.3.2", "PLAIN"},
		{"stanza", "wss", "127.0.3.2", "SCRAM-SHA-256"},
		{"stanza", "wss", "127.0.3.2", "SCRAM-SHA-1"},
		{"stanza", "wss", "127.0.3.2", "PLAIN"},
		{"stanza", "wss", "127.0.3.5", "DIGEST-MD5"},
		{"xmppjs", "xmpp", "127.0.3.1", "SCRAM-SHA-1"},
		{"xmppjs", "xmpp", "127.0.3.1", "PLAIN"},
		{"xmppjs", "wss", "127.0.3.2", "PLAIN"}, // SCRAM-SHA-1: TestNodeClients
	} {
		t.Run(c.library+" "+c.scheme+" "+c.mechanism, func(t *testing.T) {
			t.Parallel()
			service, user := c.scheme+"://"+g.on(c.host), fmt.Sprint("node", i)
			if c.scheme == "wss" {
				service += "/xmpp-websocket"
			}
			node := startNode(t, "node_client.mjs", c.library, service, user, "secret", c.mechanism)
			node.wait("online")
			g.loggedIn(user, c.mechanism)
		})
	}
	// The others take the best of what is offered, and are offered one thing at a time.
	for _, c := range []struct{ client, host, mechanism string }{
		{"go-sendxmpp", "127.0.3.3", "PLAIN"},
		{"go-sendxmpp", "127.0.3.4", "DIGEST-MD5"},
		{"mcabber", "127.0.3.3", "PLAIN"},
		{"mcabber", "127.0.3.4", "DIGEST-MD5"},
		{"profanity", "127.0.3.1", "SCRAM-SHA-256"},
		{"profanity", "127.0.3.3", "PLAIN"},
		{"profanity", "127.0.3.4", "DIGEST-MD5"},
	} {
		t.Run(c.client+" "+c.mechanism, func(t *testing.T) {
			t.Parallel()
			switch addr := g.on(c.host); c.client {
			case "go-sendxmpp":
				sender := exec.CommandContext(t.Context(), peer(t, "go-sendxmpp", "go-sendxmpp"), "-n", "-u", "go-sendxmpp@localhost", "-p", "secret", "-j", addr, "slixmpp0@localhost")
				sender.Stdin = strings.NewReader("hello\n")
				if out, err := sender.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			case "mcabber":
				newMcabber(t, addr, c.client)
			case "profanity":
				newProfanity(t, g, addr, c.client)
			}
			g.loggedIn(c.client, c.mechanism)
		})
	}
}
