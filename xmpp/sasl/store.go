package sasl

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrNoUser is what a [Store] returns, wrapped or not, for an account that it does not have.
var ErrNoUser = errors.New("no such account")

// Store looks accounts up. user is a prepared localpart and domain a prepared
// domainpart, so that spellings of one name are one account.
//
// An error that is not ErrNoUser ends the exchange with temporary-auth-failure.
// A Store is used from many goroutines.
type Store interface {
	Credentials(ctx context.Context, user, domain string) (Credentials, error)
}

// Holding says what a store keeps of each account, and so which mechanisms it
// can serve.
type Holding uint8

// The forms of a credential. PLAIN works with any of them.
const (
	HoldsPassword Holding = 1 << iota // clear text: every mechanism
	HoldsSCRAM                        // keys for SHA-1 and SHA-256: SCRAM
	HoldsHA1                          // MD5 of user, realm and password: DIGEST-MD5
)

// Holder is implemented by a [Store] that keeps something else than SCRAM keys;
// a Store without it is taken to keep those.
type Holder interface {
	Holds() Holding
}

func holds(s Store) Holding {
	switch h := s.(type) {
	case nil:
		return 0
	case Holder:
		return h.Holds()
	}
	return HoldsSCRAM
}

// Hash names of SCRAM keys: keys of Credentials.SCRAM, arguments of Derive and Salt.
const (
	SHA1   = "SHA-1"
	SHA256 = "SHA-256"
)

// Credentials is what a store knows of one account. Empty fields are not known.
// It prints as ***.
type Credentials struct {
	// Password is the clear text. Without SCRAM keys beside it they are derived
	// at each login, which costs milliseconds: a store should keep them.
	Password string
	// SCRAM has the keys by the name of the hash, SHA1 or SHA256. A store may
	// return the same map to all: it is only read.
	SCRAM map[string]StoredKey
	// HA1 is the lower-case hex MD5 of user ":" realm ":" password, the realm
	// being the domain (RFC 2617 §3.2.2.2, the line of an htdigest file).
	HA1 string
	// HA1Name is the user name as it was hashed into HA1. Empty: the localpart.
	HA1Name string
}

// Format writes *** whatever the verb, so that no log can hold a secret.
func (Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// MarshalText writes ***, for encoders that do not use fmt.
func (Credentials) MarshalText() ([]byte, error) { return []byte("***"), nil }

// StoredKey is what a server keeps of a password for SCRAM (RFC 5802 §3). It
// prints as ***.
type StoredKey struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// Format writes *** whatever the verb: with ServerKey one can play the server.
func (StoredKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "***") }

// MarshalText writes ***, for encoders that do not use fmt.
func (StoredKey) MarshalText() ([]byte, error) { return []byte("***"), nil }
