package c2s

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// lending is a registry that can borrow the sessions of another one.
type lending struct {
	router.Registry
	from     router.Registry
	change   func(state []byte) []byte // of what is borrowed
	refuse   error                     // of Take
	returned atomic.Int32
}

// Borrow asks the sessions of the other registry.
func (r *lending) Borrow(ctx context.Context, bare jid.JID, previd string, h uint32) (router.Loan, error) {
	for _, s := range r.from.Sessions(bare) {
		if lent, err := s.(router.Lender).Lend(ctx, previd, h); lent != nil || err != nil {
			return &borrowed{r, s, lent}, err
		}
	}
	return nil, nil
}

type borrowed struct {
	r       *lending
	session router.Session
	lent    router.Lent
}

func (b *borrowed) Node() string { return "other" }

func (b *borrowed) State() []byte {
	if b.r.change != nil {
		return b.r.change(b.lent.State())
	}
	return b.lent.State()
}

func (b *borrowed) Take(_ context.Context, s router.Session) ([]byte, error) {
	if b.r.refuse != nil {
		b.lent.Keep()
		return nil, b.r.refuse
	}
	if _, err := b.r.Bind(s, math.MaxInt); err != nil {
		return nil, err
	}
	rest, ok := b.lent.Give("other", func() bool { return b.r.from.Unbind(b.session) })
	if !ok {
		b.r.Unbind(s)
		return nil, errors.New("refused")
	}
	return rest, nil
}

func (b *borrowed) Return() {
	b.r.returned.Add(1)
	b.lent.Keep()
}

// neighbours are two servers of different processes, the second of which borrows from the first.
func neighbours(t *testing.T, co ConnOptions) (one, other *fixture, r *lending) {
	t.Helper()
	first := router.NewRegistry()
	r = &lending{Registry: router.NewRegistry(), from: first}
	one = serve(t, router.Options{Registry: first}, Options{}, co)
	other = serve(t, router.Options{Registry: r}, Options{}, co)
	return one, other, r
}

