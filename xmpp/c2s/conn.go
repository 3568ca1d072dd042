package c2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// handle is the life of one connection, and of its session while that waits for
// another. A slot is taken for it, which it gives back when the negotiation is over. What
// follows is run by spawn, on stacks of their own: that of a TLS handshake is large, and
// would stay so; and while the client is silent a small one waits for it.
func (v *Server) handle(ctx context.Context, conn net.Conn, spawn func(func())) {
	k := &link{v: v, conn: conn, log: v.o.Log.With().Stringer("peer", conn.RemoteAddr()).Logger()}
	life, cancel := context.WithCancelCause(ctx)
	v.stats.connections.Add(1)
	v.stats.open.Add(1)
	over := func() {
		cancel(nil)
		if k.leave != nil {
			k.leave()
		}
		v.stats.open.Add(-1)
	}
	abort := func() { _ = conn.Close() }
	survive(k.log, func() { k.negotiate(life, newCarrier(cancel)) }, abort)
	if k.c == nil {
		over()
		return
	}
	var carry func()
	carry = func() {
		var wake chan struct{}
		rests := false
		survive(k.log, func() { wake, rests = k.carry(life) }, abort)
		if rests {
			spawn(func() {
				k.s.Await(life, k.c.deadline())
				spawn(carry)
			})
			return
		}
		over()
		if wake != nil {
			survive(k.log, func() { v.hibernate(ctx, k.c, wake) }, k.c.drop)
		}
	}
	spawn(carry)
}

// survive keeps a bug that one connection brings out from taking the process, and
// everybody's messages, with it.
func survive(log zerolog.Logger, f, otherwise func()) {
	defer func() {
		if p := recover(); p != nil {
			otherwise()
			log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("bug: connection dropped")
		}
	}()
	f()
}

// link is one connection.
type link struct {
	v     *Server
	conn  net.Conn
	log   zerolog.Logger
	leave func() // takes it off its address; nil before it was counted

	// After the negotiation.
	s       *stream.Stream
	c       *session // nil: there is none, and the connection is over
	resumed bool
	began   bool // carry was called
}

// negotiate brings the connection to a session, or to its end.
func (k *link) negotiate(ctx context.Context, by *carrier) {
	v, o := k.v, k.v.o.Connection(k.conn.RemoteAddr())
	free := sync.OnceFunc(v.door.Free)
	defer free()
	s := stream.New(k.conn, stream.Options{
		Receiving: true, Serves: v.o.Router.Serves, Limits: o.Limits, Wire: stream.WireLog(k.log), Observer: v.o.Observer, Throttled: k.throttled(),
	})
	n := negotiation{v: v, k: k, s: s, o: o, log: k.log, by: by, from: stream.AddressOf(k.conn.RemoteAddr())}
	closed := false
	defer func() {
		if !closed { // a panic
			if n.c != nil {
				n.c.drop()
			}
			_ = s.Abort()
		}
	}()
	var err error
	if !n.proxied() {
		k.leave, err = v.door.Admit(k.conn.RemoteAddr())
	}
	if err == nil {
		v.stats.negotiating.Add(1)
		err = n.run(ctx)
		v.stats.negotiating.Add(-1)
	}
	free() // the end of a connection may take its time
	closed = true
	if err == nil {
		k.s, k.c, k.resumed = s, n.c, n.resumed
		if !k.resumed {
			k.log = k.c.log // and not another one beside it
		}
		return
	}
	level := zerolog.InfoLevel
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errServed) {
		level = zerolog.DebugLevel // a port scan, or a client that thought better of it
	}
	k.log.WithLevel(level).Str("reason", stream.Reason(err, "client")).Msg("connection ended before a session")
	v.stats.ended(err)
	if o.Direct && s.TLS() == nil || o.WebSocket != nil && !s.Framed() {
		_ = s.Hangup(context.WithoutCancel(ctx)) // a stream error is nothing that the client can read
		return
	}
	_ = s.End(context.WithoutCancel(ctx), err)
}

// carry runs the session until its client is silent, and rests is true, or to the end of
// the connection. It returns what letGo has made where the session is suspended then.
func (k *link) carry(ctx context.Context) (wake chan struct{}, rests bool) {
	c := k.c
	closed := false
	defer func() {
		if rests {
			return
		}
		k.v.stats.sessions.Add(-1)
		if wake == nil {
			c.drop() // finish has done it, unless there was a panic
		}
		if !closed {
			_ = k.s.Abort() // likewise
		}
	}()
	if !k.began {
		k.begin(ctx)
	}
	err := c.read(ctx)
	if errors.Is(err, errSilent) {
		return nil, true
	}
	log := c.log // a connection that carries the session on changes it
	wake = c.depart(ctx, err)
	if wake == nil {
		c.tellEnd(stream.Reason(err, "client"))
	} else {
		log.Info().Str("reason", stream.Reason(err, "client")).Msg("session suspended")
	}
	k.v.stats.ended(err)
	closed = true
	if wake != nil && errors.Is(err, io.ErrUnexpectedEOF) {
		_ = k.s.Abort() // a closed stream would be the end of the session that waits
		return wake, false
	}
	// Whatever ended ctx, saying so and closing has a deadline of its own.
	_ = k.s.End(context.WithoutCancel(ctx), err)
	return wake, false
}

