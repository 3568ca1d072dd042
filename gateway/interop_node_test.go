package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// nodeModules is the folder of the libraries for Node.js. CI names it; the test is
// skipped where it is not there.
const nodeModules = "MCMT2XMPP_NODE_MODULES"

// startNode runs a script of testdata with a library.
func startNode(t *testing.T, script, library, service, user, password string) *slixmpp {
	t.Helper()
	modules := os.Getenv(nodeModules)
	if _, err := os.Stat(filepath.Join(modules, "strophe.js")); modules == "" || err != nil {
		why := "libraries for Node.js are not here: npm install @xmpp/client strophe.js stanza @xmldom/xmldom, and set " + nodeModules + " to the node_modules"
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	// A script finds its libraries beside itself.
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", script))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "client.mjs"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "client.mjs"), library, service, "localhost", user, password)
	cmd.Env = append(os.Environ(), "NODE_TLS_REJECT_UNAUTHORIZED=0", "NODE_NO_WARNINGS=1")
	return startEvents(t, cmd)
}

// TestNodeClients: libraries of web and Node.js clients log in, over a WebSocket and, where
// they can, over TCP, receive what was sent while they were away, chat both ways and
// log out.
func TestNodeClients(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `xmpp_listener "web" {
  Listen "127.0.0.2:0" { stream = "websocket" use_ssl = true }
  Listen "127.0.0.3:0" { stream = "websocket" }
}`)
	g.start()
	g.addUser("bob@localhost", "secret-2")
	wss, ws := "wss://"+g.on("127.0.0.2")+"/xmpp-websocket", "ws://"+g.on("127.0.0.3")+"/xmpp-websocket"
	bob := dialClient(t, g.xmpp(), "bob@localhost/b", "secret-2")
	for i, c := range []struct{ library, service string }{
		{"strophe", wss}, {"strophe", ws}, {"xmppjs", wss}, {"xmppjs", ws}, {"xmppjs", "xmpp://" + g.xmpp()}, {"stanza", wss}, {"stanza", ws},
	} {
		user := fmt.Sprintf("user%d", i)
		g.addUser(user+"@localhost", "secret-1")
		t.Run(c.library+" "+c.service[:4], func(t *testing.T) {
			say := func(to, text string) {
				t.Helper()
				if err := bob.Send(t.Context(), stanza.NewMessage(jid.MustParse(to), jid.JID{}, "chat", text)); err != nil {
					t.Fatal(err)
				}
			}
			say(user+"@localhost", "while away")
			node := startNode(t, "node_client.mjs", c.library, c.service, user, "secret-1")
			me := node.wait("online").JID
			for _, text := range []string{"while away", "hello <&> \u00e9"} {
				if text != "while away" {
					say(me, text)
				}
				if got := node.wait("message"); got.Body != text {
					t.Fatalf("got %q, want %q", got.Body, text)
				}
				st, err := bob.Receive(t.Context())
				if err != nil || st.Child("body") == nil || st.Child("body").Text() != text || st.From.Bare().String() != user+"@localhost" {
					t.Fatalf("answer to %q: %v %v", text, st, err)
				}
			}
			if c.library == "xmppjs" && c.service != ws {
				// Its connection is cut: it resumes the session, within the login (XEP-0198 §9).
				if _, err := io.WriteString(node.stdin, "cut\n"); err != nil {
					t.Fatal(err)
				}
				node.wait("resumed")
				say(me, "after the cut")
				if got := node.wait("message"); got.Body != "after the cut" {
					t.Fatalf("got %q after the cut", got.Body)
				}
				if _, err := bob.Receive(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := node.stdin.Close(); err != nil {
				t.Fatal(err)
			}
			node.wait("offline")
		})
	}
}

// dialClient logs a client of ours in, without presence.
func dialClient(t *testing.T, addr, user, password string) *stream.Client {
	t.Helper()
	c, err := stream.Dial(t.Context(), stream.ClientOptions{JID: jid.MustParse(user), Password: password, Address: addr,
		TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}) // #nosec G402: who the server is, is not what is tested
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}
