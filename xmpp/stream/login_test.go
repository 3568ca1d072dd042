package stream

import (
	"fmt"
	"testing"

	"mcmt2xmpp/xmpp/sasl"
)

// mechanism is a client that only has a name.
type mechanism string

func (m mechanism) Mechanism() string         { return string(m) }
func (mechanism) Start() ([]byte, error)      { return nil, nil }
func (mechanism) Step([]byte) ([]byte, error) { return nil, nil }
func (mechanism) Finish([]byte) error         { return nil }
func refusal(text string) error {
	return fmt.Errorf("login: %w", &sasl.Failure{Condition: sasl.NotAuthorized, Text: text})
}

// TestUnbound: channel binding is given up for one reason only. A wrong password is not
// tried twice, and a type that the server has announced (XEP-0440 §2) is not doubted.
func TestUnbound(t *testing.T) {
	t.Parallel()
	const ejabberd = "Invalid channel binding"
	for _, test := range []struct {
		name   string
		login  sasl.Login
		client sasl.Client
		err    error
		want   bool
	}{
		{"a type that was assumed", sasl.Login{}, mechanism(sasl.ScramSHA256Plus), refusal(ejabberd), true},
		{"one that was announced", sasl.Login{ChannelBindings: []string{"tls-exporter"}}, mechanism(sasl.ScramSHA256Plus), refusal(ejabberd), false},
		{"none was used", sasl.Login{}, mechanism(sasl.ScramSHA256), refusal(ejabberd), false},
		{"a wrong password", sasl.Login{}, mechanism(sasl.ScramSHA256Plus), refusal("Invalid username or password"), false},
		{"a broken connection", sasl.Login{}, mechanism(sasl.ScramSHA256Plus), fmt.Errorf("channel binding: %w", ErrClosed), false},
		{"no common mechanism", sasl.Login{}, nil, sasl.ErrNoMechanism, false},
		{"success", sasl.Login{}, mechanism(sasl.ScramSHA256Plus), nil, false},
	} {
		if got := unbound(test.login, test.client, test.err); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
