package sasl

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"

	"mcmt2xmpp/xmpp/jid"
)

// scramServer is the server's side of RFC 5802 and RFC 7677: the arithmetic and
// the grammar are the library's, the choice of the binding, names and failures ours.
type scramServer struct {
	exchange
	hash  string
	plus  bool
	nonce scram.NonceGeneratorFcn // nil: the library's, 24 random bytes

	asked bool // an empty challenge went out because the client sent no initial response
	conv  *scram.ServerConversation
	user  jid.JID
	known error // ErrNoUser where the credentials are made up
}

func newScram(x exchange) *scramServer {
	name, plus := strings.CutSuffix(x.name, "-PLUS")
	return &scramServer{exchange: x, hash: strings.TrimPrefix(name, "SCRAM-"), plus: plus}
}

func (s *scramServer) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	switch {
	case s.conv != nil:
		return s.final(string(response))
	case response == nil && !s.asked:
		s.asked = true
		return nil, false, nil
	}
	challenge, err := s.first(ctx, string(response))
	return challenge, false, err
}

// first answers the client-first-message.
func (s *scramServer) first(ctx context.Context, msg string) ([]byte, error) {
	if !utf8.ValidString(msg) || strings.ContainsRune(msg, 0) {
		return nil, fail(MalformedRequest, "message is not text")
	}
	// The gs2 header says which binding the client chose; the library must be
	// given that one before it reads the message.
	flag, _, _ := strings.Cut(msg, ",")
	binding, err := s.choose(flag)
	if err != nil {
		return nil, err
	}
	conv, failed, err := s.begin(ctx, binding)
	if err != nil {
		return nil, err
	}
	reply, err := conv.Step(msg)
	if f := failed(); f != nil {
		return nil, f
	}
	if err != nil {
		return nil, scramFailure(reply, err)
	}
	if err := authorize(conv.AuthzID(), s.user); err != nil {
		return nil, err
	}
	s.conv = conv
	return []byte(reply), nil
}

// choose picks the binding that the gs2-cbind-flag names. For "n" and "y" it is
// the best there is: the library then knows that -PLUS was on offer, refuses a
// "y" (somebody shortened the list that the client saw, RFC 5802 §6), and an "n"
// under a -PLUS name.
func (s *scramServer) choose(flag string) (scram.ChannelBinding, error) {
	all := s.offer.bindings()
	want, isP := strings.CutPrefix(flag, "p=")
	if !isP {
		if len(all) == 0 || flag == "y" && s.offer.PlusTried {
			return scram.ChannelBinding{}, nil
		}
		return all[0], nil
	}
	for _, b := range all {
		if string(b.Type) == want {
			return b, nil
		}
	}
	return scram.ChannelBinding{}, &Failure{Condition: NotAuthorized, Text: "channel binding type not supported", Err: ErrBindingType}
}

// begin sets the library's conversation up. failed returns what the look-up of
// the account ran into, if anything.
func (s *scramServer) begin(ctx context.Context, binding scram.ChannelBinding) (conv *scram.ServerConversation, failed func() error, err error) {
	gen, err := generator(s.hash)
	if err != nil {
		return nil, nil, fail(InvalidMechanism, "")
	}
	var lookup error
	server, err := gen.NewServer(func(name string) (scram.StoredCredentials, error) {
		var key StoredKey
		key, lookup = s.lookup(ctx, name)
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(key.Salt), Iters: key.Iterations},
			StoredKey:  key.StoredKey,
			ServerKey:  key.ServerKey,
		}, lookup
	})
	if err != nil {
		return nil, nil, &Failure{Condition: TemporaryAuthFailure, Err: err}
	}
	if s.nonce != nil {
		server.WithNonceGenerator(s.nonce)
	}
	failed = func() error { return lookup }
	if s.plus {
		return server.NewConversationWithChannelBindingRequired(binding), failed, nil
	}
	return server.NewConversationWithChannelBinding(binding), failed, nil
}

// lookup finds the key for a name. It does not fail for a name that is no
// account: the exchange goes on to its end with a key that nothing fits, so
// that a peer cannot find out which accounts there are.
func (s *scramServer) lookup(ctx context.Context, name string) (StoredKey, error) {
	user, err := s.offer.user(name)
	if err != nil {
		return StoredKey{}, refuse(err)
	}
	creds, err := s.offer.account(ctx, s.offer.Store, user)
	if err != nil && !errors.Is(err, ErrNoUser) {
		return StoredKey{}, err
	}
	s.user, s.known = user, err
	key, err := s.offer.scramKey(s.hash, creds, user)
	if err != nil {
		return StoredKey{}, &Failure{Condition: TemporaryAuthFailure, Err: err}
	}
	return key, nil
}

// final checks the proof and returns the server's own.
func (s *scramServer) final(msg string) ([]byte, bool, error) {
	reply, err := s.conv.Step(msg)
	switch {
	case err != nil && s.known != nil:
		return nil, false, refuse(s.known)
	case err != nil:
		return nil, false, scramFailure(reply, err)
	case s.known != nil || !s.conv.Valid():
		return nil, false, refuse(ErrNoUser)
	}
	s.succeed(s.user)
	return []byte(reply), true, nil
}

// scramFailure maps the library's server-error-value (RFC 5802 §7) to a condition.
func scramFailure(reply string, err error) *Failure {
	switch reply {
	case "", scram.ErrInvalidEncoding, scram.ErrInvalidUsernameEncoding, scram.ErrExtensionsNotSupported:
		return &Failure{Condition: MalformedRequest, Err: err}
	case scram.ErrServerDoesSupportChannelBinding, scram.ErrChannelBindingNotSupported, scram.ErrUnsupportedChannelBindingType:
		return &Failure{Condition: NotAuthorized, Text: strings.TrimPrefix(reply, "e="), Err: err}
	case scram.ErrChannelBindingsDontMatch:
		// The library's text has the binding data, which is a secret of the TLS session.
		return &Failure{Condition: NotAuthorized, Text: strings.TrimPrefix(reply, "e=")}
	}
	return refuse(err)
}
