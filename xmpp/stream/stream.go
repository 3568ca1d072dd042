// Package stream is the core of every XMPP connection, as the receiving and as
// the initiating entity: stream headers, the negotiation of features, stream
// errors, limits and the writer (RFC 6120 §4 to §7):
//
//	header.go    stream headers (§4.7, §4.8)      error.go   stream errors (§4.9)
//	feature.go   negotiation (§4.3)               close.go   closing (§4.4)
//	writer.go    the way out, wirelog.go the wire in the log, observe.go who looks on, limits.go, rate.go
//	client.go    a client that logs in
//
// What is negotiated is a list of features, one file each:
//
//	starttls.go   STARTTLS (RFC 6120 §5)
//	sasl.go      SASL (RFC 6120 §6), XEP-0440 channel binding types; login.go the client's side
//	sasl2.go     SASL2 (XEP-0388) with Bind 2 (XEP-0386)
//	server.go     what is other between servers: EXTERNAL (XEP-0178), room for dialback
//	component.go  the handshake of components (XEP-0114)
//	bind.go       resource binding (RFC 6120 §7)
//	session.go    session establishment, a no-op (RFC 3921 §3)
//	frames.go     WebSocket (RFC 7395): the frames that a stream is cut into
//	sm.go         stream management (XEP-0198): managed.go its part of the writer,
//	              ack.go the counting, resume.go the client's side, handover.go
//	              the way of a suspended stream to another process
//
// Stanzas are no matter of this package: it carries them.
package stream

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// NSClient is the content namespace of a client's stream (RFC 6120 §4.8.3).
const NSClient = "jabber:client"

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
	// Observer sees stanzas, stream headers and stream errors. Nil: nobody looks.
	Observer Observer
	// Throttled is called each time the peer has to wait for so long because it sent
	// more than Limits.Stanzas or Limits.Bytes. Nil: nobody looks.
	Throttled func(wait time.Duration)
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

	armed   arming
	stanzas bucket
	begun   time.Time // when an element was first seen to be incomplete
	dec     source
	out     *Writer

	answered   bool // our header of this stream is out
	peerClosed bool // </stream:stream> was read
	id         string
	local      jid.JID // domain that we are in this stream
	peer       jid.JID // what the peer's header says it is: a claim
	lang       string
	user       jid.JID // proven by SASL
	bound      jid.JID
	mechanism  string
	managed    bool // stream management is enabled
	ancient    bool // the peer sent no version
	dialback   bool // the peer's header declares dialback

	// While Accept runs.
	features []Feature
	// around makes of <resumed/> what is sent in its place. Nil: that alone.
	around func(resumed *xmlwire.Element) []*xmlwire.Element
}

// source is where elements come from: an *xmlwire.Decoder, or *frames.
type source interface {
	Header() (*xmlwire.Element, error)
	Next() (*xmlwire.Element, error)
	Namespace(prefix string) (ns string, ok bool)
	Unread() []byte
	Wait() error
	SetLimits(xmlwire.Limits)
	Reset(io.Reader)
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
	if !o.Receiving {
		s.in.left = -1 // what whom we ask says is its to choose: the budget is for peers that come to us
	}
	s.in.bytes.of, s.stanzas.of = o.Limits.Bytes, o.Limits.Stanzas
	s.dec = xmlwire.NewDecoder(s.in, o.Limits.Before)
	s.out = newWriter(conn, o.Content, o.Limits.Queue, o.Limits.Write)
	s.out.wire, s.out.patience = o.Wire, o.Limits.Patience
	s.out.observer, s.out.remote = o.Observer, conn.RemoteAddr()
	s.out.unacked, s.out.unackedBytes = o.Limits.Unacked, o.Limits.UnackedBytes
	return s
}

// Writer is the way out; unlike the stream, any goroutine may use it.
func (s *Stream) Writer() *Writer { return s.out }

// ID is the stream id, made by the receiving entity (RFC 6120 §4.7.3).
func (s *Stream) ID() string { return s.id }

// Local is the domain that the peer addressed, or the one we log in as; zero
// before the header.
func (s *Stream) Local() jid.JID { return s.local }

// User is the bare JID that the peer has authenticated as; zero before.
func (s *Stream) User() jid.JID { return s.user }

// Lang is the default language of the peer's stanzas (RFC 6120 §4.7.4), empty
// for none.
func (s *Stream) Lang() string { return s.lang }

// Mechanism is the SASL mechanism by which the peer is proven, empty before.
func (s *Stream) Mechanism() string { return s.mechanism }

// TLS is the state of the connection; nil in clear text.
func (s *Stream) TLS() *tls.ConnectionState {
	if s.tls == nil {
		return nil
	}
	st := s.tls.ConnectionState()
	return &st
}

// Buffered returns how many bytes were read and not looked at yet. White space
// before them does not count: it means nothing between elements (RFC 6120
// §4.6.1), and some clients end each of theirs with a line break.
func (s *Stream) Buffered() int { return len(bytes.TrimLeft(s.dec.Unread(), " \t\r\n")) }

// LastRead is when the last byte came, white space included (RFC 6120 §4.6.1).
func (s *Stream) LastRead() time.Time { return s.in.last }

