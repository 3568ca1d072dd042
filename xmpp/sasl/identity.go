package sasl

import (
	"context"
	"crypto/md5"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"mcmt2xmpp/xmpp/jid"
)

// errNoLocal refuses a name that is only a domain.
var errNoLocal = errors.New("user name is empty")

// user prepares the name that a client gave (RFC 7622 §3.3), so that its
// spellings are one account. A name of the form user@domain is taken where the
// domain is ours or the offer has none: mail clients log in with an address.
func (o Offer) user(name string) (jid.JID, error) {
	local, domain := name, o.Domain
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		local, domain = name[:i], name[i+1:]
	}
	if local == "" {
		return jid.JID{}, errNoLocal
	}
	user, err := jid.New(local, domain, "")
	switch {
	case err != nil:
		return jid.JID{}, err
	case user.Local() == "":
		return jid.JID{}, errNoLocal
	case o.Domain != "" && user.Domain() != o.Domain:
		return jid.JID{}, fmt.Errorf("user of another domain: %w", ErrNoUser)
	}
	return user, nil
}

// account looks the user up. Where there is no such account it returns
// credentials that look like one and that no password fits, and ErrNoUser. Any other
// error is a *Failure.
func (o Offer) account(ctx context.Context, store Store, user jid.JID) (Credentials, error) {
	if o.Admit != nil {
		if err := o.Admit(user); err != nil {
			return Credentials{}, err
		}
	}
	creds, err := store.Credentials(ctx, user.Local(), user.Domain())
	switch {
	case errors.Is(err, ErrNoUser):
		return o.fake(holds(store), user), ErrNoUser
	case err != nil:
		return Credentials{}, &Failure{Condition: TemporaryAuthFailure, Err: fmt.Errorf("look %s up: %w", user, err)}
	}
	return creds, nil
}

// authorize holds the client to its own name: an authorization identity, where one
// is given, must be the user's bare JID (RFC 6120 §6.3.8).
func authorize(authzid string, user jid.JID) error {
	if authzid == "" {
		return nil
	}
	if who, err := jid.Parse(authzid); err != nil || who != user {
		return fail(InvalidAuthzid, "only your own bare JID can be asked for")
	}
	return nil
}

// verify compares a clear-text password with what is known of the account. The
// work depends on the form of the credentials only, which fake ones share.
func (c Credentials) verify(user jid.JID, password string) (bool, error) {
	prepared, err := PreparePassword(password)
	if err != nil {
		return false, nil // nothing that cannot be a password is one
	}
	if c.Password != "" {
		want, err := PreparePassword(c.Password)
		if err != nil {
			want = c.Password
		}
		return equal(prepared, want), nil
	}
	for _, hash := range []string{SHA256, SHA1} {
		key, ok := c.SCRAM[hash]
		if !ok {
			continue
		}
		got, err := Derive(hash, password, key.Salt, key.Iterations)
		if err != nil {
			return false, err
		}
		return subtle.ConstantTimeCompare(got.StoredKey, key.StoredKey) == 1, nil
	}
	name := c.HA1Name
	if name == "" {
		name = user.Local()
	}
	return c.HA1 != "" && equal(ha1(name, user.Domain(), password), strings.ToLower(c.HA1)), nil
}

// ha1 is H(user:realm:password) in lower-case hex (RFC 2831 §2.1.2.1).
func ha1(user, realm, password string) string {
	sum := md5.Sum([]byte(user + ":" + realm + ":" + password))
	return hex.EncodeToString(sum[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
