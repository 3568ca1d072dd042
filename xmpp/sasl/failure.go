package sasl

import (
	"errors"
	"fmt"
	"time"
)

// Condition is the name of a SASL failure element (RFC 6120 §6.5).
type Condition string

// The conditions of RFC 6120 §6.5, in its order.
const (
	Aborted              Condition = "aborted"
	AccountDisabled      Condition = "account-disabled"
	CredentialsExpired   Condition = "credentials-expired"
	EncryptionRequired   Condition = "encryption-required"
	IncorrectEncoding    Condition = "incorrect-encoding"
	InvalidAuthzid       Condition = "invalid-authzid"
	InvalidMechanism     Condition = "invalid-mechanism"
	MalformedRequest     Condition = "malformed-request"
	MechanismTooWeak     Condition = "mechanism-too-weak"
	NotAuthorized        Condition = "not-authorized"
	TemporaryAuthFailure Condition = "temporary-auth-failure"
)

// ErrBindingType is the cause of the Failure of an exchange whose client wants a
// type of channel binding that is not on offer: no password was tried.
var ErrBindingType = errors.New("channel binding type not on offer")

// Failure ends an exchange. Condition and Text may go onto the wire; Text never
// tells whether an account exists.
type Failure struct {
	Condition Condition
	Text      string // for a person; empty for none
	// Refused says that the exchange was ended for what came before it, whatever the
	// password.
	Refused bool
	// After is how long others will be too, for that; 0: not known.
	After time.Duration
	Err   error // cause, for the log only: it may name the account or its store; nil for none
}

// Error names the condition and the cause. It is for the log.
func (f *Failure) Error() string {
	switch {
	case f.Err != nil:
		return fmt.Sprintf("sasl: %s: %v", f.Condition, f.Err)
	case f.Text != "":
		return fmt.Sprintf("sasl: %s: %s", f.Condition, f.Text)
	}
	return "sasl: " + string(f.Condition)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Temporary says whether the same attempt can succeed later.
func (f *Failure) Temporary() bool { return f.Condition == TemporaryAuthFailure }

func fail(c Condition, text string) *Failure { return &Failure{Condition: c, Text: text} }

// refuse is the one answer to a wrong name and to a wrong password, with the
// difference for the log only.
func refuse(cause error) *Failure { return &Failure{Condition: NotAuthorized, Err: cause} }
