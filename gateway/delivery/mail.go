package delivery

import (
	"context"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/xmpp/stanza"
)

// Carrier takes mail out of the gateway. Its methods are called from many goroutines, for
// one recipient by one at a time.
type Carrier interface {
	// Carry sends the first messages of a run, all to one recipient, as one mail; mostly
	// that is one. An error whose Temporary is false gives them up; with any other they
	// are tried again on the schedule of their domain, whose reason it is. It must not
	// take longer than ctx.
	Carry(ctx context.Context, run []custody.Letter) (custody.Carried, error)
}

// Receipts remembers messages for what their recipients, or others' servers, say of them
// later.
type Receipts interface {
	// Expect remembers a message, before it is sent.
	Expect(ctx context.Context, l custody.Letter) error
	// Settle says that its author is told now; first is false where he was told before,
	// by a receipt.
	Settle(ctx context.Context, l custody.Letter) (first bool, err error)
	// Sent says that a message goes to the server of another domain, from which an error
	// may come back. It does not block.
	Sent(l custody.Letter)
	// Taken says that the server has it, and returns the error that has come back
	// meanwhile, nil for none. One that comes later is SentBack.
	Taken(l custody.Letter) *stanza.Error
}

// Reporter tells authors how their messages have ended.
type Reporter interface {
	// Report returns the messages by which the author hears of an ending, none where he
	// wants to hear of none or is to hear by Jabber. They have IDs that follow from the
	// letter's, so that they are stored once. told says that he has been told already.
	Report(ctx context.Context, l custody.Letter, e custody.Ending) (reports []broker.Message, told bool)
	// Delayed returns the messages by which he hears that it waits, and is tried until
	// then; likewise. err is why.
	Delayed(l custody.Letter, err error, until time.Time) []broker.Message
}
