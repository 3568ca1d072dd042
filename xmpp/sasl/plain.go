package sasl

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"
)

var errWrongPassword = errors.New("wrong password")

// plain is the server's side of RFC 4616.
type plain struct {
	exchange
	asked bool
}

func (p *plain) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !p.asked {
		p.asked = true
		return nil, false, nil
	}
	// message = [authzid] UTF8NUL authcid UTF8NUL passwd (RFC 4616 §2); the
	// parts themselves hold no NUL.
	parts := strings.Split(string(response), "\x00")
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" || !utf8.Valid(response) {
		return nil, false, fail(MalformedRequest, "message is not authzid NUL authcid NUL password")
	}
	user, err := p.offer.user(parts[1])
	if err != nil {
		return nil, false, refuse(err)
	}
	if err := authorize(parts[0], user); err != nil {
		return nil, false, err
	}
	creds, err := p.offer.account(ctx, p.offer.Store, user)
	if err != nil && !errors.Is(err, ErrNoUser) {
		return nil, false, err
	}
	// An unknown name costs the same time as a wrong password.
	ok, broken := creds.verify(user, parts[2])
	switch {
	case err != nil:
		return nil, false, refuse(err)
	case broken != nil:
		return nil, false, &Failure{Condition: TemporaryAuthFailure, Err: broken}
	case !ok:
		return nil, false, refuse(errWrongPassword)
	}
	p.succeed(user)
	return nil, true, nil
}
