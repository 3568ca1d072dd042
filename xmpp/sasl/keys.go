package sasl

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"
	"golang.org/x/text/secure/precis"

	"mcmt2xmpp/xmpp/jid"
)

// DefaultIterations is the iteration count of accounts, real and made up
// (RFC 7677 §4 asks for 4096 at least).
const DefaultIterations = 10000

// SaltSize is the length of every salt in bytes. Made-up accounts show salts of
// this length, so real ones must too.
const SaltSize = 16

// keySizes are the sizes of the keys by the name of the hash.
var keySizes = map[string]int{SHA1: 20, SHA256: 32}

func generator(hash string) (scram.HashGeneratorFcn, error) {
	switch hash {
	case SHA1:
		return scram.SHA1, nil
	case SHA256:
		return scram.SHA256, nil
	}
	return nil, fmt.Errorf("sasl: no hash %q", hash)
}

// PreparePassword brings a password to the form that is hashed: SASLprep
// (RFC 4013) as RFC 5802 §2.2 wants or, for characters younger than Unicode 3.2, which
// SASLprep does not know, its successor OpaqueString (RFC 8265 §4.2). The
// error never holds the password.
func PreparePassword(password string) (string, error) {
	if password == "" {
		return "", errors.New("sasl: password is empty")
	}
	p, err := stringprep.SASLprep.Prepare(password)
	if err != nil {
		p, err = precis.OpaqueString.String(password)
	}
	if err != nil || p == "" {
		return "", errors.New("sasl: password has characters that no password can have")
	}
	return p, nil
}

// Derive computes the keys that a store keeps (RFC 5802 §3). It takes
// milliseconds: 10,000 iterations are made for each login by PLAIN, none for one by SCRAM.
func Derive(hash, password string, salt []byte, iterations int) (StoredKey, error) {
	gen, err := generator(hash)
	if err != nil {
		return StoredKey{}, err
	}
	prepared, err := PreparePassword(password)
	if err != nil {
		return StoredKey{}, err
	}
	c, err := gen.NewClientUnprepped("", prepared, "")
	if err != nil {
		return StoredKey{}, fmt.Errorf("sasl: derive keys: %w", err)
	}
	k, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return StoredKey{}, fmt.Errorf("sasl: derive keys: %w", err)
	}
	return StoredKey{Salt: salt, Iterations: iterations, StoredKey: k.StoredKey, ServerKey: k.ServerKey}, nil
}

// Salt makes the salt of an account up from a secret: always the same for one
// name, and nothing to tell it from a random one. Stores of clear text use it,
// so that a restart does not change their salts where those of accounts that
// do not exist stay. A nil secret is one of this process.
func Salt(secret []byte, hash, user, domain string) []byte {
	return derived(secret, "salt", hash, user, domain)[:SaltSize]
}

// derived is a key for one purpose and name.
func derived(secret []byte, purpose, hash, user, domain string) []byte {
	if secret == nil {
		secret = processSecret()
	}
	mac := hmac.New(sha256.New, secret)
	// No part can hold a NUL: names are prepared.
	mac.Write([]byte(purpose + "\x00" + hash + "\x00" + user + "\x00" + domain))
	return mac.Sum(nil)
}

var processSecret = sync.OnceValue(func() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // does not fail: crypto/rand ends the process instead
	return b
})

// fake are credentials for a name that is no account, of the same form as those
// of the store's accounts. Nothing fits them: their keys are no hash of anything known.
func (o Offer) fake(form Holding, user jid.JID) Credentials {
	c := Credentials{HA1: hex.EncodeToString(derived(o.Secret, "ha1", "", user.Local(), user.Domain())[:16])}
	if form&HoldsPassword != 0 {
		c.Password = rand.Text()
	}
	c.SCRAM = make(map[string]StoredKey, len(keySizes))
	for hash, size := range keySizes {
		c.SCRAM[hash] = StoredKey{
			Salt:       Salt(o.Secret, hash, user.Local(), user.Domain()),
			Iterations: o.iterations(),
			StoredKey:  derived(o.Secret, "stored", hash, user.Local(), user.Domain())[:size],
			ServerKey:  derived(o.Secret, "server", hash, user.Local(), user.Domain())[:size],
		}
	}
	return c
}

func (o Offer) iterations() int {
	if o.Iterations > 0 {
		return o.Iterations
	}
	return DefaultIterations
}

// scramKey is the key to check a SCRAM client against. Credentials that have
// none, of an account known by HA1 only, get one that nothing fits.
func (o Offer) scramKey(hash string, c Credentials, user jid.JID) (StoredKey, error) {
	k, ok := c.SCRAM[hash]
	switch {
	case ok && (k.Iterations <= 0 || len(k.Salt) == 0 || len(k.StoredKey) != keySizes[hash] || len(k.ServerKey) != keySizes[hash]):
		return StoredKey{}, fmt.Errorf("stored %s key of %s is damaged", hash, user)
	case ok:
		return k, nil
	case c.Password != "":
		return Derive(hash, c.Password, Salt(o.Secret, hash, user.Local(), user.Domain()), o.iterations())
	}
	return o.fake(0, user).SCRAM[hash], nil
}
