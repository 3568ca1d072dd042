package broker

import (
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// link is one connection to the server, embedded or not.
type link struct {
	requests // and with them the connection
	js       jetstream.JetStream

	mu sync.Mutex
	// again is closed when a connection that was lost is back.
	again chan struct{}
}

// dial opens the connection for one role.
func dial(o Options, s *server.Server, role string) (*link, error) {
	l := &link{again: make(chan struct{}), requests: requests{waiting: make(map[uint64]*question)}}
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
	if err = l.listen(nc); err == nil {
		l.js, err = jetstream.New(nc)
	}
	if err != nil {
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

func (l *link) back() {
	l.requests.back()
	l.mu.Lock()
	defer l.mu.Unlock()
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

func (l *link) close() {
	if l != nil {
		l.lost()
		l.nc.Close()
	}
}
