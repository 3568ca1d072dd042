package sasl

import (
	"context"
	"slices"

	"mcmt2xmpp/xmpp/jid"
)

// external is the server's side of EXTERNAL (RFC 4422 Appendix A): the client says
// at most which of the identities of its certificate it wants to be. Verifying the
// certificate, and reading identities from the verified leaf only, was the caller's work.
type external struct {
	exchange
	asked bool
}

func (e *external) Step(_ context.Context, response []byte) ([]byte, bool, error) {
	if response == nil && !e.asked {
		e.asked = true
		return nil, false, nil
	}
	proven := e.offer.Proven
	if len(response) == 0 {
		// XEP-0178 §2: without an authzid a certificate with one identity
		// is unambiguous, one with several is not.
		if len(proven) != 1 {
			return nil, false, fail(InvalidAuthzid, "the certificate has several identities: name one")
		}
		e.succeed(proven[0])
		return nil, true, nil
	}
	who, err := jid.Parse(string(response))
	if err != nil || !slices.Contains(proven, who) {
		return nil, false, fail(InvalidAuthzid, "the certificate does not prove this identity")
	}
	e.succeed(who)
	return nil, true, nil
}
