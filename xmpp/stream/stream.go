// Package stream is the core of every XMPP connection, as the receiving and as
// the initiating entity: stream headers, the negotiation of features, stream
// errors, limits and the writer (RFC 6120 §4 to §7). What is negotiated is a list
// of features, one file each:
//
//	starttls.go   STARTTLS (RFC 6120 §5)
//	sasl.go       SASL (RFC 6120 §6), XEP-0440 channel binding types
//	bind.go       resource binding (RFC 6120 §7)
//	session.go    session establishment, a no-op (RFC 3921 §3)
//
// Stanzas are no matter of this package: it carries them.
package stream

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Content namespaces (RFC 6120 §4.8.3).
const (
	NSClient = "jabber:client"
	NSServer = "jabber:server"
)

const nsErrors = "urn:ietf:params:xml:ns:xmpp-streams"

var nameLang = xmlwire.Name{Space: "http://www.w3.org/XML/1998/namespace", Local: "lang"}

// Options describe one stream. The zero value is a client's stream with default
// limits that serves no domain.
type Options struct {
	// Content is the content namespace. Empty: NSClient.
	Content string
	// Serves says whether a domain, prepared by package jid, is one of ours: the
	// `to` of a stream that we receive (RFC 6120 §4.7.2). Nil: none is.
	Serves func(domain string) bool
	// Receiving says that the peer opened the connection and we are its server.
	Receiving bool
	Limits    Limits
	// Wire sees every element that goes in or out, stream headers included. It
	// is called from several goroutines. Nil: nobody looks.
	Wire func(out bool, e *xmlwire.Element)
}

// Stream is one XMPP stream over a connection, in whatever layers that
// connection is wrapped. Only the goroutine that runs the stream may call its
// methods; its [Writer] is for everybody.
type Stream struct {
	o     Options
	start time.Time
	raw   net.Conn  // as accepted or dialled
	tls   *tls.Conn // nil before TLS
	shown *x509.Certificate
	in    *meter
	dec   *xmlwire.Decoder
	out   *Writer

	answered   bool // our header of this stream is out
	peerClosed bool // </stream:stream> was read
	id         string
	local      jid.JID // domain that we are in this stream
	peer       jid.JID // what the peer's header says it is: a claim
	lang       string
	user       jid.JID // proven by SASL
	bound      jid.JID
	mechanism  string
}

// New begins a stream on a connection and starts its writer. The caller ends it
// with Close, Fail or Abort, one of them exactly once.
func New(conn net.Conn, o Options) *Stream {
	o.Limits = o.Limits.orDefault()
	if o.Content == "" {
		o.Content = NSClient
	}
	s := &Stream{o: o, raw: conn, start: time.Now()}
	s.in = &meter{conn: conn, left: o.Limits.BytesBefore, last: s.start}
	s.dec = xmlwire.NewDecoder(s.in, o.Limits.Before)
	s.out = newWriter(conn, o.Content, o.Limits.Queue, o.Limits.Write)
	s.out.wire, s.out.patience = o.Wire, o.Limits.Patience
	return s
}

// Writer is the way out; unlike the stream, any goroutine may use it.
func (s *Stream) Writer() *Writer { return s.out }

// ID is the stream id, made by the receiving entity (RFC 6120 §4.7.3).
func (s *Stream) ID() string { return s.id }

// Local is the domain that the peer addressed, or the one we log in as; zero
// before the header.
func (s *Stream) Local() jid.JID { return s.local }

// Peer is what the peer's stream header says it is. Nothing proves it.
func (s *Stream) Peer() jid.JID { return s.peer }

// Lang is the default language of the peer's stanzas (RFC 6120 §4.7.4), empty
// for none.
func (s *Stream) Lang() string { return s.lang }

// User is the bare JID that SASL has proven; zero before.
func (s *Stream) User() jid.JID { return s.user }

// Bound is the full JID that was bound; zero before.
func (s *Stream) Bound() jid.JID { return s.bound }

