package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/relay"
)

// TestReception sets mcmt_reception in each scope that has it, always against
// another value outside, and sends the same MCMT message to each.
func TestReception(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, `data_dir = "data"
log_format = "json"
xmpp {}
xmpp_listener { listen "127.0.0.1:0" {} }
control_listener { listen "127.0.0.1:0" {} }
domain "localhost" { xmpp_role = "server" }
pathway "allows" { mcmt_reception = "allow" }
pathway_group "strict" {
  mcmt_reception = "reject"
  pathway "rejects" { }
  pathway "passes" { mcmt_reception = "passthru" }
}
esmtp_listener {
  mcmt_reception = "reject"
  listen "127.0.1.1:0" {}
  listen "127.0.1.2:0" { mcmt_reception = "allow" }
  listen "127.0.1.3:0" {
    mcmt_reception = "passthru"
    peer "127.0.2.0/24" { mcmt_reception = "reject" }
    peer "127.0.2.7" { mcmt_reception = "allow" }
  }
  listen "127.0.1.4:0" {
    pathway = "allows"
    peer "127.0.2.1" { pathway = "rejects" }
    peer "127.0.2.2" { pathway = "passes" }
    peer "127.0.2.3" { pathway = "passes" mcmt_reception = "allow" }
  }
  peer "127.0.2.9" { mcmt_reception = "passthru" }
}
esmtp_listener { listen "127.0.1.5:0" {} }
esmtp_listener { pathway = "rejects" listen "127.0.1.6:0" {} }
`)
	g.start()
	g.addUser("alice@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/here", 0)

	const mail, part = "mail: hello", "hello" // what sample makes of a text
	stored := 0
	for _, c := range []struct {
		name, listen, source string
		want                 string // body; empty: refused
	}{
		{"listener", "127.0.1.1", "127.0.0.1", ""},
		{"peer of the listener", "127.0.1.1", "127.0.2.9", mail},
		{"listen", "127.0.1.2", "127.0.0.1", part},
		{"listen passthru", "127.0.1.3", "127.0.0.1", mail},
		{"peer", "127.0.1.3", "127.0.2.1", ""},
		{"most specific peer", "127.0.1.3", "127.0.2.7", part},
		{"pathway of a listen", "127.0.1.4", "127.0.0.1", part},
		{"pathway of a peer, value of the group", "127.0.1.4", "127.0.2.1", ""},
		{"pathway of a peer, value of its own", "127.0.1.4", "127.0.2.2", mail},
		{"peer before its pathway", "127.0.1.4", "127.0.2.3", part},
		{"unset: passthru", "127.0.1.5", "127.0.0.1", mail},
		{"pathway of a listener", "127.0.1.6", "127.0.0.1", ""},
	} {
		err := submitFrom(t, g.on(c.listen), c.source, "alice@localhost", sample("alice@localhost", "hello"))
		if c.want == "" {
			var refused *mcmt.Refusal
			if !errors.As(err, &refused) || refused.Code != 554 || refused.Enhanced != [3]int{5, 7, 1} {
				t.Errorf("%s: %v, want 554 5.7.1", c.name, err)
			}
			continue
		}
		stored++
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if st := alice.next(); bodyOf(st) != c.want {
			t.Errorf("%s: received %q, want %q", c.name, bodyOf(st), c.want)
		}
	}
	// Nothing that was refused is stored.
	if got := metricsOf(t, g).value(t, `mcmt2xmpp_intake_total{outcome="stored"}`); int(got) != stored {
		t.Errorf("%v messages are stored, want %d", got, stored)
	}
	if ordinary := "From: a@corp.example\r\nSubject: s\r\n\r\nplain\r\n"; submitFrom(t, g.on("127.0.1.1"), "127.0.0.1", "alice@localhost", ordinary) != nil {
		t.Error("reject is for MCMT messages, ordinary mail is taken")
	}
	alice.want("plain")
}

// submitFrom sends one mail from an address of this machine.
func submitFrom(t *testing.T, addr, source, to, raw string) error {
	t.Helper()
	// The relay client has no source address: a forwarder lends it one.
	through, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	go func() {
		in, err := through.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		out, err := d.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return
		}
		defer out.Close()
		splice(in, out)
	}()
	_, err = relay.Submit(t.Context(), through.Addr().String(), "news@corp.example", []string{to}, []byte(raw))
	if err != nil && strings.Contains(err.Error(), "EOF") {
		return fmt.Errorf("closed: %w", err)
	}
	return err
}
