package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// nodeModules is the folder of the libraries for Node.js. CI names it; the test is
// skipped where it is not there.
const nodeModules = "MCMT2XMPP_NODE_MODULES"

// startNode runs a script of testdata with a library.
func startNode(t *testing.T, script, library, service, user, password string, more ...string) *slixmpp {
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
	args := append([]string{filepath.Join(dir, "client.mjs"), library, service, "localhost", user, password}, more...)
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Env = append(os.Environ(), "NODE_TLS_REJECT_UNAUTHORIZED=0", "NODE_NO_WARNINGS=1")
	return startEvents(t, cmd)
}

// TestNodeClients: libraries of web and Node.js clients log in, over a WebSocket and, where
// they can, over TCP, receive what was sent while they were away, chat both ways, go on
// after their connection was cut, and log out; have contacts, search their archive and
// upload files.
func TestNodeClients(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `xmpp_listener "web" {
  Listen "127.0.0.2:0" { stream = "websocket" use_ssl = true }
  Listen "127.0.0.3:0" { stream = "websocket" }
}`)
	g.start()
	g.addUser("bob@localhost", "secret-2")
	g.addUser("carol@localhost", "secret")
	bob := dialClient(t, g.xmpp(), "bob@localhost/b", "secret-2")
	carol := runSlixmpp(t, "slixmpp_roster.py", g.xmpp(), "carol@localhost/c", "secret")
	carol.wait("online")
	const wss, ws, tcp = "wss://%s/xmpp-websocket", "ws://%s/xmpp-websocket", "xmpp://%s"
	at := map[string]string{wss: g.on("127.0.0.2"), ws: g.on("127.0.0.3"), tcp: g.xmpp()}
	for i, c := range []struct{ library, service string }{
		{"strophe", wss}, {"strophe", ws}, {"xmppjs", wss}, {"xmppjs", ws}, {"xmppjs", tcp}, {"stanza", wss}, {"stanza", ws},
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
			line := newCable(t, at[c.service])
			node := startNode(t, "node_client.mjs", c.library, fmt.Sprintf(c.service, line.addr), user, "secret-1")
			me := node.wait("online").JID
			for _, text := range []string{"while away", "hello <&> \u00e9", "after the cut"} {
				switch text {
				case "after the cut": // within the session (XEP-0198 §5)
					line.cut()
					node.wait("resumed")
					fallthrough
				default:
					say(me, text)
				case "while away":
				}
				if got := node.wait("message"); got.Body != text {
					t.Fatalf("got %q, want %q", got.Body, text)
				}
				st, err := bob.Receive(t.Context())
				if err != nil || st.Child("body") == nil || st.Child("body").Text() != text || st.From.Bare().String() != user+"@localhost" {
					t.Fatalf("answer to %q: %v %v", text, st, err)
				}
			}
			node.befriends(carol, user+"@localhost")
			node.tell("archive bob@localhost")
			if got := node.wait("archive").Body; got != "while away, while away, hello <&> \u00e9, hello <&> \u00e9, after the cut, after the cut" {
				t.Errorf("the archive has %s", got)
			}
			node.tell("upload")
			if got := node.wait("upload").Body; got != "201 hello" {
				t.Errorf("the upload came to %s", got)
			}
			if err := node.stdin.Close(); err != nil {
				t.Fatal(err)
			}
			node.wait("offline")
		})
	}
}

// befriends has a client, which is me and has no contacts, and carol, who approves and
// answers every request, subscribe to each other and see each other's presence.
func (s *slixmpp) befriends(carol *slixmpp, me string) {
	s.t.Helper()
	s.tell("roster")
	if e := s.wait("items"); e.Items != 0 {
		s.t.Errorf("a new account has %d contacts", e.Items)
	}
	s.tell("add carol@localhost")
	if e := s.roster("carol@localhost", "none"); e.Name != "Carol" || !slices.Equal(e.Groups, []string{"Friends"}) {
		s.t.Errorf("the push is %+v", e)
	}
	s.tell("subscribe carol@localhost")
	s.wait("subscribed")
	s.roster("carol@localhost", "both")
	carol.roster(me, "both")
	carol.do(map[string]any{"do": "presence", "show": "dnd"})
	for e := s.wait("available"); e.From != "carol@localhost/c" || e.Show != "dnd"; e = s.wait("available") {
	}
	s.tell("show away")
	for e := carol.wait("available"); !strings.HasPrefix(e.From, me+"/") || e.Show != "away"; e = carol.wait("available") {
	}
	s.tell("roster")
	if e := s.wait("items"); e.Items != 1 {
		s.t.Errorf("then it has %d", e.Items)
	}
	carol.do(map[string]any{"do": "presence", "show": ""})
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
