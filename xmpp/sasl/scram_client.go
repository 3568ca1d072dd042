package sasl

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

var (
	errTooLong     = errors.New("sasl: challenge is too long")
	errNoProof     = errors.New("sasl: the server did not prove that it knows the account")
	errUnexpected  = errors.New("sasl: unexpected challenge")
	errManyRounds  = errors.New("sasl: the server asks for too many iterations")
	errNoIteration = errors.New("sasl: the server names no iteration count")
)

// scramClient is the client's side of RFC 5802 and RFC 7677.
type scramClient struct {
	name  string
	most  int
	steps int
	conv  *scram.ClientConversation
}

// newScramClient begins with the binding for a -PLUS name. claim sends the flag
// "y": the client could bind and saw no -PLUS on offer.
func newScramClient(l Login, name string, binding scram.ChannelBinding, plus, claim bool) (*scramClient, error) {
	hash := strings.TrimSuffix(strings.TrimPrefix(name, "SCRAM-"), "-PLUS")
	gen, err := generator(hash)
	if err != nil {
		return nil, err
	}
	password, err := PreparePassword(l.Password)
	if err != nil {
		return nil, err
	}
	// The library's own preparation refuses what PreparePassword still takes.
	client, err := gen.NewClientUnprepped(l.Username, password, l.Authzid)
	if err != nil {
		return nil, fmt.Errorf("sasl: %s: %w", name, err)
	}
	return beginScramClient(client, name, l.maxIterations(), binding, plus, claim), nil
}

func beginScramClient(client *scram.Client, name string, most int, binding scram.ChannelBinding, plus, claim bool) *scramClient {
	c := &scramClient{name: name, most: most}
	switch {
	case plus:
		c.conv = client.NewConversationWithChannelBinding(binding)
	case claim:
		c.conv = client.NewConversationAdvertisingChannelBinding()
	default:
		c.conv = client.NewConversation()
	}
	return c
}

func (l Login) maxIterations() int {
	if l.MaxIterations > 0 {
		return l.MaxIterations
	}
	return defaultMaxIterations
}

func (c *scramClient) Mechanism() string { return c.name }

func (c *scramClient) Start() ([]byte, error) {
	msg, err := c.conv.Step("")
	if err != nil {
		return nil, fmt.Errorf("sasl: %s: %w", c.name, err)
	}
	return []byte(msg), nil
}

func (c *scramClient) Step(challenge []byte) ([]byte, error) {
	if len(challenge) > maxMessage {
		return nil, errTooLong
	}
	if c.steps++; c.steps == 1 {
		if err := c.bounded(string(challenge)); err != nil {
			return nil, err
		}
	}
	msg, err := c.conv.Step(string(challenge))
	if err != nil {
		return nil, fmt.Errorf("sasl: %s: %w", c.name, err)
	}
	return []byte(msg), nil
}

// Finish takes the server's signature, with the success or, in a challenge before
// it, already through Step.
func (c *scramClient) Finish(data []byte) error {
	if len(data) > 0 {
		// Nothing but the server-final-message proves anything: data of a
		// success that comes before the proof was asked for is no such message.
		if c.steps == 0 {
			return errNoProof
		}
		if _, err := c.Step(data); err != nil {
			return err
		}
	}
	if !c.conv.Valid() {
		return errNoProof
	}
	return nil
}

// bounded reads the iteration count of a server-first-message before the library
// begins to count.
func (c *scramClient) bounded(msg string) error {
	fields := strings.Split(msg, ",")
	if len(fields) < 3 {
		return errNoIteration
	}
	count, ok := strings.CutPrefix(fields[2], "i=")
	n, err := strconv.Atoi(count)
	switch {
	case errors.Is(err, strconv.ErrRange) || n > c.most:
		return errManyRounds
	case !ok || err != nil || n <= 0:
		return errNoIteration
	}
	return nil
}

// plainClient is the client's side of RFC 4616.
type plainClient struct {
	login Login
}

func (*plainClient) Mechanism() string { return Plain }

func (c *plainClient) Start() ([]byte, error) {
	l := c.login
	if l.Username == "" || l.Password == "" || strings.ContainsRune(l.Authzid+l.Username+l.Password, 0) {
		return nil, errors.New("sasl: PLAIN: user name or password is empty or holds NUL")
	}
	return []byte(l.Authzid + "\x00" + l.Username + "\x00" + l.Password), nil
}

func (*plainClient) Step([]byte) ([]byte, error) { return nil, errUnexpected }

// Finish proves nothing: with PLAIN the server's certificate is its proof.
func (*plainClient) Finish([]byte) error { return nil }
