package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

// record is the value of an account in the built-in store, as JSON. It holds
// no password: the keys can check one, and nobody can log in with them elsewhere.
type record struct {
	JID     string                `json:"jid"`
	Created time.Time             `json:"created"`
	Changed time.Time             `json:"changed"` // of the password
	SCRAM   map[string]scramEntry `json:"scram"`   // by hash: "SHA-1", "SHA-256"
}

// scramEntry is a sasl.StoredKey, which itself refuses to be written.
type scramEntry struct {
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"stored_key"`
	ServerKey  []byte `json:"server_key"`
}

func newRecord(user jid.JID, created time.Time, keys map[string]sasl.StoredKey) record {
	r := record{JID: user.String(), Created: created, Changed: time.Now().UTC(), SCRAM: make(map[string]scramEntry, len(keys))}
	for hash, k := range keys {
		r.SCRAM[hash] = scramEntry(k)
	}
	return r
}

func parseRecord(value []byte) (jid.JID, record, error) {
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return jid.JID{}, record{}, fmt.Errorf("account record: %w", err)
	}
	user, err := jid.Parse(r.JID)
	if err != nil {
		return jid.JID{}, record{}, fmt.Errorf("account record of %q: %w", r.JID, err)
	}
	return user, r, nil
}

func (r record) credentials() sasl.Credentials {
	c := sasl.Credentials{SCRAM: make(map[string]sasl.StoredKey, len(r.SCRAM))}
	for hash, k := range r.SCRAM {
		c.SCRAM[hash] = sasl.StoredKey(k)
	}
	return c
}

// maxKey bounds a key of the bucket, in bytes: keys are subjects, which the
// server limits to a protocol line of 4 KiB. A JID can be longer in this form.
const maxKey = 200

// accountKey is the key of a bare JID: letters, digits, - and _ as they are, each
// other byte as = and two hex digits; what gets too long as its SHA-256 behind a
// slash, which no other key has. The record has the JID itself, so that no key
// need be read back.
func accountKey(user jid.JID) string {
	var b strings.Builder
	s := user.String()
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	if b.Len() <= maxKey {
		return b.String()
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256/" + hex.EncodeToString(sum[:])
}
