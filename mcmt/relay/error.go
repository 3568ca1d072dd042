package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"mcmt2xmpp/mcmt"
)

// Kind is why a message could not be handed to a host, a closed set.
type Kind uint8

// The kinds. All of them may be over at the next attempt.
const (
	KindLost        Kind = iota // the connection ended, or the host did not answer in time
	KindDNS                     // the look-up failed, or the names lead to no address
	KindUnreachable             // no address could be connected to
	KindProhibited              // all addresses of the host are in prohibited_hosts
	KindUnwelcome               // the host refused the connection as such, with a reply to it, EHLO or STARTTLS
	KindTLS                     // TLS is required and not there, or the certificate is not what is asked for
	KindLogin                   // no common mechanism, no TLS for the password, or a wrong password
	KindProtocol                // the host does not keep to the protocol
	KindBusy                    // all connections to it were in use for as long as the caller waited
	kinds
)

var kindNames = [kinds]string{"lost", "dns", "unreachable", "prohibited", "unwelcome", "tls", "login", "protocol", "busy"}

// String returns the kind as it stands in logs and metrics.
func (k Kind) String() string { return kindNames[k] }

// HostError is why a message could not be handed to a host. It says nothing of the
// message, so it is always temporary: not even a wrong password of ours may bounce
// somebody's mail.
type HostError struct {
	Host string // host:port, or the domain where no host was found
	Kind Kind
	Step string // what we were doing: "connect", "starttls", a command
	Err  error
	// Unsure says that the connection broke between the end of the message and the
	// answer to it: the host may have taken it (RFC 1047).
	Unsure bool
}

// Error says what happened in the words of an operator.
func (e *HostError) Error() string {
	s := fmt.Sprintf("%s: %s: %v", e.Host, e.Step, reason(e.Err))
	if e.Unsure {
		s += "; the host may have taken the message"
	}
	return s
}

// Unwrap returns the cause.
func (e *HostError) Unwrap() error { return e.Err }

// Temporary reports that another attempt may succeed.
func (e *HostError) Temporary() bool { return true }

// attempts are the failures of several hosts, in the order in which they were
// tried. Each of them was temporary.
type attempts []error

func (a attempts) Error() string {
	var all []string
	for _, err := range a {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

func (a attempts) Unwrap() []error { return a }
func (attempts) Temporary() bool   { return true }

// join makes one error of the failures of all hosts.
func join(failed []error) error {
	if len(failed) == 1 {
		return failed[0]
	}
	return attempts(failed)
}

// temporary reports whether another attempt may succeed; silence means yes.
func temporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return !ok || t.Temporary()
}

// reason is the part of an error that does not repeat the address.
func reason(err error) error {
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer in time")
	}
	if op, ok := err.(*net.OpError); ok {
		return op.Err
	}
	return err
}

// refuse is a refusal of ours, with the codes of RFC 3463.
func refuse(code int, subject, detail int, where, format string, args ...any) *mcmt.Refusal {
	return &mcmt.Refusal{
		Code: code, Enhanced: [3]int{code / 100, subject, detail}, Status: 502,
		Text: fmt.Sprintf(format, args...), Where: where,
	}
}
