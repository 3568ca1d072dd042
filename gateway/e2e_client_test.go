package main

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
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

// wire is a client that writes what it likes.
type wire struct {
	t    *testing.T
	conn net.Conn
	dec  *xmlwire.Decoder
}

// dialWire connects from source, empty for any, to a TCP address or the path of a
// Unix socket.
func dialWire(t *testing.T, addr, source string) *wire {
	t.Helper()
	d := net.Dialer{Timeout: patience}
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	conn, err := d.DialContext(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, conn: conn}
	t.Cleanup(func() { _ = w.conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return w
}

func (w *wire) send(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, text); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

const openLocalhost = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>"

// open sends a stream header and returns the features.
func (w *wire) open() *xmlwire.Element {
	w.t.Helper()
	w.send(openLocalhost)
	return w.features()
}

func (w *wire) features() *xmlwire.Element {
	w.t.Helper()
	e, err := w.tryFeatures()
	if err != nil {
		w.t.Fatalf("no features: %v", err)
	}
	return e
}

func (w *wire) tryFeatures() (*xmlwire.Element, error) {
	w.dec = xmlwire.NewDecoder(w.conn, xmlwire.Limits{})
	if _, err := w.dec.Header(); err != nil {
		return nil, err
	}
	return w.dec.Next()
}

// next returns the next element.
func (w *wire) next() *xmlwire.Element {
	w.t.Helper()
	e, err := w.dec.Next()
	if err != nil {
		w.t.Fatalf("receive: %v", err)
	}
	return e
}

// silent checks that nothing comes for a moment.
func (w *wire) silent(moment time.Duration) {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(moment))
	var b [1]byte
	n, err := w.conn.Read(b[:])
	var timeout net.Error
	if n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
		w.t.Errorf("want silence, got %d bytes, %v", n, err)
	}
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
}

// failure reads to the end of the stream and returns the condition of the stream
// error on the way.
func (w *wire) failure() stream.Condition {
	w.t.Helper()
	if w.dec == nil {
		w.dec = xmlwire.NewDecoder(w.conn, xmlwire.Limits{})
		if _, err := w.dec.Header(); err != nil {
			w.t.Fatalf("no stream error: %v", err)
		}
	}
	for {
		e, err := w.dec.Next()
		if err != nil {
			w.t.Fatalf("no stream error: %v", err)
		}
		if e.Name.Space == xmlwire.Streams && e.Name.Local == "error" {
			return stream.ParseError(e).Condition
		}
	}
}

// startTLS runs STARTTLS and opens the stream above it.
func (w *wire) startTLS(cfg *tls.Config) *xmlwire.Element {
	w.t.Helper()
	w.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	if e := w.next(); e.Name.Local != "proceed" {
		w.t.Fatalf("starttls answered %s", e)
	}
	if cfg == nil {
		cfg = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	}
	w.conn = tls.Client(w.conn, cfg)
	return w.open()
}

// plain logs in by PLAIN and opens the stream above it.
func (w *wire) plain(user, password string) *xmlwire.Element {
	w.t.Helper()
	w.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "</auth>")
	if e := w.next(); e.Name.Local != "success" {
		w.t.Fatalf("PLAIN answered %s", e)
	}
	return w.open()
}

// bind binds a resource, sends presence and waits until it comes back.
func (w *wire) bind(resource string) {
	w.t.Helper()
	w.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq><presence/>")
	if e := w.next(); e.Attr("type") != "result" {
		w.t.Fatalf("bind answered %s", e)
	}
	for w.next().Name.Local != "presence" {
	}
}

// session is a whole login by PLAIN over TLS.
func (w *wire) session(user, resource string) {
	w.t.Helper()
	w.open()
	w.startTLS(nil)
	w.plain(user, "secret")
	w.bind(resource)
}

// message reads up to the next message and answers what asks for life meanwhile.
func (w *wire) message() *xmlwire.Element {
	w.t.Helper()
	for {
		e := w.next()
		switch {
		case e.Name.Local == "message":
			w.answer()
			return e
		case e.Name.Local == "iq" && e.Attr("type") == "get":
			w.pong(e)
		}
	}
}

// answer answers the question that follows every message from custody.
func (w *wire) answer() {
	w.t.Helper()
	for {
		if e := w.next(); e.Name.Local == "iq" && e.Attr("type") == "get" {
			w.pong(e)
			return
		}
	}
}

func (w *wire) pong(e *xmlwire.Element) {
	w.t.Helper()
	w.send("<iq type='result' id='" + e.Attr("id") + "'/>")
}

// mechanisms are the SASL mechanisms in features.
func mechanisms(features *xmlwire.Element) []string {
	var names []string
	if list := features.Child(xmlwire.Name{Space: "urn:ietf:params:xml:ns:xmpp-sasl", Local: "mechanisms"}); list != nil {
		for e := range list.Elements() {
			names = append(names, e.Text())
		}
	}
	return names
}

func offersTLS(features *xmlwire.Element) bool {
	return features.Child(xmlwire.Name{Space: "urn:ietf:params:xml:ns:xmpp-tls", Local: "starttls"}) != nil
}

// splice carries bytes both ways until one side is closed.
func splice(a, b net.Conn) {
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = a.Close()
			_ = b.Close()
		})
	}
	both.Wait()
}

// digestMD5 logs in by DIGEST-MD5 (RFC 2831 §2.1.2.1) and opens the stream above it.
func (w *wire) digestMD5(user, password string) {
	w.t.Helper()
	w.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='DIGEST-MD5'/>")
	challenge, err := base64.StdEncoding.DecodeString(w.next().Text())
	if err != nil {
		w.t.Fatal(err)
	}
	_, nonce, _ := strings.Cut(string(challenge), `nonce="`)
	nonce, _, _ = strings.Cut(nonce, `"`)
	const cnonce, uri = "OA6MHXh6VqTrRk", "xmpp/localhost"
	a1 := md5.Sum([]byte(user + ":localhost:" + password))
	key := md5hex(string(a1[:]) + ":" + nonce + ":" + cnonce)
	response := md5hex(key + ":" + nonce + ":00000001:" + cnonce + ":auth:" + md5hex("AUTHENTICATE:"+uri))
	text := fmt.Sprintf(`charset=utf-8,username="%s",realm="localhost",nonce="%s",nc=00000001,cnonce="%s",digest-uri="%s",response=%s,qop=auth`,
		user, nonce, cnonce, uri, response)
	w.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + base64.StdEncoding.EncodeToString([]byte(text)) + "</response>")
	e := w.next()
	if e.Name.Local == "challenge" { // rspauth
		w.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		e = w.next()
	}
	if e.Name.Local != "success" {
		w.t.Fatalf("DIGEST-MD5 answered %s", e)
	}
	w.open()
}
