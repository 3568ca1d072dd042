package broker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The reasons for which Store refuses, asked for with errors.Is. Whether to try
// again is asked with errors.As and Temporary.
var (
	// ErrFull means that the stream has reached its size or that the disk is
	// nearly full. Nothing was stored; it is temporary.
	ErrFull error = &refusal{"store is full", true}

	// ErrUnavailable means that no server answered in time, or that the broker
	// is being closed. Whether the message was stored is not known: store it
	// again with the same ID. It is temporary.
	ErrUnavailable error = &refusal{"store is not available", true}

	// ErrInvalid means that this message can never be stored: no such stage, a
	// header that cannot be written, too many messages at once. It is permanent.
	ErrInvalid error = &refusal{"message cannot be stored", false}
)

var (
	// ErrInUse means that another process has the data folder open. Open returns
	// it at once.
	ErrInUse = errors.New("in use by another process")

	// ErrGone means that there is no such message, or not any more.
	ErrGone = errors.New("no such message")

	// ErrPutOff ends Drain when the handler asked for a message to be given
	// again later: it and all after it stay where they are.
	ErrPutOff = errors.New("broker: drain: put off by the handler")
)

// errBodyMissing means that a message refers to a body that the store does not
// hold; trying again cannot help.
var errBodyMissing = errors.New("body is missing")

// refusal is the kind of a failure to store.
type refusal struct {
	text      string
	temporary bool
}

func (r *refusal) Error() string { return r.text }

// Temporary reports whether the same message may be accepted later.
func (r *refusal) Temporary() bool { return r.temporary }

// refuse puts kind before cause, so that errors.As finds kind first.
func refuse(kind, cause error) error { return fmt.Errorf("%w: %w", kind, cause) }

// permanent reports whether err says of itself that trying again is useless.
func permanent(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && !t.Temporary()
}

// apiRefusal turns the error of a PubAck into the kind that callers know.
func apiRefusal(e *jetstream.APIError) error {
	switch server.ErrorIdentifier(e.ErrorCode) {
	case server.JSStreamStoreFailedF:
		// The limits of a stream come under this general number, with the
		// server's own text (store.go: ErrMaxBytes, ErrMaxMsgs).
		if strings.Contains(e.Description, server.ErrMaxBytes.Error()) || strings.Contains(e.Description, server.ErrMaxMsgs.Error()) {
			return refuse(ErrFull, e)
		}
	case server.JSInsufficientResourcesErr, server.JSStorageResourcesExceededErr, server.JSAccountResourcesExceededErr:
		return refuse(ErrFull, e)
	case server.JSStreamMessageExceedsMaximumErr, server.JSStreamHeaderExceedsMaximumErr:
		return refuse(ErrInvalid, e)
	}
	return refuse(ErrUnavailable, e)
}

// requestRefusal turns the failure of a request to the server into a kind.
func requestRefusal(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return apiRefusal(api)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		return refuse(ErrInvalid, err)
	}
	return refuse(ErrUnavailable, err)
}

// answered reports whether err is a refusal in the server's own words, so that
// it is certain that nothing was stored.
func answered(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api)
}
