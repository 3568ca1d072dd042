package delivery

import (
	"context"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

// Letter is a message with what custody knows of it. Body is not to be changed.
type Letter struct {
	custody.Record
	ID   string // of the message in the broker, for those that are made of it
	Body []byte
}

// Carrier takes mail out of the gateway. Its methods are called from many goroutines, for
// one recipient by one at a time.
type Carrier interface {
	// Carry sends the first messages of a run, all to one recipient, as one mail; mostly
	// that is one. An error whose Temporary is false gives them up; with any other they
	// are tried again on the schedule of their domain, whose reason it is. It must not
	// take longer than ctx.
	Carry(ctx context.Context, run []Letter) (Carried, error)
}

// Carried is what became of mail.
type Carried struct {
	// N is how many messages of the run it is about, with an error as without.
	N int
	// Wait, when it is more than zero, says that nothing was sent yet: the first is to be
	// given again after that long, with those that have joined it by then.
	Wait time.Duration
	// Proof is who has taken it, with what answer.
	Proof string
	// Reports says that the server reports success by itself (RFC 3461 §5.2.1): what was
	// asked of us was asked of it.
	Reports bool
}

// Ending is how a message has ended, for those who are to hear of it.
type Ending struct {
	End   custody.End // Delivered, Relayed, Failed, Expired
	Proof string      // of Delivered and Relayed, for a person
	Err   error       // of Failed and Expired; it may be a *stanza.Error or a *mcmt.Refusal
	// Reports as in Carried.
	Reports bool
}

// Reporter tells authors how their messages have ended.
type Reporter interface {
	// Report returns the messages by which the author hears of an ending, none where he
	// wants to hear of none or is to hear by Jabber. They have IDs that follow from the
	// letter's, so that they are stored once. told says that he has been told already.
	Report(ctx context.Context, l Letter, e Ending) (reports []broker.Message, told bool)
}
