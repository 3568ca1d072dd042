package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/broker"
)

const (
	routeBucket = "route"
	routeBytes  = 256 << 20
)

// RouteState is what is known of a route whose messages wait: how often it was
// tried, and when it will be.
type RouteState struct {
	Attempts int       `json:"attempts"`         // failed in a row
	Next     time.Time `json:"next,omitzero"`    // of the next attempt
	First    time.Time `json:"first,omitzero"`   // of the first failure
	Reason   string    `json:"reason,omitempty"` // of the last one
	// Warn is when the author of a message hears that it waits, as he has asked; zero:
	// nobody does. Warned is the position of the last message of which that is settled.
	Warn   time.Time `json:"warn,omitzero"`
	Warned uint64    `json:"warned,omitempty"`
}

// routeRecord is a RouteState in the bucket. The key may be a hash of the name.
type routeRecord struct {
	Route string `json:"route"`
	RouteState
}

// Routes keeps the states of routes, so that whoever takes a route over goes on
// with its schedule, and operators see it. It is used from many goroutines.
//
// A state is a help, not custody: it is written behind the caller's back, the
// latest one only, and one that a crash has swallowed costs an attempt that
// comes early.
type Routes struct {
	kv     jetstream.KeyValue
	report func(error)

	mu    sync.Mutex
	dirty map[string]*RouteState // nil: to be deleted
	news  chan struct{}          // holds one while dirty is not empty
}

// OpenRoutes opens the bucket, making it if need be. report learns of states
// that could not be written; nil: nobody does.
func OpenRoutes(ctx context.Context, b Buckets, report func(error)) (*Routes, error) {
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: routeBucket, Description: "routes whose messages wait", Storage: jetstream.FileStorage, History: 1, MaxBytes: routeBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("routes: open bucket: %w", err)
	}
	if report == nil {
		report = func(error) {}
	}
	return &Routes{kv: kv, report: report, dirty: make(map[string]*RouteState), news: make(chan struct{}, 1)}, nil
}

// Save has the state of a route written soon. It does not block.
func (r *Routes) Save(route string, s RouteState) { r.mark(route, &s) }

// Forget has the state of a route deleted soon. It does not block.
func (r *Routes) Forget(route string) { r.mark(route, nil) }

func (r *Routes) mark(route string, s *RouteState) {
	r.mu.Lock()
	r.dirty[route] = s
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// flushTime bounds one round of writing.
const flushTime = 3 * time.Second

// Run writes what Save and Forget have asked for until ctx ends, and then what is
// left of it.
func (r *Routes) Run(ctx context.Context) {
	for {
		select {
		case <-r.news:
			r.flush(ctx)
		case <-ctx.Done():
			r.flush(ctx)
			return
		}
	}
}

// flush writes all that is asked for. What cannot be written is dropped: the next
// attempt writes again.
func (r *Routes) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = make(map[string]*RouteState)
	r.mu.Unlock()
	failed := 0
	var last error
	for route, s := range dirty {
		if err := r.write(ctx, route, s); err != nil {
			failed, last = failed+1, err
		}
	}
	if failed > 0 {
		r.report(fmt.Errorf("routes: %d states not written: %w", failed, last))
	}
}

func (r *Routes) write(ctx context.Context, route string, s *RouteState) error {
	key := routeKey(route)
	if s == nil {
		return r.kv.Purge(ctx, key)
	}
	data, err := json.Marshal(routeRecord{route, *s})
	if err != nil {
		return err
	}
	_, err = r.kv.Put(ctx, key, data)
	return err
}

// Load returns the states of the routes in the given partitions, nil for all. One
// that cannot be read is reported and left out.
func (r *Routes) Load(ctx context.Context, partitions []int) (map[string]RouteState, error) {
	filters := []string{">"}
	switch {
	case partitions != nil && len(partitions) == 0:
		return nil, nil // the library takes no filter for all there is
	case partitions != nil:
		filters = filters[:0]
		for _, p := range partitions {
			filters = append(filters, strconv.Itoa(p)+".*")
		}
	}
	w, err := r.kv.WatchFiltered(ctx, filters, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	all := make(map[string]RouteState)
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	whole := false
	err = follow(ctx, w, func(e jetstream.KeyValueEntry) {
		if e == nil {
			whole = true
			enough()
			return
		}
		var rec routeRecord
		if err := json.Unmarshal(e.Value(), &rec); err != nil || rec.Route == "" {
			r.report(fmt.Errorf("routes: key %s: record cannot be read", e.Key()))
			return
		}
		all[rec.Route] = rec.RouteState
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("routes: %w", err)
	case !whole:
		return nil, fmt.Errorf("routes: %w", context.Cause(ctx))
	}
	return all, nil
}

// routeKey is `<partition>.<name>`, the name in base 64 or, where it is long, hashed.
func routeKey(route string) string {
	name := base64.RawURLEncoding.EncodeToString([]byte(route))
	if len(name) > 128 {
		name = bucketKey(route)
	}
	return strconv.Itoa(broker.PartitionOf(route)) + "." + name
}
