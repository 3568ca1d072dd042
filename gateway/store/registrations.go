package store

import (
	"context"
	"fmt"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// Registrations say who has registered with a gateway (XEP-0100 §4.1), known to every
// process. A record is a set of JIDs: the gateways of an account, or where it is that of
// a gateway, its users on other servers. They are used from many goroutines.
type Registrations struct{ *table[[]string] }

// OpenRegistrations opens the bucket, making it if need be, and reads it.
func OpenRegistrations(ctx context.Context, b Buckets, report func(error)) (*Registrations, error) {
	t, err := openTable[[]string](ctx, tableOptions{
		buckets: b, bucket: "registration", description: "who has registered with gateways", bytes: 64 << 20, report: report,
	})
	if err != nil {
		return nil, err
	}
	return &Registrations{t}, nil
}

// Has says whether j is in the set of owner.
func (r *Registrations) Has(owner, j jid.JID) bool {
	_, ok := slices.BinarySearch(r.get(owner), j.String())
	return ok
}

// Add puts j into the set of owner. One that would have more than most is refused with
// a *stanza.Error.
func (r *Registrations) Add(ctx context.Context, owner, j jid.JID, most int) error {
	if r.Has(owner, j) {
		return nil
	}
	return r.update(ctx, owner, func(old []string) ([]string, error) {
		i, ok := slices.BinarySearch(old, j.String())
		switch {
		case ok:
			return old, nil
		case len(old) >= most:
			return nil, &stanza.Error{Condition: stanza.ResourceConstraint, Text: fmt.Sprintf("more than %d registrations", most)}
		}
		return slices.Insert(slices.Clone(old), i, j.String()), nil
	})
}

// Drop takes j out of the set of owner.
func (r *Registrations) Drop(ctx context.Context, owner, j jid.JID) error {
	return r.update(ctx, owner, func(old []string) ([]string, error) {
		i, ok := slices.BinarySearch(old, j.String())
		if !ok {
			return old, nil
		}
		return slices.Delete(slices.Clone(old), i, i+1), nil
	})
}
