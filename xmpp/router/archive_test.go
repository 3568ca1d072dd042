package router

import (
	"context"
	"slices"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// archive gives everything the id "new", and has had "old".
type archive struct{ kept int }

func (a *archive) Keep(context.Context, jid.JID, *stanza.Stanza, string) string {
	a.kept++
	return "new"
}

func (a *archive) Has(_ context.Context, _ jid.JID, id string) bool {
	return id == "old" || id == "new"
}

// ids are those that a message bears.
func ids(st *stanza.Stanza) (all []string) {
	for e := range st.Element.Elements() {
		if e.Name.Local == "stanza-id" {
			all = append(all, e.Attr("by")+" "+e.Attr("id"))
		}
	}
	return all
}

// TestArchiveOfKept: XEP-0359 §3, a message from custody bears the id of its recipient's
// archive, once, and is archived once; what its domain has marked it with stays.
func TestArchiveOfKept(t *testing.T) {
	t.Parallel()
	const alice = "alice@here.example"
	for _, c := range []struct {
		name string
		ids  [][2]string
		hint string
		kept int
		want []string
	}{
		{"a new one", nil, "", 1, []string{alice + " new"}},
		{"one that was archived when it came", [][2]string{{alice, "old"}, {"here.example", "mark"}}, "", 0, []string{alice + " old", "here.example mark"}},
		{"what is not true", [][2]string{{alice, "forged"}, {"here.example", "mark"}, {"room@muc.example", "x"}}, "", 1, []string{"here.example mark", "room@muc.example x", alice + " new"}},
		{"one that is not archived", [][2]string{{alice, "forged"}, {"here.example", "mark"}}, "no-store", 0, []string{"here.example mark"}},
	} {
		s := &client{jid: jid.MustParse(alice + "/a")}
		a := new(archive)
		r := newRouter(t, Options{Archive: a}, s)
		st := stanza.NewMessage(s.jid.Bare(), jid.MustParse("news@mail.example"), "chat", "x")
		for _, id := range c.ids {
			st.Element.Add(xmlwire.New(stanza.StanzaID.Space, "stanza-id", "by", id[0], "id", id[1]))
		}
		if c.hint != "" {
			st.Element.Add(xmlwire.New(nsHints, c.hint))
		}
		if _, _, err := r.DeliverKept(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		got, _ := s.last()
		if !slices.Equal(ids(got), c.want) || a.kept != c.kept {
			t.Errorf("%s: %q, archived %d times; want %q, %d", c.name, ids(got), a.kept, c.want, c.kept)
		}
	}
}
