package router

import (
	"context"
	"errors"
	"slices"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// TestHostAnswers: a host hears of whose session a stanza comes. What it answers to that
// goes to it in order, and to anybody else as if he had sent it to him.
func TestHostAnswers(t *testing.T) {
	t.Parallel()
	alice := &client{jid: jid.MustParse("alice@here.example/a")}
	bob := &client{jid: jid.MustParse("bob@here.example/b")}
	r := newRouter(t, Options{}, alice, bob)
	// As a client's reader has it: not the session that the registry knows.
	own := &client{jid: alice.jid}
	r.Host("mail.here.example", func(ctx context.Context, asker Session, st *stanza.Stanza) error {
		if st.ID == "registry" {
			asker = nil
		}
		for _, to := range []*client{alice, bob} {
			answer := st.Reply(stanza.TypeResult)
			answer.To = to.jid
			if err := r.Reply(ctx, asker, answer); err != nil {
				return err
			}
		}
		return nil
	})
	ask := func(id string) {
		t.Helper()
		st := stanza.NewIQ(jid.MustParse("x@mail.here.example"), alice.jid, stanza.TypeGet, id, xmlwire.New(nsPing, "ping"))
		if err := r.Route(t.Context(), own, st); err != nil {
			t.Fatal(err)
		}
	}
	ask("own")
	if st, n := own.last(); n != 1 || st.ID != "own" {
		t.Errorf("the asker got %d, the last %v", n, st)
	}
	if _, n := alice.last(); n != 0 {
		t.Error("the session of the registry was sent to while its own stanza was dealt with")
	}
	if st, n := bob.last(); n != 1 || st.ID != "own" {
		t.Errorf("the other one got %d, the last %v", n, st)
	}
	ask("registry")
	if st, n := alice.last(); n != 1 || st.ID != "registry" {
		t.Errorf("without an asker she got %d, the last %v", n, st)
	}
}

// TestReplySubscription: what changes the roster of the asker's user goes by way of that.
func TestReplySubscription(t *testing.T) {
	t.Parallel()
	here := newSite("here.example")
	bob := here.bind(t, hereBob+"/b")
	here.Host("mail.here.example", func(ctx context.Context, asker Session, st *stanza.Stanza) error {
		return here.Reply(ctx, asker, stanza.NewPresence(st.From, st.To, "subscribe"))
	})
	if err := here.Router.Route(t.Context(), bob, presenceFrom(bob, "mail.here.example", "")); err != nil {
		t.Fatal(err)
	}
	if !here.Roster(bob.jid).State(jid.MustParse("mail.here.example")).PendingIn() {
		t.Error("a request for a subscription went past the roster")
	}
}

// TestReplyFails: an answer that cannot be sent is an error of the asker's stream.
func TestReplyFails(t *testing.T) {
	t.Parallel()
	gone := &client{jid: jid.MustParse("alice@here.example/a"), gone: true}
	r := newRouter(t, Options{})
	if err := r.Reply(t.Context(), gone, stanza.NewPresence(gone.jid, jid.MustParse("mail.here.example"), "")); err == nil {
		t.Error("no error")
	}
}

// TestDeliverToHost: what comes out of custody for a hosted domain goes to its host too.
func TestDeliverToHost(t *testing.T) {
	t.Parallel()
	r := newRouter(t, Options{})
	refusal := &stanza.Error{Condition: stanza.NotAcceptable}
	r.Handle("mail.here.example", func(context.Context, *stanza.Stanza) error { return refusal })
	st := stanza.NewMessage(jid.MustParse("x@mail.here.example"), jid.MustParse("y@elsewhere.example"), "chat", "hi")
	if _, _, err := r.DeliverKept(t.Context(), st); !errors.Is(err, refusal) {
		t.Errorf("%v, want the host's refusal", err)
	}
}

// TestHostsAreItems: XEP-0030 §4.1, a domain of ours names those that clients can use
// besides.
func TestHostsAreItems(t *testing.T) {
	t.Parallel()
	from := &client{jid: jid.MustParse("bob@here.example/b")}
	r := newRouter(t, Options{}, from)
	items := func() (all []string) {
		t.Helper()
		st := stanza.NewIQ(jid.MustParse("here.example"), from.jid, stanza.TypeGet, "1", xmlwire.New(nsItems, "query"))
		if err := r.Route(t.Context(), from, st); err != nil {
			t.Fatal(err)
		}
		answer, _ := from.last()
		for item := range answer.Element.Child(xmlwire.Name{Space: nsItems, Local: "query"}).Elements() {
			all = append(all, item.Attr("jid"))
		}
		return all
	}
	nothing := func(context.Context, *stanza.Stanza) error { return nil }
	r.Handle("sms.here.example", nothing)
	r.Handle("mail.here.example", nothing)
	if got := items(); !slices.Equal(got, []string{"mail.here.example", "sms.here.example"}) {
		t.Errorf("items %v", got)
	}
	r.Handle("mail.here.example", nil)
	if got := items(); !slices.Equal(got, []string{"sms.here.example"}) {
		t.Errorf("after one has left: items %v", got)
	}
}
