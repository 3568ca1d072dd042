package app

import (
	"strconv"
	"testing"

	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// TestSentBounded: of the messages that other servers have taken the newest are known,
// each for one error, and no more than so many.
func TestSentBounded(t *testing.T) {
	t.Parallel()
	var r receipts
	to := jid.MustParse("eve@far.example")
	sent := func(id string) {
		r.Sent(custody.Letter{Record: custody.Record{ID: mcmt.ID(id), StanzaID: id, JID: to}, Body: []byte("text")})
	}
	for i := range 3 * maxSent {
		sent(strconv.Itoa(i))
	}
	if n := len(r.sent) + len(r.older); n > 2*maxSent {
		t.Errorf("%d are remembered", n)
	}
	last := strconv.Itoa(3*maxSent - 1)
	letter := func(id string) custody.Letter { return custody.Letter{Record: custody.Record{StanzaID: id, JID: to}} }
	why := &stanza.Error{Condition: stanza.Gone}
	if why := r.Taken(letter(last)); why != nil {
		t.Errorf("sent back before it was: %v", why)
	}
	if _, ok := r.sentBack(last, jid.MustParse("mallory@far.example"), why); ok {
		t.Error("an error of somebody else is taken for his")
	}
	l, ok := r.sentBack(last, jid.MustParse("eve@far.example/desk"), why)
	if !ok || string(l.ID) != last || l.Body != nil {
		t.Errorf("%+v, %v", l, ok)
	}
	if _, ok := r.sentBack(last, to, why); ok {
		t.Error("it is told twice")
	}
	if _, ok := r.sentBack("0", to, why); ok {
		t.Error("an old one is known yet")
	}
	early := strconv.Itoa(3*maxSent - 2)
	if _, ok := r.sentBack(early, to, why); ok || r.Taken(letter(early)) != why {
		t.Error("what comes back at once is not known when the message ends")
	}
}
