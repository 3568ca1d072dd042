package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

const (
	accountBucket = "account"
	// accountBytes bounds the bucket, in bytes: an account takes about 1 KiB.
	accountBytes = 64 << 20
	// attempts is how often a change is tried again that met another one.
	attempts = 5
)

// Builtin are the accounts of the built-in store. Logins are answered from a map
// that a watcher keeps, so that they need no round trip and go on while the
// broker is away; changes go to the broker.
type Builtin struct {
	o  Options
	kv jetstream.KeyValue

	stop    context.CancelFunc
	watcher sync.WaitGroup
	loaded  chan struct{} // closed when the map is complete for the first time

	mu  sync.Mutex
	now snapshot
}

// known is one account as of a revision of the bucket.
type known struct {
	rev   uint64
	creds sasl.Credentials
	gone  bool // deleted by this process; the watcher has not seen it yet
}

// OpenBuiltin opens the built-in store, making its bucket if need be, and waits
// until all accounts are known. ctx bounds the opening only.
func OpenBuiltin(ctx context.Context, o Options) (*Builtin, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	if o.Buckets == nil {
		return nil, errors.New("accounts: the built-in store needs a broker")
	}
	kv, err := o.Buckets.KV(ctx, jetstream.KeyValueConfig{
		Bucket: accountBucket, Description: "accounts by bare JID", Storage: jetstream.FileStorage, History: 1, MaxBytes: accountBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("accounts: open bucket: %w", err)
	}
	b := &Builtin{o: o, kv: kv, loaded: make(chan struct{}), now: newSnapshot()}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = cancel
	b.watcher.Go(func() { b.watch(life) })
	select {
	case <-b.loaded:
		return b, nil
	case <-ctx.Done():
		_ = b.Close()
		return nil, fmt.Errorf("accounts: read bucket: %w", ctx.Err())
	}
}

// Holds is SCRAM keys: the password itself is nowhere.
func (b *Builtin) Holds() sasl.Holding { return sasl.HoldsSCRAM }

// Close ends the watcher and waits for it.
func (b *Builtin) Close() error {
	b.stop()
	b.watcher.Wait()
	return nil
}

// Credentials returns the keys of an account, or ErrNoAccount.
func (b *Builtin) Credentials(_ context.Context, user, domain string) (sasl.Credentials, error) {
	j, err := lookUp(user, domain)
	if err != nil {
		return sasl.Credentials{}, err
	}
	k, ok := b.find(j)
	if !ok {
		return sasl.Credentials{}, ErrNoAccount
	}
	return k.creds, nil
}

// Exists says whether a bare JID is an account.
func (b *Builtin) Exists(_ context.Context, user jid.JID) (bool, error) {
	_, ok := b.find(user.Bare())
	return ok, nil
}

func (b *Builtin) find(user jid.JID) (known, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.now.users[user]
	return k, ok && !k.gone
}

// List are the accounts, in the order of their addresses.
func (b *Builtin) List(context.Context) ([]jid.JID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []jid.JID
	for j, k := range b.now.users {
		if !k.gone {
			all = append(all, j)
		}
	}
	slices.SortFunc(all, func(x, y jid.JID) int { return strings.Compare(x.String(), y.String()) })
	return all, nil
}

// Add makes an account. The error is ErrExists for one that is there and
// ErrInvalid for a name or password that cannot be one.
func (b *Builtin) Add(ctx context.Context, user jid.JID, password string) error {
	now := time.Now().UTC()
	value, r, err := b.value(user, now, password)
	if err != nil {
		return err
	}
	rev, err := b.kv.Create(ctx, accountKey(user), value)
	switch {
	case errors.Is(err, jetstream.ErrKeyExists):
		return fmt.Errorf("%s: %w", user, ErrExists)
	case err != nil:
		return fmt.Errorf("accounts: add %s: %w", user, err)
	}
	b.put(accountKey(user), user, known{rev: rev, creds: r.credentials()})
	return nil
}

// SetPassword gives an account a new password. The error is ErrNoAccount or
// ErrInvalid.
func (b *Builtin) SetPassword(ctx context.Context, user jid.JID, password string) error {
	return b.change(ctx, user, func(old jetstream.KeyValueEntry) error {
		_, before, err := parseRecord(old.Value())
		if err != nil {
			before = record{Created: old.Created()} // a damaged record is mended
		}
		value, r, err := b.value(user, before.Created, password)
		if err != nil {
			return err
		}
		rev, err := b.kv.Update(ctx, accountKey(user), value, old.Revision())
		if err != nil {
			return err
		}
		b.put(accountKey(user), user, known{rev: rev, creds: r.credentials()})
		return nil
	})
}

// Remove removes an account, or returns ErrNoAccount. Sessions of the user are
// the caller's to end.
func (b *Builtin) Remove(ctx context.Context, user jid.JID) error {
	return b.change(ctx, user, func(old jetstream.KeyValueEntry) error {
		if err := b.kv.Delete(ctx, accountKey(user), jetstream.LastRevision(old.Revision())); err != nil {
			return err
		}
		b.put(accountKey(user), user, known{rev: old.Revision(), gone: true})
		return nil
	})
}

// change reads the account and does something with what it read, again when
// somebody else was faster.
func (b *Builtin) change(ctx context.Context, user jid.JID, do func(old jetstream.KeyValueEntry) error) error {
	var err error
	for range attempts {
		var old jetstream.KeyValueEntry
		old, err = b.kv.Get(ctx, accountKey(user))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return fmt.Errorf("%s: %w", user, ErrNoAccount)
		}
		if err == nil {
			err = do(old)
		}
		switch {
		case err == nil || errors.Is(err, ErrInvalid):
			return err
		case !errors.Is(err, jetstream.ErrKeyRevisionMismatch):
			return fmt.Errorf("accounts: change %s: %w", user, err)
		}
	}
	return fmt.Errorf("accounts: change %s: %w", user, err)
}

// value derives the keys and makes the record of an account.
func (b *Builtin) value(user jid.JID, created time.Time, password string) ([]byte, record, error) {
	if user.Local() == "" || !user.IsBare() {
		return nil, record{}, fmt.Errorf("%s: %w: an account is user@domain", user, ErrInvalid)
	}
	if _, err := sasl.PreparePassword(password); err != nil {
		return nil, record{}, fmt.Errorf("%s: %w: %w", user, ErrInvalid, err)
	}
	keys, err := deriveKeys(password, b.o.Iterations, func(string) []byte {
		salt := make([]byte, sasl.SaltSize)
		_, _ = rand.Read(salt) // does not fail: crypto/rand ends the process instead
		return salt
	})
	if err != nil {
		return nil, record{}, fmt.Errorf("accounts: %s: %w", user, err)
	}
	r := newRecord(user, created, keys)
	value, err := json.Marshal(r)
	return value, r, err
}