// Send queues an element; see [Writer.Send].
func (s *Stream) Send(ctx context.Context, e *xmlwire.Element) error { return s.out.Send(ctx, e) }

// Receive returns the next element. It waits until deadline, for ever if that is
// zero; after IsTimeout(err) it may be called again. io.EOF means that the peer
// closed its stream, a *PeerError that it did so with an error, an *Error that
// what it sent ends the stream: hand that to Fail. When ctx ends the error is its cause.
func (s *Stream) Receive(ctx context.Context, deadline time.Time) (*xmlwire.Element, error) {
	e, err := s.next(ctx, deadline)
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
	if observed(e.Name) {
		s.observeIn(e)
	}
	if e.Name == nameError {
		s.peerClosed = true
		return nil, &PeerError{ParseError(e)}
	}
	return e, nil
}

// Await waits until something has come that Receive has to look at: data, the end of the
// connection, the deadline, that of ctx. It needs little stack.
func (s *Stream) Await(ctx context.Context, deadline time.Time) {
	s.arm(ctx, deadline)
	_ = s.dec.Wait() // Receive will find the same
}

// next reads one element, as fast as the peer may send, and no longer than it may
// take over one.
func (s *Stream) next(ctx context.Context, deadline time.Time) (*xmlwire.Element, error) {
	for {
		if d := s.debt(); d > 0 {
			if err := s.hold(ctx, d, deadline); err != nil {
				return nil, err
			}
		}
		look := deadline
		if limit := time.Now().Add(s.o.Limits.Element); !s.user.IsZero() && (look.IsZero() || limit.Before(look)) {
			look = limit
		}
		s.arm(ctx, look)
		e, err := s.dec.Next()
		switch {
		case err == nil:
			s.begun = time.Time{}
			if stanza.Is(e.Name) {
				s.stanzas.take(1, time.Now())
			}
			return e, nil
		case errors.Is(err, errThrottled):
			continue
		case !IsTimeout(err) || ctx.Err() != nil:
			return nil, err
		case s.dawdles():
			return nil, &Error{PolicyViolation, "an element takes too long"}
		case look.Equal(deadline):
			return nil, err
		}
	}
}

// dawdles says whether the peer takes too long over an element; it is asked when
// nothing has come for a while.
func (s *Stream) dawdles() bool {
	switch {
	case s.user.IsZero(): // the negotiation as a whole has its limit
	case s.Buffered() == 0:
		s.begun = time.Time{}
	case s.begun.IsZero():
		s.begun = time.Now()
	default:
		return time.Since(s.begun) >= s.o.Limits.Element
	}
	return false
}

func (s *Stream) readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return wireError(err)
}

// arm sets the read deadline, and moves it to the past when ctx ends. It does so until
// it is called with another ctx: one registration serves all reads of a session.
func (s *Stream) arm(ctx context.Context, deadline time.Time) {
	s.armed.mu.Lock()
	if s.armed.ctx != ctx.Done() {
		s.armed.undo()
		if ctx.Done() != nil {
			ended := make(chan struct{})
			s.armed.ctx, s.armed.ended = ctx.Done(), ended
			s.armed.stop = context.AfterFunc(ctx, func() {
				_ = s.raw.SetReadDeadline(longAgo)
				close(ended)
			})
		}
	}
	s.armed.mu.Unlock()
	// An error means that the connection is closed; the read will say so.
	_ = s.raw.SetReadDeadline(deadline)
	if ctx.Err() != nil { // what it did may have been undone just now
		_ = s.raw.SetReadDeadline(longAgo)
	}
}

// disarm undoes arm, so that the end of its ctx cuts no later read short.
func (s *Stream) disarm() {
	s.armed.mu.Lock()
	defer s.armed.mu.Unlock()
	s.armed.undo()
}

// arming is what arm has registered. Its mutex is for Abort, which whoever wants calls
// while another reads.
type arming struct {
	mu    sync.Mutex
	ctx   <-chan struct{} // of whose end; nil: of none
	stop  func() bool
	ended chan struct{}
}

// undo is disarm with mu held.
func (a *arming) undo() {
	if a.stop != nil && !a.stop() {
		<-a.ended
	}
	a.ctx, a.stop, a.ended = nil, nil, nil
}

// expires is when the negotiation must be over.
func (s *Stream) expires() time.Time { return s.start.Add(s.o.Limits.Negotiation) }

// restart forgets the stream so that a new one can begin on the same connection
// (RFC 6120 §4.3.3).
func (s *Stream) restart() {
	s.dec.Reset(s.in)
	s.answered, s.lang, s.id = false, "", ""
	if s.o.Receiving {
		s.peer = jid.JID{}
	}
}

// authenticated records who the peer is and widens the limits.
func (s *Stream) authenticated(user jid.JID, mechanism string) {
	s.user, s.mechanism = user, mechanism
	s.in.left = -1
	s.dec.SetLimits(s.o.Limits.After)
}

// newID makes a stream id or a resource of 128 random bits, which nobody can
// guess (RFC 6120 §4.7.3, §7.5).
func newID() string { return rand.Text() }

// agentID stands for the id of a client's installation towards others.
func agentID(user, id string) string {
	sum := sha256.Sum256([]byte(user + "\x00" + id))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:12])
}

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
