package broker

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// probeInterval is how often a connection to a cluster is tried.
	probeInterval = time.Second

	// sickness is how long a server of a cluster may fail us before we try
	// another. An election takes as long, and then a change does no harm.
	sickness = 5 * time.Second
)

var errLeaderless = errors.New("the cluster has no leader")

// errand is a kind of request by whose answers a server is judged.
type errand int

const (
	probes errand = iota
	publishes
	errands
)

// health is what is known of the server that a connection goes to.
type health struct {
	sick [errands]atomic.Int64 // since when none is answered, nanoseconds since 1970; zero: they are

	mu    sync.Mutex
	moved time.Time // when that last made us change the server
}

// attend sees to it that a connection does not stay with a server of a cluster
// that is alive but cut off from the others: it answers, so that the library has
// no reason to leave it, and can do nothing. It ends with ctx.
func (l *link) attend(ctx context.Context) {
	t := time.NewTicker(probeInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			l.heard(probes, l.probe(ctx))
		}
	}
}

// probe asks for something that only the leader of the cluster answers, or,
// where a server knows of none, that one with an error.
func (l *link) probe(ctx context.Context) error {
	resp, err := l.request(ctx, &nats.Msg{Subject: server.JSApiAccountInfo}, 2*probeInterval)
	if err != nil {
		return err
	}
	var answer server.JSApiAccountInfoResponse
	if err := json.Unmarshal(resp.Data, &answer); err != nil {
		return err
	}
	if answer.Error != nil && server.ErrorIdentifier(answer.Error.ErrCode) == server.JSClusterNotAvailErr {
		return answer.Error
	}
	return nil
}

// heard notes how a request went, nil for one that was answered. The connection
// moves on when none was for a while.
func (l *link) heard(e errand, err error) {
	since := l.health.sick[e].Load()
	if err == nil {
		if since != 0 {
			l.health.sick[e].Store(0)
		}
		return
	}
	now := time.Now()
	switch {
	case givenUp(err), errors.Is(err, errDisconnected):
		// says nothing about the server that we are connected to now
	case since == 0:
		l.health.sick[e].CompareAndSwap(0, now.UnixNano())
	case now.Sub(time.Unix(0, since)) >= sickness && len(l.nc.Servers()) > 1:
		l.move(now, err)
	}
}

// move leaves the server for another, unless that was done a moment ago.
func (l *link) move(now time.Time, why error) {
	l.health.mu.Lock()
	defer l.health.mu.Unlock()
	if now.Sub(l.health.moved) < 2*sickness {
		return
	}
	l.health.moved = now
	for e := range l.health.sick {
		l.health.sick[e].Store(0)
	}
	l.log.Warn().Err(why).Str("server", l.nc.ConnectedServerName()).Msg("the server does not serve, trying another")
	_ = l.nc.ForceReconnect() // fails when it is closed
}

// healthy returns why the cluster is of no use at the moment, or nil.
func (l *link) healthy() error {
	if since := l.health.sick[probes].Load(); since != 0 && time.Since(time.Unix(0, since)) >= sickness {
		return errLeaderless
	}
	return nil
}
