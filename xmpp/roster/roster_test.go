package roster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

var (
	alice = jid.MustParse("alice@here.example")
	bob   = jid.MustParse("bob@there.example")
)

func condition(err error) stanza.Condition {
	var e *stanza.Error
	if errors.As(err, &e) {
		return e.Condition
	}
	return ""
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSetKeepsSubscription is RFC 6121 §2.1.2.5: a client changes names and groups,
// and subscriptions by presence only.
func TestSetKeepsSubscription(t *testing.T) {
	t.Parallel()
	var r Roster
	must(r.Outbound(bob, Subscribe))
	must(r.Inbound(bob, Subscribed, nil))
	must(r.Outbound(bob, Subscribed))
	if err := r.Set(bob, "Bob", []string{"Friends", "Work"}); err != nil {
		t.Fatal(err)
	}
	want := Item{JID: bob, Name: "Bob", Groups: []string{"Friends", "Work"}, State: To, Approved: true}
	if got, ok := r.Item(bob); !ok || !got.same(want) || r.Len() != 1 {
		t.Errorf("%+v, %d items", got, r.Len())
	}
	if err := r.Set(bob, "", nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := r.Item(jid.MustParse("bob@there.example/phone")); got.Name != "" || len(got.Groups) != 0 || got.State != To {
		t.Errorf("%+v", got)
	}
}

// TestRequestIsNoItem is RFC 6121 §A.1: who asks is not in the roster before the
// user has answered.
func TestRequestIsNoItem(t *testing.T) {
	t.Parallel()
	var r Roster
	request := must(stanza.ParseBytes([]byte(`<presence xmlns='jabber:client' from='bob@there.example' to='alice@here.example' id='x' type='subscribe'>`+
		`<status>Please</status><nick xmlns='http://jabber.org/protocol/nick'>Bob</nick></presence>`), xmlwire.Limits{}))
	must(r.Inbound(bob, Subscribe, request))
	if r.Len() != 0 || r.Version() != "0" || !r.Changed() || r.State(bob) != NonePendingIn {
		t.Errorf("%d items, version %s, changed %v, %q", r.Len(), r.Version(), r.Changed(), r.State(bob))
	}
	// §3.1.3: the complete stanza, with its extended content, and the first one only.
	must(r.Inbound(bob, Subscribe, stanza.NewPresence(alice, bob, "subscribe")))
	all := r.Requests()
	if len(all) != 1 || all[0].From != bob || all[0].ID != "x" || all[0].Child("status").Text() != "Please" ||
		all[0].Element.Child(xmlwire.Name{Space: "http://jabber.org/protocol/nick", Local: "nick"}) == nil {
		t.Errorf("requests %v", all)
	}
	if _, err := r.Remove(bob); condition(err) != stanza.ItemNotFound {
		t.Errorf("remove what is no item: %v", err)
	}
	must(r.Outbound(bob, Subscribed))
	if item, ok := r.Item(bob); !ok || item.State != From || len(r.Requests()) != 0 || r.contacts[bob].request != "" {
		t.Errorf("approved: %+v, %v, kept %q", item, r.Requests(), r.contacts[bob].request)
	}
	must(r.Inbound(bob, Unsubscribe, nil))
	if item, ok := r.Item(bob); !ok || item.State != None {
		t.Errorf("a contact that unsubscribes stays one (§3.3.3): %+v", item)
	}
	// A denied stranger leaves nothing behind.
	must(r.Inbound(alice, Subscribe, nil))
	must(r.Outbound(alice, Unsubscribed))
	if n := len(r.contacts); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// TestUnchanged: what changes nothing needs no write and has no new version.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	var base Roster
	must(base.Outbound(bob, Subscribe))
	r := base.Clone()
	if r.Changed() {
		t.Error("a fresh copy is changed")
	}
	must(r.Outbound(bob, Subscribe))
	must(r.Inbound(bob, Unsubscribe, nil))
	must(r.Outbound(alice, Unsubscribe))
	must(r.Inbound(alice, Subscribed, nil))
	if r.Changed() || r.Version() != base.Version() {
		t.Errorf("changed %v, version %s after %s", r.Changed(), r.Version(), base.Version())
	}
	must(r.Inbound(bob, Subscribed, nil))
	if s := base.State(bob); s != NonePendingOut || base.Version() == r.Version() {
		t.Errorf("a change of the copy is one of the original: %q", s)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	var r Roster
	must(r.Outbound(bob, Subscribed)) // pre-approved
	must(r.Inbound(bob, Subscribe, nil))
	must(r.Outbound(bob, Subscribe))
	if was, err := r.Remove(bob); err != nil || was != FromPendingOut || r.Len() != 0 {
		t.Errorf("%q, %v, %d items", was, err, r.Len())
	}
	if o := must(r.Inbound(bob, Subscribe, nil)); o.Reply {
		t.Error("the approval has outlived the contact")
	}
	if _, err := r.Remove(alice); condition(err) != stanza.ItemNotFound { // §2.5.3
		t.Errorf("remove nobody: %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	r := Roster{Limits: Limits{Items: 2, Requests: 2, Groups: 2, Name: 3, Group: 3, Request: 200}}
	numbered := func(i int) jid.JID { return jid.MustParse(fmt.Sprintf("u%d@there.example", i)) }
	for i := range 2 {
		if err := r.Set(numbered(i), "abc", []string{"abc", "d"}); err != nil {
			t.Fatal(err)
		}
	}
	before := must(r.Record())
	for _, c := range []struct {
		name string
		do   func() error
		want stanza.Condition
	}{
		{"one more contact", func() error { return r.Set(bob, "", nil) }, stanza.PolicyViolation},
		{"one more by a subscription", func() error { _, err := r.Outbound(bob, Subscribe); return err }, stanza.PolicyViolation},
		{"one more by an approval to come", func() error { _, err := r.Outbound(bob, Subscribed); return err }, stanza.PolicyViolation},
		{"long name (§2.3.3)", func() error { return r.Set(numbered(0), "abcd", nil) }, stanza.NotAcceptable},
		{"long group (§2.3.3)", func() error { return r.Set(numbered(0), "", []string{"abcd"}) }, stanza.NotAcceptable},
		{"many groups", func() error { return r.Set(numbered(0), "", []string{"a", "b", "c"}) }, stanza.NotAcceptable},
		{"size of the whole", func() error { return Limits{Bytes: 5}.CheckSize([]byte("123456")) }, stanza.PolicyViolation},
	} {
		err := c.do()
		var limit *LimitError
		if !errors.As(err, &limit) || condition(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if after := must(r.Record()); string(after) != string(before) {
		t.Errorf("refused changes have changed %s to %s", before, after)
	}
	for i := range 3 {
		_, err := r.Inbound(numbered(10+i), Subscribe, nil)
		if (condition(err) == stanza.ResourceConstraint) != (i == 2) {
			t.Errorf("request %d: %v", i, err)
		}
	}
	// A contact's request counts as a contact's.
	long := stanza.NewPresence(alice, numbered(0), "subscribe")
	long.ID = "1"
	long.Element.Add(xmlwire.New(stanza.Client, "status").AddText(strings.Repeat("x", 300)))
	must(r.Inbound(numbered(0), Subscribe, long))
	if kept := r.Requests()[0]; kept.From != numbered(0) || kept.ID != "1" || kept.Child("status") != nil {
		t.Errorf("kept %s", kept)
	}
}

// TestVersions is RFC 6121 §2.6: a client gets what changed since its version, or
// everything.
func TestVersions(t *testing.T) {
	t.Parallel()
	var r Roster
	seen := []string{r.Version()}
	step := func(do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if v := r.Version(); slices.Contains(seen, v) {
			t.Fatalf("version %s again", v)
		}
		seen = append(seen, r.Version())
	}
	carol := jid.MustParse("carol@here.example")
	step(func() error { return r.Set(bob, "", nil) })
	step(func() error { return r.Set(carol, "", nil) })
	step(func() error { _, err := r.Outbound(bob, Subscribe); return err })
	step(func() error { _, err := r.Remove(carol); return err })
	step(func() error { return r.Set(alice, "", nil) })
	for n, want := range map[int]string{
		1: "bob@there.example@3 carol@here.example@4! alice@here.example@5",
		3: "carol@here.example@4! alice@here.example@5",
		4: "alice@here.example@5",
		5: "",
	} {
		changes, ok := r.Since(seen[n])
		var got []string
		for _, c := range changes {
			gone := ""
			if c.Removed {
				gone = "!"
			}
			got = append(got, fmt.Sprintf("%s@%d%s", c.Item.JID, slices.Index(seen, c.Version), gone))
		}
		if !ok || strings.Join(got, " ") != want {
			t.Errorf("since %s: %v, %v; want %s", seen[n], got, ok, want)
		}
	}
	if c := must2(r.Since(seen[2]))[0]; c.Item.State != NonePendingOut {
		t.Errorf("the item as it was then: %+v", c)
	}
	for _, v := range []string{"", "x", "0", "x-3", r.id, r.id + "-", r.id + "-6", r.id + "--1", "-3", strings.ToUpper(seen[3])} {
		if changes, ok := r.Since(v); ok {
			t.Errorf("since %q: %v", v, changes)
		}
	}
	for i := range maxLog {
		step(func() error { return r.Set(alice, fmt.Sprint(i), nil) })
	}
	if _, ok := r.Since(seen[4]); ok {
		t.Error("a version is known whose changes are not")
	}
	if changes, ok := r.Since(seen[5]); !ok || len(changes) != 1 {
		t.Errorf("the oldest that is known: %v, %v", changes, ok)
	}
	// A roster of the same user that was made anew is another one.
	var again Roster
	must(again.Outbound(bob, Subscribe))
	if _, ok := again.Since(seen[1]); ok {
		t.Error("versions of a former roster are taken for its own")
	}
}

func must2[T any](v T, ok bool) T {
	if !ok {
		panic("not ok")
	}
	return v
}

func TestDiff(t *testing.T) {
	t.Parallel()
	var old Roster
	carol := jid.MustParse("carol@here.example")
	for _, j := range []jid.JID{alice, bob, carol} {
		if err := old.Set(j, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	next := old.Clone()
	must(next.Remove(alice))
	if err := next.Set(bob, "Bob", nil); err != nil {
		t.Fatal(err)
	}
	show := func(changes []Change) string {
		var all []string
		for _, c := range changes {
			all = append(all, c.Push().String())
		}
		return strings.Join(all, "\n")
	}
	want := fmt.Sprintf(`<query xmlns='jabber:iq:roster' ver='%s-4'><item jid='alice@here.example' subscription='remove'/></query>
<query xmlns='jabber:iq:roster' ver='%[1]s-5'><item jid='bob@there.example' name='Bob' subscription='none'/></query>`, next.id)
	if got := show(next.Diff(&old)); got != want {
		t.Errorf("got %s", got)
	}
	// One whose log does not reach back is compared.
	next.log = nil
	want = fmt.Sprintf(`<query xmlns='jabber:iq:roster' ver='%s-5'><item jid='bob@there.example' name='Bob' subscription='none'/></query>
<query xmlns='jabber:iq:roster' ver='%[1]s-5'><item jid='alice@here.example' subscription='remove'/></query>`, next.id)
	if got := show(next.Diff(&old)); got != want {
		t.Errorf("got %s", got)
	}
	if got := (&Roster{}).Diff(next); len(got) != 2 || !got[0].Removed || got[0].Version != "0" {
		t.Errorf("to an empty one: %v", got)
	}
	if got := next.Diff(&Roster{}); len(got) != 2 || got[0].Item.JID != bob {
		t.Errorf("from an empty one: %v", got)
	}
}
