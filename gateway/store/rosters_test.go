package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

var (
	bob   = jid.MustParse("bob@example.com")
	carol = jid.MustParse("carol@example.com")
)

func openRosters(t testing.TB, b *broker.Broker, o RostersOptions) *Rosters {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o.Buckets = b
	s, err := OpenRosters(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// add is a change that adds a contact.
func add(contact jid.JID) func(*roster.Roster) error {
	return func(r *roster.Roster) error { return r.Set(contact, "", nil) }
}

func update(t testing.TB, s *Rosters, user jid.JID, change func(*roster.Roster) error) {
	t.Helper()
	if err := s.Update(t.Context(), user, change, nil); err != nil {
		t.Fatal(err)
	}
}

// names are the contacts of a user.
func names(s *Rosters, user jid.JID) string {
	var all []string
	for _, i := range s.Roster(user).Items() {
		all = append(all, i.JID.Local())
	}
	return strings.Join(all, " ")
}

// told notes what a listener is told.
type told struct {
	mu    sync.Mutex
	calls []string
}

func (l *told) listen(user jid.JID, old, now *roster.Roster) {
	var all []string
	for _, c := range now.Diff(old) {
		sign := "+"
		if c.Removed {
			sign = "-"
		}
		all = append(all, sign+c.Item.JID.Local())
	}
	l.note(user.Local() + " " + strings.Join(all, " "))
}

func (l *told) note(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, s)
}

func (l *told) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

func TestRosters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	a, other := openRosters(t, b, RostersOptions{}), openRosters(t, b, RostersOptions{})
	var here, there told
	a.OnChange(here.listen)
	other.OnChange(there.listen)
	full := jid.MustParse("alice@example.com/phone")

	if r := a.Roster(alice); r == nil || r.Len() != 0 {
		t.Fatalf("before there is one: %v", r)
	}
	// What this process did holds at once, and is told before Update returns; for
	// others it does soon.
	if err := a.Update(t.Context(), full, add(bob), func() { here.note("stored") }); err != nil {
		t.Fatal(err)
	}
	if got, want := here.all(), []string{"stored", "alice +bob"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if names(a, full) != "bob" {
		t.Errorf("contacts: %s", names(a, alice))
	}
	eventually(t, "contact in another process", func() bool { return names(other, alice) == "bob" })
	eventually(t, "told of it", func() bool { return len(there.all()) == 1 })
	update(t, other, alice, add(carol))
	eventually(t, "two contacts", func() bool { return names(a, alice) == "bob carol" })
	eventually(t, "told", func() bool {
		return slices.Equal(here.all(), []string{"stored", "alice +bob", "alice +carol"}) && slices.Equal(there.all(), []string{"alice +bob", "alice +carol"})
	})

	refused := errors.New("no")
	stored := false
	err := a.Update(t.Context(), alice, func(r *roster.Roster) error {
		_, _ = r.Remove(bob)
		return refused
	}, func() { stored = true })
	if !errors.Is(err, refused) || stored || names(a, alice) != "bob carol" {
		t.Errorf("a change that is refused: %v, stored %v, contacts %s", err, stored, names(a, alice))
	}
	rev := a.edition(accountKey(alice)).rev
	if err := a.Update(t.Context(), alice, func(*roster.Roster) error { return nil }, func() { stored = true }); err != nil || !stored {
		t.Errorf("no change: %v, %v", err, stored)
	}
	if e := a.edition(accountKey(alice)); e.rev != rev {
		t.Errorf("no change made revision %d of %d", e.rev, rev)
	}

	version := a.Roster(alice).Version()
	if err := other.Remove(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if got := names(other, alice); got != "" {
		t.Errorf("after removal: %s", got)
	}
	eventually(t, "removal elsewhere", func() bool { return slices.Contains(here.all(), "alice -bob -carol") && names(a, alice) == "" })
	for _, s := range []*Rosters{a, other} {
		if err := s.Remove(t.Context(), alice); err != nil {
			t.Errorf("remove what is gone: %v", err)
		}
		eventually(t, "nothing kept of it", func() bool { return s.edition(accountKey(alice)) == nil && s.count() == 0 })
	}
	update(t, a, alice, add(carol))
	if _, ok := a.Roster(alice).Since(version); ok || names(a, alice) != "carol" {
		t.Errorf("the new roster is the old one: %s", names(a, alice))
	}

	for _, s := range []*Rosters{a, other} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	closeBroker(t, b)
	again := openRosters(t, openBroker(t, dir), RostersOptions{})
	if names(again, alice) != "carol" {
		t.Errorf("after a restart: %s", names(again, alice))
	}
	var later told
	again.OnChange(later.listen)
	update(t, again, alice, add(bob))
	if names(again, alice) != "bob carol" || !slices.Equal(later.all(), []string{"alice +bob"}) {
		t.Errorf("changed after a restart: %s, told %q", names(again, alice), later.all())
	}
}

// TestRosterLate: what the watcher reports of before a change of this process does
// not undo it.
func TestRosterLate(t *testing.T) {
	t.Parallel()
	s := openRosters(t, openBroker(t, t.TempDir()), RostersOptions{})
	key := accountKey(alice)
	update(t, s, alice, add(bob))
	first := s.edition(key)
	update(t, s, alice, add(carol))
	second := s.edition(key)
	if err := s.Close(); err != nil { // or the watcher has a say
		t.Fatal(err)
	}
	var l told
	s.OnChange(l.listen)
	late := func(what string, e *edition) {
		t.Helper()
		s.put(key, &edition{rev: e.rev, value: []byte("{}")})
		s.due(t.Context(), key)
		s.work.Wait()
		if got := l.all(); len(got) > 0 {
			t.Errorf("%s: told %q", what, got)
		}
	}
	late("an old change", first)
	late("the last change", second)
	s.drop(key, second.rev, second.rev)
	s.due(t.Context(), key)
	s.work.Wait()
	if got := l.all(); !slices.Equal(got, []string{"alice -bob -carol"}) {
		t.Fatalf("told %q of the removal", got)
	}
	l.calls = nil
	late("a change before the removal", second)
	if s.count() != 1 {
		t.Error("the removal is forgotten too soon")
	}
	s.drop(key, second.rev+1, 0)
	s.due(t.Context(), key)
	if s.count() != 0 || len(l.all()) != 0 {
		t.Errorf("%d kept, told %q", s.count(), l.all())
	}
}

// count is how many rosters the map holds.
func (s *Rosters) count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.users)
}

