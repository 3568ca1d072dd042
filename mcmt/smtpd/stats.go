package smtpd

import "sync/atomic"

// Stats is a snapshot of a Server's counters; all but Open only grow.
type Stats struct {
	Connections     uint64 // accepted by the listener
	Open            int64  // now
	Accepted        uint64 // messages answered 250
	Bytes           uint64 // of accepted messages
	Refused         uint64 // messages answered 5yz after their data
	Deferred        uint64 // messages answered 4yz after their data
	Aborted         uint64 // messages whose data ended in a broken connection, a time-out or a smuggling attempt
	SenderRefused   uint64 // MAIL not taken by the sink
	RcptRefused     uint64 // RCPT not taken by the sink
	AuthSucceeded   uint64
	AuthFailed      uint64
	TLSHandshakes   uint64
	TLSFailed       uint64
	LimitConnection uint64 // connections refused for too many
	LimitErrors     uint64 // connections closed for too many errors
	LimitAuth       uint64 // connections closed for too many failed AUTH
	LimitGuess      uint64 // AUTH not tried, for failures that came before
	LimitTime       uint64 // connections closed by a time-out
	LimitMemory     uint64 // messages refused for want of memory
	Smuggling       uint64 // connections closed for a lone dot between bare CR or LF
	Panics          uint64 // recovered
}

// counters is Stats as it is counted.
type counters struct {
	open atomic.Int64
	connections, accepted, bytes, refused, deferred, aborted,
	senderRefused, rcptRefused, authSucceeded, authFailed,
	tlsHandshakes, tlsFailed, limitConnection, limitErrors, limitAuth, limitGuess,
	limitTime, limitMemory, smuggling, panics atomic.Uint64
}

// Stats returns the counters as they are now.
func (s *Server) Stats() Stats {
	c := &s.count
	return Stats{
		Connections:     c.connections.Load(),
		Open:            c.open.Load(),
		Accepted:        c.accepted.Load(),
		Bytes:           c.bytes.Load(),
		Refused:         c.refused.Load(),
		Deferred:        c.deferred.Load(),
		Aborted:         c.aborted.Load(),
		SenderRefused:   c.senderRefused.Load(),
		RcptRefused:     c.rcptRefused.Load(),
		AuthSucceeded:   c.authSucceeded.Load(),
		AuthFailed:      c.authFailed.Load(),
		TLSHandshakes:   c.tlsHandshakes.Load(),
		TLSFailed:       c.tlsFailed.Load(),
		LimitConnection: c.limitConnection.Load(),
		LimitErrors:     c.limitErrors.Load(),
		LimitAuth:       c.limitAuth.Load(),
		LimitGuess:      c.limitGuess.Load(),
		LimitTime:       c.limitTime.Load(),
		LimitMemory:     c.limitMemory.Load(),
		Smuggling:       c.smuggling.Load(),
		Panics:          c.panics.Load(),
	}
}
