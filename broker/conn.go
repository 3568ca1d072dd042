package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// pingInterval is how often an external server is asked whether it lives; two
// answers missing, and the next one is connected to.
const pingInterval = 5 * time.Second

// link is one connection to the server, embedded or not.
type link struct {
	requests // and with them the connection
	js       jetstream.JetStream
	in       *inbox
	health   health // of the server, see sick.go
	log      zerolog.Logger

	mu sync.Mutex
	// up ends when the connection is lost.
	up   context.Context
	down context.CancelCauseFunc
	// again is closed when a connection that was lost is back.
	again chan struct{}
	// returned is called after that; nil: nobody is told.
	returned func()
}

// dial opens the connection for one role.
func dial(o Options, s *embedded, role string) (*link, error) {
	l := &link{again: make(chan struct{}), in: newInbox(), log: o.Log.With().Str("role", role).Logger(), requests: requests{waiting: make(map[uint64]*question)}}
	l.up, l.down = context.WithCancelCause(context.Background())
	opts := []nats.Option{
		nats.Name(o.Name + " " + role),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// A publish during a reconnection fails instead of waiting in a buffer:
		// what is not stored must not look as if it were.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { l.lost(); l.in.lost() }),
		nats.ReconnectHandler(func(*nats.Conn) { l.back() }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			ev := l.log.Warn().Err(err)
			if sub != nil {
				ev = ev.Str("subject", sub.Subject)
			}
			ev.Msg("connection to the store")
		}),
	}
	opts = append(opts, credentials(o)...)
	urls := ""
	if s != nil {
		opts = append(opts, nats.InProcessServer(s))
	} else {
		// A server whose machine has died closes nothing.
		opts = append(opts, nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2))
		for i, u := range o.URLs {
			if i > 0 {
				urls += ","
			}
			urls += u
		}
	}
	nc, err := nats.Connect(urls, opts...)
	if err != nil {
		return nil, fmt.Errorf("broker: connect: %w", connectError(o, err))
	}
	if err = l.listen(nc); err == nil {
		l.js, err = jetstream.New(nc)
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("broker: connect: %w", err)
	}
	if err := l.in.listen(nc); err != nil {
		l.close()
		return nil, fmt.Errorf("broker: connect: %w", refuse(ErrUnavailable, err))
	}
	return l, nil
}

func credentials(o Options) []nats.Option {
	var opts []nats.Option
	if o.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(o.CredsFile))
	}
	if o.User != "" {
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	if o.Token != "" {
		opts = append(opts, nats.Token(o.Token))
	}
	if o.TLSCA != "" {
		opts = append(opts, nats.RootCAs(o.TLSCA))
	}
	if o.TLSCert != "" {
		opts = append(opts, nats.ClientCert(o.TLSCert, o.TLSKey))
	}
	return opts
}

func (l *link) lost() {
	l.requests.lost()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down(errDisconnected)
}

// flushTime bounds the wait for the first answer of a server that is back.
const flushTime = 5 * time.Second

func (l *link) back() {
	// What is asked over another connection may rely on our subscriptions: the
	// server has them when it has answered this.
	_ = l.nc.FlushTimeout(flushTime) // lost again: the next time says so
	l.requests.back()
	l.mu.Lock()
	l.down(errDisconnected)
	l.up, l.down = context.WithCancelCause(context.Background())
	close(l.again)
	l.again = make(chan struct{})
	tell := l.returned
	l.mu.Unlock()
	if tell != nil {
		tell()
	}
}

// interrupt ends what waits for an answer, with a reason. The connection stays.
func (l *link) interrupt(err error) {
	l.requests.fail(err)
	l.in.fail(err)
}

// onReturn has f called each time that a connection that was lost is back.
func (l *link) onReturn(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.returned = f
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up.Err() == nil
}

// reconnected returns a channel that closes when the connection has been lost
// and is there again.
func (l *link) reconnected() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.again
}

// pause waits for d, or until the lost connection is back, and reports whether
// ctx is still alive.
func (l *link) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-l.reconnected():
	case <-t.C:
	}
	return ctx.Err() == nil
}

// while returns a context that also ends when the connection is lost; it has
// ended already when there is none.
func (l *link) while(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	lose := func() { cancel(context.Cause(up)) }
	if up.Err() != nil {
		lose()
	}
	stop := context.AfterFunc(up, lose)
	return ctx, func() { stop(); cancel(nil) }
}

// within is while for timeout at most.
func (l *link) within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := l.while(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, noAnswer(timeout))
	return ctx, func() { cancel(); stop() }
}

// firstTry is how long the first answer is waited for by insist.
const firstTry = time.Second

// insist has f ask the server for something that may be asked for twice, again and
// again until it is answered: what is asked while a cluster has no leader is never
// answered, and the next leader is there a moment later. Each try waits longer, for
// a machine that has much to do. It ends with ctx, after timeout, and when the
// connection is lost.
func (l *link) insist(ctx context.Context, timeout time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := l.within(ctx, timeout)
	defer cancel()
	for wait := firstTry; ; wait += wait / 2 {
		if ctx.Err() != nil { // asked nevertheless, nats.go would keep an entry for the answer for ever
			return context.Cause(ctx)
		}
		try, cancel := context.WithTimeout(ctx, wait)
		err := f(try)
		late := err != nil && try.Err() != nil
		cancel()
		if !late {
			return err
		}
	}
}

// connected returns a context that also ends when a connection is lost that
// slices are taken over and given up by. What nats.go is asked without one it
// answers late, and keeps an entry for the answer.
func (b *Broker) connected(ctx context.Context) (context.Context, context.CancelFunc) {
	var stops []context.CancelFunc
	for _, l := range []*link{b.leases, b.admin, b.work} {
		var stop context.CancelFunc
		ctx, stop = l.while(ctx)
		stops = append(stops, stop)
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

func (l *link) close() {
	if l != nil {
		l.lost()
		l.in.lost()
		l.nc.Close()
	}
}

// ask is request without a limit of its own.
func (l *link) ask(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	return l.request(ctx, m, 0)
}