// online is a session that gets pushes, and nothing else.
type online struct {
	router.Session // nil: nothing else is asked of it
	full           jid.JID
	l              *told
}

func (s online) JID() jid.JID           { return s.full }
func (s online) Priority() (int8, bool) { return 0, false }

func (s online) Push(_ context.Context, changes []roster.Change) {
	for _, c := range changes {
		s.l.note(s.full.Resource() + " " + c.Item.JID.Local() + " " + c.Item.State.String())
	}
}

// TestRosterPushedEverywhere: what happens in one process is pushed to the sessions
// of all, by each to its own.
func TestRosterPushedEverywhere(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	var l told
	process := func(resource string) *router.Router {
		s := openRosters(t, b, RostersOptions{})
		r := router.New(router.Options{Domains: func(string) bool { return true }, Rosters: s})
		s.OnChange(r.RosterChanged)
		full, err := alice.WithResource(resource)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Bind(online{full: full, l: &l}); err != nil {
			t.Fatal(err)
		}
		return r
	}
	one, two := process("one"), process("two")
	ask := func(r *router.Router, from, to jid.JID, typ string) {
		t.Helper()
		if err := r.Subscription(t.Context(), stanza.NewPresence(to, from, typ)); err != nil {
			t.Fatal(err)
		}
	}
	pushed := func(what string) {
		t.Helper()
		eventually(t, what+" pushed in both", func() bool {
			all := l.all()
			return slices.Contains(all, "one bob "+what) && slices.Contains(all, "two bob "+what)
		})
	}
	ask(one, alice, bob, "subscribe")
	pushed("None + Pending Out")
	// Bob's server has not heard of the request for long.
	eventually(t, "the request elsewhere", func() bool { return two.Roster(bob).State(alice) == roster.NonePendingIn })
	ask(two, bob, alice, "subscribed")
	pushed("To")
	if n := len(l.all()); n != 4 {
		t.Errorf("pushed %q", l.all())
	}
}

