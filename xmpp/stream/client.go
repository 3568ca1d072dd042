package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// ClientOptions are how a client reaches its server and who it is.
type ClientOptions struct {
	// JID is the account; a resourcepart is asked for when binding.
	JID      jid.JID
	Password string

	// Address is host:port. Nothing is looked up in the DNS.
	Address string
	// TLS is the configuration; nil means the system's authorities and the name
	// of the JID's domain.
	TLS *tls.Config
	// Direct begins with TLS instead of STARTTLS (XEP-0368).
	Direct bool
	// Protection says what becomes of a server without TLS. The password is not sent by
	// PLAIN there.
	Protection Protection
	// ClearText goes on without TLS where the server offers none, and lets the
	// password be sent by PLAIN then. For tests and loopback.
	ClearText bool

	// Manage enables stream management where the server offers it (XEP-0198):
	// Receive acknowledges what it returns.
	Manage bool
	// Answer and Overdue are for the acknowledgements of the server, as in Managing.
	Answer  time.Duration
	Overdue func()
	// Resume goes on with the stream of a client whose connection is lost. It has
	// the same JID. Where the server refuses, a resource is bound as else.
	Resume *Client

	Limits   Limits
	Wire     func(out bool, e *xmlwire.Element) // as in Options
	Observer Observer                           // likewise
}

// Protection says whether a client needs TLS.
type Protection uint8

// The zero Protection ends a stream without TLS.
const (
	ProtectionRequired    Protection = iota
	ProtectionIfAvailable            // TLS where the server offers it
	ProtectionNone                   // no TLS at all
)

// Client is a logged-in XMPP client. Send may be called from any goroutine, the
// other methods from one.
type Client struct {
	s  *Stream
	sm clientManagement
}

// Dial connects, logs in and binds a resource. No presence is sent yet. A refused
// login is a *sasl.Failure, a stream error of the server a *PeerError.
func Dial(ctx context.Context, o ClientOptions) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", o.Address)
	if err != nil {
		return nil, err
	}
	c, err := Connect(ctx, conn, o)
	if err != nil {
		return nil, fmt.Errorf("log in as %s: %w", o.JID, err)
	}
	return c, nil
}

// Connect is Dial on a connection that exists. It closes conn on error.
func Connect(ctx context.Context, conn net.Conn, o ClientOptions) (*Client, error) {
	s := New(conn, Options{Limits: o.Limits, Wire: o.Wire, Observer: o.Observer})
	c := &Client{s: s}
	domain, err := jid.New("", o.JID.Domain(), "")
	if err == nil {
		s.local = domain
		err = c.login(ctx, o)
	}
	if err != nil {
		_ = s.End(context.WithoutCancel(ctx), err) // the first error is the one to tell
		return nil, err
	}
	return c, nil
}

func (c *Client) login(ctx context.Context, o ClientOptions) error {
	s := c.s
	cfg := o.TLS
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg = cfg.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = o.JID.Domain()
	}
	if o.Direct {
		cfg.NextProtos = []string{"xmpp-client"}
		if err := s.UpgradeTLS(ctx, cfg); err != nil {
			return fmt.Errorf("tls: handshake: %w", err)
		}
	}
	var features []Initiator
	if o.Protection != ProtectionNone {
		features = append(features, RequestTLS{Config: cfg, Optional: o.ClearText || o.Protection == ProtectionIfAvailable})
	}
	resume := &requestResume{old: o.Resume, managing: Managing{Resumable: true, Answer: o.Answer, Overdue: o.Overdue}}
	err := s.Initiate(ctx, append(features,
		Login{Login: sasl.Login{Username: o.JID.Local(), Password: o.Password, AllowPlainWithoutTLS: o.ClearText}},
		resume,
		RequestBind{Resource: o.JID.Resource()},
	)...)
	c.sm = resume.clientManagement
	if err != nil || !o.Manage || c.sm.resumed || !resume.offered {
		return err
	}
	return c.enable(ctx, resume.managing)
}

