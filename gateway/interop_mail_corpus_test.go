package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// recorder is a relay to a client listener without TLS that keeps what clients send.
type recorder struct {
	t    *testing.T
	addr string

	mu    sync.Mutex
	conns []*bytes.Buffer // one for each connection
}

// record records what is sent to an address through the recorder's own.
func record(t *testing.T, to string) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{t: t, addr: l.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			running.Go(func() { r.carry(client, server) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return r
}

// carry carries one connection until both sides have ended it.
func (r *recorder) carry(client, server net.Conn) {
	kept := new(bytes.Buffer)
	r.mu.Lock()
	r.conns = append(r.conns, kept)
	r.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server) // until the gateway has closed
		_ = client.Close()
	})
	_, _ = io.Copy(&lockedWriter{w: io.MultiWriter(kept, server), mu: &r.mu}, client) // until the client has
	_ = server.Close()
	back.Wait()
}

type lockedWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

// Write writes while nobody looks.
func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(b)
}

// messages are those that clients have sent to somebody, and whether the last client that
// did had stream management.
func (r *recorder) messages(to string) (all []*stanza.Stanza, managed bool) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, kept := range r.conns {
		// The stream that is left after the login.
		last := kept.Bytes()[max(0, bytes.LastIndex(kept.Bytes(), []byte("<stream:stream"))):]
		d := xmlwire.NewDecoder(bytes.NewReader(last), xmlwire.Limits{})
		if _, err := d.Header(); err != nil {
			continue // it is none of a client that has logged in
		}
		enabled := bytes.Contains(kept.Bytes(), []byte("<enable ")) // within a login by SASL2, too
		for e, err := d.Next(); err == nil; e, err = d.Next() {
			if e.Name.Local != "message" {
				continue
			}
			st, err := stanza.Parse(e)
			if err != nil {
				r.t.Fatal(err)
			}
			if st.To.Bare().String() == to {
				all, managed = append(all, st), enabled
			}
		}
	}
	return all, managed
}

// typist is a client whose person types texts to a mail address.
type typist struct {
	name    string
	managed bool // it enables stream management
	kinds   []string
	types   func(t *testing.T, g *gateway, addr, user, to string, texts []string)
	becomes func(texts []string) []string // mails; nil: the texts
}

// corrected are the texts, each with its correction.
func corrected(texts []string) (all []string) {
	for _, s := range texts {
		all = append(all, s, s+", corrected")
	}
	return all
}

func slixmppTypes(options ...string) func(*testing.T, *gateway, string, string, string, []string) {
	return func(t *testing.T, _ *gateway, addr, user, to string, texts []string) {
		s := runSlixmpp(t, "slixmpp_mail.py", addr, append([]string{user, "secret", "--clear"}, options...)...)
		s.wait("online")
		s.do(map[string]any{"do": "type", "to": to, "texts": texts})
	}
}

func nodeTypes(t *testing.T, _ *gateway, addr, user, to string, texts []string) {
	name, _, _ := strings.Cut(user, "@")
	s := startNode(t, "node_mail.mjs", "xmppjs", "xmpp://"+addr, name, "secret")
	s.wait("online")
	s.do(map[string]any{"to": to, "texts": texts})
}

func profanityTypes(t *testing.T, g *gateway, addr, user, to string, texts []string) {
	tm := newScreen(t, nil, peer(t, "profanity", "profanity"))
	tm.shows(g, "Profanity")
	_, port, _ := net.SplitHostPort(addr)
	for _, line := range []string{"/states on", "/outtype on", "/gone 1", "/receipts request on"} {
		tm.types(line)
	}
	tm.types(fmt.Sprintf("/connect %s server 127.0.0.1 port %s tls disable", user, port))
	tm.shows(g, "Enter password:")
	tm.types("secret")
	tm.shows(g, "logged in successfully")
	tm.types("/msg " + to)
	tm.slowly(texts)
	tm.types("/close") // says that it is gone
	tm.types("/quit")
	g.eventually("it has logged out", func() bool { return metric(t, g, "xmpp_sessions") == 0 })
}

// slowly types lines key by key, and begins each twice.
func (tm *screen) slowly(lines []string) {
	tm.t.Helper()
	for _, line := range lines {
		for _, key := range line[:3] {
			tm.run("send-keys", "-l", string(key))
		}
		tm.run("send-keys", "BSpace", "BSpace", "BSpace")
		for _, key := range line {
			tm.run("send-keys", "-l", string(key))
		}
		tm.run("send-keys", "Enter")
	}
}

