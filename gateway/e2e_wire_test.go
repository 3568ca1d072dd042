package main

import (
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

	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

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
