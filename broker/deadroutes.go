package broker

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// DeadRoute is how many dead messages there are of one route for one kind of
// reason: what stands before the first ":" of the reason, in lower case.
type DeadRoute struct {
	Route, Reason string
	Messages      int
}

// DeadRoutes counts the dead messages by route and kind of reason, in no order.
func (b *Broker) DeadRoutes(ctx context.Context) ([]DeadRoute, error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: dead routes: %w", err)
	}
	defer b.calls.Done()
	s, err := b.admin.js.Stream(ctx, streamDead)
	if err != nil {
		return nil, fmt.Errorf("broker: dead routes: %w", requestRefusal(err))
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(string(Dead)+".>"))
	if err != nil {
		return nil, fmt.Errorf("broker: dead routes: %w", requestRefusal(err))
	}
	type key struct{ route, reason string }
	counts := make(map[key]int)
	for subject, n := range info.State.Subjects {
		tokens := strings.SplitN(subject, ".", 4)
		if len(tokens) < 4 {
			continue // not one of ours
		}
		route, ok := untoken(tokens[2])
		if !ok {
			if route, err = routeOf(ctx, s, subject); err != nil {
				return nil, fmt.Errorf("broker: dead routes: %w", requestRefusal(err))
			}
		}
		reason, ok := untoken(tokens[1])
		if !ok {
			reason = tokens[1]
		}
		counts[key{route, reason}] += int(n) //nolint:gosec // a count of messages
	}
	all := make([]DeadRoute, 0, len(counts))
	for k, n := range counts {
		all = append(all, DeadRoute{k.route, k.reason, n})
	}
	return all, nil
}
