package router

import (
	"context"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// nowhere is a Remote that leads to nobody.
type nowhere struct{ routed []string }

var errNowhere = &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout}

func (n *nowhere) Route(_ context.Context, st *stanza.Stanza) error {
	n.routed = append(n.routed, st.ID)
	return errNowhere
}

func (*nowhere) Session(context.Context, string, string) (Session, error) { return nil, errNowhere }

func (*nowhere) Ready(context.Context, string, string) (bool, error) { return true, nil }

func (*nowhere) Reachable(string) bool { return false }

// TestFilter: what the filter leaves of a message goes on, its errors go to the
// sender, and of a chat state nobody gets an error.
func TestFilter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, to, inside, got, answer string }{
		{"as it is", "alice@here.example", "<body>hi</body>", "<body>hi</body>", ""},
		{"a part", "alice@here.example", "<strip/><body>hi</body>", "<body>less</body>", ""},
		{"nothing", "alice@here.example", "<drop/><body>hi</body>", "", ""},
		{"not now", "alice@here.example", "<defer/><body>hi</body>", "", "resource-constraint"},
		{"not now, away", "x@far.example", "<defer/><body>hi</body>", "", "resource-constraint"},
		{"nothing, away", "x@far.example", "<drop/><body>hi</body>", "", ""},
		{"text to nowhere", "x@far.example", "<body>hi</body>", "", "remote-server-timeout"},
		{"a chat state to nowhere", "x@far.example", "<noise/>", "", ""},
	} {
		alice, bob := &client{jid: jid.MustParse("alice@here.example/a")}, &client{jid: jid.MustParse("bob@here.example/b")}
		r := newRouter(t, Options{
			Remote: new(nowhere), Tells: func(st *stanza.Stanza) bool { return st.Child("noise") == nil },
			Filter: func(_ context.Context, st *stanza.Stanza, _ bool) (*stanza.Stanza, error) {
				switch {
				case st.Child("drop") != nil:
					return nil, nil
				case st.Child("defer") != nil:
					return nil, &stanza.Error{Condition: stanza.ResourceConstraint}
				case st.Child("strip") != nil:
					return stanza.NewMessage(st.To, st.From, st.Type, "less"), nil
				}
				return st, nil
			},
		}, alice, bob)
		st := parse(t, "<message type='chat' to='"+c.to+"'>"+c.inside+"</message>")
		st.From = bob.jid
		if err := r.Route(t.Context(), bob, st); err != nil {
			t.Fatal(err)
		}
		if got, n := alice.last(); (n == 1) != (c.got != "") || n == 1 && !strings.Contains(got.String(), c.got) {
			t.Errorf("%s: %d messages, the last %v, want %q", c.reason, n, got, c.got)
		}
		answer := ""
		if got, n := bob.last(); n > 0 {
			answer = string(stanza.ParseError(got.Child("error")).Condition)
		}
		if answer != c.answer {
			t.Errorf("%s: the sender got %q, want %q", c.reason, answer, c.answer)
		}
	}
}
