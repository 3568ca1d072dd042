package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// jabber is a logged-in client that reads until its stream ends.
type jabber struct {
	t    *testing.T
	c    *stream.Client
	in   chan *stanza.Stanza // messages; closed when the stream has ended
	err  error               // why it ended; read it after in is closed
	stop context.CancelFunc
	once sync.Once
}

// login logs in with the password "secret" and sends presence with a priority.
func login(t *testing.T, addr, user string, priority int8) *jabber {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	j, err := loginOver(t, conn, stream.ClientOptions{JID: jid.MustParse(user)}, priority)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// loginOver is login on a connection, with options; TLS is not verified unless
// they say how.
func loginOver(t *testing.T, conn net.Conn, o stream.ClientOptions, priority int8) (*jabber, error) {
	t.Helper()
	if o.Password == "" {
		o.Password = "secret"
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := stream.Connect(ctx, conn, o)
	if err != nil {
		return nil, err
	}
	if err := c.Available(ctx, priority); err != nil {
		return nil, err
	}
	reading, stop := context.WithCancel(context.Background())
	j := &jabber{t: t, c: c, in: make(chan *stanza.Stanza, 4096), stop: stop}
	known := make(chan struct{}) // the gateway has taken the presence
	go func() {
		known := sync.OnceFunc(func() { close(known) })
		defer close(j.in)
		defer known()
		for {
			st, err := c.Receive(reading)
			if err != nil {
				j.err = err
				return
			}
			switch {
			case st.Kind == stanza.Message:
				j.in <- st
			case st.Kind == stanza.Presence && st.From == c.JID():
				known()
			}
		}
	}()
	t.Cleanup(j.close)
	select {
	case <-known:
	case <-ctx.Done():
		t.Fatalf("%s: its presence does not come back", c.JID())
	}
	return j, nil
}

// close logs out in order and waits for the end of the stream.
func (j *jabber) close() {
	j.once.Do(func() {
		j.stop()
		for range j.in { // until the reader is gone
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = j.c.Close(ctx) // the gateway may be gone
	})
}

// next returns the next message.
func (j *jabber) next() *stanza.Stanza {
	j.t.Helper()
	select {
	case st, ok := <-j.in:
		if !ok {
			j.t.Fatalf("%s: the stream ended while a message was awaited: %v", j.c.JID(), j.err)
		}
		return st
	case <-time.After(patience):
		j.t.Fatalf("%s: no message", j.c.JID())
		return nil
	}
}

// want checks the body of the next message.
func (j *jabber) want(body string) *stanza.Stanza {
	j.t.Helper()
	st := j.next()
	if got := bodyOf(st); got != body {
		j.t.Fatalf("%s received %q, want %q", j.c.JID(), got, body)
	}
	return st
}

// ended waits for the end of the stream and returns its error.
func (j *jabber) ended() error {
	j.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case _, ok := <-j.in:
			if !ok {
				return j.err
			}
		case <-timeout:
			j.t.Fatalf("%s: the stream did not end", j.c.JID())
		}
	}
}

// say sends a message, given as the children of its element.
func (j *jabber) say(to, inner string) {
	j.t.Helper()
	e, err := xmlwire.Parse(fmt.Appendf(nil, `<message xmlns='jabber:client' type='chat' to='%s'>%s</message>`, to, inner), xmlwire.Limits{})
	if err != nil {
		j.t.Fatal(err)
	}
	st, err := stanza.Parse(e)
	if err != nil {
		j.t.Fatal(err)
	}
	if err := j.c.Send(j.t.Context(), st); err != nil {
		j.t.Fatal(err)
	}
}

func bodyOf(st *stanza.Stanza) string {
	if e := st.Element.Child(nameBody); e != nil {
		return strings.TrimSpace(e.Text())
	}
	return ""
}

var nameDelay = xmlwire.Name{Space: "urn:xmpp:delay", Local: "delay"}

// streamError checks that err is a stream error of the gateway.
func streamError(t *testing.T, err error, want stream.Condition) {
	t.Helper()
	var peer *stream.PeerError
	if !errors.As(err, &peer) || peer.Err.Condition != want {
		t.Errorf("the stream ended with %v, want %s", err, want)
	}
}