// begin counts the session and tells of it.
func (k *link) begin(ctx context.Context) {
	k.began = true
	k.v.stats.sessions.Add(1)
	if !k.resumed {
		k.v.stats.logins.Add(1)
		k.c.opened()
		return
	}
	k.log = k.log.With().Stringer("jid", k.c.full).Logger()
	k.c.log = k.log // it has another peer now
	k.v.stats.resumed.Add(1)
	k.c.log.Info().Str("sid", k.s.ID()).Msg("session resumed")
	k.c.active(ctx)
	k.c.changed()
}

// negotiation brings a connection to a session that is registered with the router.
type negotiation struct {
	v   *Server
	k   *link
	s   *stream.Stream
	o   ConnOptions
	log zerolog.Logger
	by  *carrier
	// from is the address of the client, as it is counted.
	from netip.Prefix

	c       *session // nil: not yet
	resumed bool     // it is that of a former connection
}

// proxied says that whose connection it is will show.
func (n *negotiation) proxied() bool { return n.o.WebSocket != nil && n.o.WebSocket.Forwarded != nil }

func (n *negotiation) run(ctx context.Context) error {
	switch {
	case n.o.Direct && n.o.TLS == nil:
		return errors.New("tls: no certificate")
	case n.o.Direct:
		cfg := n.o.TLS.Clone()
		cfg.NextProtos = []string{"xmpp-client"} // XEP-0368 §2.1, and no other protocol's bytes
		if n.o.WebSocket != nil {
			cfg.NextProtos = []string{"http/1.1"}
		}
		if err := n.s.UpgradeTLS(ctx, cfg); err != nil {
			return fmt.Errorf("tls: handshake: %w", err)
		}
	}
	startTLS := stream.StartTLS{Config: n.o.TLS, Required: n.o.TLSRequired}
	if n.o.WebSocket != nil {
		startTLS = stream.StartTLS{} // RFC 7395 §3.9: TLS is below the WebSocket
		if err := n.upgrade(ctx); err != nil {
			return err
		}
	}
	login := n.login(ctx)
	manage := new(stream.Management)
	if n.o.ResumeTime >= time.Second {
		manage.Resume = n.resume
	}
	bind := &stream.Bind{Assign: n.assign, Rename: n.o.Conflict == ConflictRename}
	bind2 := &stream.Bind2{Bind: bind, Inline: n.inline()}
	err := n.s.Accept(ctx, startTLS,
		login, stream.SASL2{SASL: login, Management: manage, Bind2: bind2}, stream.Bindings{SASL: login},
		bind, stream.Session{}, rosterVersions{n.v}, preApproval{n.v}, caps{n.v}, clientState{n.o}, manage)
	if err != nil && n.c != nil {
		n.c.drop()
	}
	return err
}

// inline are the features that a client can enable while it binds (XEP-0386 §4).
func (n *negotiation) inline() []stream.BindFeature {
	features := []stream.BindFeature{
		{Var: stream.NSManagement, Enable: n.enableInline},
		{Var: router.NSCarbons, Enable: func(_ context.Context, _ *stream.Stream, req *xmlwire.Element) (*xmlwire.Element, error) {
			if req.Name.Local == "enable" {
				n.c.SetCarbons(true)
			}
			return nil, nil
		}},
	}
	if n.o.MaxHeld > 0 {
		features = append(features, stream.BindFeature{Var: nsClientState, Enable: func(ctx context.Context, _ *stream.Stream, req *xmlwire.Element) (*xmlwire.Element, error) {
			return nil, n.c.clientState(ctx, req)
		}})
	}
	return features
}

func (n *negotiation) login(ctx context.Context) *stream.SASL {
	w := &Watch{guard: n.v.o.Guard, from: n.from, o: n.o.Guess}
	login := &stream.SASL{
		Offer: sasl.Offer{
			Store: n.o.Accounts, Digest: n.o.Digest, AllowPlainWithoutTLS: n.o.AllowPlainWithoutTLS,
			Admit: w.Admit, Secret: n.v.o.Secret, Iterations: n.v.o.Iterations,
		},
		RequireTLS: n.o.TLSRequired, Tries: n.o.Tries,
		Failed: func(mechanism string, why *sasl.Failure) time.Duration {
			n.v.stats.failedLogins.Add(1)
			if why.Refused {
				n.v.stats.guarded.Add(1)
			}
			n.log.Warn().Str("mechanism", mechanism).Stringer("user", w.tried).Err(why).Msg("login failed")
			return w.Failed(why)
		},
		Succeeded: w.Succeeded,
	}
	if external := n.o.External; external != nil {
		login.Prove = func(domain string, state *tls.ConnectionState) []jid.JID { return external(ctx, domain, state) }
	}
	return login
}

