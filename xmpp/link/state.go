package link

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stream"
)

// Phase is how far a link is.
type Phase string

// The phases.
const (
	Stopped    Phase = "stopped" // Run is not running
	Connecting Phase = "connecting"
	Up         Phase = "up"
	Waiting    Phase = "waiting" // for the next try
)

// State is what an operator wants to know of a link.
type State struct {
	Name    string
	Type    Type
	JID     jid.JID
	Domains []string // none: all
	Phase   Phase
	Since   time.Time
	TLS     string    // the version, "TLS 1.3"; empty: none, or not connected
	Failure *Failure  // the last one; nil: there was none. It is not changed
	NextTry time.Time // while waiting
}

// Failure is why a try has not led to a stream, or why that has ended.
type Failure struct {
	Step Step
	Text string
	At   time.Time
}

// Step is what failed.
type Step string

// The steps, in their order.
const (
	StepDNS       Step = "dns"
	StepTCP       Step = "tcp"
	StepTLS       Step = "tls"
	StepStream    Step = "stream" // its header and its features
	StepLogin     Step = "login"  // SASL
	StepHandshake Step = "handshake"
	StepBind      Step = "bind"
	StepSession   Step = "session" // it was ready, and has ended
)

// stepError is an error with the step that it is of.
type stepError struct {
	step Step
	err  error
}

// Error leads with the step.
func (e *stepError) Error() string { return string(e.step) + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// State returns the state of now.
func (l *Link) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.state
	st.Domains = slices.Clone(st.Domains)
	return st
}

// Changed is closed when the phase changes next.
func (l *Link) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// enter changes the phase; l.mu is held.
func (l *Link) enter(p Phase, next time.Time) {
	l.state.Phase, l.state.Since, l.state.NextTry = p, time.Now(), next
	if p != Up {
		l.state.TLS = ""
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// failed records why there is no stream, and until when nothing is tried.
func (l *Link) failed(err error, next time.Time) {
	f := &Failure{Step: StepSession, Text: err.Error(), At: time.Now()}
	var at *stepError
	if errors.As(err, &at) {
		f.Step, f.Text = at.step, at.err.Error()
	}
	l.stats.failures.Add(1)
	l.mu.Lock()
	l.state.Failure = f
	l.enter(Waiting, next)
	l.mu.Unlock()
	l.log.Warn().Str("step", string(f.Step)).Str("reason", f.Text).Time("next", next).Msg("link is down")
}

// refused says whether the server would say the same again: a password that is wrong is
// not to be tried so often that the account is locked.
func refused(err error) bool {
	var login *sasl.Failure
	var theirs *stream.PeerError
	switch {
	case errors.As(err, &login):
		return !login.Temporary()
	case errors.As(err, &theirs):
		return !theirs.Temporary()
	}
	return errors.Is(err, stream.ErrNoTLS) || errors.Is(err, sasl.ErrNoMechanism)
}

// Down is the error of a link without a stream. It is temporary.
type Down struct{ State }

// Error says what is known.
func (e *Down) Error() string {
	s := fmt.Sprintf("link %s is %s", e.Name, e.Phase)
	if e.Failure != nil {
		s += fmt.Sprintf(" after %s failed: %s", e.Failure.Step, e.Failure.Text)
	}
	return s
}

// Temporary is true.
func (e *Down) Temporary() bool { return true }