// TestRosterRace has several processes change one roster at once: all changes are
// made.
func TestRosterRace(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	stores := []*Rosters{openRosters(t, b, RostersOptions{}), openRosters(t, b, RostersOptions{}), openRosters(t, b, RostersOptions{})}
	const each = 10
	var wg sync.WaitGroup
	for i, s := range stores {
		for range 2 {
			wg.Go(func() {
				for n := range each {
					update(t, s, alice, add(jid.MustParse(fmt.Sprintf("c%d-%d@example.com", i, n))))
				}
			})
		}
	}
	wg.Wait()
	for _, s := range stores {
		eventually(t, "all contacts", func() bool { return s.Roster(alice).Len() == each*len(stores) })
	}
}

// TestRosterOld: a change that would do nothing to what is known here, or is refused,
// is tried on what the bucket has.
func TestRosterOld(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	s, other := openRosters(t, b, RostersOptions{}), openRosters(t, b, RostersOptions{})
	if err := s.Close(); err != nil { // it does not see what the other does
		t.Fatal(err)
	}
	remove := func(r *roster.Roster) error { _, err := r.Remove(bob); return err }
	update(t, other, alice, add(bob))
	update(t, s, alice, remove)
	if names(s, alice) != "" {
		t.Errorf("contacts: %s", names(s, alice))
	}
	if err := s.Update(t.Context(), alice, remove, nil); err == nil {
		t.Error("removed twice")
	}
	update(t, other, alice, add(carol))
	update(t, s, alice, func(r *roster.Roster) error {
		if _, ok := r.Item(carol); ok {
			return r.Set(carol, "Carol", nil)
		}
		return nil
	})
	if i, _ := s.Roster(alice).Item(carol); i.Name != "Carol" {
		t.Errorf("%+v", i)
	}
}

// TestRosterTold holds the order of calls: one user's come one after the other, and
// add up to what the roster is; one that blocks holds no other user up.
func TestRosterTold(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	s, other := openRosters(t, b, RostersOptions{}), openRosters(t, b, RostersOptions{})
	update(t, other, alice, add(alice))
	eventually(t, "alice", func() bool { return names(s, alice) != "" })
	release, entered := make(chan struct{}), make(chan struct{}, 10)
	var l told
	busy := make(map[jid.JID]int)
	known := make(map[jid.JID]*roster.Roster)
	s.OnChange(func(user jid.JID, old, now *roster.Roster) {
		l.mu.Lock()
		if busy[user]++; busy[user] > 1 {
			t.Errorf("two calls at once for %s", user)
		}
		if before := known[user]; before != nil && before.Version() != old.Version() {
			t.Errorf("%s was at %s and is told of a change since %s", user, before.Version(), old.Version())
		}
		known[user] = now
		l.mu.Unlock()
		if user == alice {
			entered <- struct{}{}
			<-release
		}
		l.listen(user, old, now)
		l.mu.Lock()
		busy[user]--
		l.mu.Unlock()
	})
	update(t, other, alice, add(bob))
	<-entered
	update(t, other, bob, add(alice))
	eventually(t, "bob", func() bool { return slices.Equal(l.all(), []string{"bob +alice"}) })
	update(t, other, alice, add(carol))
	update(t, other, alice, func(r *roster.Roster) error { _, err := r.Remove(bob); return err })
	eventually(t, "all of it is known", func() bool { return names(s, alice) == "alice carol" })
	mine := make(chan error, 1)
	go func() { mine <- s.Update(t.Context(), alice, add(jid.MustParse("dave@example.com")), nil) }()
	close(release)
	if err := <-mine; err != nil {
		t.Fatal(err)
	}
	eventually(t, "told all", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return known[alice] != nil && known[alice].Version() == s.Roster(alice).Version()
	})
	if got := l.all()[:2]; !slices.Equal(got, []string{"bob +alice", "alice +bob"}) {
		t.Errorf("told %q", got)
	}
}

