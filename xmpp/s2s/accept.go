package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// ConnOptions are what holds for one connection that comes in.
type ConnOptions struct {
	// TLS is the configuration. Whatever it says of clients' certificates, any is asked
	// for, and judged by the policy of the domain. Nil: no TLS is offered.
	TLS *tls.Config
	// Direct begins with TLS (XEP-0368).
	Direct bool
	Limits stream.Limits
}

// Listener accepts streams from other servers.
type Listener struct {
	v    *Server
	door stream.Door
	// connection says what holds for a connection from addr.
	connection func(addr net.Addr) ConnOptions
}

// Listener returns one; its Serve makes it work. At most perAddress connections come from
// one address, zero means 1000.
func (v *Server) Listener(slots stream.Slots, perAddress int, connection func(addr net.Addr) ConnOptions) *Listener {
	return &Listener{v: v, door: stream.Door{Slots: slots, PerAddress: perAddress}, connection: connection}
}

// Serve accepts connections from ln until ctx ends. Then it closes ln, ends every stream
// with system-shutdown, and returns when the last is gone. The error is that of ln
// where it fails before.
func (l *Listener) Serve(ctx context.Context, ln net.Listener) error {
	if err := l.door.Serve(ctx, ln, l.handle); err != nil {
		return fmt.Errorf("s2s: %w", err)
	}
	return nil
}

// handle is the life of one connection.
func (l *Listener) handle(ctx context.Context, nc net.Conn, _ func(func())) {
	v := l.v
	log := v.o.Log.With().Stringer("peer", nc.RemoteAddr()).Logger()
	free := sync.OnceFunc(l.door.Free)
	defer free()
	defer func() {
		if p := recover(); p != nil {
			_ = nc.Close()
			log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("bug: connection dropped")
		}
	}()
	v.stats.connections.Add(1)
	o := l.connection(nc.RemoteAddr())
	s := stream.New(nc, stream.Options{
		Content: stanza.Server, Receiving: true, Serves: v.o.Serves, Limits: o.Limits, Wire: stream.WireLog(log), Observer: v.o.Observer,
		Throttled: v.stats.throttle,
	})
	leave, err := l.door.Admit(nc.RemoteAddr())
	defer leave()
	c := newConn(v, s, log)
	defer c.end(nil)
	c.incoming, c.addr = true, addrOf(nc.RemoteAddr())
	if c.negotiation = o.Limits.Negotiation; c.negotiation <= 0 {
		c.negotiation = 30 * time.Second
	}
	stop := context.AfterFunc(ctx, func() { c.end(context.Cause(ctx)) })
	defer stop()
	var first *xmlwire.Element
	if err == nil {
		first, err = c.welcome(c.life, o)
	}
	free()
	if err == nil && !v.add(c) {
		err = stream.Shutdown
	}
	if err == nil && first != nil {
		err = c.take(c.life, first)
	}
	if err != nil {
		v.remove(c)
		c.detach(err)
		close(c.returned)
		event := log.Info()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			event = log.Debug() // a port scan
		}
		event.Str("reason", stream.Reason(err, "peer")).Msg("connection ended before a stream")
		v.stats.ended(err)
		_ = s.End(context.WithoutCancel(ctx), err)
		return
	}
	c.serve(c.life)
}

// welcome negotiates a stream that comes in. It returns the first element that is not
// part of that.
func (c *conn) welcome(ctx context.Context, o ConnOptions) (*xmlwire.Element, error) {
	cfg := asking(o.TLS)
	if o.Direct {
		if cfg == nil {
			return nil, errors.New("tls: no certificate")
		}
		direct := cfg.Clone()
		direct.NextProtos = []string{"xmpp-server"} // XEP-0368 §2.1
		if err := c.s.UpgradeTLS(ctx, direct); err != nil {
			return nil, fmt.Errorf("tls: handshake: %w", err)
		}
	}
	first, err := c.s.AcceptServer(ctx, stream.StartTLS{Config: cfg}, stream.External{Proven: c.provenByCertificate},
		&bidiOffer{c}, dialbackOffer{}, managementOffer{})
	if err != nil {
		return nil, err
	}
	if c.s.Mechanism() != "" {
		// Not that of the header, which may leave from out now.
		p := Pair{c.s.Local().Domain(), c.s.User().Domain()}
		if condition, text := c.unwelcome(p); condition != "" {
			return nil, &stream.Error{Condition: stream.PolicyViolation, Text: text}
		}
		c.allow(p, c.s.Mechanism())
	}
	return first, nil
}

