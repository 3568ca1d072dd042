package router

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// asleep is a session that waits for its client.
type asleep struct{ *client }

func (asleep) Priority() (int8, bool) { return 0, false }
func (asleep) Suspended() bool        { return true }
func (asleep) Present() bool          { return true }

// TestSuspended: what custody can keep does not go to a session that waits for its
// client, and the rest does.
func TestSuspended(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, xml string
		beside    bool // another resource is there
		took      string
		kept      int
	}{
		{name: "chat to it", xml: `<message to='bob@here.example/x' type='chat'><body>x</body></message>`, kept: 1},
		{name: "no type", xml: `<message to='bob@here.example/x'><body>x</body></message>`, kept: 1},
		{name: "chat to it, and another is there", xml: `<message to='bob@here.example/x' type='chat'><body>x</body></message>`, beside: true, took: "y"},
		{name: "chat to the account", xml: `<message to='bob@here.example' type='chat'><body>x</body></message>`, kept: 1},
		{name: "groupchat", xml: `<message to='bob@here.example/x' type='groupchat'><body>x</body></message>`, beside: true, took: "x"},
		{name: "headline", xml: `<message to='bob@here.example/x' type='headline'><body>x</body></message>`, beside: true, took: "x"},
		{name: "error", xml: `<message to='bob@here.example/x' type='error'><body>x</body></message>`, beside: true, took: "x"},
		{name: "without a body", xml: `<message to='bob@here.example/x'><received xmlns='urn:xmpp:receipts'/></message>`, beside: true, took: "x"},
		{name: "noise, which must not wait", xml: `<message to='bob@here.example/x'><noise xmlns='urn:x'/></message>`},
		{name: "noise to one that is there", xml: `<message to='bob@here.example/y'><noise xmlns='urn:x'/></message>`, beside: true, took: "y"},
		{name: "request", xml: `<iq to='bob@here.example/x' type='get' id='1'><q xmlns='urn:x'/></iq>`, took: "x"},
		{name: "answer", xml: `<iq to='bob@here.example/x' type='result' id='1'/>`, took: "x"},
		{name: "presence to it", xml: `<presence to='bob@here.example/x'/>`, took: "x"},
		{name: "presence to the account", xml: `<presence to='bob@here.example'/>`, took: "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			custody := &kept{}
			r := newRouter(t, Options{Custody: custody, Filter: func(_ context.Context, st *stanza.Stanza, keep bool) (*stanza.Stanza, error) {
				if keep && strings.Contains(st.String(), "noise") {
					return nil, nil
				}
				return st, nil
			}})
			x, y := &client{jid: jid.MustParse("bob@here.example/x")}, &client{jid: jid.MustParse("bob@here.example/y")}
			if err := r.Bind(asleep{x}); err != nil {
				t.Fatal(err)
			}
			if c.beside {
				if err := r.Bind(y); err != nil {
					t.Fatal(err)
				}
			}
			from := &client{jid: jid.MustParse("alice@here.example/a")}
			st := parse(t, c.xml)
			st.From = from.jid
			if err := r.Route(t.Context(), from, st); err != nil {
				t.Fatal(err)
			}
			took := ""
			for _, s := range []*client{x, y} {
				if _, n := s.last(); n > 0 {
					took += s.jid.Resource()
				}
			}
			if answer, n := from.last(); took != c.took || custody.n != c.kept || n > 0 {
				t.Errorf("taken by %q, %d kept, the sender is told %v; want %q, %d, nothing", took, custody.n, answer, c.took, c.kept)
			}
		})
	}
}

