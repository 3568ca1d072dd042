package account

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
)

var (
	alice = jid.MustParse("alice@here.example")
	bob   = jid.MustParse("bob@here.example")
	carol = jid.MustParse("carol@away.example")
	epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
)

// memory is an ArchiveStore: a line for each message of anybody, a second apart.
type memory struct {
	lines []line
	most  int // that Read returns
}

type line struct {
	user, with jid.JID
	Archived
}

func (m *memory) Append(_ context.Context, user, with jid.JID, a Archived, _ string) (Archived, error) {
	a.Seq = uint64(len(m.lines) + 1)
	a.At = epoch.Add(time.Duration(a.Seq) * time.Second)
	m.lines = append(m.lines, line{user, with, a})
	return a, nil
}

func (m *memory) Read(_ context.Context, user, with jid.JID, from uint64, since time.Time, limit int) (found []Archived, left int, err error) {
	for _, l := range m.lines {
		switch {
		case l.user != user || !with.IsZero() && l.with != with || l.Seq < from || from == 0 && l.At.Before(since):
		case len(found) < min(limit, m.most):
			found = append(found, l.Archived)
		default:
			left++
		}
	}
	return found, left, nil
}

type preferences map[jid.JID]ArchivePreferences

func (p preferences) ArchivePreferences(user jid.JID) ArchivePreferences { return p[user] }
func (p preferences) SetArchivePreferences(_ context.Context, user jid.JID, now ArchivePreferences) error {
	p[user] = now
	return nil
}

func archives(m *memory) *Archives {
	return &Archives{
		Store: m, Preferences: preferences{}, Page: 7, Failed: func(error) {},
		Roster: func(jid.JID) *roster.Roster { return new(roster.Roster) },
	}
}

// expected is the page of a query by its definition: all that match, and of these the
// part that is asked for.
func expected(m *memory, q archiveQuery, most int) (page []string, complete bool, index, count int) {
	var all []line
	place := make(map[string]uint64)
	for _, l := range m.lines {
		place[l.id()] = l.Seq
		if l.user != alice || !q.with.IsZero() && l.with != q.with ||
			!q.start.IsZero() && l.At.Before(q.start) || !q.end.IsZero() && l.At.After(q.end) {
			continue
		}
		all = append(all, l)
	}
	keep := func(f func(line) bool) []line {
		return slices.DeleteFunc(slices.Clone(all), func(l line) bool { return !f(l) })
	}
	if q.afterID != "" {
		all = keep(func(l line) bool { return l.Seq > place[q.afterID] })
	}
	if q.beforeID != "" {
		all = keep(func(l line) bool { return l.Seq < place[q.beforeID] })
	}
	if q.max >= 0 {
		most = min(most, q.max)
	}
	part := all
	switch {
	case q.before != "":
		part = keep(func(l line) bool { return l.Seq < place[q.before] })
	case q.after != "":
		part = keep(func(l line) bool { return l.Seq > place[q.after] })
		index = len(all) - len(part)
	case q.index > 0:
		part, index = all[q.index:], q.index
	}
	complete = len(part) <= most
	if q.last {
		part = part[max(0, len(part)-most):]
	}
	if q.last {
		index = -1
	}
	for _, l := range part[:min(len(part), most)] {
		page = append(page, l.id())
	}
	return page, complete, index, len(all)
}

// TestPages compares pages of any query of any archive with what they are by definition.
func TestPages(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &memory{most: rapid.IntRange(1, 5).Draw(t, "read")}
		a := archives(m)
		var ids []string
		for i := range rapid.IntRange(0, 60).Draw(t, "messages") {
			user := rapid.SampledFrom([]jid.JID{alice, alice, bob}).Draw(t, "user")
			with := rapid.SampledFrom([]jid.JID{bob, carol}).Draw(t, "with")
			l, _ := m.Append(t.Context(), user, with, Archived{Key: fmt.Sprint("k", i)}, "")
			if user == alice {
				ids = append(ids, l.id())
			}
		}
		q := archiveQuery{max: rapid.IntRange(-1, 9).Draw(t, "max"), index: -1}
		q.with = rapid.SampledFrom([]jid.JID{{}, bob, carol}).Draw(t, "with")
		when := func(name string) time.Time {
			if !rapid.Bool().Draw(t, name) {
				return time.Time{}
			}
			return epoch.Add(time.Duration(rapid.IntRange(-1, 62).Draw(t, name)) * time.Second)
		}
		q.start, q.end = when("start"), when("end")
		some := func(name string) string {
			if len(ids) == 0 || !rapid.Bool().Draw(t, name) {
				return ""
			}
			return rapid.SampledFrom(ids).Draw(t, name)
		}
		q.afterID, q.beforeID = some("after-id"), some("before-id")
		switch rapid.IntRange(0, 3).Draw(t, "page") {
		case 1:
			q.last, q.before = true, some("before")
		case 2:
			q.after = some("after")
			q.hasAfter = q.after != ""
		case 3:
			if _, _, _, count := expected(m, q, 7); count > 1 {
				q.index = rapid.IntRange(0, count-1).Draw(t, "index")
			}
		}
		p, err := a.page(t.Context(), alice, q)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range p.messages {
			got = append(got, m.id())
		}
		want, complete, index, count := expected(m, q, 7)
		if !slices.Equal(got, want) || p.complete != complete || p.count != count || len(want) > 0 && p.index != index {
			t.Errorf("%+v:\n got %v, complete %v, index %d of %d\nwant %v, complete %v, index %d of %d", q, got, p.complete, p.index, p.count, want, complete, index, count)
		}
	})
}