// asking asks for the peer's certificate, and takes any: crypto/tls would insist on one
// for clients, which authorities do not issue any more.
func asking(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = cfg.Clone()
	cfg.ClientAuth, cfg.ClientCAs = tls.RequestClientCert, nil
	cfg.VerifyPeerCertificate, cfg.VerifyConnection = nil, nil
	return cfg
}

// provenByCertificate says whether the certificate of the stream proves a domain that may
// have streams with us.
func (c *conn) provenByCertificate(s *stream.Stream, domain jid.JID) bool {
	pol := c.v.policy(domain.Domain())
	return !pol.Deny && !c.v.o.Serves(domain.Domain()) && proves(s.TLS(), pol, domain.Domain()) == nil
}

// offer is a feature that is only said to be there, or asked for by an element that
// changes nothing else.
type offer struct{}

// Negotiate refuses.
func (offer) Negotiate(context.Context, *stream.Stream, *xmlwire.Element) (stream.Next, error) {
	return 0, &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not a feature to ask for"}
}

// bidiOffer offers XEP-0288, before and after TLS (§2.1).
type bidiOffer struct{ c *conn }

// Name is <bidi/> as it is asked for.
func (*bidiOffer) Name() xmlwire.Name { return xmlwire.Name{Space: nsBidi, Local: "bidi"} }

// Advertise offers it until the peer is proven.
func (f *bidiOffer) Advertise(s *stream.Stream) *xmlwire.Element {
	if s.Mechanism() != "" {
		return nil
	}
	// RFC 6120 §5.4.3.3: what was asked for in clear text is forgotten. XEP-0288 §2.2 wants
	// it after TLS, and somebody in between could have asked.
	f.c.bidi = false
	return xmlwire.New(nsBidiFeature, "bidi")
}

// Negotiate enables it; there is no answer.
func (f *bidiOffer) Negotiate(context.Context, *stream.Stream, *xmlwire.Element) (stream.Next, error) {
	f.c.bidi = true
	return stream.Continue, nil
}

// dialbackOffer says that errors of dialback are taken well (XEP-0220 §2.4.2).
type dialbackOffer struct{ offer }

// Name is the feature's, which nobody asks for.
func (dialbackOffer) Name() xmlwire.Name {
	return xmlwire.Name{Space: nsDialbackFeature, Local: "dialback"}
}

// Advertise returns it.
func (dialbackOffer) Advertise(*stream.Stream) *xmlwire.Element {
	return xmlwire.New(nsDialbackFeature, "dialback").Add(xmlwire.New(nsDialbackFeature, "errors"))
}

// managementOffer offers stream management (XEP-0198), which is enabled once the peer is
// proven: with dialback there are no features after that.
type managementOffer struct{}

// Name is <enable/>, too early.
func (managementOffer) Name() xmlwire.Name {
	return xmlwire.Name{Space: stream.NSManagement, Local: "enable"}
}

// Advertise returns the feature.
func (managementOffer) Advertise(*stream.Stream) *xmlwire.Element {
	return xmlwire.New(stream.NSManagement, "sm")
}

// Negotiate refuses it before there is any proof (§3).
func (managementOffer) Negotiate(ctx context.Context, s *stream.Stream, _ *xmlwire.Element) (stream.Next, error) {
	return stream.Continue, s.Send(ctx, (&stream.Failed{Condition: stanza.UnexpectedRequest}).Element())
}
