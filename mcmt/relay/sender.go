// Package relay sends mail out over SMTP: to a smart host, or to the MX hosts of
// each recipient's domain.
//
//	sender.go       Sender: one message for one recipient, host by host
//	options.go      what it is told, and how long it waits
//	target.go       which hosts take a domain's mail, and their addresses; resolver.go asks the DNS
//	pool.go         connections kept, bounded and waited for; hosts that are down
//	conn.go         one connection: commands and replies, EHLO, STARTTLS
//	tls.go login.go certificates and passwords
//	transaction.go  MAIL, RCPT, DATA; params.go their parameters, data.go the message
//	reply.go        what a server says, within bounds
//	error.go        why a message was not taken
//	submit.go       one message to one server, without all that
//
// Keeping a message, trying again and telling its sender are the caller's.
package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mcmt2xmpp/mcmt"
)

// maxUses is how many messages go over one connection. COMPAT: some hosts end one
// after so many without a word.
const maxUses = 100

// silentTime is how long a host may be silent before that is held against it where a
// caller waits no longer.
const silentTime = 10 * time.Second

var errClosed = errors.New("relay: the sender is closed")

// Sender sends messages to the hosts that take the mail of their recipients, over
// connections that it keeps for the next ones. Its methods may be called at once.
type Sender struct {
	options atomic.Pointer[Options]
	pool    pool
	routes  routes
	count   counters
	sends   sync.WaitGroup

	mu   sync.Mutex
	over bool

	// What the tests replace: how TCP connects, the port of MX hosts, and the draw
	// among those of one preference.
	connect func(ctx context.Context, network, addr string) (net.Conn, error)
	port    uint16
	shuffle func(n int, swap func(i, j int))
}

// New returns a Sender. It has to be closed.
func New(o Options) *Sender {
	s := &Sender{connect: new(net.Dialer).DialContext, port: 25, shuffle: rand.Shuffle}
	s.options.Store(&o)
	return s
}

// Configure replaces the options. Messages on their way go on under the old ones;
// connections that the new ones would not make are not used again.
func (s *Sender) Configure(o Options) {
	s.options.Store(&o)
	s.routes.clear()
	s.pool.forget()
}

// Close ends the connections that nobody uses, waits for the messages on their way,
// and ends theirs. Send fails from then on. Who is in a hurry ends the contexts of
// Send first.
func (s *Sender) Close() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.pool.close()
	s.sends.Wait()
	s.pool.close()
}

// begin says whether a message may be sent, and has Close wait for it.
func (s *Sender) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.sends.Add(1)
	}
	return !s.over
}

// Send hands a message to the first host that takes it, and returns when that has
// answered. It tries the hosts in their order: a 4yz reply or a connection that
// fails leads on to the next one, a 5yz reply decides. The error is or wraps a
// *mcmt.Refusal, where a host or we refused the message, or a *HostError, which wraps
// that of ctx where it has ended; asked for Temporary, it says whether another attempt
// may succeed.
func (s *Sender) Send(ctx context.Context, m Message) (Result, error) {
	if !s.begin() {
		return Result{}, errClosed
	}
	defer s.sends.Done()
	began := time.Now()
	s.count.attempts.Add(1)
	res, err := s.send(ctx, m)
	s.count.done(err)
	res.Took = time.Since(began)
	return res, err
}

func (s *Sender) send(ctx context.Context, m Message) (Result, error) {
	if err := m.check(); err != nil {
		return Result{}, err
	}
	o := s.options.Load()
	domain := strings.ToLower(m.To.Address[strings.LastIndexByte(m.To.Address, '@')+1:])
	targets, err := s.targets(ctx, o, domain)
	if err != nil {
		return Result{}, err
	}
	var failed []error
	for _, t := range targets {
		res, err := s.sendTo(ctx, o, t, m)
		if err == nil {
			return res, nil
		}
		failed = append(failed, err)
		host, _ := errors.AsType[*HostError](err)
		switch {
		case ctx.Err() != nil, errors.Is(err, errClosed):
			return Result{}, err
		case host != nil && host.Unsure:
			return Result{}, err // the next host would be sure to make a second copy of it
		case !temporary(err):
			return Result{}, err
		}
	}
	if o.SmartHost == "" && !slices.ContainsFunc(failed, notProhibited) {
		// The operator has decided that nothing goes there; a smart host is his own.
		return Result{}, refuse(554, 7, 1, "domain "+domain, "all addresses of its hosts are in prohibited_hosts")
	}
	return Result{}, join(failed)
}

// targets are the hosts for a domain, those of the DNS as it said not long ago.
func (s *Sender) targets(ctx context.Context, o *Options, domain string) ([]target, error) {
	if o.SmartHost != "" {
		return s.route(ctx, o, domain)
	}
	return s.routes.get(ctx, domain, func() ([]target, error) { return s.route(ctx, o, domain) })
}