// JID is the full JID that the server bound.
func (c *Client) JID() jid.JID { return c.s.bound }

// Stream is the stream below, for what it knows of TLS and SASL.
func (c *Client) Stream() *Stream { return c.s }

// Send queues a stanza. Its From may be zero: the server stamps it.
func (c *Client) Send(ctx context.Context, st *stanza.Stanza) error {
	return c.s.out.SendStanza(ctx, st)
}

// Available sends initial presence with a priority (RFC 6121 §4.2).
func (c *Client) Available(ctx context.Context, priority int8) error {
	e := xmlwire.New(NSClient, "presence")
	if priority != 0 {
		e.Add(xmlwire.New(NSClient, "priority").AddText(fmt.Sprint(priority)))
	}
	return c.s.out.Send(ctx, e)
}

// Receive returns the next stanza. Pings (XEP-0199) and the question what this
// client can do (XEP-0030) are answered on the way, as a server may use them to
// see that the client lives. io.EOF means that the server closed the stream.
func (c *Client) Receive(ctx context.Context) (*stanza.Stanza, error) {
	return c.ReceiveUntil(ctx, time.Time{})
}

// ReceiveUntil is Receive with a deadline, zero for none: after IsTimeout(err) it may be
// called again.
func (c *Client) ReceiveUntil(ctx context.Context, deadline time.Time) (*stanza.Stanza, error) {
	for {
		e, err := c.next(ctx, deadline)
		if err != nil {
			return nil, err
		}
		if e.Name.Space == NSManagement {
			if err := c.manage(ctx, e); err != nil {
				return nil, fmt.Errorf("stream management: %w", err)
			}
			continue
		}
		st, err := stanza.Parse(e)
		if st == nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		c.sm.handled++
		if err != nil {
			continue // a bad address: the server has let it pass, and counts it
		}
		answer := alive(st)
		if answer == nil {
			return st, nil
		}
		if err := c.s.out.SendAnswer(ctx, answer); err != nil {
			return nil, fmt.Errorf("answer iq: %w", err)
		}
	}
}

// next is the next element, those first that came too early.
func (c *Client) next(ctx context.Context, deadline time.Time) (*xmlwire.Element, error) {
	if len(c.sm.early) > 0 {
		e := c.sm.early[0]
		c.sm.early = c.sm.early[1:]
		c.sm.handled-- // it came before the counting began
		return e, nil
	}
	return c.s.Receive(ctx, deadline)
}

const (
	nsPing = "urn:xmpp:ping"
	nsInfo = "http://jabber.org/protocol/disco#info"
)

// alive answers what a server asks to see that we are there; nil for the rest.
func alive(st *stanza.Stanza) *stanza.Stanza {
	if st.Kind != stanza.IQ || st.Type != stanza.TypeGet {
		return nil
	}
	answer := st.Reply(stanza.TypeResult)
	switch {
	case st.Element.Child(xmlwire.Name{Space: nsPing, Local: "ping"}) != nil:
		return answer
	case st.Element.Child(xmlwire.Name{Space: nsInfo, Local: "query"}) != nil:
		answer.Element.Add(xmlwire.New(nsInfo, "query").
			Add(xmlwire.New(nsInfo, "identity", "category", "client", "type", "bot")).
			Add(xmlwire.New(nsInfo, "feature", "var", nsInfo)).
			Add(xmlwire.New(nsInfo, "feature", "var", nsPing)))
		return answer
	}
	return nil
}

// Close logs out in order.
func (c *Client) Close(ctx context.Context) error {
	if c.sm.managed {
		// XEP-0198 §4: or the server may send again what has arrived. An error shows
		// in the next step.
		_ = c.s.Send(ctx, Ack(c.sm.handled))
	}
	err := c.s.Close(ctx)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
