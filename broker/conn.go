package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

var errDisconnected = errors.New("connection to the server is lost")

// noAnswer is why a request has failed that the server has not answered in time.
type noAnswer time.Duration

func (d noAnswer) Error() string { return fmt.Sprintf("no answer within %v", time.Duration(d)) }

// link is one connection to the server, embedded or not.
type link struct {
	nc *nats.Conn
	js jetstream.JetStream

	mu sync.Mutex
	// up ends when the connection is lost: nats.go lets requests under way run
	// into their timeouts.
	up   context.Context
	down context.CancelCauseFunc
	// again is closed when a connection that was lost is back.
	again chan struct{}
	sick  [questions]time.Time // since when nothing is answered; see watch.go
	moved time.Time            // when that last made us change the server
	log   zerolog.Logger
}

// dial opens the connection for one role.
func dial(o Options, s *embedded, role string) (*link, error) {
	l := &link{again: make(chan struct{}), log: o.Log.With().Str("role", role).Logger()}
	l.up, l.down = context.WithCancelCause(context.Background())
	opts := []nats.Option{
		nats.Name(o.Name + " " + role),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		// A publish during a reconnection fails instead of waiting in a buffer:
		// what is not stored must not look as if it were.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { l.lost() }),
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
	l.nc = nc
	if l.js, err = jetstream.New(nc); err != nil {
		l.close()
		return nil, fmt.Errorf("broker: connect: %w", err)
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
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down(errDisconnected)
}

func (l *link) back() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down(errDisconnected)
	l.up, l.down = context.WithCancelCause(context.Background())
	close(l.again)
	l.again = make(chan struct{})
}

// interrupt ends what waits for an answer, with a reason. The connection stays.
func (l *link) interrupt(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up.Err() == nil {
		l.down(err)
		l.up, l.down = context.WithCancelCause(context.Background())
	}
}

// reconnected returns a channel that closes when the connection has been lost
// and is there again.
func (l *link) reconnected() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.again
}

func (l *link) close() {
	if l != nil {
		l.lost()
		l.nc.Close()
	}
}

// within bounds what is asked over the connection: by timeout, and by the loss of
// the connection, now or meanwhile, which nats.go does not tell those who wait.
func (l *link) within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	ctx, lost := context.WithCancelCause(ctx)
	if up.Err() != nil {
		lost(context.Cause(up))
	}
	stop := context.AfterFunc(up, func() { lost(context.Cause(up)) })
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, noAnswer(timeout))
	return ctx, func() { cancel(); stop(); lost(nil) }
}

// request publishes m and waits for the answer, for timeout at most. It fails
// at once when the connection is lost, now or meanwhile.
func (l *link) request(ctx context.Context, m *nats.Msg, timeout time.Duration) (*nats.Msg, error) {
	ctx, cancel := l.within(ctx, timeout)
	defer cancel()
	if ctx.Err() != nil {
		// Asked nevertheless, nats.go would keep an entry for the answer for ever.
		return nil, context.Cause(ctx)
	}
	resp, err := l.nc.RequestMsgWithContext(ctx, m)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return resp, err
}