// stateOf is what a suspended session would be handed over as. It stays where it is.
func stateOf(t *testing.T, s router.Session, previd string, h uint32) (o handover) {
	t.Helper()
	lent, err := s.(router.Lender).Lend(within(t), previd, h)
	if err != nil || lent == nil {
		t.Fatalf("lent %v, %v", lent, err)
	}
	defer lent.Keep()
	if err := json.Unmarshal(lent.State(), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestHandOverAll: what a session is made of is the same where it is resumed, and another
// process could have it from there.
func TestHandOverAll(t *testing.T) {
	t.Parallel()
	one, other, _ := neighbours(t, ConnOptions{ResumeTime: 5 * time.Minute, MaxHeld: 10})
	c := one.managed(t, "bob@localhost/x", nil)
	shown, err := stanza.ParseBytes([]byte(`<presence xmlns='jabber:client'><status>a &lt; b</status><priority>7</priority></presence>`), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	iq := func(id string, typ string, payload *xmlwire.Element) *stanza.Stanza {
		return stanza.NewIQ(jid.JID{}, jid.JID{}, typ, id, payload)
	}
	for _, st := range []*stanza.Stanza{
		shown,
		stanza.NewPresence(jid.MustParse("room@conference.example/nick"), jid.JID{}, ""),
		iq("roster", stanza.TypeGet, xmlwire.New("jabber:iq:roster", "query")),
		iq("carbons", stanza.TypeSet, xmlwire.New(router.NSCarbons, "enable")),
	} {
		if err := c.Send(within(t), st); err != nil {
			t.Fatal(err)
		}
	}
	received := uint32(0)
	for st := (*stanza.Stanza)(nil); st == nil || st.ID != "carbons"; received++ {
		if st, err = c.Receive(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	s := one.session(t, c).(*session)
	s.Follow("urn:test:something")
	if err := c.Stream().Send(within(t), xmlwire.New(nsClientState, "inactive")); err != nil {
		t.Fatal(err)
	}
	eventually(t, s.waiting.inactive.Load, "nobody looks")
	waits := stanza.NewPresence(c.JID(), jid.MustParse("alice@localhost/a"), "")
	if err := s.Send(within(t), waits); err != nil {
		t.Fatal(err)
	}
	one.cut(t, c)
	before := stateOf(t, s, c.SMID(), received)
	again := other.resume(t, c)
	if st, err := again.Receive(within(t)); err != nil || st.From != waits.From {
		t.Errorf("received %v, %v, not what has waited", st, err)
	}
	next := other.session(t, again).(*session)
	eventually(t, func() bool { return !next.Suspended() }, "the session is carried") // a moment after its client reads
	if p, ok := next.Priority(); p != 7 || !ok || !next.Carbons() || !next.Interested() || !next.Follows("urn:test:something") {
		t.Errorf("priority %d %v, carbons %v, interested %v", p, ok, next.Carbons(), next.Interested())
	}
	if len(next.Occupants(jid.MustParse("room@conference.example"))) != 1 {
		t.Error("it does not know of its directed presence")
	}
	other.cut(t, again)
	after := stateOf(t, next, c.SMID(), received+1)
	if after.Since.Before(before.Since) || after.Stream.Acked != uint64(received)+1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	for _, o := range []*handover{&before, &after} {
		o.Since, o.Sent, o.Stream, o.Began = time.Time{}, 0, stream.Handover{}, o.Began.UTC()
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("before\n%+v\nafter\n%+v", before, after)
	}
	if one.router.Session(c.JID()) != nil || one.server.Stats().Suspended != 0 {
		t.Error("the session is where it was, too")
	}
	// Who has found it before sends to it where it is now.
	if err := s.Send(within(t), chat("bob@localhost/x", "late")); err == nil {
		t.Error("a session that is elsewhere, of which this process knows nothing, takes messages")
	}
}

// TestHandOverRefused: where a session cannot be taken over the client is told that it is not
// there, and it goes on where it was.
func TestHandOverRefused(t *testing.T) {
	t.Parallel()
	replaced := func(old, new string) func([]byte) []byte {
		return func(state []byte) []byte { return []byte(strings.Replace(string(state), old, new, 1)) }
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		refuse error
	}{
		"of another version": {change: replaced(`"version":1`, `"version":2`)},
		"of somebody else":   {change: replaced(`bob@localhost/x`, `carol@localhost/x`)},
		"not a session":      {change: func([]byte) []byte { return []byte("null") }},
		"nonsense":           {change: func([]byte) []byte { return []byte("{") }},
		"bad presence":       {change: replaced(`"shown":"`, `"shown":"<`)},
		"too late":           {refuse: errors.New("over")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, other, r := neighbours(t, resumable)
			r.change, r.refuse = c.change, c.refuse
			client := one.present(t, "bob@localhost/x")
			watcher := one.present(t, "bob@localhost/watcher")
			one.cut(t, client)
			if other.managed(t, "bob@localhost/y", client).Resumed() {
				t.Error("resumed")
			}
			if st := other.server.Stats(); st.Suspended != 0 || st.Resumed != 0 || st.ResumeFailed != 1 || c.refuse == nil && r.returned.Load() != 1 {
				t.Errorf("counted %+v", st)
			}
			if again := one.resume(t, client); again.JID() != client.JID() {
				t.Errorf("%s is resumed", again.JID())
			}
			if err := watcher.Send(within(t), stanza.NewIQ(jid.JID{}, jid.JID{}, stanza.TypeGet, "sync", xmlwire.New("urn:xmpp:ping", "ping"))); err != nil {
				t.Fatal(err)
			}
			for {
				st, err := watcher.Receive(within(t))
				if err != nil {
					t.Fatal(err)
				}
				if st.Type == "unavailable" {
					t.Errorf("others are told %s", st)
				}
				if st.ID == "sync" {
					break
				}
			}
		})
	}
}

// TestHandOverInDoubt: what is not known to be with the other process is given back here.
func TestHandOverInDoubt(t *testing.T) {
	t.Parallel()
	kept := new(keeper)
	first := router.NewRegistry()
	r := &lending{Registry: router.NewRegistry(), from: first, refuse: router.ErrInDoubt}
	one := serve(t, router.Options{Registry: first}, Options{}, resumable)
	other := serve(t, router.Options{Registry: r, Custody: kept}, Options{}, resumable)
	client := one.present(t, "bob@localhost/x")
	if err := one.session(t, client).Send(within(t), chat("bob@localhost/x", "1")); err != nil {
		t.Fatal(err)
	}
	if other.managed(t, "bob@localhost/y", client).Resumed() {
		t.Error("resumed")
	}
	eventually(t, func() bool { return slices.Equal(kept.ids(), []string{"1"}) }, "it is in custody")
}

// TestLentClosed: a session that is ended while it is lent is not given away.
func TestLentClosed(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, resumable)
	c := f.present(t, "bob@localhost/x")
	s := f.session(t, c).(*session)
	lent, err := s.Lend(within(t), c.SMID(), 1)
	if err != nil || lent == nil {
		t.Fatalf("lent %v, %v", lent, err)
	}
	s.Close(nil)
	if _, ok := lent.Give("other", func() bool { t.Error("moved"); return true }); ok {
		t.Error("given away")
	}
	select {
	case <-s.ended:
		t.Error("it ends before the loan")
	default:
	}
	lent.Keep()
	eventually(t, func() bool { return f.router.Session(c.JID()) == nil }, "the session is over")
}
