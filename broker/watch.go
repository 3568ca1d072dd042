package broker

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// watchInterval is how often a connection to a cluster is tried.
	watchInterval = time.Second

	// sickness is how long a server of a cluster may fail us before we try
	// another. An election takes as long, and then a change does no harm.
	sickness = 5 * time.Second
)

// watch sees to it that a connection does not stay with a server of a cluster
// that is alive but cut off from the others: it answers, so that the library has
// no reason to leave it, and can do nothing. It ends with ctx.
func (l *link) watch(ctx context.Context) {
	t := time.NewTicker(watchInterval)
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
	resp, err := l.request(ctx, &nats.Msg{Subject: server.JSApiAccountInfo}, 2*watchInterval)
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

// question is a kind of request by whose answers a server is judged.
type question int

const (
	probes question = iota
	publishes
	questions
)

// heard notes how a request went, nil for one that was answered. The connection
// moves on when none was for a while.
func (l *link) heard(q question, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		l.sick[q] = time.Time{}
	case givenUp(err), errors.Is(err, errDisconnected):
		// says nothing about the server that we are connected to now
	case l.sick[q].IsZero():
		l.sick[q] = now
	case now.Sub(l.sick[q]) >= sickness && now.Sub(l.moved) >= 2*sickness && len(l.nc.Servers()) > 1:
		l.moved, l.sick = now, [questions]time.Time{}
		l.log.Warn().Err(err).Str("server", l.nc.ConnectedServerName()).Msg("the server does not serve, trying another")
		_ = l.nc.ForceReconnect() // fails when it is closed
	}
}

// healthy returns why the cluster is of no use at the moment, or nil.
func (l *link) healthy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since := l.sick[probes]; !since.IsZero() && time.Since(since) >= sickness {
		return errLeaderless
	}
	return nil
}

var errLeaderless = errors.New("the cluster has no leader")
