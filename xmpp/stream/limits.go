package stream

import (
	"net"
	"time"

	"mcmt2xmpp/xmpp/xmlwire"
)

// Limits bound what a peer may cost. A zero field means the default.
type Limits struct {
	// Before and After bound each element until the peer is authenticated, and
	// from then on. The defaults are 16 KiB deep 8 before, and those of xmlwire
	// after; RFC 6120 §13.12 wants 10,000 bytes at least.
	Before, After xmlwire.Limits

	// BytesBefore is what a peer may send in all before it is authenticated, in
	// bytes above TLS. Default 64 KiB.
	BytesBefore int64

	// Stanzas and Bytes are how fast an authenticated peer may send stanzas, and bytes
	// above TLS. One that is faster is read from later. Zero: no bound.
	Stanzas, Bytes Rate

	// Element is how long a peer may take over one element once it is authenticated,
	// which is found out between one and two times that. Default 2 min.
	Element time.Duration

	// Negotiation is the time from the connection to the bound resource.
	// Default 30 s.
	Negotiation time.Duration

	// Write is the time that one write of up to 16 KiB may take: a peer that
	// reads more slowly is disconnected. Default 30 s.
	Write time.Duration

	// Queue is how many bytes may wait to be written; beyond it Send blocks.
	// One more stanza always fits. Default 256 KiB.
	Queue int

	// Patience is how long a Send waits for room in the queue. Default 5 s.
	Patience time.Duration

	// Unacked and UnackedBytes are how many stanzas, and of what length in all, a
	// managed stream may have sent without an acknowledgement (XEP-0198), beyond which
	// Send blocks; one more stanza always fits. Twice as much is held while it is
	// suspended. Kept ones have no length. Defaults 1000 and 512 KiB.
	Unacked, UnackedBytes int

	// Close is how long a peer is given to answer </stream:stream>, and to read
	// a stream error. Default 2 s.
	Close time.Duration
}

func (l Limits) orDefault() Limits {
	if l.Before == (xmlwire.Limits{}) {
		l.Before = xmlwire.Limits{Bytes: 16 << 10, Depth: 8, Attrs: 32, Children: 256}
	}
	if l.BytesBefore <= 0 {
		l.BytesBefore = 64 << 10
	}
	if l.Element <= 0 {
		l.Element = 2 * time.Minute
	}
	if l.Negotiation <= 0 {
		l.Negotiation = 30 * time.Second
	}
	if l.Write <= 0 {
		l.Write = 30 * time.Second
	}
	if l.Queue <= 0 {
		l.Queue = 256 << 10
	}
	if l.Patience <= 0 {
		l.Patience = 5 * time.Second
	}
	if l.Unacked <= 0 {
		l.Unacked = 1000
	}
	if l.UnackedBytes <= 0 {
		l.UnackedBytes = 512 << 10
	}
	if l.Close <= 0 {
		l.Close = 2 * time.Second
	}
	return l
}

// meter reads from a connection, counts, and ends a peer that sends more than
// its budget. Only the goroutine that runs the stream uses it.
type meter struct {
	conn  net.Conn
	left  int64 // bytes; negative: no budget any more
	last  time.Time
	bytes bucket
}

func (m *meter) Read(p []byte) (int, error) {
	if m.left == 0 {
		return 0, errBudget
	}
	if m.left > 0 && int64(len(p)) > m.left {
		p = p[:m.left]
	}
	if m.left < 0 && m.bytes.debt(time.Now()) > 0 {
		return 0, errThrottled
	}
	n, err := m.conn.Read(p)
	if n > 0 {
		m.last = time.Now()
	}
	if m.left > 0 {
		m.left -= int64(n)
	} else {
		m.bytes.take(n, m.last)
	}
	return n, err
}