// Mechanism is the SASL mechanism by which User was proven, empty before.
func (s *Stream) Mechanism() string { return s.mechanism }

// TLS is the state of the connection; nil in clear text.
func (s *Stream) TLS() *tls.ConnectionState {
	if s.tls == nil {
		return nil
	}
	st := s.tls.ConnectionState()
	return &st
}

// Certificate is the leaf that we showed as the TLS server; nil where there is none.
func (s *Stream) Certificate() *x509.Certificate { return s.shown }

// Addr is the address of the peer.
func (s *Stream) Addr() net.Addr { return s.raw.RemoteAddr() }

// Buffered returns how many bytes were read and not looked at yet. White space
// before them does not count: it means nothing between elements (RFC 6120
// §4.6.1), and some clients end each of theirs with a line break.
func (s *Stream) Buffered() int { return len(bytes.TrimLeft(s.dec.Unread(), " \t\r\n")) }

// LastRead is when the last byte came, white space included (RFC 6120 §4.6.1).
func (s *Stream) LastRead() time.Time { return s.in.last }

// Send queues an element; see [Writer.Send].
func (s *Stream) Send(ctx context.Context, e *xmlwire.Element) error { return s.out.Send(ctx, e) }

// SendStanza queues a stanza; see [Writer.SendStanza].
func (s *Stream) SendStanza(ctx context.Context, st *stanza.Stanza) error {
	return s.out.SendStanza(ctx, st)
}

// Receive returns the next element. It waits until deadline, for ever if that is
// zero; after IsTimeout(err) it may be called again. io.EOF means that the peer
// closed its stream, a *PeerError that it did so with an error, an *Error that
// what it sent ends the stream: hand that to Fail. When ctx ends the error is its cause.
func (s *Stream) Receive(ctx context.Context, deadline time.Time) (*xmlwire.Element, error) {
	defer s.arm(ctx, deadline)()
	e, err := s.dec.Next()
	switch {
	case err == io.EOF:
		s.peerClosed = true
		return nil, err
	case err != nil:
		return nil, s.readError(ctx, err)
	}
	if s.o.Wire != nil {
		s.o.Wire(false, e)
	}
	if e.Name == (xmlwire.Name{Space: xmlwire.Streams, Local: "error"}) {
		s.peerClosed = true
		return nil, &PeerError{ParseError(e)}
	}
	return e, nil
}

func (s *Stream) readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return wireError(err)
}

// arm sets the read deadline, and moves it to the past when ctx ends. The
// function that it returns undoes the latter.
func (s *Stream) arm(ctx context.Context, deadline time.Time) func() {
	// An error means that the connection is closed; the read will say so.
	_ = s.raw.SetReadDeadline(deadline)
	if ctx.Done() == nil {
		return func() {}
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = s.raw.SetReadDeadline(longAgo)
		close(ended)
	})
	return func() {
		if !stop() {
			<-ended // or it would cut short a later read
		}
	}
}

// UpgradeTLS runs the handshake, as the server if this side receives the
// stream, and goes on above it. TLS 1.2 is the least that is spoken (RFC 7590 §3.1,
// RFC 9325 §3.1.1). Everything known of the stream before is forgotten (§5.4.3.3).
func (s *Stream) UpgradeTLS(ctx context.Context, cfg *tls.Config) error {
	if err := s.out.Flush(ctx); err != nil {
		return err
	}
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	conn := tls.Client(s.raw, cfg)
	if s.o.Receiving {
		s.note(cfg)
		conn = tls.Server(s.raw, cfg)
	}
	defer s.arm(ctx, s.expires())()
	_ = s.raw.SetWriteDeadline(s.expires())
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	s.tls, s.in.conn = conn, conn
	s.out.upgrade(conn)
	s.restart()
	return nil
}

