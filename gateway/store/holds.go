package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const holdBucket = "hold"

// Hold is an operator's wish that nothing be sent to a recipient or a domain.
type Hold struct {
	Name  string    `json:"name"` // bare JID or domain
	Since time.Time `json:"since"`
}

// Holds are what operators hold back, known to every process of a cluster. They
// are used from many goroutines.
type Holds struct {
	kv     jetstream.KeyValue
	report func(error)
	end    context.CancelFunc
	over   chan struct{}
	loaded chan struct{} // closed when the bucket was read for the first time

	mu      sync.RWMutex
	now     map[string]Hold   // by name
	keys    map[string]string // name by bucket key
	changed func(name string)
}

// OpenHolds opens the bucket, making it if need be, and reads it.
func OpenHolds(ctx context.Context, b Buckets, report func(error)) (*Holds, error) {
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: holdBucket, Description: "recipients and domains held back by an operator", Storage: jetstream.FileStorage, History: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("holds: open bucket: %w", err)
	}
	if report == nil {
		report = func(error) {}
	}
	wctx, end := context.WithCancel(context.WithoutCancel(ctx))
	h := &Holds{kv: kv, report: report, end: end, over: make(chan struct{}), loaded: make(chan struct{}),
		now: make(map[string]Hold), keys: make(map[string]string)}
	go func() {
		defer close(h.over)
		h.watch(wctx)
	}()
	select {
	case <-h.loaded:
		return h, nil
	case <-ctx.Done():
		_ = h.Close()
		return nil, fmt.Errorf("holds: %w", ctx.Err())
	}
}

// Close ends the watching and waits for it.
func (h *Holds) Close() error {
	h.end()
	<-h.over
	return nil
}

func (h *Holds) watch(ctx context.Context) {
	persist(ctx, h.follow, func(err error) { h.report(fmt.Errorf("holds stay as they were: %w", err)) })
}

// follow applies what one watcher reports. The first round is the whole bucket:
// what is not in it is released.
func (h *Holds) follow(ctx context.Context) error {
	w, err := h.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket: %w", err)
	}
	seen := make(map[string]bool)
	inFirst := true
	return follow(ctx, w, func(e jetstream.KeyValueEntry) {
		switch {
		case e == nil:
			inFirst = false
			h.keep(seen)
			return
		case inFirst:
			seen[e.Key()] = e.Operation() == jetstream.KeyValuePut
		}
		h.apply(e)
	})
}

// keep releases what the bucket does not hold.
func (h *Holds) keep(seen map[string]bool) {
	h.mu.Lock()
	var gone []string
	for key, name := range h.keys {
		if !seen[key] {
			delete(h.keys, key)
			delete(h.now, name)
			gone = append(gone, name)
		}
	}
	changed := h.changed
	h.mu.Unlock()
	for _, name := range gone {
		tell(changed, name)
	}
	select {
	case <-h.loaded:
	default:
		close(h.loaded)
	}
}

func (h *Holds) apply(e jetstream.KeyValueEntry) {
	if e.Operation() != jetstream.KeyValuePut {
		h.mu.Lock()
		name := h.keys[e.Key()]
		delete(h.keys, e.Key())
		delete(h.now, name)
		changed := h.changed
		h.mu.Unlock()
		if name != "" {
			tell(changed, name)
		}
		return
	}
	var hold Hold
	if err := json.Unmarshal(e.Value(), &hold); err != nil || hold.Name == "" {
		h.report(fmt.Errorf("holds: key %s: record cannot be read", e.Key()))
		return
	}
	h.set(e.Key(), hold)
}

func (h *Holds) set(key string, hold Hold) {
	h.mu.Lock()
	h.now[hold.Name] = hold
	h.keys[key] = hold.Name
	changed := h.changed
	h.mu.Unlock()
	tell(changed, hold.Name)
}

func tell(f func(string), name string) {
	if f != nil {
		f(name)
	}
}

// OnChange has f called with the name of each recipient or domain that is held or
// released from now on. f must not block.
func (h *Holds) OnChange(f func(name string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changed = f
}

// Held says whether one of the names, a recipient and its domain, is held.
func (h *Holds) Held(names ...string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, n := range names {
		if _, ok := h.now[n]; ok {
			return true
		}
	}
	return false
}

// List returns what is held, in no order.
func (h *Holds) List() []Hold {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]Hold, 0, len(h.now))
	for _, hold := range h.now {
		all = append(all, hold)
	}
	return all
}

// Hold holds name back from now on, in this process when it returns and in others
// soon. It says whether it was not held before.
func (h *Holds) Hold(ctx context.Context, name string) (bool, error) {
	if h.Held(name) {
		return false, nil
	}
	hold := Hold{Name: name, Since: time.Now().UTC()}
	data, err := json.Marshal(hold)
	if err != nil {
		return false, fmt.Errorf("hold: %w", err)
	}
	key := bucketKey(name)
	if _, err := h.kv.Put(ctx, key, data); err != nil {
		return false, fmt.Errorf("hold: %w", err)
	}
	h.set(key, hold)
	return true, nil
}

// Release ends a Hold and says whether there was one.
func (h *Holds) Release(ctx context.Context, name string) (bool, error) {
	key := bucketKey(name)
	_, err := h.kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return false, nil
	case err == nil:
		err = h.kv.Purge(ctx, key)
	}
	if err != nil {
		return false, fmt.Errorf("release: %w", err)
	}
	h.mu.Lock()
	delete(h.keys, key)
	delete(h.now, name)
	changed := h.changed
	h.mu.Unlock()
	tell(changed, name)
	return true, nil
}

// IsDomain says whether the name of a hold is a domain and not a recipient.
func (h Hold) IsDomain() bool { return !strings.Contains(h.Name, "@") }
