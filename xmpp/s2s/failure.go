package s2s

import (
	"errors"
	"fmt"
	"time"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/stanza"
)

// Step is one of those that lead to a stream, in their order.
type Step string

// The steps. What fails at one of them is told by its name.
const (
	StepPolicy      Step = "policy"      // ours
	StepDNS         Step = "dns"         // the domain's servers
	StepTCP         Step = "tcp"         // a connection to one of them
	StepTLS         Step = "tls"         // the handshake
	StepCertificate Step = "certificate" // what they show is not what we ask for
	StepStream      Step = "stream"      // headers and features
	StepSASL        Step = "sasl"        // EXTERNAL, where there is no dialback
	StepDialback    Step = "dialback"    // their verdict on our key
	StepUse         Step = "use"         // the stream was lost
)

// Failure is why there is no stream.
type Failure struct {
	Step Step
	Err  error
	At   time.Time
}

// Error names the step and the reason.
func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Step, f.Err) }

// Unwrap returns the reason.
func (f *Failure) Unwrap() error { return f.Err }

// Temporary says whether another attempt may fare better. What we are told not to do we
// never will; whatever the other side says, its operator may mend.
func (f *Failure) Temporary() bool {
	var d *dns.Error
	switch {
	case errors.Is(f.Err, errConnections):
		return true
	case f.Step == StepPolicy:
		return false
	case errors.As(f.Err, &d):
		return d.Temporary()
	}
	return true
}

// failed wraps an error of a step, unless it is a Failure already.
func failed(step Step, err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Step: step, Err: err, At: time.Now()}
}

// stanzaError is what the sender of a stanza is told (RFC 6120 §10.4.1, §10.4.2): that
// there is no such server, or that it cannot be reached now.
func (f *Failure) stanzaError() *stanza.Error {
	var d *dns.Error
	switch {
	case errors.Is(f.Err, errConnections):
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: f.Err.Error()}
	case f.Step == StepPolicy:
		return &stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: f.Err.Error()}
	case errors.Is(f.Err, errInvalid): // XEP-0220 §2.1.1
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.InternalServerError, Text: f.Error()}
	case errors.As(f.Err, &d) && !d.Temporary():
		return &stanza.Error{Type: stanza.Cancel, Condition: stanza.RemoteServerNotFound, Text: f.Error()}
	}
	return &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout, Text: f.Error()}
}
