package custody

import "time"

// Letter is a message with what custody knows of it. Body is not to be changed.
type Letter struct {
	Record
	Key  string // the message in the broker: the ids of messages made of it follow from it
	Body []byte
}

// Carried is what became of mail that was to be sent.
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
	End   End    // Delivered, Relayed, Failed, Expired
	Proof string // of Delivered and Relayed, for a person
	Err   error  // of Failed and Expired; it may be a *stanza.Error or a *mcmt.Refusal
	// Reports as in Carried.
	Reports bool
}
