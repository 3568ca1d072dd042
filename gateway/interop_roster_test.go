package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// do tells a slixmpp_roster.py what to do.
func (s *slixmpp) do(what map[string]any) {
	s.t.Helper()
	line, err := json.Marshal(what)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.stdin.Write(append(line, '\n')); err != nil {
		s.t.Fatal(err)
	}
}

// roster waits until a contact has a subscription.
func (s *slixmpp) roster(contact, subscription string) slixmppEvent {
	s.t.Helper()
	for {
		if e := s.wait("roster"); e.JID == contact && e.Subscription == subscription && e.Ask == "" {
			return e
		}
	}
}

// TestInteropRoster: two clients nobody here wrote subscribe to each other, see each
// other come, change and go, and part; and what an operator writes reaches them.
func TestInteropRoster(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	alice := runSlixmpp(t, "slixmpp_roster.py", g.xmpp(), "alice@localhost/a", "secret")
	if online := alice.wait("online"); !slices.Contains(online.Features, "rosterver") || !slices.Contains(online.Features, "preapproval") {
		t.Errorf("features %v", online.Features)
	}
	// Bob is not there when she asks. Both answer requests by themselves.
	alice.do(map[string]any{"do": "subscribe", "jid": "bob@localhost"})
	if e := alice.wait("roster"); e.Ask != "subscribe" || e.Subscription != "none" {
		t.Errorf("after the request alice has %+v", e)
	}
	bob := runSlixmpp(t, "slixmpp_roster.py", g.xmpp(), "bob@localhost/b", "secret")
	bob.wait("online")
	if e := bob.wait("subscribe"); e.From != "alice@localhost" {
		t.Errorf("bob is asked by %s", e.From)
	}
	alice.wait("subscribed")
	alice.roster("bob@localhost", "both")
	bob.roster("alice@localhost", "both")

	bob.do(map[string]any{"do": "presence", "show": "dnd"})
	for e := alice.wait("available"); e.Show != "dnd"; e = alice.wait("available") {
	}
	alice.do(map[string]any{"do": "presence", "show": "away"})
	for e := bob.wait("available"); e.Show != "away" || e.From != "alice@localhost/a"; e = bob.wait("available") {
	}

	// Each has lost what it knew with its stream: the gateway shows it again.
	second := runSlixmpp(t, "slixmpp_roster.py", g.xmpp(), "alice@localhost/second", "secret")
	if e := second.wait("available"); e.From != "bob@localhost/b" || e.Show != "dnd" {
		t.Errorf("the second resource sees %+v", e)
	}
	_ = second.stdin.Close()
	for e := bob.wait("unavailable"); e.From != "alice@localhost/second"; e = bob.wait("unavailable") {
	}

	alice.do(map[string]any{"do": "rename", "jid": "bob@localhost", "name": "Robert", "groups": []string{"Work"}})
	for e := alice.roster("bob@localhost", "both"); e.Name != "Robert" || !slices.Equal(e.Groups, []string{"Work"}); e = alice.roster("bob@localhost", "both") {
	}

	// Over a restart, too.
	g.stop()
	g.start()
	if got := rosterOf(t, g, "alice@localhost"); !strings.Contains(got, `"name":"Robert"`) || !strings.Contains(got, `"subscription":"both"`) {
		t.Errorf("after a restart alice has %s", got)
	}
	alice = runSlixmpp(t, "slixmpp_roster.py", g.xmpp(), "alice@localhost/a", "secret")
	alice.roster("bob@localhost", "both")
	bob = runSlixmpp(t, "slixmpp_roster.py", g.xmpp(), "bob@localhost/b", "secret")
	bob.roster("alice@localhost", "both")
	if e := alice.wait("available"); e.From != "bob@localhost/b" {
		t.Errorf("alice sees %+v", e)
	}

	resp, err := http.Post(g.admin()+"/riak/xmpp/alice@localhost", "application/json", strings.NewReader(`{"carol@localhost":{"name":"Carol","groups":[],"pending_requests":{},"subscription":"to"}}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("bulk add: %s", resp.Status)
	}
	if e := alice.roster("carol@localhost", "to"); e.Name != "Carol" {
		t.Errorf("alice was pushed %+v", e)
	}

	alice.do(map[string]any{"do": "remove", "jid": "bob@localhost"})
	alice.roster("bob@localhost", "remove")
	bob.wait("unsubscribe")
	for e := bob.wait("unavailable"); e.From != "alice@localhost/a"; e = bob.wait("unavailable") {
	}
	bob.roster("alice@localhost", "none")
	if got := rosterOf(t, g, "alice@localhost"); strings.Contains(got, "bob") {
		t.Errorf("alice still has %s", got)
	}
}

// rosterOf is the record of an account.
func rosterOf(t *testing.T, g *gateway, user string) string {
	t.Helper()
	resp, err := http.Get(g.admin() + "/v1/rosters/" + user)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var record json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&record); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("roster of %s: %s, %v", user, resp.Status, err)
	}
	return string(record)
}
