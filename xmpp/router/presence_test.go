package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

// resource is a client with presence, as the client listener has them.
type resource struct {
	*client
	router     *Router
	interested bool
	hidden     bool // suspended: present to others, and takes no messages
	pushed     []string
}

func (s *resource) Interested() bool { return s.interested }
func (s *resource) Present() bool    { return !s.away }

func (s *resource) Priority() (int8, bool) { return 0, !s.away && !s.hidden }

func (s *resource) Show(ctx context.Context, to jid.JID) {
	if !s.away {
		_ = s.router.Forward(ctx, stanza.NewPresence(to, s.jid, ""))
	}
}

func (s *resource) Push(_ context.Context, changes []roster.Change) {
	if !s.interested {
		return
	}
	for _, c := range changes {
		item := fmt.Sprintf("push %s %s", c.Item.JID, c.Item.State)
		if c.Removed {
			item = fmt.Sprintf("push %s gone", c.Item.JID)
		}
		s.log(item)
	}
}

func (s *resource) Send(ctx context.Context, st *stanza.Stanza) error {
	typ := st.Type
	if typ == "" {
		typ = "available"
	}
	s.log(fmt.Sprintf("%s %s", typ, st.From))
	return s.client.Send(ctx, st)
}

// log notes what the client gets, in order.
func (s *resource) log(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushed = append(s.pushed, what)
}

// heard is what the client got since it was asked last.
func (s *resource) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.pushed
	s.pushed = nil
	return strings.Join(all, ", ")
}

// site is a server with its accounts; what is for other domains goes to others.
type site struct {
	*Router
	rosters *xmpptest.Rosters
	others  map[string]*Router
	lost    []string // what could not be routed
}

// out is the Remote of a site.
type out struct {
	Remote
	*site
}

func (s out) Route(ctx context.Context, st *stanza.Stanza) error {
	if o := s.others[st.To.Domain()]; o != nil {
		return o.Forward(ctx, st)
	}
	s.lost = append(s.lost, fmt.Sprintf("%s %s", st.Type, st.To))
	return &stanza.Error{Type: stanza.Cancel, Condition: stanza.RemoteServerNotFound}
}

func newSite(domain string) *site {
	s := &site{rosters: new(xmpptest.Rosters), others: make(map[string]*Router)}
	s.Router = New(Options{
		Domains: func(d string) bool { return d == domain }, Remote: out{site: s}, Rosters: s.rosters,
		Accounts: func(_ context.Context, bare jid.JID) (bool, error) {
			if bare.Local() == "broken" {
				return false, errors.New("store is down")
			}
			return bare.Local() != "nobody", nil
		},
	})
	s.rosters.OnChange = s.RosterChanged
	return s
}

// join connects two sites.
func join(a, b *site, aDomain, bDomain string) {
	a.others[bDomain], b.others[aDomain] = b.Router, a.Router
}

func (s *site) bind(t *testing.T, full string) *resource {
	t.Helper()
	c := &resource{client: &client{jid: jid.MustParse(full)}, router: s.Router, interested: true}
	if err := s.Bind(c); err != nil {
		t.Fatal(err)
	}
	return c
}

