package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Routes returns the routes that have messages in the stage, each with how many.
// Of those that come or go meanwhile it may miss some.
func (b *Broker) Routes(ctx context.Context, stage Stage) (map[string]int, error) {
	return b.RoutesIn(ctx, stage, func(int) bool { return true })
}

// RoutesIn is Routes for the partitions that in accepts, of 0 to Partitions-1:
// those of one slice, say. The server is asked for each of them by itself, so
// that neither question nor answer grows with the number of all routes.
func (b *Broker) RoutesIn(ctx context.Context, stage Stage, in func(partition int) bool) (map[string]int, error) {
	if streamOf(stage) == "" || stage == Dead {
		return nil, fmt.Errorf("broker: routes: %w", refuse(ErrInvalid, fmt.Errorf("no stage %q", stage)))
	}
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: routes: %w", err)
	}
	defer b.calls.Done()
	c := routeCount{s: b.streams[streamOf(stage)], routes: make(map[string]int), hashed: make(map[string]string)}
	for p := range Partitions {
		if !in(p) {
			continue
		}
		subjects, err := b.subjects(ctx, streamOf(stage), string(stage)+"."+strconv.Itoa(p)+".>")
		if err == nil {
			err = c.add(ctx, subjects)
		}
		if err != nil {
			return nil, fmt.Errorf("broker: routes: %w", err)
		}
	}
	return c.routes, nil
}

// routeCount adds subjects up by route.
type routeCount struct {
	s      jetstream.Stream
	routes map[string]int
	hashed map[string]string // token to full name
}

func (c routeCount) add(ctx context.Context, subjects map[string]uint64) error {
	for subject, n := range subjects {
		tok := routeKey(subject)
		name, ok := untoken(tok)
		if !ok {
			if c.hashed[tok] == "" {
				var err error
				if c.hashed[tok], err = routeOf(ctx, c.s, subject); err != nil {
					return requestRefusal(err)
				}
			}
			name = c.hashed[tok]
		}
		c.routes[name] += int(n) //nolint:gosec // a count of messages
	}
	return nil
}

// routeOf reads the full route out of a message, tok being only its hash.
func routeOf(ctx context.Context, s jetstream.Stream, subject string) (string, error) {
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return strings.Clone(routeKey(subject)), nil // handled this moment
	}
	if err != nil {
		return "", err
	}
	return unescape(m.Header.Get(hdrRoute)), nil
}

// subjects returns the subjects of a stream under filter, each with how many
// messages it has. The server gives at most 100,000 at once, sorted, by where
// they stand; the library's way to ask for the rest never ends when some of the
// first have gone meanwhile.
func (b *Broker) subjects(ctx context.Context, stream, filter string) (map[string]uint64, error) {
	all := make(map[string]uint64)
	for offset := 0; ; {
		page, total, err := b.subjectsFrom(ctx, stream, filter, offset)
		if err != nil {
			return nil, err
		}
		for subject, n := range page {
			all[subject] = n
		}
		if offset += len(page); len(page) == 0 || offset >= total {
			return all, nil
		}
	}
}

// subjectsFrom returns one page of subjects, and how many there are in all.
func (b *Broker) subjectsFrom(ctx context.Context, stream, filter string, offset int) (map[string]uint64, int, error) {
	data, err := json.Marshal(server.JSApiStreamInfoRequest{ApiPagedRequest: server.ApiPagedRequest{Offset: offset}, SubjectsFilter: filter})
	if err != nil {
		return nil, 0, err
	}
	answer, err := b.admin.request(ctx, &nats.Msg{Subject: fmt.Sprintf(server.JSApiStreamInfoT, stream), Data: data}, b.o.StoreTimeout)
	if err != nil {
		return nil, 0, refuse(ErrUnavailable, err)
	}
	var got struct {
		Error *server.ApiError `json:"error"`
		Total int              `json:"total"`
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	switch err := json.Unmarshal(answer.Data, &got); {
	case err != nil:
		return nil, 0, refuse(ErrUnavailable, err)
	case got.Error != nil:
		return nil, 0, refuse(ErrUnavailable, got.Error)
	}
	return got.State.Subjects, got.Total, nil
}
