package main

import (
	"testing"
)

// TestInteropServices: what the gateway keeps for accounts and does on their behalf, as a
// client nobody here wrote sees it.
func TestInteropServices(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	if err := inject(t.Context(), g, true, "bob@localhost", "by mail"); err != nil {
		t.Fatal(err)
	}
	g.eventually("it waits for its recipient", func() bool { return metricsOf(t, g)["mcmt2xmpp_parked_messages"] == 1 })
	s := runSlixmpp(t, "slixmpp_services.py", g.xmpp())
	for _, step := range [][2]string{
		{"offline", "by mail delayed"},
		{"message", "from the desk"},
		{"carbon sent", "from the desk"},
		{"answer", "to the desk"},
		{"carbon received", "to the desk"},
		{"archive", "from the desk, to the desk"},
		{"archive, from its end", "from the desk to the desk, by mail"},
		{"block pushed", "['bob@localhost']"},
		{"blocked", "service-unavailable"},
		{"block list", "['bob@localhost']"},
		{"unblocked", "and now?"},
		{"vCard", "Alice 0e76292794888d4f1fa75fb3aff4ca27c58f56a6"},
		{"private XML", "['room@muc.example']"},
		{"upload", `201 12345 attachment; filename="a b.txt"`},
		{"end", ""},
	} {
		if got := s.wait("step"); got.Name != step[0] || got.Body != step[1] {
			t.Errorf("step %q came to %q, want %q to %q", got.Name, got.Body, step[0], step[1])
		}
	}
}
