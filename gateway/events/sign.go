package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/gateway/config"
)

// The headers of a request (Standard Webhooks 1.0.0, Webhook headers).
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp" // of the attempt, seconds since the epoch
	headerSignature = "webhook-signature"
)

// signer signs as Standard Webhooks 1.0.0 says, with each of its keys.
type signer [][]byte

// newSigner takes keys that the configuration has checked.
func newSigner(secrets []config.Secret) signer {
	var s signer
	for _, secret := range secrets {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Reveal(), "whsec_"))
		s = append(s, key)
	}
	return s
}

// sign returns the signature of a body that is sent now: one for each key, with blanks
// between. id has no dot.
func (s signer) sign(id string, now time.Time, body []byte) string {
	all := make([]string, len(s))
	for i, key := range s {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + strconv.FormatInt(now.Unix(), 10) + "."))
		mac.Write(body)
		all[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(all, " ")
}
