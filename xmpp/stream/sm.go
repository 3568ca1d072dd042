package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// NSManagement is the namespace of stream management (XEP-0198).
const NSManagement = "urn:xmpp:sm:3"

// Management offers stream management to an authenticated client (XEP-0198 §2),
// and resumes the stream of a former connection in place of binding (§5). Enabling
// comes after binding: whoever runs the bound stream does that. One value serves
// one stream, because it counts the attempts.
type Management struct {
	// Resume takes over the session whose SM-ID was previd, by Stream.Resume: h
	// is how many of its stanzas the client has received. A *Failed refuses it
	// and goes to the client. Nil: nothing is resumed here.
	Resume func(ctx context.Context, s *Stream, previd string, h uint32) error

	refused int
}

// Name is <resume/>, the request that may come before binding.
func (*Management) Name() xmlwire.Name { return xmlwire.Name{Space: NSManagement, Local: "resume"} }

// Answers says that <enable/> is for this feature too: to be refused.
func (*Management) Answers(n xmlwire.Name) bool { return n == nameEnable }

// Advertise offers the feature together with resource binding, and after it where
// it is not enabled yet.
func (*Management) Advertise(s *Stream) *xmlwire.Element {
	if s.user.IsZero() || s.managed {
		return nil
	}
	return xmlwire.New(NSManagement, "sm")
}

// Negotiate resumes a stream. Where that is refused the client may bind a resource
// (§5).
func (f *Management) Negotiate(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error) {
	err := f.resume(ctx, s, req)
	var failed *Failed
	switch {
	case err == nil:
		return Done, nil
	case !errors.As(err, &failed):
		return 0, fmt.Errorf("resume: %w", err)
	}
	if err := s.Send(ctx, failed.Element()); err != nil {
		return 0, fmt.Errorf("resume: %w", err)
	}
	if f.refused++; f.refused >= maxBinds {
		return 0, &Error{PolicyViolation, "too many attempts to resume"}
	}
	return Continue, nil
}

func (f *Management) resume(ctx context.Context, s *Stream, req *xmlwire.Element) error {
	if req.Name == nameEnable {
		return &Failed{Condition: stanza.UnexpectedRequest} // §3: not before binding
	}
	previd, ok := req.LookupAttr(xmlwire.Name{Local: "previd"})
	h, err := ParseCount(req)
	switch {
	case !ok || err != nil:
		return &Failed{Condition: stanza.BadRequest}
	case f.Resume == nil:
		return &Failed{Condition: stanza.FeatureNotImplemented}
	}
	return f.Resume(ctx, s, previd, h)
}

// Resume goes on with the session bound as full, whose writer old is suspended:
// <resumed/> is sent, and what the client has not received (XEP-0198 §5). handled
// is how many stanzas of the client were. The error is an *AckError where h is too
// high, or ErrClosed where old is not suspended any more; nothing has changed then.
func (s *Stream) Resume(old *Writer, full jid.JID, previd string, handled, h uint32, o Managing) error {
	answer := xmlwire.New(NSManagement, "resumed", "previd", previd, "h", strconv.FormatUint(uint64(handled), 10))
	before := s.bound
	s.bound, s.managed = full, true
	first := []*xmlwire.Element{answer}
	if s.around != nil {
		first = s.around(answer)
	}
	if err := s.out.resume(old, h, first, o); err != nil {
		s.bound, s.managed = before, false
		return err
	}
	return nil
}

// Manage enables stream management on a stream whose peer is told so elsewhere: see
// [Writer.Manage].
func (s *Stream) Manage(ctx context.Context, o Managing) error {
	s.managed = true
	return s.out.Manage(ctx, nil, o)
}

// Failed refuses a request of stream management (XEP-0198 §6).
type Failed struct {
	Condition stanza.Condition
	// H is how many stanzas of the client were handled in the session that it
	// wants to resume, where that is Known (§5).
	H     uint32
	Known bool
}

// Error names the condition.
func (e *Failed) Error() string { return "stream management: " + string(e.Condition) }

// Element is <failed/>.
func (e *Failed) Element() *xmlwire.Element {
	el := xmlwire.New(NSManagement, "failed")
	if e.Known {
		el.SetAttr("h", strconv.FormatUint(uint64(e.H), 10))
	}
	return el.Add(xmlwire.New(stanza.Errors, string(e.Condition)))
}

// Ack is <a/> for that many stanzas handled (§4).
func Ack(handled uint32) *xmlwire.Element {
	return xmlwire.New(NSManagement, "a", "h", strconv.FormatUint(uint64(handled), 10))
}

var nameEnable = xmlwire.Name{Space: NSManagement, Local: "enable"}

// Enable is what <enable/> asks for (§3).
type Enable struct {
	Resume bool
	Max    time.Duration // the longest resumption time that the client wants; zero: it does not say
}

// ParseEnable reads <enable/>. The error is a *Failed.
func ParseEnable(e *xmlwire.Element) (Enable, error) {
	var r Enable
	switch e.Attr("resume") {
	case "", "false", "0":
	case "true", "1":
		r.Resume = true
	default:
		return r, &Failed{Condition: stanza.BadRequest}
	}
	text, ok := e.LookupAttr(xmlwire.Name{Local: "max"})
	if !ok {
		return r, nil
	}
	n, err := strconv.ParseUint(trim(text), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		n, err = math.MaxUint64, nil // the schema has no bound
	}
	if err != nil || n == 0 {
		return r, &Failed{Condition: stanza.BadRequest}
	}
	r.Max = time.Duration(min(n, uint64(math.MaxInt64/time.Second))) * time.Second
	return r, nil
}

// Enabled answers <enable/>. A stream that cannot be resumed has no id.
func Enabled(id string, max time.Duration) *xmlwire.Element {
	e := xmlwire.New(NSManagement, "enabled")
	if id != "" {
		e.SetAttr("id", id)
		e.SetAttr("resume", "true")
		e.SetAttr("max", strconv.FormatInt(int64(max/time.Second), 10))
	}
	return e
}

// errCount is for an element that must possess a count, and does not.
var errCount = &Error{BadFormat, "h is missing or no number"}

// ParseCount reads the h of <a/>, <resume/> or <resumed/> (§4). The error is a
// stream error.
func ParseCount(e *xmlwire.Element) (uint32, error) {
	h, err := strconv.ParseUint(trim(e.Attr("h")), 10, 32)
	if err != nil {
		return 0, errCount
	}
	return uint32(h), nil
}

// trim drops the white space that XML Schema allows around a number.
func trim(s string) string { return strings.Trim(s, " \t\r\n") }
