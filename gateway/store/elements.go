package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// elementBytes bounds the bucket of elements.
const elementBytes = 2 << 30

// Elements are XML elements that accounts keep, such as their vCards, in a bucket by
// bare JID and name. They are used from many goroutines.
type Elements struct{ kv jetstream.KeyValue }

// OpenElements opens the bucket, making it if need be.
func OpenElements(ctx context.Context, b Buckets) (*Elements, error) {
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: "element", Description: "XML kept for accounts", Storage: jetstream.FileStorage, History: 1, MaxBytes: elementBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("elements: open bucket: %w", err)
	}
	return &Elements{kv}, nil
}

// elementKey is the account's key, the kind, which is what stands before the first
// space of the name, and the hash of the name.
func elementKey(user jid.JID, name string) string {
	kind, _, _ := strings.Cut(name, " ")
	sum := sha256.Sum256([]byte(name))
	return accountKey(user.Bare()) + "." + kind + "." + hex.EncodeToString(sum[:16])
}

// Element returns one, nil where there is none.
func (s *Elements) Element(ctx context.Context, user jid.JID, name string) (*xmlwire.Element, error) {
	entry, err := s.kv.Get(ctx, elementKey(user, name))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("elements: read %q of %s: %w", name, user, err)
	}
	n := len(entry.Value()) + 1 // it was within the limits when it came in
	e, err := xmlwire.Parse(entry.Value(), xmlwire.Limits{Bytes: n, Depth: n, Attrs: n, Children: n})
	if err != nil {
		return nil, fmt.Errorf("elements: %q of %s cannot be read: %w", name, user, err)
	}
	return e, nil
}

// SetElement stores one. most bounds how many of its kind the account may have; a
// further one is refused with a *stanza.Error.
func (s *Elements) SetElement(ctx context.Context, user jid.JID, name string, e *xmlwire.Element, most int) error {
	key := elementKey(user, name)
	_, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = s.room(ctx, key[:strings.LastIndexByte(key, '.')], most)
	}
	if err == nil {
		_, err = s.kv.Put(ctx, key, xmlwire.Append(nil, e, ""))
	}
	if err != nil {
		return fmt.Errorf("elements: store %q of %s: %w", name, user, err)
	}
	return nil
}

// room refuses where there are most keys of a prefix already.
// Several clients at once may have their account get a few more.
func (s *Elements) room(ctx context.Context, prefix string, most int) error {
	keys, err := s.keys(ctx, prefix+".>")
	if err == nil && len(keys) >= most {
		return &stanza.Error{Type: stanza.Cancel, Condition: stanza.ResourceConstraint, Text: fmt.Sprintf("more than %d", most)}
	}
	return err
}

func (s *Elements) keys(ctx context.Context, filter string) ([]string, error) {
	lister, err := s.kv.ListKeysFiltered(ctx, filter)
	if err != nil {
		return nil, err
	}
	defer func() { _ = lister.Stop() }()
	var all []string
	for key := range lister.Keys() {
		all = append(all, key)
	}
	return all, nil
}

// Remove deletes all that an account keeps.
func (s *Elements) Remove(ctx context.Context, user jid.JID) error {
	keys, err := s.keys(ctx, accountKey(user.Bare())+".>")
	if err != nil {
		return fmt.Errorf("elements: list those of %s: %w", user, err)
	}
	for _, key := range keys {
		if err := s.kv.Purge(ctx, key); err != nil {
			return fmt.Errorf("elements: remove those of %s: %w", user, err)
		}
	}
	return nil
}
