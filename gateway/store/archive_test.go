package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	archive "mcmt2xmpp/xmpp/account"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func openArchive(t *testing.T, b *broker.Broker, o ArchiveOptions) *Archive {
	t.Helper()
	a, err := OpenArchive(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// asker gets the answers to queries.
type asker struct {
	router.Session
	ids []string
}

func (a *asker) Send(_ context.Context, st *stanza.Stanza) error {
	a.ids = append(a.ids, st.Element.Child(xmlwire.Name{Space: "urn:xmpp:mam:2", Local: "result"}).Attr("id"))
	return nil
}

// pages asks for all of an archive, page by page, forwards or backwards.
func pages(t *testing.T, store *Archive, prefs *ArchivePreferences, user jid.JID, backwards bool) (ids []string, counted int) {
	t.Helper()
	a := &archive.Archives{Store: store, Preferences: prefs, Page: 7, Failed: func(err error) { t.Error(err) }}
	for before := ""; ; {
		page := xmlwire.New(nsRSM, "set")
		switch {
		case backwards:
			page.Add(xmlwire.New(nsRSM, "before").AddText(before))
		case before != "":
			page.Add(xmlwire.New(nsRSM, "after").AddText(before))
		}
		s := &asker{}
		st := stanza.NewIQ(user, user, stanza.TypeSet, "1", xmlwire.New("urn:xmpp:mam:2", "query").Add(page))
		var payload *xmlwire.Element
		for payload = range st.Element.Elements() {
			break
		}
		fin, err := a.Service().Answer(t.Context(), router.Request{Stanza: st, Payload: payload, Asker: s})
		if err != nil {
			t.Fatal(err)
		}
		set := fin.Child(xmlwire.Name{Space: nsRSM, Local: "set"})
		if n := set.Child(xmlwire.Name{Space: nsRSM, Local: "count"}); n != nil {
			_, _ = fmt.Sscan(n.Text(), &counted)
		}
		if backwards {
			ids = append(s.ids, ids...)
		} else {
			ids = append(ids, s.ids...)
		}
		if fin.Attr("complete") == "true" {
			return ids, counted
		}
		if before = s.ids[len(s.ids)-1]; backwards {
			before = s.ids[0]
		}
	}
}

const nsRSM = "http://jabber.org/protocol/rsm"

// TestArchive: two processes write and read one archive, among those of others; pages
// in either direction have every message once, in order; and a restart changes nothing.
func TestArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	here, there := openArchive(t, b, ArchiveOptions{}), openArchive(t, b, ArchiveOptions{})
	prefs, err := OpenArchivePreferences(t.Context(), b, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer prefs.Close()
	keep := func(store *Archive, user jid.JID, text, once string) string {
		t.Helper()
		a := &archive.Archives{Store: store, Preferences: prefs, Failed: func(err error) { t.Error(err) }}
		st := stanza.NewMessage(user, jid.MustParse("news@mail.example/x"), "chat", text)
		return a.Keep(t.Context(), user, st, once)
	}
	var want []string
	for i := range 100 {
		want = append(want, keep([]*Archive{here, there}[i%2], bob, fmt.Sprint(i), ""))
		for range i % 5 {
			keep(here, carol, "noise", "")
		}
	}
	for _, store := range []*Archive{here, there} {
		for _, backwards := range []bool{false, true} {
			if got, n := pages(t, store, prefs, bob, backwards); !slices.Equal(got, want) || n != len(want) {
				t.Errorf("backwards %v: %d messages of %d, want %d", backwards, len(got), n, len(want))
			}
		}
	}

	// What is delivered again is stored once, whoever delivers it.
	first := keep(here, bob, "again", "id-1")
	for _, store := range []*Archive{here, there} {
		if again := keep(store, bob, "again", "id-1"); again != first {
			t.Errorf("stored again as %s, first as %s", again, first)
		}
	}
	if other := keep(there, carol, "again", "id-1"); other == first {
		t.Error("another account's message counts as stored")
	}
	want = append(want, first)

	if err := prefs.SetArchivePreferences(t.Context(), carol, archive.ArchivePreferences{Default: archive.PolicyNever, Always: []jid.JID{bob}}); err != nil {
		t.Fatal(err)
	}
	if id := keep(here, carol, "not wanted", ""); id != "" {
		t.Error("it was kept against the preferences")
	}
	_ = prefs.Close()
	closeBroker(t, b)

	b = openBroker(t, dir)
	store := openArchive(t, b, ArchiveOptions{})
	prefs, err = OpenArchivePreferences(t.Context(), b, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer prefs.Close()
	if got, _ := pages(t, store, prefs, bob, true); !slices.Equal(got, want) {
		t.Errorf("after a restart %d messages, want %d", len(got), len(want))
	}
	if p := prefs.ArchivePreferences(carol); p.Default != archive.PolicyNever || !slices.Equal(p.Always, []jid.JID{bob}) {
		t.Errorf("after a restart the preferences are %+v", p)
	}
	if err := store.Remove(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	if got, _ := pages(t, store, prefs, bob, false); len(got) != 0 {
		t.Errorf("after the account there are %d messages", len(got))
	}
	if got, _ := pages(t, store, prefs, carol, false); len(got) == 0 {
		t.Error("with the account another one's archive is gone")
	}
}

// TestArchiveSize: the oldest messages make room, and pages begin at what is left.
func TestArchiveSize(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	store := openArchive(t, b, ArchiveOptions{Bytes: 64 << 10, Age: time.Hour})
	prefs, err := OpenArchivePreferences(t.Context(), b, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer prefs.Close()
	a := &archive.Archives{Store: store, Preferences: prefs, Failed: func(err error) { t.Error(err) }}
	var want []string
	for range 200 {
		want = append(want, a.Keep(t.Context(), bob, stanza.NewMessage(bob, carol, "chat", strings.Repeat("x", 1000)), ""))
	}
	got, n := pages(t, store, prefs, bob, true)
	if len(got) == 0 || len(got) > 64 || n != len(got) || !slices.Equal(got, want[len(want)-len(got):]) {
		t.Errorf("%d messages of %d are left, not the last ones", len(got), n)
	}
	a = &archive.Archives{Store: store, Preferences: prefs, Failed: func(err error) { t.Error(err) }} // which has seen none of them
	if a.Has(t.Context(), bob, want[0]) || !a.Has(t.Context(), bob, want[len(want)-1]) {
		t.Error("it is not the oldest that went")
	}
}
