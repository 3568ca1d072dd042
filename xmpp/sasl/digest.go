package sasl

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"mcmt2xmpp/xmpp/jid"
)

// digest is the server's side of RFC 2831: qop "auth" only, no security layer,
// and no subsequent authentication. A nonce is made for one exchange and dies with
// it, so that a response cannot be replayed.
type digest struct {
	exchange
	nonce string  // empty until the challenge went out
	user  jid.JID // set when the response was right; what is left is the client's empty answer
}

var (
	errWrongDigest = errors.New("wrong response digest")
	errReplay      = errors.New("nonce is not of this exchange")
)

func (d *digest) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case d.nonce == "":
		// An initial response is a try at subsequent authentication (RFC 2831
		// §2.2). Nothing is remembered here, so it gets a new challenge.
		d.nonce = rand.Text()
		return d.challenge(), false, nil
	case d.user.IsZero():
		rspauth, err := d.verify(ctx, response)
		return rspauth, false, err
	case len(response) != 0:
		return nil, false, fail(MalformedRequest, "nothing is expected after rspauth")
	}
	d.succeed(d.user)
	return nil, true, nil
}

// challenge is the digest-challenge (RFC 2831 §2.1.1).
func (d *digest) challenge() []byte {
	return fmt.Appendf(nil, `realm=%s,nonce="%s",qop="auth",charset=utf-8,algorithm=md5-sess`, quote(d.offer.Domain), d.nonce)
}

// verify checks the digest-response (RFC 2831 §2.1.2) and returns the
// response-auth (§2.1.3). That goes out as a challenge and not with the success:
// COMPAT clients of RFC 3920's time know no additional data.
func (d *digest) verify(ctx context.Context, response []byte) ([]byte, error) {
	r, err := parseDigestResponse(response)
	if err != nil {
		return nil, &Failure{Condition: MalformedRequest, Err: err}
	}
	switch {
	case r.nonce != d.nonce || r.nc != "00000001":
		return nil, refuse(errReplay)
	case r.realm != d.offer.Domain:
		return nil, refuse(fmt.Errorf("realm %q is not ours", r.realm))
	case !d.ourService(r.uri):
		// Else a response that another service on this host asked for would do.
		return nil, refuse(fmt.Errorf("digest-uri %q is not ours", r.uri))
	}
	user, err := d.offer.user(r.username)
	if err != nil {
		return nil, refuse(err)
	}
	if err := authorize(r.authzid, user); err != nil {
		return nil, err
	}
	creds, err := d.offer.account(ctx, d.offer.Digest, user)
	if err != nil && !errors.Is(err, ErrNoUser) {
		return nil, err
	}
	secret, ok := r.match(creds)
	switch {
	case err != nil:
		return nil, refuse(err)
	case !ok:
		return nil, refuse(errWrongDigest)
	}
	d.user = user
	return []byte("rspauth=" + r.compute(secret, "")), nil
}

// ourService checks a digest-uri, serv-type "/" host [ "/" serv-name ]: either
// name may be the domain (RFC 2831 §2.1.2).
func (d *digest) ourService(uri string) bool {
	parts := strings.Split(uri, "/")
	if len(parts) < 2 || len(parts) > 3 || !strings.EqualFold(parts[0], "xmpp") {
		return false
	}
	return strings.EqualFold(parts[1], d.offer.Domain) || strings.EqualFold(parts[len(parts)-1], d.offer.Domain)
}

// match finds the form of the secret that the client hashed, if any. All forms
// are tried, so that the time does not depend on the account.
func (r digestResponse) match(c Credentials) (secret string, ok bool) {
	candidates := []string{strings.ToLower(c.HA1)}
	if c.Password != "" {
		// Each of the values is hashed in ISO 8859-1 where it fits in there
		// (RFC 2831 §2.1.2.1). COMPAT most clients hash UTF-8 whatever it says.
		candidates = []string{
			ha1(latin1(r.username), latin1(r.realm), latin1(c.Password)),
			ha1(r.username, r.realm, c.Password),
		}
	}
	for _, ha1 := range candidates {
		if len(ha1) == 2*md5.Size && equal(r.compute(ha1, "AUTHENTICATE"), strings.ToLower(r.response)) {
			secret, ok = ha1, true
		}
	}
	return secret, ok
}

// compute is the response-value of RFC 2831 §2.1.2.1, or with an empty method the
// value of response-auth (§2.1.3). ha1 is hex: A1 takes the 16 bytes themselves.
func (r digestResponse) compute(ha1, method string) string {
	raw, err := hex.DecodeString(ha1)
	if err != nil {
		return ""
	}
	a1 := string(raw) + ":" + r.nonce + ":" + r.cnonce
	if r.authzid != "" {
		a1 += ":" + r.authzid
	}
	a2 := method + ":" + r.uri
	return md5hex(md5hex(a1) + ":" + r.nonce + ":" + r.nc + ":" + r.cnonce + ":auth:" + md5hex(a2))
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// latin1 is s in ISO 8859-1, or s itself where it has characters beyond.
func latin1(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xFF {
			return s
		}
		b = append(b, byte(r))
	}
	return string(b)
}
