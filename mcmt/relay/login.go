package relay

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// maxIterations bounds the work that a smart host may ask for: the count of a
// hostile one would keep us busy for hours.
const maxIterations = 1_000_000

// mechanism is the client's side of a SASL exchange (RFC 4954 §4).
type mechanism struct {
	name string
	// initial is whether the first response goes with the command.
	initial bool
	// step answers a challenge; the first one is empty.
	step func(challenge string) (string, error)
	// proven says whether the host knows the password too. Nil: its certificate is its
	// proof.
	proven func() bool
}

// mechanismFor returns the best mechanism of those that the host offers, nil for
// none.
func mechanismFor(offered []string, user, password string) (*mechanism, error) {
	switch has := func(name string) bool { return slices.Contains(offered, name) }; {
	case has("SCRAM-SHA-256"):
		return scramMechanism("SCRAM-SHA-256", scram.SHA256, user, password)
	case has("SCRAM-SHA-1"):
		return scramMechanism("SCRAM-SHA-1", scram.SHA1, user, password)
	case has("PLAIN"):
		response := "\x00" + user + "\x00" + password
		return &mechanism{name: "PLAIN", initial: true, step: script(response)}, nil
	case has("LOGIN"):
		return &mechanism{name: "LOGIN", step: script(user, password)}, nil
	}
	return nil, nil
}

// script answers the challenges with the responses in their order, whatever they
// say: those of LOGIN are prompts that nobody has standardised.
func script(responses ...string) func(string) (string, error) {
	return func(string) (string, error) {
		if len(responses) == 0 {
			return "", errors.New("the host asks for more than the mechanism has")
		}
		next := responses[0]
		responses = responses[1:]
		return next, nil
	}
}

// scramMechanism is RFC 5802 and RFC 7677 without channel binding.
func scramMechanism(name string, hash scram.HashGeneratorFcn, user, password string) (*mechanism, error) {
	client, err := hash.NewClient(user, password, "")
	if err != nil {
		return nil, err
	}
	conv := client.NewConversation()
	steps := 0
	return &mechanism{name: name, initial: true, proven: conv.Valid, step: func(challenge string) (string, error) {
		if steps++; steps == 2 {
			if err := bounded(challenge); err != nil {
				return "", err
			}
		}
		return conv.Step(challenge)
	}}, nil
}

// bounded reads the iteration count of a server-first-message before the library
// begins to count.
func bounded(challenge string) error {
	for field := range strings.SplitSeq(challenge, ",") {
		count, ok := strings.CutPrefix(field, "i=")
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(count, 10, 32); err != nil || n > maxIterations {
			return fmt.Errorf("the host asks for %.20s iterations", count)
		}
	}
	return nil
}

// login authenticates. The error is a *HostError: what is wrong with our password is
// nothing that the sender of a message could do anything about.
func (c *conn) login(user, password string) error {
	if !c.tls && !c.remoteLoopback() {
		return c.failed(KindLogin, "AUTH", errors.New("no TLS, and the password is not sent in clear text"))
	}
	offered := strings.Fields(strings.ToUpper(c.ext["AUTH"]))
	m, err := mechanismFor(offered, user, password)
	switch {
	case err != nil:
		return c.failed(KindLogin, "AUTH", err)
	case m == nil && len(offered) == 0:
		return c.failed(KindLogin, "AUTH", errors.New("the host offers no login"))
	case m == nil:
		return c.failed(KindLogin, "AUTH", fmt.Errorf("none of the mechanisms SCRAM-SHA-256, SCRAM-SHA-1, PLAIN, LOGIN is among %.100q", offered))
	}
	if err := c.exchange(m); err != nil {
		if host, ok := errors.AsType[*HostError](err); ok {
			host.Step = "AUTH " + m.name
			return host
		}
		return c.failed(KindLogin, "AUTH "+m.name, err)
	}
	return nil
}

// exchange runs the mechanism.
func (c *conn) exchange(m *mechanism) error {
	command := "AUTH " + m.name
	shown := command
	if m.initial {
		first, err := m.step("")
		if err != nil {
			return err
		}
		command, shown = command+" "+encode(first), command+" ***"
	}
	r, err := c.say(commandTimeout, command, shown)
	for err == nil && r.code == 334 {
		var challenge []byte
		if challenge, err = base64.StdEncoding.DecodeString(strings.TrimSpace(r.lines[0])); err != nil && m.proven != nil {
			return errors.New("a challenge that is not base64")
		}
		var response string
		if response, err = m.step(string(challenge)); err != nil {
			return err
		}
		r, err = c.say(commandTimeout, encode(response), "***")
	}
	switch {
	case err != nil:
		return err
	case r.code != 235:
		return errors.New(r.String())
	case m.proven != nil && !m.proven():
		return errors.New("the host did not prove that it knows the password")
	}
	return nil
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
