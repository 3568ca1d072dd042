package main

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/peertest"
)

// TestDialbackSecret: two processes that answer for one domain prove each other's
// keys where they have the same secret (XEP-0185), and where they have not the
// operator sees that the peer calls the key invalid.
func TestDialbackSecret(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Prosody:  []peertest.Domain{{Name: "p1.example"}},
		Ejabberd: []peertest.Domain{{Name: "e1.example"}},
		Others:   [][]string{others(ours)},
	})
	peers := map[string]*contact{
		"p1.example": meet(t, n.Prosody.C2S, "alice@p1.example/a"),
		"e1.example": meet(t, n.Ejabberd.C2S, "alice@e1.example/a"),
	}
	asked := newServer(t, n, ours, "") // that the DNS leads to
	elsewhere := strings.Replace(serverText(n, ours, "s3cr3t"), fmt.Sprintf("%q", n.Addr(ours)), `"127.0.0.2:0"`, 1) + clients("p1.example", "e1.example")
	same := newGatewayOf(t, elsewhere)
	same.start()
	other := newGatewayOf(t, strings.Replace(elsewhere, "s3cr3t", "0ther", 1))
	other.start()
	for domain, alice := range peers {
		same.injects(true, "bob@"+ours, alice.bare(), "from the same")
		alice.message("from the same")
		same.injects(true, "news@corp.example", alice.bare(), "of a mail user from the same")
		alice.message("of a mail user from the same")
		same.connected(domain, "dialback", true)
	}
	// COMPAT ejabberd 23: it refuses our domain for a while now, so this comes last.
	for domain, alice := range peers {
		other.injects(true, "bob@"+ours, alice.bare(), "from the other")
		other.fails(domain, "dialback", "invalid")
		other.remains(domain, admin.Deferred, 1, "dialback", "invalid")
	}
	if s := asked.streams(with("p1.example")); len(s) == 0 {
		t.Error("nobody asked about the keys")
	}
}