// TestPageOfLargeMessages: a page stays within what a client can take, whichever end it
// begins at, and is never empty.
func TestPageOfLargeMessages(t *testing.T) {
	t.Parallel()
	m := &memory{most: 2}
	for i := range 10 {
		_, _ = m.Append(t.Context(), alice, bob, Archived{Key: "k", XML: make([]byte, []int{pageBytes/2 - 1, 2 * pageBytes}[i/5])}, "")
	}
	a := archives(m)
	for _, c := range []struct {
		name  string
		q     archiveQuery
		first uint64
		n     int
	}{
		{"from the beginning", archiveQuery{max: -1, index: -1}, 1, 2},
		{"the end, of huge ones", archiveQuery{max: -1, index: -1, last: true}, 10, 1},
		{"before them", archiveQuery{max: -1, index: -1, last: true, before: m.lines[5].id()}, 4, 2},
		{"after them", archiveQuery{max: -1, index: -1, hasAfter: true, after: m.lines[7].id()}, 9, 1},
	} {
		p, err := a.page(t.Context(), alice, c.q)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.messages) != c.n || p.messages[0].Seq != c.first || p.complete {
			t.Errorf("%s: %d messages from %d, complete %v; want %d from %d", c.name, len(p.messages), p.messages[0].Seq, p.complete, c.n, c.first)
		}
	}
}

// TestResource: with a resource only what is with that one matches (XEP-0313 §4.1.1).
func TestResource(t *testing.T) {
	t.Parallel()
	m := &memory{most: 3}
	a := archives(m)
	var want []string
	for i := range 40 {
		from := []string{"bob@here.example/phone", "bob@here.example/desk", "bob@here.example"}[i%3]
		st := stanza.NewMessage(alice, jid.MustParse(from), "chat", fmt.Sprint(i))
		id := a.Keep(t.Context(), alice, st, "")
		if i%3 == 0 {
			want = append(want, id)
		}
	}
	with := jid.MustParse("bob@here.example/phone")
	ids := func(q archiveQuery) (all []string, complete bool) {
		p, err := a.page(t.Context(), alice, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range p.messages {
			all = append(all, m.id())
		}
		return all, p.complete
	}
	first, complete := ids(archiveQuery{with: with, max: -1, index: -1})
	if !slices.Equal(first, want[:7]) || complete {
		t.Errorf("first page: %v, complete %v", first, complete)
	}
	second, complete := ids(archiveQuery{with: with, max: -1, index: -1, hasAfter: true, after: first[6]})
	if !slices.Equal(second, want[7:]) || !complete {
		t.Errorf("second page: %v, complete %v; want %v", second, complete, want[7:])
	}
	last, complete := ids(archiveQuery{with: with, max: 3, index: -1, last: true})
	if !slices.Equal(last, want[len(want)-3:]) || complete {
		t.Errorf("last page: %v, complete %v", last, complete)
	}
	before, _ := ids(archiveQuery{with: with, max: 3, index: -1, last: true, before: last[0]})
	if !slices.Equal(before, want[len(want)-6:len(want)-3]) {
		t.Errorf("the page before: %v", before)
	}
}

// TestWants: XEP-0441 §2, with whom messages are kept.
func TestWants(t *testing.T) {
	t.Parallel()
	listed := new(roster.Roster)
	if err := listed.Set(bob, "", nil); err != nil {
		t.Fatal(err)
	}
	phone := jid.MustParse("carol@away.example/phone")
	for _, c := range []struct {
		name   string
		server Policy
		p      ArchivePreferences
		with   jid.JID
		want   bool
	}{
		{"nothing is said", "", ArchivePreferences{}, carol, true},
		{"the server's policy", PolicyNever, ArchivePreferences{}, carol, false},
		{"one's own", PolicyNever, ArchivePreferences{Default: PolicyAlways}, carol, true},
		{"a contact", PolicyRoster, ArchivePreferences{}, bob, true},
		{"oneself", PolicyRoster, ArchivePreferences{}, alice, true},
		{"a stranger", PolicyRoster, ArchivePreferences{}, carol, false},
		{"never with him", PolicyAlways, ArchivePreferences{Never: []jid.JID{carol}}, phone, false},
		{"always with him", PolicyNever, ArchivePreferences{Always: []jid.JID{carol}}, phone, true},
		{"always with a resource", PolicyNever, ArchivePreferences{Always: []jid.JID{phone}}, phone, true},
		{"not with another", PolicyNever, ArchivePreferences{Always: []jid.JID{phone}}, carol, false},
		{"both", PolicyNever, ArchivePreferences{Always: []jid.JID{carol}, Never: []jid.JID{carol}}, carol, true},
	} {
		a := &Archives{Default: c.server, Preferences: preferences{alice: c.p}, Roster: func(jid.JID) *roster.Roster { return listed }}
		if got := a.wants(alice, c.with); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