// TestRosterReplaced: a watcher that begins anew tells of what it missed.
func TestRosterReplaced(t *testing.T) {
	t.Parallel()
	s := openRosters(t, openBroker(t, t.TempDir()), RostersOptions{})
	for _, user := range []jid.JID{alice, bob, carol} {
		update(t, s, user, add(alice))
	}
	var l told
	s.OnChange(l.listen)
	if err := s.Close(); err != nil { // or its own watcher has a say
		t.Fatal(err)
	}
	edit := func(user jid.JID, rev uint64, contact jid.JID) *edition {
		r := s.Roster(user).Clone()
		if err := r.Set(contact, "", nil); err != nil {
			t.Fatal(err)
		}
		value, err := r.Encode(user)
		if err != nil {
			t.Fatal(err)
		}
		return &edition{rev: rev, value: value}
	}
	dave := jid.MustParse("dave@example.com")
	s.replace(t.Context(), map[string]*edition{
		accountKey(alice): edit(alice, 99, bob),
		accountKey(bob):   {rev: s.edition(accountKey(bob)).rev, value: []byte("is not read again")}, // unchanged
		accountKey(dave):  edit(dave, 100, carol),
	})
	s.work.Wait()
	got := l.all()
	slices.Sort(got)
	if want := []string{"alice +bob", "carol -alice", "dave +carol"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if names(s, bob) != "alice" || names(s, carol) != "" {
		t.Errorf("bob %q, carol %q", names(s, bob), names(s, carol))
	}
}

// TestDamagedRoster: a record that cannot be read is reported, counts as empty, is
// not written over, and hides no other.
func TestDamagedRoster(t *testing.T) {
	t.Parallel()
	reports := make(chan error, 10)
	s := openRosters(t, openBroker(t, t.TempDir()), RostersOptions{Report: func(err error) { reports <- err }})
	update(t, s, bob, add(alice))
	for _, value := range []string{"{", `{"jid":"bob@example.com","roster":{}}`, `{"jid":"alice@example.com","roster":{"@":{}}}`} {
		if _, err := s.kv.PutString(t.Context(), accountKey(alice), value); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the record", func() bool {
			e := s.edition(accountKey(alice))
			return e != nil && len(reports) == 0 && s.Roster(alice).Len() == 0 && len(reports) > 0
		})
		if err := <-reports; !strings.Contains(err.Error(), "alice=40example=2Ecom") {
			t.Errorf("report %v", err)
		}
		if err := s.Update(t.Context(), alice, add(bob), nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("update of %s: %v", value, err)
		}
	}
	if names(s, bob) != "alice" {
		t.Errorf("bob has %s", names(s, bob))
	}
	if err := s.Remove(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	update(t, s, alice, add(bob))
	if names(s, alice) != "bob" {
		t.Errorf("mended: %s", names(s, alice))
	}
}

func TestRosterSize(t *testing.T) {
	t.Parallel()
	s := openRosters(t, openBroker(t, t.TempDir()), RostersOptions{Limits: roster.Limits{Bytes: 300}})
	update(t, s, alice, add(bob))
	var limit *roster.LimitError
	err := s.Update(t.Context(), alice, func(r *roster.Roster) error { return r.Set(bob, strings.Repeat("x", 300), nil) }, nil)
	if !errors.As(err, &limit) || names(s, alice) != "bob" {
		t.Errorf("%v; contacts %s", err, names(s, alice))
	}
}

// TestRostersWithoutBroker: what is known is still read, a change fails in time.
func TestRostersWithoutBroker(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	s := openRosters(t, b, RostersOptions{})
	update(t, s, alice, add(bob))
	closeBroker(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Update(ctx, alice, add(carol), nil); err == nil || names(s, alice) != "bob" {
		t.Errorf("%v; contacts %s", err, names(s, alice))
	}
}

func TestTurns(t *testing.T) {
	t.Parallel()
	var ts turns
	done, err := ts.take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := ts.take(t.Context(), "b"); err != nil {
		t.Fatal(err)
	} else {
		other()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ts.take(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("a turn that is taken: %v", err)
	}
	got := make(chan func(), 1)
	go func() {
		next, err := ts.take(t.Context(), "a")
		if err != nil {
			t.Error(err)
		}
		got <- next
	}()
	done()
	(<-got)()
	if len(ts.names) != 0 {
		t.Errorf("%d names are kept", len(ts.names))
	}
}

// BenchmarkRoster is what each presence costs.
func BenchmarkRoster(b *testing.B) {
	s := openRosters(b, openBroker(b, b.TempDir()), RostersOptions{})
	err := s.Update(b.Context(), alice, func(r *roster.Roster) error {
		for i := range 100 {
			if err := r.Set(jid.MustParse(fmt.Sprintf("c%d@example.com", i)), "", nil); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for range s.Roster(alice).All() {
		}
	}
}
