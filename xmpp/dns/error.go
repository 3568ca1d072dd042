package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Kind is why there is no server, a closed set.
type Kind uint8

// The kinds. Those that say what the owner of the domain or the operator decided
// hold for good; the others may be over at the next attempt.
const (
	// Failed: the DNS servers failed, or the caller ended the look-up.
	Failed Kind = iota
	// Silent: no DNS server answers.
	Silent
	// NoDomain: the domain has neither SRV records nor addresses. For good.
	NoDomain
	// NoService: the SRV records say that the service is decidedly not available
	// (RFC 6120 §3.2.1 step 3). For good.
	NoService
	// NoAddress: a server that the SRV records or a route name has no address.
	NoAddress
	// Prohibited: all addresses are among those that the operator forbids. For good.
	Prohibited
	// Unreachable: no address could be connected to.
	Unreachable
)

var kinds = [...]string{"failed", "silent", "no_domain", "no_service", "no_address", "prohibited", "unreachable"}

// String returns the kind as it stands in logs and metrics.
func (k Kind) String() string { return kinds[k] }

// Error is why a domain has no server, or why it could not be connected to.
type Error struct {
	Kind     Kind
	Name     string    // the domain or host that was looked up or connected to
	Attempts []Attempt // the addresses that were tried or left out, in that order
	Err      error     // what the DNS servers did, or nil
}

// Attempt is what became of one address.
type Attempt struct {
	Addr netip.AddrPort
	Err  error
}

// errProhibited is why an address is not tried.
var (
	errProhibited  = errors.New("in prohibited_hosts")
	errUnspecified = errors.New("not the address of a host")
)

// Error says what happened in the words of an operator.
func (e *Error) Error() string {
	switch e.Kind {
	case NoDomain:
		return "no such domain: " + e.Name + " has neither SRV records nor addresses"
	case NoService:
		return e.Name + ": its SRV records say that there is no such service"
	case NoAddress:
		return e.Name + ": the host has no address"
	case Prohibited, Unreachable:
		var tried []string
		for _, a := range e.Attempts {
			tried = append(tried, fmt.Sprintf("%s: %v", a.Addr, reason(a.Err)))
		}
		return e.Name + ": " + strings.Join(tried, ", ")
	}
	return fmt.Sprintf("%s: %v", e.Name, e.Err)
}

// Unwrap returns what the DNS servers did, or why the addresses failed.
func (e *Error) Unwrap() []error {
	var all []error
	if e.Err != nil {
		all = append(all, e.Err)
	}
	for _, a := range e.Attempts {
		all = append(all, a.Err)
	}
	return all
}

// Temporary reports whether another attempt may succeed.
func (e *Error) Temporary() bool {
	return e.Kind != NoDomain && e.Kind != NoService && e.Kind != Prohibited
}

// reason is the part of an error of a dial that does not repeat the address.
func reason(err error) error {
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer")
	}
	return err
}
