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
	// another, where that one is known to serve. Else the cluster may be choosing
	// a leader, which it takes up to 9 s for, and a change would only add to the
	// disorder: then it is twice as long.
	sickness = 5 * time.Second
)

var errLeaderless = errors.New("the cluster has no leader")

// health is what is known of the server that a connection goes to.
type health struct {
	sick   atomic.Int64 // since when it answers no probe, nanoseconds since 1970; zero: it does
	others []*link      // with which it is compared

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
			err := l.probe(ctx)
			if err != nil && l.unserved() >= sickness {
				err = l.probe(ctx) // what was lost in the midst of an election proves nothing
			}
			l.heard(err)
		}
	}
}

// unserved is how long no probe was answered.
func (l *link) unserved() time.Duration {
	since := l.health.sick.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since))
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

// heard notes how a probe went, nil for one that was answered. The connection
// moves on when none was for a while.
func (l *link) heard(err error) {
	switch {
	case err == nil:
		l.health.sick.Store(0)
	case errors.Is(err, context.Canceled), errors.Is(err, errDisconnected):
		// says nothing about the server that we are connected to now
	case l.health.sick.CompareAndSwap(0, time.Now().UnixNano()):
	case l.unserved() >= l.patience():
		l.move(err)
	}
}

// patience is how long the server may fail us.
func (l *link) patience() time.Duration {
	for _, o := range l.health.others {
		if o.isUp() && o.nc.ConnectedServerName() != l.nc.ConnectedServerName() && o.unserved() == 0 {
			return sickness
		}
	}
	return 2 * sickness
}

// move leaves the server for another, if there is one and that was not done a
// moment ago.
func (l *link) move(why error) {
	l.health.mu.Lock()
	defer l.health.mu.Unlock()
	if time.Since(l.health.moved) < 2*sickness || len(l.nc.Servers()) < 2 {
		return
	}
	l.health.moved = time.Now()
	l.health.sick.Store(0)
	l.log.Warn().Err(why).Str("server", l.nc.ConnectedServerName()).Msg("the server does not serve, trying another")
	_ = l.nc.ForceReconnect() // fails when it is closed
}

// forsake is called when heartbeats could not be written for so long that all work
// rests. A server that has led the cluster and was cut off goes on answering as if it
// did, for some 10 s; so whatever is connected to the one that took no heartbeat
// moves on. Nothing is disturbed that does not rest already.
func (b *Broker) forsake(why error) {
	server := b.leases.nc.ConnectedServerName()
	for _, l := range b.links() {
		if server != "" && l.nc.ConnectedServerName() == server {
			l.move(why)
		}
	}
}

// healthy returns why the cluster is of no use at the moment, or nil.
func (l *link) healthy() error {
	if l.unserved() >= sickness {
		return errLeaderless
	}
	return nil
}