// record gives an account a roster.
func (s *site) record(t *testing.T, user, record string) {
	t.Helper()
	r, err := roster.ParseRecord([]byte(record), roster.Limits{})
	if err == nil {
		err = s.rosters.Update(t.Context(), jid.MustParse(user), func(old *roster.Roster) error { return old.Import(r, true) }, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func presenceFrom(s *resource, to, typ string) *stanza.Stanza {
	return stanza.NewPresence(jid.MustParse(to), s.jid, typ)
}

func (s *site) subscription(t *testing.T, from *resource, to, typ string, want stanza.Condition) {
	t.Helper()
	if err := s.Subscription(t.Context(), presenceFrom(from, to, typ)); condition(err) != want || (err == nil) != (want == "") {
		t.Errorf("%s of %s to %s: %v", typ, from.jid, to, err)
	}
}

func expect(t *testing.T, what string, heard map[*resource]string) {
	t.Helper()
	for s, want := range heard {
		if got := s.heard(); got != want {
			t.Errorf("%s: %s heard\n %q, want\n %q", what, s.jid, got, want)
		}
	}
}

const (
	hereBob    = "bob@here.example"
	thereJulia = "julia@there.example"
)

// TestContactsElsewhere has a subscription live and die between two servers: all is
// as between two users of one (RFC 6121 §3, §4).
func TestContactsElsewhere(t *testing.T) {
	t.Parallel()
	here, there := newSite("here.example"), newSite("there.example")
	join(here, there, "here.example", "there.example")
	bob, julia := here.bind(t, hereBob+"/b"), there.bind(t, thereJulia+"/j")
	ctx := t.Context()

	here.subscription(t, bob, thereJulia+"/phone", "subscribe", "")
	expect(t, "§3.1.2, §3.1.3", map[*resource]string{
		bob: "push julia@there.example None + Pending Out", julia: "subscribe bob@here.example",
	})
	there.subscription(t, julia, hereBob, "subscribed", "")
	expect(t, "§3.1.5, §3.1.6", map[*resource]string{
		julia: "push bob@here.example From",
		bob:   "subscribed julia@there.example, push julia@there.example To, available julia@there.example/j",
	})
	there.Broadcast(ctx, presenceFrom(julia, thereJulia, ""))
	here.Broadcast(ctx, presenceFrom(bob, hereBob, "")) // julia is not subscribed
	expect(t, "§4.2.2", map[*resource]string{bob: "available julia@there.example/j", julia: ""})

	// A probe goes from bare to bare, and so does its answer: to all resources.
	second := here.bind(t, hereBob+"/second")
	here.Arrived(ctx, second)
	expect(t, "§4.3", map[*resource]string{
		second: "available julia@there.example/j", bob: "available julia@there.example/j", julia: "",
	})
	julia.away = true
	here.Arrived(ctx, second)
	expect(t, "§4.3.2, nobody there", map[*resource]string{second: "unavailable julia@there.example", bob: "unavailable julia@there.example"})
	julia.away = false

	there.subscription(t, julia, hereBob, "subscribe", "")
	here.subscription(t, bob, thereJulia, "subscribed", "")
	expect(t, "both", map[*resource]string{
		bob:    "subscribe julia@there.example, push julia@there.example Both",
		second: "subscribe julia@there.example, push julia@there.example Both",
		julia: "push bob@here.example From + Pending Out, subscribed bob@here.example, push bob@here.example Both, " +
			"available bob@here.example/b, available bob@here.example/second",
	})
	if err := here.Unbind(second); !err {
		t.Fatal("not bound")
	}

	// COMPAT Prosody 0.12: from the full JID.
	if err := there.Forward(ctx, presenceFrom(bob, thereJulia, "unsubscribe")); err != nil {
		t.Fatal(err)
	}
	expect(t, "§3.3.3", map[*resource]string{
		julia: "unsubscribe bob@here.example, push bob@here.example To",
		bob:   "unavailable julia@there.example/j",
	})
	// The other side does not know of that: a probe tells it (§4.3.2).
	here.Arrived(ctx, bob)
	expect(t, "§4.3.2, no subscription", map[*resource]string{bob: "unsubscribed julia@there.example, push julia@there.example From"})

	if err := there.RemoveContact(ctx, julia.jid.Bare(), bob.jid.Bare()); err != nil {
		t.Fatal(err)
	}
	expect(t, "§2.5.2", map[*resource]string{
		julia: "push bob@here.example gone, unavailable bob@here.example/b",
		bob:   "unsubscribe julia@there.example, push julia@there.example None",
	})
	if err := there.RemoveContact(ctx, julia.jid.Bare(), bob.jid.Bare()); condition(err) != stanza.ItemNotFound {
		t.Errorf("again: %v", err)
	}
}

// TestAskedAgain: a request without an answer is made again with each resource that
// comes (RFC 6121 §3.1.2), and mends what was lost.
func TestAskedAgain(t *testing.T) {
	t.Parallel()
	here, there := newSite("here.example"), newSite("there.example")
	bob, julia := here.bind(t, hereBob+"/b"), there.bind(t, thereJulia+"/j")
	// As after a crash between the two sides: bob has asked, and nobody knows.
	here.record(t, hereBob, `{"julia@there.example":{"pending_requests":{"out":"subscribe"},"subscription":"none"},
		"carol@here.example":{"pending_requests":{"out":"subscribe"},"subscription":"none"}}`)
	carol := here.bind(t, "carol@here.example/c")
	_, _, _ = bob.heard(), julia.heard(), carol.heard()
	here.Arrived(t.Context(), bob) // there is no way to julia
	expect(t, "here", map[*resource]string{bob: "", carol: "subscribe bob@here.example"})
	join(here, there, "here.example", "there.example")
	for range 2 {
		here.Arrived(t.Context(), bob)
	}
	expect(t, "there, shown once", map[*resource]string{bob: "", julia: "subscribe bob@here.example", carol: ""})
	// julia has approved, and that was lost: she is asked again, and says so again.
	there.record(t, thereJulia, `{"bob@here.example":{"subscription":"from"}}`)
	_ = julia.heard()
	here.Arrived(t.Context(), bob)
	expect(t, "§A.3.1", map[*resource]string{julia: "", bob: "subscribed julia@there.example, push julia@there.example To, available julia@there.example/j"})
}

// TestRefusedRequest: what will never be answered is not asked for again; what may
// be later, is.
func TestRefusedRequest(t *testing.T) {
	t.Parallel()
	here := newSite("here.example")
	bob := here.bind(t, hereBob+"/b")
	here.subscription(t, bob, "x@nowhere.example", "subscribe", stanza.RemoteServerNotFound)
	expect(t, "taken back", map[*resource]string{bob: "push x@nowhere.example None + Pending Out, push x@nowhere.example gone"})
	here.subscription(t, bob, "nobody@here.example", "subscribe", stanza.ServiceUnavailable)
	here.subscription(t, bob, "here.example", "subscribe", stanza.ServiceUnavailable)
	expect(t, "not even begun", map[*resource]string{bob: ""})
	if err := here.Subscription(t.Context(), presenceFrom(bob, "broken@here.example", "subscribe")); err == nil || condition(err) != "" {
		t.Errorf("the store of accounts is down: %v", err)
	}

	here.Handle("wait.example", func(context.Context, *stanza.Stanza) error {
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout}
	})
	here.subscription(t, bob, "x@wait.example", "subscribe", stanza.RemoteServerTimeout)
	expect(t, "kept", map[*resource]string{bob: "push x@wait.example None + Pending Out"})
	// One that was pending before stays so: this is not its only chance.
	here.Handle("wait.example", nil)
	here.subscription(t, bob, "x@wait.example", "subscribe", stanza.RemoteServerNotFound)
	expect(t, "kept", map[*resource]string{bob: ""})
	if s := here.Roster(bob.jid).State(jid.MustParse("x@wait.example")); s != roster.NonePendingOut {
		t.Errorf("state %q", s)
	}
}

// TestWhoIsTold is RFC 6121 §2.2: requests go to available resources, the rest to
// those that know the roster; what others see of a suspended one is that it is there.
func TestWhoIsTold(t *testing.T) {
	t.Parallel()
	here := newSite("here.example")
	bob, carol := here.bind(t, hereBob+"/b"), here.bind(t, "carol@here.example/c")
	idle, quiet, asleep := here.bind(t, hereBob+"/idle"), here.bind(t, hereBob+"/quiet"), here.bind(t, hereBob+"/asleep")
	idle.away = true         // interested, not available
	quiet.interested = false // available, not interested
	asleep.hidden = true
	plain := &client{jid: jid.MustParse(hereBob + "/elsewhere")} // a session of another node
	if err := here.Bind(plain); err != nil {
		t.Fatal(err)
	}
	here.subscription(t, carol, hereBob, "subscribe", "")
	expect(t, "request", map[*resource]string{
		bob: "subscribe carol@here.example", idle: "", quiet: "subscribe carol@here.example", asleep: "subscribe carol@here.example",
	})
	if st, n := plain.last(); n != 1 || st.Type != "subscribe" {
		t.Errorf("elsewhere: %d", n)
	}
	here.subscription(t, bob, "carol@here.example", "subscribed", "")
	const push = "push carol@here.example From"
	expect(t, "approval", map[*resource]string{bob: push, idle: push, quiet: "", asleep: push})
	if got := carol.heard(); got != "push bob@here.example None + Pending Out, subscribed bob@here.example, push bob@here.example To, "+
		"available bob@here.example/b, available bob@here.example/quiet, available bob@here.example/asleep" {
		t.Errorf("carol heard %q", got)
	}
	here.subscription(t, carol, hereBob, "unsubscribe", "")
	const gone = "unsubscribe carol@here.example, push carol@here.example None"
	expect(t, "unsubscribe", map[*resource]string{
		bob: gone, idle: gone, quiet: "", asleep: gone,
		carol: "push bob@here.example None, unavailable bob@here.example/b, unavailable bob@here.example/quiet, " +
			"unavailable bob@here.example/asleep, unavailable bob@here.example/elsewhere",
	})
}

// TestUpdateFails: where a roster cannot be changed nothing is said to anybody.
func TestUpdateFails(t *testing.T) {
	t.Parallel()
	here := newSite("here.example")
	bob, carol := here.bind(t, hereBob+"/b"), here.bind(t, "carol@here.example/c")
	broken := errors.New("disk is full")
	here.rosters.Fail(broken)
	for _, typ := range []string{"subscribe", "subscribed", "unsubscribe", "unsubscribed"} {
		if err := here.Subscription(t.Context(), presenceFrom(bob, "carol@here.example", typ)); !errors.Is(err, broken) {
			t.Errorf("%s: %v", typ, err)
		}
		if err := here.Forward(t.Context(), presenceFrom(bob, "carol@here.example", typ)); !errors.Is(err, broken) {
			t.Errorf("%s to carol: %v", typ, err)
		}
	}
	if err := here.RemoveContact(t.Context(), bob.jid.Bare(), carol.jid.Bare()); !errors.Is(err, broken) {
		t.Errorf("remove: %v", err)
	}
	expect(t, "nothing", map[*resource]string{bob: "", carol: ""})
}

func TestRosterLimitsAreCounted(t *testing.T) {
	t.Parallel()
	here := newSite("here.example")
	here.rosters.Limits = roster.Limits{Items: 1, Requests: 1}
	bob := here.bind(t, hereBob+"/b")
	set := func(items string) error {
		q, err := xmlwire.Parse([]byte("<query xmlns='jabber:iq:roster'>"+items+"</query>"), xmlwire.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return here.SetRoster(t.Context(), bob.jid.Bare(), q)
	}
	if err := set("<item jid='a@here.example'/>"); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"one more":          set("<item jid='b@here.example'/>"),
		"long name":         set("<item jid='a@here.example' name='" + strings.Repeat("x", 2000) + "'/>"),
		"by a subscription": here.Subscription(t.Context(), presenceFrom(bob, "c@here.example", "subscribe")),
	} {
		var limit *roster.LimitError
		if !errors.As(err, &limit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var last error
	for i := range 2 {
		last = here.Forward(t.Context(), stanza.NewPresence(bob.jid, jid.MustParse(fmt.Sprintf("s%d@spam.example", i)), "subscribe"))
	}
	if condition(last) != stanza.ResourceConstraint {
		t.Errorf("requests without end: %v", last)
	}
	if n := here.Stats().RosterLimits; n != 4 {
		t.Errorf("counted %d", n)
	}
}

// TestAlign: an operator's record has the effect on presence that stanzas would
// have had, once both sides are written.
func TestAlign(t *testing.T) {
	t.Parallel()
	here, there := newSite("here.example"), newSite("there.example")
	join(here, there, "here.example", "there.example")
	bob, carol, julia := here.bind(t, hereBob+"/b"), here.bind(t, "carol@here.example/c"), there.bind(t, thereJulia+"/j")
	there.record(t, thereJulia, `{"bob@here.example":{"subscription":"both"}}`)
	_ = julia.heard()
	write := func(user, record string) {
		t.Helper()
		old := here.Roster(jid.MustParse(user))
		here.record(t, user, record)
		here.Align(t.Context(), jid.MustParse(user), old, here.Roster(jid.MustParse(user)))
	}
	write(hereBob, `{"carol@here.example":{"subscription":"both"},"julia@there.example":{"subscription":"both"}}`)
	heard := strings.Split(bob.heard(), ", ")
	slices.Sort(heard)
	if want := []string{"available julia@there.example/j", "push carol@here.example Both", "push julia@there.example Both"}; !slices.Equal(heard, want) {
		t.Errorf("bob heard %q", heard)
	}
	expect(t, "bob's side", map[*resource]string{carol: "available bob@here.example/b", julia: "available bob@here.example/b"})
	write("carol@here.example", `{"bob@here.example":{"subscription":"both"}}`)
	expect(t, "carol's side", map[*resource]string{
		carol: "push bob@here.example Both, available bob@here.example/b", bob: "available carol@here.example/c",
	})
	write(hereBob, `{}`)
	heard = strings.Split(bob.heard(), ", ")
	slices.Sort(heard)
	if want := []string{"push carol@here.example gone", "push julia@there.example gone", "unavailable carol@here.example/c"}; !slices.Equal(heard, want) {
		t.Errorf("bob heard %q", heard)
	}
	expect(t, "no contacts", map[*resource]string{carol: "unavailable bob@here.example/b", julia: "unavailable bob@here.example/b"})
	// Nobody there, nobody asked.
	bob.away = true
	here.Handle("there.example", func(_ context.Context, st *stanza.Stanza) error {
		t.Errorf("sent %s", st)
		return nil
	})
	write(hereBob, `{"julia@there.example":{"subscription":"both"}}`)
}

// TestForget: an account that is removed ends all its subscriptions.
func TestForget(t *testing.T) {
	t.Parallel()
	here := newSite("here.example")
	carol := here.bind(t, "carol@here.example/c")
	const asks = `"pending_requests":{"in":"<presence xmlns='jabber:client' type='subscribe'/>"}`
	gone := jid.MustParse("gone@here.example")
	here.record(t, "gone@here.example", `{"carol@here.example":{"subscription":"both"},"dave@here.example":{`+asks+`}}`)
	here.record(t, "carol@here.example", `{"gone@here.example":{"subscription":"both"}}`)
	here.record(t, "dave@here.example", `{"gone@here.example":{"pending_requests":{"out":"subscribe"}}}`)
	_ = carol.heard()
	had := here.Roster(gone)
	here.record(t, "gone@here.example", `{}`)
	here.Forget(t.Context(), gone, had)
	expect(t, "carol", map[*resource]string{carol: "unsubscribe gone@here.example, push gone@here.example To, " +
		"unsubscribed gone@here.example, push gone@here.example None"})
	if s := here.Roster(jid.MustParse("dave@here.example")).State(gone); s != roster.None {
		t.Errorf("dave still waits: %q", s)
	}
}

// TestProbeWithoutAccounts: whoever cannot be looked up now has not gone.
func TestProbeWithoutAccounts(t *testing.T) {
	t.Parallel()
	here := newSite("here.example")
	bob := here.bind(t, hereBob+"/b")
	here.record(t, hereBob, `{"broken@here.example":{"subscription":"to"}}`)
	_ = bob.heard()
	here.Arrived(t.Context(), bob)
	if err := here.Forward(t.Context(), presenceFrom(bob, "broken@here.example", "probe")); err == nil || condition(err) != "" {
		t.Errorf("probe: %v", err)
	}
	expect(t, "the subscription holds", map[*resource]string{bob: ""})
}

// TestNoRosters is a router without: nobody has contacts or can have any.
func TestNoRosters(t *testing.T) {
	t.Parallel()
	r := newRouter(t, Options{})
	alice, bob := jid.MustParse("alice@here.example/a"), jid.MustParse(hereBob)
	for _, typ := range []string{"subscribe", "subscribed", "unsubscribe", "unsubscribed"} {
		st := stanza.NewPresence(bob, alice, typ)
		if err := r.Subscription(t.Context(), st); condition(err) != stanza.FeatureNotImplemented {
			t.Errorf("%s: %v", typ, err)
		}
		if err := r.Forward(t.Context(), st); condition(err) != stanza.FeatureNotImplemented {
			t.Errorf("%s to bob: %v", typ, err)
		}
	}
	if err := r.Forward(t.Context(), stanza.NewPresence(bob, alice, "probe")); err != nil {
		t.Errorf("probe: %v", err)
	}
	if n := r.Roster(bob).Len(); n != 0 {
		t.Errorf("%d contacts", n)
	}
}
