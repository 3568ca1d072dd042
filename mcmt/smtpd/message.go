package smtpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/emersion/go-smtp"

	"mcmt2xmpp/mcmt"
)

// Data receives a message and gives it to the sink. The reader of go-smtp is not
// used: see dotReader. Instead the message is read from the wire, and then
// go-smtp gets the end of an empty one.
func (s *session) Data(io.Reader) error {
	if s.tx.body == nil {
		s.begin()
		if err := s.wire.readData(s.hard, s.tx.body); err != nil {
			return s.broken(err)
		}
	}
	s.feed = []byte(".\r\n")
	return s.submit()
}

// begin starts the message: its trace field, then what arrives.
func (s *session) begin() {
	now := time.Now()
	s.tx.env.Received = now
	trace := s.received(now)
	s.tx.body = &spool{
		memory: s.srv.memory,
		wait:   s.srv.opt.MemoryWait,
		limit:  s.opt.MaxMessageSize + int64(len(trace)),
		hint:   min(s.tx.size, s.opt.MaxMessageSize) + int64(len(trace)),
	}
	s.tx.body.write(s.hard, []byte(trace))
	s.tx.body.seen = 0
}

// broken ends the connection after a message whose place in the stream is lost:
// what the peer sent or will send must never be read as commands.
func (s *session) broken(err error) error {
	c := &s.srv.count
	c.aborted.Add(1)
	s.conclude("", outcomeOf(err), err)
	switch {
	case errors.Is(err, errSmuggling):
		c.smuggling.Add(1)
		s.hangup("554 5.5.2 lone dot between bare CR or LF, closing connection")
	case errors.Is(err, errTooLarge):
		s.hangup("552 5.3.4 message too large, closing connection")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.limitTime.Add(1)
		s.hangup("421 4.4.2 " + s.srv.opt.Hostname + " timeout within the message, closing connection")
	default:
		s.hangup("")
	}
	return err
}

// submit judges the message that is complete, gives it to the sink and returns
// the reply; that of an accepted one is an "error" too, as go-smtp has no other
// place for its text.
func (s *session) submit() *smtp.SMTPError {
	err := s.judge()
	var id mcmt.ID
	if err == nil {
		id, err = s.put()
	}
	c := &s.srv.count
	if err == nil {
		c.accepted.Add(1)
		c.bytes.Add(uint64(s.tx.body.seen))
		s.errors, s.junk = 0, 0
		s.conclude(id, "accepted", nil)
		s.unseen = append(s.unseen, id)
		return &smtp.SMTPError{
			Code:         250,
			EnhancedCode: smtp.EnhancedCode{2, 0, 0},
			Message:      "Ok: queued as " + oneLine(string(id)),
		}
	}
	r := refusalOf(err)
	outcome := "refused"
	if r.Temporary() {
		outcome = "deferred"
		c.deferred.Add(1)
	} else {
		c.refused.Add(1)
	}
	s.conclude("", outcome, err)
	return replyError(r)
}

// judge refuses what the sink need not see.
func (s *session) judge() error {
	body := s.tx.body
	switch {
	case errors.Is(body.err, errTooLarge):
		return &mcmt.Refusal{Code: 552, Enhanced: [3]int{5, 3, 4}, Status: 413, Text: fmt.Sprintf("message is larger than %d bytes", s.opt.MaxMessageSize)}
	case body.err != nil:
		s.srv.count.limitMemory.Add(1)
		return &mcmt.Refusal{Code: 452, Enhanced: [3]int{4, 3, 1}, Status: 503, Text: "out of memory for messages, try again later", Err: body.err}
	case bareDot(body.buf):
		return &mcmt.Refusal{Code: 554, Enhanced: [3]int{5, 5, 2}, Status: 422, Text: "lone dot between bare CR or LF", Err: errSmuggling}
	case bytes.IndexByte(body.buf, 0) >= 0:
		// RFC 2045 §2.8: 8bit data holds no NUL, and BINARYMIME is not offered.
		return &mcmt.Refusal{Code: 554, Enhanced: [3]int{5, 6, 0}, Status: 422, Text: "message holds a NUL"}
	case hops(body.buf) > maxReceived+1: // one is ours
		return &mcmt.Refusal{Code: 554, Enhanced: [3]int{5, 4, 6}, Status: 422, Text: "too many hops, this message is in a loop"}
	}
	return nil
}

// put gives the message to the sink: custody, when it returns without an error.
func (s *session) put() (id mcmt.ID, err error) {
	env := s.tx.env
	env.To = slices.Clone(env.To)
	err = s.ask(func(ctx context.Context) error {
		id, err = s.srv.opt.Sink.Put(ctx, env, s.tx.body.buf)
		return err
	})
	return id, err
}

// confirm tells the sink that the peer has seen the answers to its messages: it
// goes on, with what it was not asked for before they went out.
func (s *session) confirm() {
	if c, ok := s.srv.opt.Sink.(mcmt.Confirmer); ok && len(s.unseen) > 0 {
		c.Confirm(s.unseen...)
	}
	s.unseen = nil
}

// conclude writes the one log line of a message.
func (s *session) conclude(id mcmt.ID, outcome string, err error) {
	e := s.log.Info()
	if id != "" {
		e.Str("id", string(id))
	}
	e.Str("from", s.tx.env.From).
		Int("rcpts", len(s.tx.env.To)).
		Int64("size", s.tx.body.seen).
		Str("outcome", outcome).
		Dur("took", time.Since(s.tx.env.Received)).
		AnErr("error", err).
		Msg("message")
}
