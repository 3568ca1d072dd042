package peertest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestServers: Prosody and ejabberd find each other, prove who they are as the
// mode says, and take messages for each other's users.
func TestServers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode   Mode
		layer  string // as ejabberd logs it
		method string
	}{
		{Dialback, "(tls|", "dialback"},
		{Plain, "(tcp|", "dialback"},
		{Certs, "(tls|", "EXTERNAL"},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			t.Parallel()
			n := Start(t, Options{Mode: c.mode, Prosody: []Domain{{Name: "p1.example"}}, Ejabberd: []Domain{{Name: "e1.example"}}})
			p := login(t, n.Prosody, "alice@p1.example/a")
			e := login(t, n.Ejabberd, "bob@e1.example/b")
			p.says(e, "to ejabberd")
			e.says(p, "to Prosody")
			n.Ejabberd.Logged(c.layer, "Accepted inbound s2s "+c.method+" authentication p1.example -> e1.example")
			n.Ejabberd.Logged(c.layer, "Accepted outbound s2s "+c.method+" authentication e1.example -> p1.example")
		})
	}
}

// TestDirectTLS: both find a port with TLS from the first byte (XEP-0368).
// Certificates that are not for clients are taken by Prosody only (XEP-0178).
// COMPAT ejabberd 23: "unsupported certificate purpose".
func TestDirectTLS(t *testing.T) {
	t.Parallel()
	n := Start(t, Options{Mode: Certs,
		Prosody:  []Domain{{Name: "p1.example", DirectTLS: true}},
		Ejabberd: []Domain{{Name: "e1.example", Certificate: ServerOnly, DirectTLS: true}}})
	p := login(t, n.Prosody, "alice@p1.example/a")
	e := login(t, n.Ejabberd, "bob@e1.example/b")
	p.says(e, "to ejabberd")
	e.says(p, "to Prosody")
	if asked := n.DNS.Asked(); !slices.Contains(asked, "_xmpps-server._tcp.e1.example SRV") || !slices.Contains(asked, "_xmpps-server._tcp.p1.example SRV") {
		t.Errorf("asked: %q", asked)
	}
}

// TestRestart: a server that was stopped or killed refuses connections, and comes
// back at its addresses with its accounts.
func TestRestart(t *testing.T) {
	t.Parallel()
	n := Start(t, Options{Prosody: []Domain{{Name: "p1.example"}}, Ejabberd: []Domain{{Name: "e1.example"}}})
	for _, s := range []*Server{n.Prosody, n.Ejabberd} {
		for _, end := range []func(){s.Stop, s.Kill} {
			end()
			for _, addr := range s.listeners() {
				if conn, err := net.Dial("tcp", addr); err == nil {
					_ = conn.Close()
					t.Errorf("%s listens on %s", s.software, addr)
				}
			}
			s.Start()
		}
		login(t, s, "carol@"+s.domains[0].Name+"/c")
	}
}

// TestComponents: a component joins with the secret of its domain (XEP-0114 §3).
func TestComponents(t *testing.T) {
	t.Parallel()
	n := Start(t, Options{
		Prosody:  []Domain{{Name: "p1.example"}, {Name: "c1.example", Secret: "one"}},
		Ejabberd: []Domain{{Name: "e1.example"}, {Name: "c2.example", Secret: "two"}}})
	for _, c := range []struct {
		server         *Server
		domain, secret string
		want           string
	}{
		{n.Prosody, "c1.example", "one", "handshake"},
		{n.Prosody, "c1.example", "two", "error"},
		{n.Ejabberd, "c2.example", "two", "handshake"},
		{n.Ejabberd, "c2.example", "one", "error"},
	} {
		if got := join(t, c.server.Component(c.domain), c.domain, c.secret); got != c.want {
			t.Errorf("%s answers %s with %q by <%s/>", c.server.software, c.domain, c.secret, got)
		}
	}
}

// TestNothingStays: with the test all processes end, those that the servers have
// started too.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	var dir string
	t.Run("servers", func(t *testing.T) {
		n := Start(t, Options{Ejabberd: []Domain{{Name: "e1.example"}}})
		dir = n.Ejabberd.dir
		if len(processes(t, dir)) == 0 {
			t.Error("a server that runs is not found")
		}
	})
	if dir == "" {
		return // no servers were started, and why was said
	}
	if left := processes(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("left: %s", dir)
	}
}

// processes are those whose environment names a folder.
func processes(t *testing.T, dir string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if env, err := os.ReadFile(file); err == nil && bytes.Contains(env, []byte(dir)) { // else it has ended, or is another's
			found = append(found, filepath.Dir(file))
		}
	}
	return found
}

// TestHide: a domain that is hidden, and what is below it, is not found; another is.
func TestHide(t *testing.T) {
	t.Parallel()
	n := Start(t, Options{Others: [][]string{{"a.example", "mail.a.example"}, {"b.example"}}})
	n.Hide(t, "a.example")
	asking := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, n.DNS.Addr())
	}}
	for domain, there := range map[string]bool{"a.example": false, "mail.a.example": false, "b.example": true} {
		_, found, err := asking.LookupSRV(t.Context(), "xmpp-server", "tcp", domain)
		if (err == nil) != there || there && (len(found) != 1 || fmt.Sprint(found[0].Port) != portOf(n.Addr(domain))) {
			t.Errorf("%s: %v, %v", domain, found, err)
		}
	}
}
