package stream

import (
	"context"
	"errors"
	"fmt"

	"mcmt2xmpp/xmpp/xmlwire"
)

// Next says how a negotiation goes on after a feature.
type Next uint8

const (
	Continue Next = iota // with another feature of this stream
	Restart              // with a new stream header (RFC 6120 §4.3.3)
	Offer                // with new features of this stream (XEP-0388)
	Done                 // not at all: the stream is ready
)

// Feature is a stream feature as the receiving entity plays it. One that is asked
// for by more than one element has a method Answers(xmlwire.Name) bool too.
type Feature interface {
	// Name is the element by which the peer asks for the feature; for one that
	// is asked for by an IQ, the child of that.
	Name() xmlwire.Name
	// Advertise returns the child of <features/>, or nil where the stream is not
	// in the state for it: then it cannot be asked for either.
	Advertise(s *Stream) *xmlwire.Element
	// Negotiate answers req. An *Error ends the stream and goes to the peer.
	Negotiate(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error)
}

// Accept negotiates as the receiving entity until a feature is Done. The stream
// is still to be ended after an error: by Fail for an *Error, which is what a
// deadline becomes too, else by Abort or Close; [Stream.End] knows.
func (s *Stream) Accept(ctx context.Context, features ...Feature) error {
	s.features = features
	defer func() { s.features = nil }()
	for next := Restart; next != Done; {
		if next == Restart {
			if err := s.acceptHeader(ctx); err != nil {
				return err
			}
		}
		var err error
		if next, err = s.offer(ctx); err != nil {
			return err
		}
	}
	return nil
}

// list is <features/> with what the stream is ready for.
func (s *Stream) list() *xmlwire.Element {
	list, _ := s.advertise()
	return list
}

func (s *Stream) advertise() (list *xmlwire.Element, open []Feature) {
	list = xmlwire.New(xmlwire.Streams, "features")
	for _, f := range s.features {
		if e := f.Advertise(s); e != nil {
			list.Add(e)
			open = append(open, f)
		}
	}
	return list, open
}

// offer advertises what the stream is ready for and serves requests until one
// of them changes that or finishes the negotiation.
func (s *Stream) offer(ctx context.Context) (Next, error) {
	list, open := s.advertise()
	if err := s.Send(ctx, list); err != nil {
		return 0, fmt.Errorf("send features: %w", err)
	}
	for {
		req, err := s.Receive(ctx, s.expires())
		if err != nil {
			return 0, lost("negotiation", err)
		}
		negotiate, err := s.find(open, req)
		if err != nil {
			return 0, err
		}
		next, err := negotiate(ctx, s, req)
		if err != nil || next != Continue {
			return next, err
		}
	}
}

// step is a feature's answer to a request.
type step = func(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error)

// find chooses the feature that req asks for among the open ones, or the refusal of
// another. Whatever else comes before the stream is ready ends it: a stanza is
// not-authorized (RFC 6120 §4.9.3.12), the rest not known in this place (§4.9.3.24).
func (s *Stream) find(open []Feature, req *xmlwire.Element) (step, error) {
	want := req.Name
	if want.Space == s.o.Content && want.Local == "iq" && req.Attr("type") == "set" {
		for c := range req.Elements() {
			want = c.Name
			break
		}
	}
	for _, f := range open {
		more, ok := f.(interface{ Answers(xmlwire.Name) bool })
		if f.Name() == want || ok && more.Answers(want) {
			return f.Negotiate, nil
		}
	}
	for _, f := range s.features {
		if d, ok := f.(decliner); ok && f.Name() == want && d.Declines(s) {
			return d.Decline, nil
		}
	}
	if s.user.IsZero() || req.Name.Space == s.o.Content {
		return nil, &Error{NotAuthorized, "negotiation is not complete"}
	}
	return nil, &Error{UnsupportedStanzaType, "not a feature on offer"}
}

// decliner is a Feature whose specification has an answer of its own to a request
// for it where it is not on offer.
type decliner interface {
	// Declines says whether that answer is due in the state of the stream.
	Declines(s *Stream) bool
	Decline(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error)
}

// Initiator is a stream feature as the initiating entity plays it.
type Initiator interface {
	// Initiate asks for the feature where list, the peer's <features/>, offers
	// it. It returns Continue where there is nothing to do, or the stream can do
	// without.
	Initiate(ctx context.Context, s *Stream, list *xmlwire.Element) (Next, error)
}

// Initiate negotiates as the initiating entity, with features tried in the order
// given, until one is Done. Errors leave the stream open, as with Accept.
func (s *Stream) Initiate(ctx context.Context, features ...Initiator) error {
	for {
		if err := s.sendHeader(ctx); err != nil {
			return err
		}
		h, err := s.receiveHeader(ctx)
		if err != nil {
			return err
		}
		s.id = h.Attr("id")
		list, err := s.Receive(ctx, s.expires())
		if err != nil {
			return lost("features", err)
		}
		if list.Name != (xmlwire.Name{Space: xmlwire.Streams, Local: "features"}) {
			return &Error{UnsupportedStanzaType, "expected features"}
		}
		next, err := s.request(ctx, list, features)
		switch {
		case err != nil:
			return err
		case next == Done:
			return nil
		case next == Continue:
			return errors.New("peer offers nothing to go on with")
		}
	}
}

func (s *Stream) request(ctx context.Context, list *xmlwire.Element, features []Initiator) (Next, error) {
	for _, f := range features {
		next, err := f.Initiate(ctx, s, list)
		if err != nil || next != Continue {
			return next, err
		}
	}
	return Continue, nil
}
