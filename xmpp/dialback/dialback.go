// Package dialback makes and checks the keys of server dialback (XEP-0220) by the
// method of XEP-0185. It keeps no state: the secret, the names and the id of the
// stream are all that a key depends on, so that any process with the secret can
// check what another one made (XEP-0185 §2, note 3).
package dialback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Key returns the key by which the originating server shows that it speaks for its
// domain (XEP-0185 §2), in hexadecimal.
//
// The originating server is the one that opened the connection and wants to send:
// its domain is the "from" of the <db:result/> that carries the key. The receiving
// server is the "to" of that, and has chosen streamID, the id of its response
// stream header. The authoritative server, which is asked by <db:verify/>, sees the
// same names the other way round: receiving is the "from" of the <db:verify/>,
// originating the "to", streamID its "id". Domains are taken as they stand, so both
// ends must give them prepared (RFC 7622 §3.2).
func Key(secret, receiving, originating, streamID string) string {
	// The key of the HMAC is the hash in hexadecimal, not its bytes (note 4 and
	// the example of §3).
	hash := sha256.Sum256([]byte(secret))
	mac := hmac.New(sha256.New, []byte(hex.EncodeToString(hash[:])))
	mac.Write([]byte(receiving + " " + originating + " " + streamID))
	return hex.EncodeToString(mac.Sum(nil))
}

// Verify reports whether key is the one that Key returns for the other arguments.
// It takes the same time whatever the key is, so that a peer cannot find one byte
// after the other by asking. Without a secret no key is right.
func Verify(secret, receiving, originating, streamID, key string) bool {
	want := Key(secret, receiving, originating, streamID)
	return secret != "" && hmac.Equal([]byte(want), []byte(key))
}
