package peertest

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// client is a logged-in client.
type client struct {
	t   *testing.T
	ctx context.Context
	c   *stream.Client
}

func login(t *testing.T, s *Server, user string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	c, err := stream.Dial(ctx, stream.ClientOptions{JID: jid.MustParse(user), Password: Password, Address: s.C2S,
		TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}) // #nosec G402: it is the test's own
	if err != nil {
		t.Fatal(err)
	}
	cl := &client{t, ctx, c}
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		_ = c.Close(end) // the server may be gone
	})
	if err := c.Available(ctx, 0); err != nil {
		t.Fatal(err)
	}
	return cl
}

// says sends a message to another client and waits until that has it.
func (c *client) says(to *client, text string) {
	c.t.Helper()
	e := xmlwire.New(stream.NSClient, "message", "type", "chat", "to", to.c.JID().String(), "id", "m1")
	e.Add(xmlwire.New(stream.NSClient, "body").AddText(text))
	st, err := stanza.Parse(e)
	if err == nil {
		err = c.c.Send(c.ctx, st)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	want := fmt.Sprint(c.c.JID(), " chat ", text)
	for {
		st, err := to.c.Receive(c.ctx)
		if err != nil {
			c.t.Fatalf("%s waits for %q: %v", to.c.JID(), text, err)
		}
		if st.Kind != stanza.Message {
			continue
		}
		body := st.Element.Child(xmlwire.Name{Space: stream.NSClient, Local: "body"})
		if body == nil || fmt.Sprint(st.From, " ", st.Type, " ", body.Text()) != want {
			c.t.Fatalf("%s received %s, want %s", to.c.JID(), st.Element, want)
		}
		return
	}
}

// join returns the name of the element that answers the handshake.
func join(t *testing.T, addr, domain, secret string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dec := xmlwire.NewDecoder(conn, xmlwire.Limits{})
	_, err = io.WriteString(conn, "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='"+domain+"'>")
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(Patience))
	}
	if err != nil {
		t.Fatal(err)
	}
	header, err := dec.Header()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum([]byte(header.Attr("id") + secret))
	if _, err := io.WriteString(conn, "<handshake>"+hex.EncodeToString(sum[:])+"</handshake>"); err != nil {
		t.Fatal(err)
	}
	answer, err := dec.Next()
	if err != nil {
		t.Fatal(err)
	}
	return answer.Name.Local
}
