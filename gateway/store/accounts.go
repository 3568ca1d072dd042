// Package store holds what the gateway knows of its own users: accounts, in a
// file or in the built-in store, behind one interface.
//
//	file://PATH       lines user:password, clear text
//	digest://PATH     lines user:realm:hash, as htdigest writes them
//	nats://accounts   the built-in store: a JetStream key-value bucket with SCRAM keys
package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

// BuiltinURI names the built-in store.
const BuiltinURI = "nats://accounts"

// minIterations is the least that is taken for Options.Iterations.
const minIterations = 10000

// Errors of accounts. Others mean that the store cannot be read or changed now.
var (
	// ErrNoAccount says that there is no such account. It is sasl.ErrNoUser.
	ErrNoAccount = sasl.ErrNoUser
	// ErrExists says that an account to add is there already.
	ErrExists = errors.New("account exists")
	// ErrInvalid says that a name or a password cannot be one.
	ErrInvalid = errors.New("not valid")
)

// Accounts are the accounts of one store. It is used from many goroutines.
type Accounts interface {
	sasl.Store
	sasl.Holder
	// Exists says whether a bare JID is an account. An error means that it is
	// not known now.
	Exists(ctx context.Context, user jid.JID) (bool, error)
	// Close ends what the store does in the background and waits for it.
	Close() error
}

// Buckets opens key-value buckets, making those that do not exist.
type Buckets interface {
	KV(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error)
}

// Options of a store.
type Options struct {
	// Buckets is required for the built-in store.
	Buckets Buckets
	// Domains are the domains that we serve, prepared. A user without a domain
	// in a file has an account on each.
	Domains []string
	// Iterations is the SCRAM iteration count of new keys, at least 10,000.
	// Zero: 10,000. Give sasl.Offer the same.
	Iterations int
	// Secret makes the salts of clear-text accounts. Give sasl.Offer the same, so
	// that accounts there are and accounts there are not behave alike. Nil: a
	// secret of this process.
	Secret []byte
	// Report learns of each bad line of a file, as a *LineError, and of each time
	// that a store could not be read again and the old accounts stay. It
	// must not block. Nil: nobody does.
	Report func(error)
}

// OpenAccounts opens the store that uri names. An error to read it at all is
// returned; later ones go to Options.Report. ctx bounds the opening only.
func OpenAccounts(ctx context.Context, uri string, o Options) (Accounts, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	scheme, path, _ := strings.Cut(uri, "://")
	var a Accounts
	switch {
	case uri == BuiltinURI:
		a, err = OpenBuiltin(ctx, o)
	case scheme == "file" && path != "":
		a, err = openFile(path, o, parsePlainLine, sasl.HoldsPassword|sasl.HoldsSCRAM)
	case scheme == "digest" && path != "":
		a, err = openFile(path, o, parseDigestLine, sasl.HoldsHA1)
	default:
		err = fmt.Errorf("accounts: %q is none of file://PATH, digest://PATH and %s", uri, BuiltinURI)
	}
	if err != nil {
		return nil, err // and not a: a nil pointer in an interface is not nil
	}
	return a, nil
}

// complete fills defaults in.
func (o Options) complete() (Options, error) {
	switch {
	case o.Iterations == 0:
		o.Iterations = sasl.DefaultIterations
	case o.Iterations < minIterations:
		return o, fmt.Errorf("accounts: %d iterations are too few: %d at least", o.Iterations, minIterations)
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	return o, nil
}

// lookUp is the key of an account: user and domain are prepared, and are
// prepared again because a key of a caller's making must not miss.
func lookUp(user, domain string) (jid.JID, error) {
	j, err := jid.New(user, domain, "")
	if err != nil || j.Local() == "" {
		return jid.JID{}, ErrNoAccount
	}
	return j, nil
}
