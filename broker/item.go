package broker

import (
	"time"

	"github.com/nats-io/nats.go"
)

// item is a message that this process holds: delivered by the server and not
// yet acknowledged. Fields without a remark belong to whoever runs its route.
type item struct {
	seq         uint64
	stored      time.Time
	redelivered bool

	reply string    // where the acknowledgement goes; guarded by flow.mu, changes with the epoch
	alive time.Time // when the server last heard of it; guarded by flow.mu
	cseq  uint64    // number of its delivery; guarded by flow.mu, changes with the epoch
	size  int64     // what it counts in flow.bytes; guarded by flow.mu

	raw    *rawMsg   // nil: to be read back from the store
	del    *Delivery // made of raw when its turn comes
	inline []byte    // the body inside the message, nil when it is stored apart
	broken error     // why del cannot be given to a handler
	room   int64     // taken of Broker.inflight for the body

	missed time.Time // when the store did not find it for the first time
	doubt  bool      // a server that lags behind may have handed it over again

	behind      int
	attempts    int
	decided     *Disposition // not yet carried out
	due         due          // once it was carried out
	first, last string       // errors that the handler has named
}

// due is what has to happen before a message is let go, and after.
type due struct {
	record *Record  // to be written; nil: none, or it was
	disk   bool     // what follows from the message has to be on the disk
	body   *bodyRef // to be released then; nil: none, or it is still referred to
}

// note remembers the error of an attempt for the headers of a dead message.
func (it *item) note(err error) {
	if err == nil {
		return
	}
	it.last = err.Error()
	if it.first == "" {
		it.first = it.last
	}
}

// seqSet is a set of stream positions that lie close together: a bit each.
type seqSet map[uint64]*[seqPage / 64]uint64

const seqPage = 4096

func (s seqSet) add(seq uint64) {
	p := s[seq/seqPage]
	if p == nil {
		p = new([seqPage / 64]uint64)
		s[seq/seqPage] = p
	}
	p[seq%seqPage/64] |= 1 << (seq % 64)
}

func (s seqSet) has(seq uint64) bool {
	p := s[seq/seqPage]
	return p != nil && p[seq%seqPage/64]&(1<<(seq%64)) != 0
}

// forget drops whole pages below floor.
func (s seqSet) forget(floor uint64) {
	for page := range s {
		if (page+1)*seqPage <= floor {
			delete(s, page)
		}
	}
}

// rawMsg is a message as the server gave it.
type rawMsg struct {
	subject string
	header  nats.Header
	data    []byte
}
