package router

import (
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// presenting is a session with the presence that its client has sent.
type presenting struct {
	*client
	presence *stanza.Stanza
}

func (p presenting) Presence() *stanza.Stanza { return p.presence }

func TestSoftware(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, presence, want string }{
		{"it says so", `<presence id='p'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://gajim.org' ver='v'/></presence>`, "https://gajim.org"},
		{"no capabilities", `<presence id='p'><show>away</show></presence>`, ""},
		{"another namespace", `<presence id='p'><c xmlns='urn:x' node='https://gajim.org'/></presence>`, ""},
		{"no node", `<presence id='p'><c xmlns='http://jabber.org/protocol/caps' ver='v'/></presence>`, ""},
		{"not available", "", ""},
	} {
		r := newRouter(t, Options{})
		s := presenting{client: &client{jid: jid.MustParse("alice@here.example/a")}}
		if c.presence != "" {
			s.presence = parse(t, c.presence)
		}
		if err := r.Bind(s); err != nil {
			t.Fatal(err)
		}
		if got := r.Software(s.jid); got != c.want {
			t.Errorf("%s: %q, want %q", c.reason, got, c.want)
		}
	}
	r := newRouter(t, Options{})
	other := &client{jid: jid.MustParse("bob@here.example/b")} // which has no Presence, as one of another process
	if err := r.Bind(other); err != nil {
		t.Fatal(err)
	}
	for _, j := range []string{"bob@here.example/b", "nobody@here.example/n", "x@else.example/y"} {
		if got := r.Software(jid.MustParse(j)); got != "" {
			t.Errorf("%s: %q", j, got)
		}
	}
}