// note keeps the certificate that the handshake shows, for channel binding.
func (s *Stream) note(cfg *tls.Config) {
	keep := func(c *tls.Certificate) {
		switch {
		case c == nil || len(c.Certificate) == 0:
		case c.Leaf != nil:
			s.shown = c.Leaf
		default:
			s.shown, _ = x509.ParseCertificate(c.Certificate[0]) // nil: no such binding is offered
		}
	}
	if choose := cfg.GetCertificate; choose != nil {
		cfg.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := choose(h)
			keep(c)
			return c, err
		}
	} else if len(cfg.Certificates) == 1 {
		keep(&cfg.Certificates[0])
	}
}

// expires is when the negotiation must be over.
func (s *Stream) expires() time.Time { return s.start.Add(s.o.Limits.Negotiation) }

// restart forgets the stream so that a new one can begin on the same connection
// (RFC 6120 §4.3.3).
func (s *Stream) restart() {
	s.dec.Reset(s.in)
	s.answered, s.peer, s.lang, s.id = false, jid.JID{}, "", ""
}

// authenticated records who the peer is and widens the limits.
func (s *Stream) authenticated(user jid.JID, mechanism string) {
	s.user, s.mechanism = user, mechanism
	s.in.left = -1
	s.dec.SetLimits(s.o.Limits.After)
}

// Close ends the stream in order (RFC 6120 §4.4): our </stream:stream>, then the
// peer's, waited for until the limit or ctx ends; then the connection. Stanzas that
// arrive meanwhile are dropped.
func (s *Stream) Close(ctx context.Context) error {
	if !s.answered {
		return s.Abort()
	}
	until := time.Now().Add(s.o.Limits.Close)
	s.out.finish([]byte("</stream:stream>"), until)
	release := s.arm(ctx, until)
	for !s.peerClosed {
		if _, err := s.dec.Next(); err != nil {
			break
		}
	}
	release()
	return s.leave(ctx, until)
}

// Fail ends the stream with an error, sent within an opened stream and flushed
// before the connection is closed (RFC 6120 §4.9.1.1, §4.9.1.2).
func (s *Stream) Fail(ctx context.Context, e *Error) error {
	var last []byte
	if !s.answered {
		if !s.o.Receiving {
			return s.Abort() // nothing was opened by either side
		}
		last = s.appendHeader(last)
	}
	if s.o.Wire != nil {
		s.o.Wire(true, e.Element())
	}
	last = xmlwire.Append(last, e.Element(), s.o.Content)
	until := time.Now().Add(s.o.Limits.Close)
	s.out.finish(append(last, "</stream:stream>"...), until)
	return s.leave(ctx, until)
}

// Abort closes the connection without a word.
func (s *Stream) Abort() error {
	s.out.kill()
	<-s.out.done
	return s.raw.Close()
}

// linger is how many bytes are still read from a peer that is being left.
const linger = 256 << 10

// leave says goodbye below XMPP and waits for the peer to do the same. A socket
// that is closed with bytes unread resets the connection, and the reset may
// overtake the last words that were just written.
func (s *Stream) leave(ctx context.Context, until time.Time) error {
	if s.out.Err() == nil {
		_ = s.raw.SetWriteDeadline(until)
		if s.tls != nil {
			_ = s.tls.CloseWrite()
		}
		if half, ok := s.raw.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		defer s.arm(ctx, until)()
		_, _ = io.CopyN(io.Discard, s.raw, linger)
	}
	return s.raw.Close()
}

// newID makes a stream id or a resource of 128 random bits, which nobody can
// guess (RFC 6120 §4.7.3, §7.5).
func newID() string { return rand.Text() }

// lost wraps the read error of a negotiation step: a deadline becomes the
// stream error that it stands for.
func lost(step string, err error) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return err
	case IsTimeout(err):
		return &Error{ConnectionTimeout, "negotiation takes too long"}
	case err == io.EOF:
		return fmt.Errorf("%s: peer closed the stream: %w", step, err)
	}
	return fmt.Errorf("%s: %w", step, err)
}
