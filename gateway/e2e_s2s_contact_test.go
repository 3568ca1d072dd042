package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// contact is somebody who is logged in, at the gateway or at a peer, and looks at
// every stanza.
type contact struct {
	t    *testing.T
	c    *stream.Client
	in   chan *stanza.Stanza // closed when the stream has ended
	stop context.CancelFunc
	once sync.Once
}

// meet logs in with the password that all accounts have, asks for the roster, so that
// changes of it are told (RFC 6121 §2.2), and sends presence. It waits until that
// comes back: from then on messages are not stored.
func meet(t *testing.T, addr, user string) *contact {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := stream.Dial(ctx, stream.ClientOptions{JID: jid.MustParse(user), Password: "secret", Address: addr,
		TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	reading, stop := context.WithCancel(context.Background())
	p := &contact{t: t, c: c, in: make(chan *stanza.Stanza, 4096), stop: stop}
	go func() {
		defer close(p.in)
		for {
			st, err := c.Receive(reading)
			if err != nil {
				return
			}
			p.in <- st
		}
	}()
	t.Cleanup(p.leave)
	p.send(`<iq xmlns='jabber:client' type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>`)
	p.gets("its roster", func(st *stanza.Stanza) bool { return st.Kind == stanza.IQ && st.ID == "roster" })
	if err := c.Available(ctx, 0); err != nil {
		t.Fatal(err)
	}
	p.presence(c.JID().String(), "")
	return p
}

// leave logs out in order.
func (p *contact) leave() {
	p.once.Do(func() {
		p.stop()
		for range p.in { // until the reader is gone
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = p.c.Close(ctx) // the server may be gone
	})
}

func (p *contact) full() string { return p.c.JID().String() }
func (p *contact) bare() string { return p.c.JID().Bare().String() }

// send sends a stanza.
func (p *contact) send(format string, args ...any) {
	p.t.Helper()
	st, err := stanza.ParseBytes(fmt.Appendf(nil, format, args...), xmlwire.Limits{})
	if err == nil {
		err = p.c.Send(p.t.Context(), st)
	}
	if err != nil {
		p.t.Fatalf("%s sends: %v", p.full(), err)
	}
}

// gets returns the next stanza that is wanted; what comes before it is passed over.
func (p *contact) gets(what string, wanted func(*stanza.Stanza) bool) *stanza.Stanza {
	p.t.Helper()
	var passed []string
	timeout := time.After(patience)
	for {
		select {
		case st, ok := <-p.in:
			switch {
			case !ok:
				p.t.Fatalf("%s: the stream ended before %s; there were %q", p.full(), what, passed)
			case wanted(st):
				return st
			}
			passed = append(passed, st.Element.String())
		case <-timeout:
			p.t.Fatalf("%s does not get %s but %q", p.full(), what, passed)
		}
	}
}

// presence returns the next presence of that type from a JID, a bare one for all its
// resources.
func (p *contact) presence(from, typ string) *stanza.Stanza {
	p.t.Helper()
	return p.gets(fmt.Sprintf("presence %q of %s", typ, from), func(st *stanza.Stanza) bool {
		return st.Kind == stanza.Presence && st.Type == typ && (st.From.String() == from || st.From.Bare().String() == from)
	})
}

// shows returns the next presence of somebody with that <show/>.
func (p *contact) shows(from, show string) {
	p.t.Helper()
	p.gets(from+" who shows "+show, func(st *stanza.Stanza) bool {
		e := st.Child("show")
		return st.Kind == stanza.Presence && st.From.String() == from && e != nil && e.Text() == show
	})
}

// says sends a chat message to somebody and waits until that one has it.
func (p *contact) says(to *contact, text string) {
	p.t.Helper()
	p.send(`<message xmlns='jabber:client' type='chat' to='%s' id='%s'><body>%s</body></message>`, to.full(), text, text)
	st := to.message(text)
	if st.From != p.c.JID() || st.Type != "chat" || st.ID != text {
		p.t.Fatalf("%s said %q and %s received %s", p.full(), text, to.full(), st.Element)
	}
}

// message returns the next message that is none but that with the text.
func (p *contact) message(text string) *stanza.Stanza {
	p.t.Helper()
	st := p.gets("the message "+text, func(st *stanza.Stanza) bool { return st.Kind == stanza.Message && st.Child("body") != nil })
	if got := bodyOf(st); got != text {
		p.t.Fatalf("%s received %s, want the text %q", p.full(), st.Element, text)
	}
	return st
}

// refused returns the error that comes back for a message to nobody who takes it.
func (p *contact) refused(to string, want stanza.Condition) {
	p.t.Helper()
	id := "to " + to
	p.send(`<message xmlns='jabber:client' type='chat' to='%s' id='%s'><body>anybody?</body></message>`, to, id)
	st := p.gets("an error from "+to, func(st *stanza.Stanza) bool { return st.Kind == stanza.Message && st.ID == id })
	if e := st.Child("error"); st.Type != stanza.TypeError || e == nil || stanza.ParseError(e).Condition != want {
		p.t.Errorf("%s wrote to %s and has %s, want %s", p.full(), to, st.Element, want)
	}
}

// pings sends an IQ to somebody and waits for the answer (XEP-0199).
func (p *contact) pings(to string) {
	p.t.Helper()
	id := "ping " + to
	p.send(`<iq xmlns='jabber:client' type='get' to='%s' id='%s'><ping xmlns='urn:xmpp:ping'/></iq>`, to, id)
	st := p.gets("an answer from "+to, func(st *stanza.Stanza) bool { return st.Kind == stanza.IQ && st.ID == id })
	if st.Type != stanza.TypeResult || st.From.String() != to {
		p.t.Errorf("%s pinged %s and has %s", p.full(), to, st.Element)
	}
}

// asks has one ask to see the presence of another who agrees (RFC 6121 §3.1).
func (p *contact) asks(other *contact) {
	p.t.Helper()
	p.send(`<presence xmlns='jabber:client' type='subscribe' to='%s'/>`, other.bare())
	if st := other.presence(p.bare(), "subscribe"); st.From.Resource() != "" {
		p.t.Errorf("the request is from %s, not from a bare JID (RFC 6121 §3.1.2)", st.From)
	}
	other.send(`<presence xmlns='jabber:client' type='subscribed' to='%s'/>`, p.bare())
	p.presence(other.bare(), "subscribed")
	p.presence(other.full(), "") // RFC 6121 §3.1.5
}

// befriend goes the whole way of two people: they subscribe to each other, see each
// other change, go and come back, and part (RFC 6121 §3, §4).
func befriend(p, other *contact, again func() *contact) {
	p.t.Helper()
	p.asks(other)
	other.asks(p)
	p.send(`<presence xmlns='jabber:client'><show>dnd</show></presence>`)
	other.shows(p.full(), "dnd")
	other.send(`<presence xmlns='jabber:client'><show>away</show></presence>`)
	p.shows(other.full(), "away")

	left := p.full()
	p.leave()
	other.presence(left, "unavailable")
	p = again()
	p.shows(other.full(), "away") // by a probe, RFC 6121 §4.3
	other.presence(p.full(), "")

	// RFC 6121 §3.2.1 and §3.3.1, by §2.5.2.
	p.send(`<iq xmlns='jabber:client' type='set' id='part'><query xmlns='jabber:iq:roster'><item jid='%s' subscription='remove'/></query></iq>`, other.bare())
	other.parts(p)
	p.send(`<presence xmlns='jabber:client' to='%s'><show>xa</show></presence>`, other.bare()) // directed, §4.6
	other.shows(p.full(), "xa")
}

// parts waits until somebody has given up both subscriptions, in whatever order.
func (p *contact) parts(from *contact) {
	p.t.Helper()
	missing := map[string]bool{"unsubscribe": true, "unsubscribed": true}
	p.gets("the end of both subscriptions", func(st *stanza.Stanza) bool {
		if st.Kind == stanza.Presence && st.From.Bare().String() == from.bare() { // COMPAT Prosody 0.12: from the full JID
			delete(missing, st.Type)
		}
		return len(missing) == 0
	})
}
