package sasl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNoMechanism says that the server offers nothing that the client can or will use.
var ErrNoMechanism = errors.New("sasl: no common mechanism")

// Client is the client's side of one exchange. It is used by one goroutine.
type Client interface {
	// Mechanism is the name for the wire.
	Mechanism() string
	// Start returns the initial response. It is called once, first.
	Start() ([]byte, error)
	// Step answers a challenge.
	Step(challenge []byte) ([]byte, error)
	// Finish takes the additional data of the server's success, nil for none.
	// An error means that the server did not prove that it knows the account:
	// leave, whatever it says.
	Finish(data []byte) error
}

// Login is what a client logs in with. It prints as ***.
type Login struct {
	Username string // localpart
	Password string
	Authzid  string // bare JID; empty, as nearly always: derived from Username

	// TLS is the state of the connection; nil for clear text.
	TLS *tls.ConnectionState
	// ChannelBindings are the types that the server announced (XEP-0440). Nil,
	// for a server that announced none: tls-exporter is assumed.
	ChannelBindings []string

	// AllowPlainWithoutTLS lets PLAIN be chosen in clear text.
	AllowPlainWithoutTLS bool
	// MaxIterations bounds the work that a server may ask for: the count of a
	// hostile one would keep the client busy for hours. Zero: 1,000,000.
	MaxIterations int
}

// Format writes the user name and no more.
func (l Login) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s:***", l.Username) }

// MarshalText is Format for encoders that do not use fmt.
func (l Login) MarshalText() ([]byte, error) { return []byte(l.Username + ":***"), nil }

const defaultMaxIterations = 1_000_000

// preferred is the order of choice of a client.
var preferred = []string{ScramSHA256Plus, ScramSHA1Plus, ScramSHA256, ScramSHA1, Plain}

// Choose picks the strongest mechanism that both sides have. The error is
// ErrNoMechanism when there is none.
func (l Login) Choose(offered []string) (Client, error) {
	for _, name := range preferred {
		switch {
		case !slices.Contains(offered, name):
			continue
		case name == Plain && l.TLS == nil && !l.AllowPlainWithoutTLS:
			continue
		case name == Plain:
			return &plainClient{login: l}, nil
		}
		binding, ok := l.binding()
		plus := strings.HasSuffix(name, "-PLUS")
		if plus && !ok {
			continue
		}
		// Only where no -PLUS was seen may the client claim that it would have
		// bound: that is how a server finds a list somebody shortened (RFC 5802 §6).
		claim := ok && !slices.ContainsFunc(offered, func(n string) bool { return strings.HasSuffix(n, "-PLUS") })
		return newScramClient(l, name, binding, plus, claim)
	}
	return nil, fmt.Errorf("%w among %q", ErrNoMechanism, offered)
}
