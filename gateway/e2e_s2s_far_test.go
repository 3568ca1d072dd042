package main

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// far is a server that says what a test wants.
type far struct {
	ln   net.Listener
	work sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	over  bool
}

// newFar listens at an address until the test ends, and talks to whoever connects.
// What talk returns is the end of the connection and nothing else.
func newFar(t *testing.T, addr string, talk func(c *farStream) error) *far {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	f := &far{ln: ln, conns: make(map[net.Conn]bool)}
	f.work.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if !f.keep(conn) {
				continue
			}
			f.work.Go(func() {
				defer f.drop(conn)
				_ = talk(&farStream{conn: conn})
			})
		}
	})
	t.Cleanup(f.close)
	return f
}

// close ends it and all its connections.
func (f *far) close() {
	_ = f.ln.Close()
	f.mu.Lock()
	f.over = true
	for c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.work.Wait()
}

func (f *far) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		_ = c.Close()
		return false
	}
	f.conns[c] = true
	return true
}

func (f *far) drop(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
	_ = c.Close()
}

// farStream is one stream at a far, or from it.
type farStream struct {
	conn   net.Conn
	dec    *xmlwire.Decoder
	header *xmlwire.Element // the other side's
}

const (
	farHeader    = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' id='far1' version='1.0' from='%s' to='%s'>"
	withDialback = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
	withManaging = "<sm xmlns='urn:xmpp:sm:3'/>"
)

func (c *farStream) send(format string, args ...any) error {
	_, err := fmt.Fprintf(c.conn, format, args...)
	return err
}

func (c *farStream) next() (*xmlwire.Element, error) { return c.dec.Next() }

// open reads the header of a stream that came in and answers with one.
func (c *farStream) open() (err error) {
	c.dec = xmlwire.NewDecoder(c.conn, xmlwire.Limits{})
	if c.header, err = c.dec.Header(); err != nil {
		return err
	}
	return c.send(farHeader, c.header.Attr("to"), c.header.Attr("from"))
}

// greet is open, and sends features.
func (c *farStream) greet(features string) error {
	if err := c.open(); err != nil {
		return err
	}
	return c.send("<stream:features>%s</stream:features>", features)
}

const nsDialback = "jabber:server:dialback"

// dialback answers a key, or a question about one, in the same way (XEP-0220
// §2.2.1, §2.2.2): with a type, and what stands in an error.
func (c *farStream) dialback(e *xmlwire.Element, typ, inner string) error {
	return c.send("<db:%s from='%s' to='%s' id='%s' type='%s'>%s</db:%s>",
		e.Name.Local, e.Attr("to"), e.Attr("from"), e.Attr("id"), typ, inner, e.Name.Local)
}

// takes is a talk that believes everybody and manages streams (XEP-0198): each of the
// stanzas goes to take, and counts as handled when that returns without an error.
func takes(take func(st *stanza.Stanza) error) func(c *farStream) error {
	return func(c *farStream) error {
		if err := c.greet(withDialback + withManaging); err != nil {
			return err
		}
		for handled := 0; ; {
			e, err := c.next()
			if err != nil {
				return err
			}
			switch {
			case e.Name.Space == nsDialback:
				err = c.dialback(e, "valid", "")
			case e.Name.Local == "enable":
				err = c.send("<enabled xmlns='urn:xmpp:sm:3'/>")
			case e.Name.Local == "r":
				err = c.send("<a xmlns='urn:xmpp:sm:3' h='%d'/>", handled)
			case stanza.Is(e.Name):
				var st *stanza.Stanza
				if st, err = stanza.Parse(e); err == nil {
					err = take(st)
				}
				handled++
			default:
				err = fmt.Errorf("unexpected %s", e)
			}
			if err != nil {
				return err
			}
		}
	}
}

// openFar opens a stream from a domain of ours to another server.
func openFar(t *testing.T, addr, from, to string) *farStream {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &farStream{conn: conn, dec: xmlwire.NewDecoder(conn, xmlwire.Limits{})}
	err = errors.Join(conn.SetDeadline(time.Now().Add(patience)), c.send(farHeader, from, to))
	if err == nil {
		c.header, err = c.dec.Header()
	}
	if err == nil {
		_, err = c.next() // features
	}
	if err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
	return c
}

// reach is openFar to where the other server takes our stanzas.
func reach(t *testing.T, addr, from, to string) *farStream {
	t.Helper()
	c := openFar(t, addr, from, to)
	var verdict *xmlwire.Element
	err := c.send("<db:result from='%s' to='%s'>key</db:result>", from, to)
	if err == nil {
		verdict, err = c.next()
	}
	if err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
	if verdict.Attr("type") != "valid" {
		t.Fatalf("%s to %s: %s", from, to, verdict)
	}
	return c
}
