package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pingInterval is how often an external server is asked whether it lives; two
// answers missing, and the next one is connected to.
const pingInterval = 5 * time.Second

var errDisconnected = errors.New("connection to the server is lost")

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
}

// dial opens the connection for one role.
func dial(o Options, s *server.Server, role string) (*link, error) {
	l := &link{again: make(chan struct{})}
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
			ev := o.Log.Warn().Err(err).Str("role", role)
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
		return nil, fmt.Errorf("broker: connect: %w", refuse(ErrUnavailable, err))
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

// reconnected returns a channel that closes when the connection has been lost
// and is there again.
func (l *link) reconnected() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.again
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
		l.nc.Close()
	}
}

// request publishes m and waits for the answer, for timeout at most. It fails
// at once when the connection is lost, now or meanwhile.
func (l *link) request(ctx context.Context, m *nats.Msg, timeout time.Duration) (*nats.Msg, error) {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	if up.Err() != nil {
		// Asked nevertheless, nats.go would keep an entry for the answer for ever.
		return nil, context.Cause(up)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(up, cancel)()
	resp, err := l.nc.RequestMsgWithContext(ctx, m)
	if err != nil && up.Err() != nil {
		return nil, context.Cause(up)
	}
	return resp, err
}