func notProhibited(err error) bool {
	host, ok := err.(*HostError)
	return !ok || host.Kind != KindProhibited
}

// sendTo sends the message to one host. A connection that was idle may have ended in
// the meantime: where that shows before the end of the message, another one is made.
func (s *Sender) sendTo(ctx context.Context, o *Options, t target, m Message) (Result, error) {
	for {
		c, err := s.obtain(ctx, o, t)
		if err != nil {
			return Result{}, err
		}
		old := c.used > 0
		c.used++
		var res Result
		err = c.during(ctx, func() (err error) {
			res, err = c.transact(m)
			return err
		})
		s.pool.put(t, c, s.options.Load())
		if !old || !stale(err) || ctx.Err() != nil {
			return res, err
		}
	}
}

// stale says whether a connection had ended, or ended by 421 (RFC 5321 §3.8), before
// the host can have taken the message.
func stale(err error) bool {
	if refusal, ok := errors.AsType[*mcmt.Refusal](err); ok {
		return refusal.Code == 421
	}
	host, ok := errors.AsType[*HostError](err)
	return ok && host.Kind == KindLost && !host.Unsure
}

// obtain returns a connection to a host that is ready for a message.
func (s *Sender) obtain(ctx context.Context, o *Options, t target) (*conn, error) {
	for {
		c, err := s.pool.get(ctx, t, o)
		switch {
		case err != nil && err == ctx.Err():
			return nil, &HostError{Host: t.String(), Kind: KindBusy, Step: "wait for a connection", Err: err}
		case c != nil || err != nil:
			return c, err
		}
		began := time.Now()
		c, err = s.open(ctx, o, t)
		if err == nil {
			s.pool.made(t)
			return c, nil
		}
		if again := s.pool.failed(t, err, telling(ctx, err, time.Since(began)), o); !again {
			return nil, err
		}
	}
}

// telling says whether an error that came after some time says something of the host:
// not that a caller gave up, unless he waited for long enough.
func telling(ctx context.Context, err error, took time.Duration) bool {
	if host, ok := errors.AsType[*HostError](err); !ok || host.Kind == KindProhibited {
		return false
	}
	return ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) && took >= silentTime
}

// open makes a connection, in clear text where TLS is wanted but the host turns out
// not to be able to do it.
func (s *Sender) open(ctx context.Context, o *Options, t target) (*conn, error) {
	try := o.TLS != TLSNever && (o.strict(t) || !s.pool.inClear(t))
	c, err := s.openOnce(ctx, o, t, try)
	host, _ := errors.AsType[*HostError](err)
	if host == nil || host.Kind != KindTLS || o.strict(t) || ctx.Err() != nil {
		return c, err
	}
	o.Log.Warn().Str("host", t.String()).Err(err).Msg("no TLS with this host for now: its mail goes in clear text")
	s.count.fallbacks.Add(1)
	s.pool.goClear(t)
	return s.openOnce(ctx, o, t, false)
}

// strict says whether a failing handshake leaves no way to send.
func (o *Options) strict(t target) bool {
	return o.TLS == TLSRequired || o.Verify != VerifyNone || o.login() || o.direct(t)
}

// direct says whether TLS is there from the first byte.
func (o *Options) direct(t target) bool { return o.SmartHost != "" && t.port == 465 }

// openOnce connects, greets and logs in.
func (s *Sender) openOnce(ctx context.Context, o *Options, t target, try bool) (*conn, error) {
	nc, err := s.dial(ctx, o, t)
	if err != nil {
		return nil, err
	}
	c := newConn(nc, t.String(), o.Log)
	c.state = o.policy()
	err = c.during(ctx, func() error { return c.begin(o, t, try) })
	if err != nil {
		c.quit()
		return nil, err
	}
	return c, nil
}

// begin brings a new connection to where a message may be sent.
func (c *conn) begin(o *Options, t target, try bool) error {
	hostname := o.hostname()
	if o.direct(t) {
		if err := c.handshake(o.tlsConfig(t.name)); err != nil {
			return err
		}
	}
	if err := c.greet(hostname); err != nil {
		return err
	}
	switch {
	case c.tls:
	case try && c.offers("STARTTLS"):
		if err := c.startTLS(o.tlsConfig(t.name)); err != nil {
			return err
		}
		// RFC 3207 §4.2: what was said before is forgotten.
		if err := c.hello(hostname); err != nil {
			return err
		}
	case o.TLS == TLSRequired:
		return c.failed(KindTLS, "STARTTLS", errors.New("the host does not offer TLS, and it is required"))
	}
	if o.login() {
		return c.login(o.User, o.Password)
	}
	return nil
}

// suits says whether the options would make the connection, too.
func (c *conn) suits(o *Options) bool {
	addr, ok := c.raw.RemoteAddr().(*net.TCPAddr)
	return c.state.equal(o.policy()) && (!ok || !prohibited(addr.AddrPort().Addr(), o.Prohibited))
}