func parse(t *testing.T, xml string) *stanza.Stanza {
	t.Helper()
	st, err := stanza.ParseBytes([]byte(strings.Replace(xml, " ", " xmlns='jabber:client' ", 1)), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestReturn is XEP-0198 §4: what was not acknowledged is treated as if there were
// nobody to take it.
func TestReturn(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	for _, c := range []struct {
		name, xml string
		beside    bool
		custody   *kept
		took      bool
		kept      int
		want      stanza.Condition // what the sender is told
		err       error
	}{
		{name: "a message goes to another", xml: `<message to='bob@here.example/x' type='chat'><body>x</body></message>`, beside: true, custody: &kept{}, took: true},
		{name: "or into custody", xml: `<message to='bob@here.example' type='chat'><body>x</body></message>`, custody: &kept{}, kept: 1},
		{name: "or back", xml: `<message to='bob@here.example' type='chat'><body>x</body></message>`, want: stanza.ServiceUnavailable},
		{name: "custody is full", xml: `<message to='bob@here.example' type='chat'><body>x</body></message>`, custody: &kept{err: full}, kept: 1, want: stanza.InternalServerError, err: full},
		{name: "without a body it goes back", xml: `<message to='bob@here.example'><received xmlns='urn:xmpp:receipts'/></message>`, custody: &kept{}, want: stanza.ServiceUnavailable},
		{name: "groupchat is refused", xml: `<message to='bob@here.example/x' type='groupchat'><body>x</body></message>`, beside: true, custody: &kept{}, want: stanza.ServiceUnavailable},
		{name: "a headline is of no use", xml: `<message to='bob@here.example/x' type='headline'><body>x</body></message>`, beside: true, custody: &kept{}},
		{name: "nor is an error", xml: `<message to='bob@here.example/x' type='error'><body>x</body></message>`, custody: &kept{}},
		{name: "a request is refused", xml: `<iq to='bob@here.example/x' type='set' id='1'><q xmlns='urn:x'/></iq>`, custody: &kept{}, want: stanza.ServiceUnavailable},
		{name: "an answer is not", xml: `<iq to='bob@here.example/x' type='result' id='1'/>`, custody: &kept{}},
		{name: "nor is that of an error", xml: `<iq to='bob@here.example/x' type='error' id='1'/>`, custody: &kept{}},
		{name: "nor presence", xml: `<presence to='bob@here.example/x'/>`, beside: true, custody: &kept{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			from, other := &client{jid: jid.MustParse("alice@here.example/a")}, &client{jid: jid.MustParse("bob@here.example/y")}
			o := Options{}
			if c.custody != nil {
				o.Custody = c.custody
			}
			r := newRouter(t, o, from)
			if c.beside {
				if err := r.Bind(other); err != nil {
					t.Fatal(err)
				}
			}
			st := parse(t, c.xml)
			st.From = from.jid
			at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			if err := r.Return(t.Context(), st, at); !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("got %v", err)
			}
			got := stanza.Condition("")
			if answer, n := from.last(); n > 0 {
				got = stanza.ParseError(answer.Child("error")).Condition
			}
			taken, n := other.last()
			if got != c.want || c.custody != nil && c.custody.n != c.kept || (n > 0) != c.took {
				t.Errorf("the sender is told %q, %v kept, another got %v", got, c.custody, taken)
			}
			if !c.took {
				return
			}
			delays := 0
			for e := range taken.Element.Elements() {
				if e.Name.Local == "delay" && e.Attr("stamp") == "2026-01-02T03:04:05Z" && e.Attr("from") == "here.example" {
					delays++
				}
			}
			if err := r.Return(t.Context(), taken, time.Now()); err != nil {
				t.Fatal(err)
			}
			if again, n := other.last(); delays != 1 || n != 2 || strings.Count(again.String(), "<delay") != 1 {
				t.Errorf("delay (XEP-0203) in %s, and in what is returned twice %s", taken, again)
			}
		})
	}
}

// TestReturnWhileReturning: nothing that a session gives back waits for the session
// itself, and what the server has said to it alone goes nowhere.
func TestReturnWhileReturning(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, xml string
		want      int // what bob's other resource gets
	}{
		{"a push", `<iq to='bob@here.example/x' type='set' id='1'><query xmlns='jabber:iq:roster'/></iq>`, 0},
		{"a result of the archive", `<message to='bob@here.example/x' from='bob@here.example'><result xmlns='urn:xmpp:mam:2'/></message>`, 0},
		{"a copy", `<message to='bob@here.example/x' from='bob@here.example' type='chat'><received xmlns='urn:xmpp:carbons:2'/></message>`, 0},
		{"a message of a room to himself, which is refused", `<message to='bob@here.example/x' from='bob@here.example/y' type='groupchat'><body>x</body></message>`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				other := &client{jid: jid.MustParse("bob@here.example/y")}
				r := newRouter(t, Options{Custody: &kept{}, Remote: new(nowhere)}, other)
				done := r.Returning(other.jid.Bare())
				defer done()
				began := time.Now()
				if err := r.Return(t.Context(), parse(t, c.xml), began); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > 0 {
					t.Errorf("it waits %s for itself", took)
				}
				if last, n := other.last(); n != c.want {
					t.Errorf("the other resource gets %v", last)
				}
			})
		})
	}
}
