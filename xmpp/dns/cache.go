package dns

import (
	"sync"
	"time"
)

// Bounds of a cache.
const (
	keep   = time.Minute
	maxKey = 4096
)

// cache keeps answers by name for a minute. The zero value is empty.
type cache[V any] struct {
	mu  sync.Mutex
	all map[string]cached[V]
}

type cached[V any] struct {
	value V
	until time.Time
}

// get returns the answer kept for name, or asks and keeps what was answered.
func (c *cache[V]) get(name string, ask func() (V, error)) (V, error) {
	c.mu.Lock()
	known, ok := c.all[name]
	c.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.value, nil
	}
	value, err := ask() // two who ask at once both ask
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room()
	c.all[name] = cached[V]{value, time.Now().Add(keep)}
	return value, nil
}

// room makes place for one more: what is over goes, and if nothing is, whatever
// comes first. It looks through the table only when that is full.
func (c *cache[V]) room() {
	if c.all == nil {
		c.all = make(map[string]cached[V])
	}
	if len(c.all) < maxKey {
		return
	}
	now := time.Now()
	for name, known := range c.all {
		if !now.Before(known.until) {
			delete(c.all, name)
		}
	}
	for name := range c.all {
		if len(c.all) < maxKey {
			break
		}
		delete(c.all, name)
	}
}
