package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// archived asks for the newest messages of the client's archive, and returns their ids
// there and their texts; count of them have to be there.
func (j *jabber) archived(count int) (ids, texts []string) {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.t.Context(), patience)
	defer cancel()
	const rsm = "http://jabber.org/protocol/rsm"
	query := xmlwire.New("urn:xmpp:mam:2", "query").Add(xmlwire.New(rsm, "set").Add(xmlwire.New(rsm, "before")))
	if err := j.c.Send(ctx, stanza.NewIQ(j.c.JID().Bare(), jid.JID{}, stanza.TypeSet, "archive", query)); err != nil {
		j.t.Fatal(err)
	}
	for range count {
		st := j.next()
		result := st.Element.Child(xmlwire.Name{Space: "urn:xmpp:mam:2", Local: "result"})
		if result == nil {
			j.t.Fatalf("%s is no result", st)
		}
		forwarded := result.Child(xmlwire.Name{Space: "urn:xmpp:forward:0", Local: "forwarded"})
		inside := forwarded.Child(xmlwire.Name{Space: stanza.Client, Local: "message"})
		ids = append(ids, result.Attr("id"))
		texts = append(texts, inside.Child(xmlwire.Name{Space: stanza.Client, Local: "body"}).Text())
	}
	return ids, texts
}

// TestArchive: what comes from mail is in its recipient's archive once it is delivered,
// under the id that it bears, in order and once, whatever happens to the process; chat
// states are not.
func TestArchive(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("away@localhost", "secret")
	var ids, texts []string
	const count = 20
	for i := range count {
		if err := inject(t.Context(), g, i%4 == 0, "away@localhost", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	j := login(t, g.xmpp(), "away@localhost/a", 0)
	for i := range count {
		st := j.want(fmt.Sprint(i))
		id := st.Element.Child(xmlwire.Name{Space: "urn:xmpp:sid:0", Local: "stanza-id"})
		if id == nil || id.Attr("by") != "away@localhost" {
			t.Fatalf("message %d bears no id of the archive: %s", i, st)
		}
		ids, texts = append(ids, id.Attr("id")), append(texts, fmt.Sprint(i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	state := stanza.NewMessage(jid.MustParse("nobody@localhost"), jid.JID{}, "chat", "")
	state.Element.Add(xmlwire.New("http://jabber.org/protocol/chatstates", "composing"))
	if err := j.c.Send(ctx, state); err != nil {
		t.Fatal(err)
	}
	if st := j.next(); st.Type != stanza.TypeError {
		t.Errorf("to nobody: %s", st)
	}
	check := func(j *jabber, when string) {
		t.Helper()
		gotIDs, gotTexts := j.archived(count)
		if !slices.Equal(gotIDs, ids) || !slices.Equal(gotTexts, texts) {
			t.Errorf("%s the archive has %v %v, want %v %v", when, gotIDs, gotTexts, ids, texts)
		}
		select {
		case st := <-j.in:
			t.Errorf("%s there is more: %s", when, st)
		case <-time.After(100 * time.Millisecond):
		}
	}
	check(j, "at once")
	j.close()
	g.kill()
	g.start()
	check(login(t, g.xmpp(), "away@localhost/b", 0), "after a kill")
}

// TestArchiveOff: without archives there is nothing of them.
func TestArchiveOff(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "archive = off\n")
	g.start()
	g.addUser("bob@localhost", "secret")
	j := login(t, g.xmpp(), "bob@localhost/a", 0)
	if err := inject(t.Context(), g, true, "bob@localhost", "hi"); err != nil {
		t.Fatal(err)
	}
	if st := j.want("hi"); st.Element.Child(xmlwire.Name{Space: "urn:xmpp:sid:0", Local: "stanza-id"}) != nil {
		t.Errorf("an id of an archive that is not there: %s", st)
	}
}