// Conflict is what becomes of a client that asks for a resource which another
// session of its account has (RFC 6120 §7.7.2.2).
type Conflict uint8

const (
	// ConflictReplace ends the other session: it is likely a connection that died
	// without our knowledge.
	ConflictReplace Conflict = iota
	// ConflictRefuse answers conflict; one that waits for its client is replaced.
	ConflictRefuse
	// ConflictRename gives the client another resource.
	ConflictRename
)

// assign makes the session and binds it.
func (n *negotiation) assign(ctx context.Context, s *stream.Stream, full jid.JID) error {
	bound := n.v.o.Router.Session(full) // of this process or of another one
	if waits, ok := bound.(interface{ Suspended() bool }); bound != nil && n.o.Conflict != ConflictReplace && !(ok && waits.Suspended()) {
		return &stanza.Error{Type: stanza.Cancel, Condition: stanza.Conflict}
	}
	c := newSession(n.v, s, full, n.o, n.by, n.log)
	if there, ok := bound.(interface{ Retire(ctx context.Context) }); ok {
		there.Retire(ctx)
	}
	old, ours := bound.(*session)
	if ours {
		old.returning()
	}
	err := n.v.o.Router.Bind(c)
	if errors.Is(err, router.ErrTooManySessions) {
		// A client that does not come back must not keep its own account out.
		if oldest := n.v.o.Hibernation.oldest(full.Bare()); oldest != nil {
			oldest.lapse()
			oldest.unbind()
			err = n.v.o.Router.Bind(c)
		}
	}
	if err != nil && ours {
		old.remains()
	}
	switch {
	case errors.Is(err, router.ErrTooManySessions):
		// §7.6.2.1: the account has reached its limit.
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "too many sessions"}
	case err != nil:
		return err
	}
	n.c = c
	return nil
}

// resume finds the session that the client wants to resume among those of its
// account (XEP-0198 §5): nobody can take over that of another.
func (n *negotiation) resume(ctx context.Context, s *stream.Stream, previd string, h uint32) error {
	err := n.resumeHere(ctx, s, previd, h)
	if err == errLate {
		err = n.borrow(ctx, s, previd, h)
	}
	if errors.Is(err, router.ErrHere) {
		err = n.resumeHere(ctx, s, previd, h) // by another connection, in this moment
	}
	if err == nil {
		return nil
	}
	n.v.stats.resumeFailed.Add(1)
	why, bare := err, s.User()
	if err == errLate {
		why = errNotOurs
		if n.v.o.Hibernation.ours(previd) {
			why = errOver
		}
	}
	n.log.Info().Stringer("jid", bare).Str("reason", why.Error()).Msg("resumption refused")
	var failed *stream.Failed
	var ack *stream.AckError
	if errors.As(err, &ack) || errors.Is(err, stream.ErrClosed) || ctx.Err() != nil || errors.As(err, &failed) && failed != errLate {
		return err
	}
	handled, known := n.v.o.Hibernation.recall(previd, bare)
	if !known {
		handled, known = n.v.handledElsewhere(ctx, previd, bare)
	}
	return &stream.Failed{Condition: errLate.Condition, H: handled, Known: known}
}

// Why there is no session to resume.
var (
	errOver    = errors.New("the session is over")
	errNotOurs = errors.New("the session is none of this process, or from before its start")
)

// resumeHere is resume for the sessions of this process; errLate: it is none of them.
func (n *negotiation) resumeHere(ctx context.Context, s *stream.Stream, previd string, h uint32) error {
	for _, other := range n.v.o.Router.Sessions(s.User()) {
		c, ok := other.(*session)
		if !ok || !c.named(previd) {
			continue
		}
		err := c.carryOn(ctx, s, n.by, n.o, h)
		if err == nil {
			n.c, n.resumed = c, true
			return nil
		}
		if !errors.Is(err, errLate) {
			return err
		}
	}
	return errLate
}

// throttledEvery is how often the log says that one connection is throttled.
const throttledEvery = time.Minute

// throttled counts the times that a client has to wait because it sends too fast.
func (k *link) throttled() func(time.Duration) {
	var said time.Time
	return func(wait time.Duration) {
		k.v.stats.throttled.Add(1)
		if now := time.Now(); now.Sub(said) >= throttledEvery {
			said = now
			k.log.Warn().Dur("wait", wait).Msg("client sends faster than it may, throttled")
		}
	}
}
