package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// TestIdleTime: a client that is silent for its idle_time is pinged; one that
// does not answer gets connection-timeout, one that does stays (RFC 6120 §4.6.4).
func TestIdleTime(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, xmppOnly+`
pathway "patient" { idle_time = 3600 }
xmpp_listener {
  idle_time = 1
  listen "127.0.0.1:0" {
    peer "127.0.4.1" { idle_time = 0 }
    peer "127.0.4.2" { pathway = "patient" }
  }
  listen "127.0.3.1:0" { idle_time = 0 peer "127.0.4.3" { idle_time = 1 } }
  listen "127.0.3.2:0" { idle_time = 0 }
}
`)
	g.start()
	g.addUser("alice@localhost", "secret")
	var pinged, left []*wire
	began := time.Now()
	for i, c := range []struct {
		name, source, listen string
		pinged               bool
	}{
		{"listener", "127.0.0.1", "127.0.0.1", true},
		{"peer", "127.0.4.3", "127.0.3.1", true},
		{"peer 0: never", "127.0.4.1", "127.0.0.1", false},
		{"pathway", "127.0.4.2", "127.0.0.1", false},
		{"listen 0: never", "127.0.0.1", "127.0.3.2", false},
	} {
		w := dialWire(t, g.on(c.listen), c.source)
		w.open()
		w.startTLS(nil)
		w.plain("alice", "secret")
		w.send(fmt.Sprintf("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r%d</resource></bind></iq>", i))
		w.next()
		if c.pinged {
			pinged = append(pinged, w)
		} else {
			left = append(left, w)
		}
	}
	for range 2 { // an answered ping keeps the session
		for _, w := range pinged {
			w.pong(w.ping())
		}
	}
	if took := time.Since(began); took < 1900*time.Millisecond {
		t.Errorf("pinged twice within %s, idle_time is 1 s", took)
	}
	for _, w := range left {
		w.silent(100 * time.Millisecond) // what came since the login would be there
	}
	if testing.Short() {
		return
	}
	for _, w := range pinged {
		if got := w.failure(); got != stream.ConnectionTimeout {
			t.Errorf("%s, want connection-timeout", got)
		}
	}
	if took := time.Since(began); took < 7*time.Second {
		t.Errorf("disconnected after %s: that is no time to answer a ping", took)
	}
	for _, w := range left {
		w.silent(100 * time.Millisecond)
	}
}

// ping reads up to the next question.
func (w *wire) ping() *xmlwire.Element {
	w.t.Helper()
	for {
		if e := w.next(); e.Name.Local == "iq" && e.Attr("type") == "get" {
			return e
		}
	}
}

// TestAuthParameters: each scope has the accounts it names (Table 10.1:
// authplainparameters, authdigestmd5parameters).
func TestAuthParameters(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, "")
	one := g.write("one", "alice:secret\n")
	two := g.write("two", "alice:other\n")
	digest := g.write("htdigest", "alice:localhost:"+md5hex("alice:localhost:third")+"\n")
	uri := func(name, path string) string { return name + ` = [ uri = "file://` + path + `" ]` }
	g.write("gateway.conf", xmppOnly+`
pathway "digest" { AuthDigestMD5Parameters = [ uri = "digest://`+digest+`" ] }
pathway "two" { `+uri("authplainparameters", two)+` }
xmpp_listener {
  `+uri("AuthPlainParameters", one)+`
  listen "127.0.3.1:0" {}
  listen "127.0.3.2:0" { `+uri("AuthPlainParameters", two)+` }
  listen "127.0.3.3:0" { pathway = "two" }
  listen "127.0.3.4:0" {
    peer "127.0.4.1" { AuthDigestMD5Parameters = [ uri = "digest://`+digest+`" ] }
    peer "127.0.4.2" { pathway = "digest" }
  }
}
xmpp_listener { AuthDigestMD5Parameters = [ uri = "digest://`+digest+`" ] listen "127.0.3.5:0" {} }
xmpp_listener { listen "127.0.3.6:0" {} }
`)
	g.start()
	g.addUser("alice@localhost", "builtin")
	for _, c := range []struct {
		name, source, listen string
		password             string // by PLAIN; empty: it is not offered
		digest               bool
	}{
		{"listener", "127.0.0.1", "127.0.3.1", "secret", false},
		{"listen", "127.0.0.1", "127.0.3.2", "other", false},
		{"pathway", "127.0.0.1", "127.0.3.3", "other", false},
		{"digest for a peer", "127.0.4.1", "127.0.3.4", "secret", true},
		{"digest by a pathway", "127.0.4.2", "127.0.3.4", "secret", true},
		{"not for another peer", "127.0.0.1", "127.0.3.4", "secret", false},
		{"digest alone", "127.0.0.1", "127.0.3.5", "", true},
		{"none: the built-in store", "127.0.0.1", "127.0.3.6", "builtin", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := dialWire(t, g.on(c.listen), c.source)
			w.open()
			offered := mechanisms(w.startTLS(nil))
			if slices.Contains(offered, "DIGEST-MD5") != c.digest || slices.Contains(offered, "PLAIN") != (c.password != "") {
				t.Errorf("offered %v; want DIGEST-MD5 %v and PLAIN %v", offered, c.digest, c.password != "")
			}
			if c.digest {
				v := dialWire(t, g.on(c.listen), c.source)
				v.open()
				v.startTLS(nil)
				v.digestMD5("alice", "third")
			}
			if c.password == "" {
				return
			}
			w.plain("alice", c.password)
		})
	}
}
