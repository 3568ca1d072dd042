package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Message is what Store and Move put into a stage.
type Message struct {
	// Stage is where the message goes: any but Dead.
	Stage Stage

	// Route is what order is kept for and what retries are made for; Recipient
	// is the one the message is for. Any text.
	Route, Recipient string

	// ID makes storing idempotent: within the stage's window (two minutes for
	// Ingest, one for the others) a second message of the same ID counts as
	// stored and is not kept. Empty: every call stores one more.
	ID string

	// Header holds what the handler of the next stage needs beside the body. A
	// name is a token of RFC 5322 §2.2 and does not begin with "Nats-" or
	// "Broker-"; a value is any text. All together stay below 48 KiB.
	Header map[string]string

	// Body is not changed and not kept after the call. Messages of one call
	// that share the very same slice are stored with one copy of it.
	Body []byte

	// BodyOf, when set, takes the place of Body: the body of this delivery. In
	// a Move of that delivery, or its Revive, a body that is stored by reference
	// is passed on without being written again.
	BodyOf *Delivery
}

// Delivery is a message as a handler gets it. The handler may keep it, but
// Body is valid only until the disposition was carried out.
type Delivery struct {
	Stage            Stage
	Route, Recipient string
	ID               string // "" when stored without
	Header           map[string]string
	Body             []byte

	Seq         uint64    // position in the stage
	Stored      time.Time // when it entered the stage
	Redelivered bool      // it may have been handed over before, by this process or another
	Attempt     int       // how often this process has handed it over, from 1
	Behind      int       // messages known to wait behind it on its route
	// Backlog tells how many messages of the route are held now, those given to
	// the handler included, and may be called while the handler runs. Nil in a
	// Drain.
	Backlog func() int

	ref  *bodyRef
	flow *flow // that hands it over
}

// Our own headers. The full route and recipient are there because the subject
// may hold only their hash.
const (
	hdrPrefix    = "Broker-"
	hdrRoute     = "Broker-Route"
	hdrRecipient = "Broker-Recipient"
	hdrBody      = "Broker-Body"
	hdrReason    = "Broker-Reason"
	hdrAttempts  = "Broker-Attempts"
	hdrFirst     = "Broker-First-Error"
	hdrLast      = "Broker-Last-Error"
	hdrStage     = "Broker-Stage"
	hdrSeq       = "Broker-Seq"
	hdrStored    = "Broker-Stored"
	hdrID        = "Broker-Id"
)

// maxHeader leaves room below the server's 64 KiB for what a dead message gets
// in addition: four texts of maxError, each byte perhaps escaped to three.
const maxHeader = 48 << 10

// encode builds the wire message; the body or its reference is set by the caller.
func (m *Message) encode() (*nats.Msg, error) {
	if streamOf(m.Stage) == "" || m.Stage == Dead {
		return nil, refuse(ErrInvalid, fmt.Errorf("no stage %q to store in", m.Stage))
	}
	h := make(nats.Header, len(m.Header)+5)
	values := make([]string, 0, len(m.Header)+3)
	size := 0
	set := func(k, v string) {
		v = escapeValue(v)
		values = append(values, v)
		h[k] = values[len(values)-1 : len(values) : len(values)]
		size += len(k) + len(v) + 4
	}
	for k, v := range m.Header {
		if !fieldName(k) || strings.HasPrefix(k, hdrPrefix) || strings.HasPrefix(k, "Nats-") {
			return nil, refuse(ErrInvalid, fmt.Errorf("header name %q", k))
		}
		set(k, v)
	}
	set(hdrRoute, m.Route)
	set(hdrRecipient, m.Recipient)
	if m.ID != "" {
		set(jetstream.MsgIDHeader, m.ID)
	}
	if size > maxHeader {
		return nil, refuse(ErrInvalid, fmt.Errorf("headers of %d bytes", size))
	}
	return &nats.Msg{Subject: subjectOf(m.Stage, m.Route, m.Recipient), Header: h}, nil
}

// decode is the reverse of encode, up to the body: one that is stored by
// reference is only named. With an error the delivery holds what could be read.
func decode(stage Stage, h nats.Header, body []byte) (*Delivery, error) {
	var bad error
	d := &Delivery{Stage: stage, Body: body, Header: make(map[string]string, len(h))}
	for k, vs := range h {
		if len(vs) == 0 {
			continue
		}
		v := unescape(vs[0])
		switch {
		case k == hdrRoute:
			d.Route = v
		case k == hdrRecipient:
			d.Recipient = v
		case k == jetstream.MsgIDHeader:
			d.ID = v
		case k == hdrBody:
			d.ref, bad = parseRef(v)
		case strings.HasPrefix(k, "Nats-"), strings.HasPrefix(k, hdrPrefix):
		default:
			d.Header[k] = v
		}
	}
	if _, ok := h[hdrRoute]; !ok {
		return d, errors.New("no route in the header")
	}
	return d, bad
}

// size is what the message takes in memory when its body has been read back.
func (d *Delivery) size() int64 {
	if d.ref != nil {
		return d.ref.size
	}
	return int64(len(d.Body))
}

// fieldName reports whether k can be the name of a NATS header.
func fieldName(k string) bool {
	for i := 0; i < len(k); i++ {
		if c := k[i]; c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return k != ""
}

// escapeValue keeps what a header line would lose: control characters, and
// blanks at either end.
func escapeValue(v string) string {
	keep := func(c byte) bool { return c >= ' ' && c != 0x7f && c != '%' }
	plain := len(v) == 0 || v[0] != ' ' && v[len(v)-1] != ' '
	for i := 0; plain && i < len(v); i++ {
		plain = keep(v[i])
	}
	if plain {
		return v
	}
	inner := strings.Trim(v, " ")
	lead := len(v) - len(strings.TrimLeft(v, " "))
	return strings.Repeat("%20", lead) + escape(inner, keep) + strings.Repeat("%20", len(v)-lead-len(inner))
}