// TestMailCorpus: of all that clients nobody here wrote send while somebody types, exactly
// the messages become mail, one each and in order, and the filters say how many mails were
// saved. What the clients have sent is kept beside the test's other artifacts.
func TestMailCorpus(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, `xmpp_listener "clear" {
  AuthPlainParameters = [ uri = "nats://accounts" ]
  tls_certificate = "none"
  allow_plain_without_tls = true
  Listen "127.0.0.4:0" { stream = "client" }
}`)
	texts := []string{"Is the train late?", "grüße & <b>thanks</b>", "that is all"}
	states := []string{"composing", "active"}
	most := append([]string{"paused", "inactive", "gone", "received", "displayed", "replace", "empty"}, states...)
	typists := []typist{
		{"slixmpp", false, most, slixmppTypes(), corrected},
		{"slixmpp managed", true, most, slixmppTypes("--managed"), corrected},
		{"xmppjs", true, most, nodeTypes, corrected},
		{"profanity", true, append([]string{"gone"}, states...), profanityTypes, nil},
	}
	noise, mails := 0, 0
	for _, c := range typists {
		g.eventually("nobody is logged in", func() bool { return metric(t, g, "xmpp_sessions") == 0 })
		name := strings.ReplaceAll(c.name, " ", "")
		address, to := "to-"+name+"@corp.example", "to-"+name+`\40corp.example@mail.localhost`
		g.addUser(name+"@localhost", "secret")
		want := texts
		if c.becomes != nil {
			want = c.becomes(texts)
		}
		var r *recorder
		ran := false // it is skipped where the client is not here
		ok := t.Run(c.name, func(t *testing.T) {
			g.within(t)
			r = record(t, g.on("127.0.0.4"))
			c.types(t, g, r.addr, name+"@localhost", to, texts)
			ran = true
			mx.Wait(address, len(want))
			var got []string
			for _, m := range mx.Mailbox(address) {
				got = append(got, decoded(t, m))
			}
			if !slices.Equal(got, want) {
				t.Errorf("the mails are %q, want %q", got, want)
			}
		})
		if !ok || !ran {
			continue
		}
		// The client has ended: all that it ever sent is recorded.
		sent, managed := r.messages(to)
		keep(t, name, sent)
		if managed != c.managed {
			t.Errorf("%s: stream management: %t", c.name, managed)
		}
		for _, kind := range c.kinds {
			if !slices.ContainsFunc(sent, func(st *stanza.Stanza) bool { return is(st, kind) }) {
				t.Errorf("%s has sent nothing of the kind %s", c.name, kind)
			}
		}
		t.Logf("%s: %d messages, %d mails", c.name, len(sent), len(want))
		noise += len(sent) - len(want)
		mails += len(want)
	}
	g.eventually("nobody is logged in", func() bool { return metric(t, g, "xmpp_sessions") == 0 })
	if saved := mailsSaved(g); saved != uint64(noise) { //nolint:gosec // a count
		t.Errorf("the filters have saved %d mails, want %d", saved, noise)
	}
	g.eventually("no other mails are made or sent", func() bool {
		return metric(t, g, `mail_made_total{of="mails"}`) == float64(mails) && metric(t, g, `mail_total{outcome="relayed"}`) == float64(mails)
	})
}

// is says whether a message is of a kind: the name of an element in it, or empty for an
// empty body.
func is(st *stanza.Stanza, kind string) bool {
	for e := range st.Element.Elements() {
		if e.Name.Local == kind || kind == "empty" && e.Name.Local == "body" && strings.TrimSpace(e.Text()) == "" {
			return true
		}
	}
	return false
}

// mailsSaved is how many mails the filters have saved.
func mailsSaved(g *gateway) uint64 {
	g.t.Helper()
	var r filters.Report
	if code := g.ask("/v1/filters", &r); code != http.StatusOK {
		g.t.Fatalf("filters: %d", code)
	}
	return r.Suppressed.Saved.Mails
}

// keep writes what a client has sent to a file.
func keep(t *testing.T, name string, sent []*stanza.Stanza) {
	t.Helper()
	var text bytes.Buffer
	for _, st := range sent {
		text.Write(st.Append(nil, ""))
		text.WriteByte('\n')
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".xml"), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
