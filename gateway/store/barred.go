package store

import (
	"context"
	"fmt"

	"mcmt2xmpp/xmpp/jid"
)

// Barred are the domains with which an operator wants no streams, known to every
// process. They are used from many goroutines.
type Barred struct{ *table[bool] }

// OpenBarred opens the bucket, making it if need be, and reads it.
func OpenBarred(ctx context.Context, b Buckets, report func(error)) (*Barred, error) {
	t, err := openTable[bool](ctx, tableOptions{buckets: b, bucket: "barred", description: "domains barred by an operator", bytes: 16 << 20, report: report})
	if err != nil {
		return nil, err
	}
	return &Barred{t}, nil
}

// Barred says whether a domain is.
func (b *Barred) Barred(domain string) bool {
	j, err := jid.New("", domain, "")
	return err == nil && b.get(j)
}

// Domains are all that are, in no order.
func (b *Barred) Domains() (all []string) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, r := range b.rows {
		if r.now {
			all = append(all, r.user.Domain())
		}
	}
	return all
}

// Bar bars a domain, or does not any more.
func (b *Barred) Bar(ctx context.Context, domain string, bar bool) error {
	j, err := jid.New("", domain, "")
	if err != nil {
		return fmt.Errorf("bar %q: %w", domain, err)
	}
	return b.update(ctx, j, func(bool) (bool, error) { return bar, nil })
}

// OnChange has f called after each change, in whichever process it was made. f may
// block, but not for long.
func (b *Barred) OnChange(f func()) {
	b.onChange(func(jid.JID, bool, bool) { f() })
}
