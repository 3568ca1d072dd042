package c2s

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

// TestNoPushOvertakes asks for the roster while it changes: what a client knows never
// gets older, and is what the roster is in the end.
func TestNoPushOvertakes(t *testing.T) {
	t.Parallel()
	rosters := new(xmpptest.Rosters)
	f := serve(t, router.Options{Rosters: rosters}, Options{}, ConnOptions{})
	c := f.login(t, "alice@localhost/a")
	ctx := within(t)
	alice := c.JID().Bare()
	const rounds = 100
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := range rounds {
			if err := rosters.Update(ctx, alice, func(r *roster.Roster) error {
				return r.Set(jid.MustParse("bob@localhost"), fmt.Sprint(i), nil)
			}, nil); err != nil {
				t.Error(err)
			}
		}
	})
	changing.Go(func() {
		for i := range rounds {
			q := xmlwire.New(roster.NS, "query")
			if err := c.Send(ctx, stanza.NewIQ(jid.JID{}, jid.JID{}, stanza.TypeGet, fmt.Sprint(i), q)); err != nil {
				t.Error(err)
			}
		}
	})
	answers, last := 0, uint64(0)
	for answers < rounds || last < rounds {
		st, err := c.Receive(ctx)
		if err != nil {
			t.Fatalf("after %d answers and version %d: %v", answers, last, err)
		}
		if st.Type == stanza.TypeResult {
			answers++
		}
		_, number, _ := strings.Cut(st.Element.Child(roster.Name).Attr("ver"), "-")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil && answers > 1 && last > 0 || n < last {
			t.Fatalf("version %d after %d: %s", n, last, st)
		}
		last = n
	}
	changing.Wait()
}

// changing is a Remote that is told of presence, and does something before it says
// that it has it.
type changing struct {
	router.Remote
	do  func()
	mu  sync.Mutex
	got []string
}

func (r *changing) Route(_ context.Context, st *stanza.Stanza) error {
	r.mu.Lock()
	text := "unavailable"
	if e := st.Child("status"); e != nil {
		text = e.Text()
	}
	r.got = append(r.got, text)
	n := len(r.got)
	r.mu.Unlock()
	if n == 1 {
		r.do()
	}
	return nil
}

// TestShowIsNotOvertaken: presence that changes while the old one is on its way to
// somebody new goes after it.
func TestShowIsNotOvertaken(t *testing.T) {
	t.Parallel()
	remote := new(changing)
	f := serve(t, router.Options{Remote: remote}, Options{}, ConnOptions{})
	c := f.online(t, "alice@localhost/a")
	s := f.session(t, c).(*session)
	status := func(text string) *stanza.Stanza {
		st := stanza.NewPresence(jid.JID{}, s.full, "")
		st.Element.Add(xmlwire.New(stanza.Client, "status").AddText(text))
		return st
	}
	s.shows.set(status("old"), 0)
	remote.do = func() { s.shows.set(status("new"), 0) }
	s.Show(t.Context(), jid.MustParse("romeo@there.example"))
	if got := strings.Join(remote.got, " "); got != "old new" {
		t.Errorf("romeo was shown %q", got)
	}
	remote.got, remote.do = nil, func() { s.shows.clear(false) }
	s.Show(t.Context(), jid.MustParse("romeo@there.example"))
	if got := strings.Join(remote.got, " "); got != "new unavailable" {
		t.Errorf("romeo was shown %q", got)
	}
	remote.got = nil
	if s.Show(t.Context(), jid.MustParse("romeo@there.example")); len(remote.got) > 0 {
		t.Errorf("romeo was shown %q of nobody", remote.got)
	}
}
