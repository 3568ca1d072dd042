package delivery

import (
	"context"
	"testing"

	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// TestMustNotWait: what the filter does not let wait ends as filtered when its
// recipient is away, holds nobody up and is never delivered late; while the
// recipient is there it is delivered.
func TestMustNotWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.dl.o.Filter = func(_ context.Context, rec custody.Record, st *stanza.Stanza) string {
		if rec.JID.Bare() == alice && st.Child("body") == nil {
			return "states: nobody is there"
		}
		return ""
	}
	w.run()
	state := func(to jid.JID, id string) {
		st := stanza.NewMessage(to, news, stanza.TypeChat, "")
		st.ID = id
		st.Element.Add(xmlwire.New("http://jabber.org/protocol/chatstates", "composing"))
		w.putStanza(st)
	}
	state(alice, "s1")
	e := w.events.wait(t, trace.Filtered, 1)[0]
	if e.Filter != "states" || e.Verdict != "drop" || e.Reason != "nobody is there" || e.StanzaID != "s1" {
		t.Errorf("told %+v", e)
	}
	w.idle()
	w.dl.mu.Lock()
	if n := len(w.dl.routes); n != 0 {
		t.Errorf("%d routes wait for nothing", n)
	}
	w.dl.mu.Unlock()
	waited := w.put(alice, 1)
	w.events.wait(t, trace.Deferred, 1)
	state(alice, "s2") // behind one that waits
	waited = append(waited, w.put(alice, 1)...)
	w.events.wait(t, trace.Deferred, 2)
	w.events.wait(t, trace.Filtered, 2)
	c := w.login("alice@localhost/a")
	c.expect(t, waited)
	w.events.wait(t, trace.Delivered, 2)
	w.idle()
	state(alice, "s3")
	c.expect(t, append(waited, "s3"))
	w.events.wait(t, trace.Delivered, 3)
	if s := w.dl.Stats(); s.Filtered != 2 || s.Parked != 0 || s.Failed != 0 {
		t.Errorf("stats %+v", s)
	}
	if n := w.dead(); n != 0 {
		t.Errorf("%d dead messages", n)
	}
}
