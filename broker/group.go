package broker

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/nats-io/nats.go"
)

// When a body is stored beside its message instead of in it.
const (
	// maxInline is the largest body inside a message.
	maxInline = 256 << 10

	// minShared is how many bytes sharing must save before it is done: writing
	// a body apart, reading it back and releasing each reference cost about as
	// much as a few small messages.
	minShared = 16 << 10

	// maxInlineSum is the most that the bodies of one batch take inside it;
	// beyond, those over minShared go apart.
	maxInlineSum = 8 << 20
)

// group is the messages of one call that go to one stage, and so into one batch.
type group struct {
	stage  Stage
	msgs   []*nats.Msg
	refs   []*bodyRef // of each message; nil: inside it, or passed on
	bodies []*body    // to be written first
	partly bool       // some may be stored although the whole has failed
	flow   *flow      // that they come out of; nil: from outside
}

// weight is what the group takes of the window: the more of its messages and
// its bytes in units.
func (g *group) weight() int64 { return max(int64(len(g.msgs)), g.text()/windowUnit) }

// text is the sum of the bodies.
func (g *group) text() (bytes int64) {
	for _, m := range g.msgs {
		bytes += int64(len(m.Data))
	}
	for _, b := range g.bodies {
		bytes += int64(len(b.data))
	}
	return bytes
}

// bytes is roughly what the group takes on the disk.
func (g *group) bytes() int64 { return g.text() + int64(len(g.msgs)+len(g.bodies))*perMessage }

// prepare encodes msgs, sorts them by stage in the order given, and decides
// which bodies go apart.
func (b *Broker) prepare(msgs []Message, from *Delivery) ([]*group, error) {
	var groups []*group
	plan := planBodies(msgs, from)
	for i := range msgs {
		m := &msgs[i]
		wire, err := m.encode()
		if err != nil {
			return nil, err
		}
		var g *group
		if at := slices.IndexFunc(groups, func(g *group) bool { return g.stage == m.Stage }); at >= 0 {
			g = groups[at]
		} else {
			g = &group{stage: m.Stage, msgs: make([]*nats.Msg, 0, len(msgs)-i), refs: make([]*bodyRef, 0, len(msgs)-i)}
			if from != nil {
				g.flow = from.flow
			}
			groups = append(groups, g)
		}
		var ref *bodyRef
		switch p := plan[i]; {
		case p.passed != nil:
			wire.Header[hdrBody] = []string{p.passed.String()}
		case m.BodyOf != nil && m.BodyOf.ref != nil && m.BodyOf.Body == nil:
			return nil, refuse(ErrInvalid, errors.New("a body that was not read back can only be passed on"))
		case p.body != nil:
			if p.body.refs++; p.body.refs == 1 {
				g.bodies = append(g.bodies, p.body)
			}
			ref = &bodyRef{id: p.body.id, k: p.body.refs, n: p.body.n, size: int64(len(p.body.data))}
			wire.Header[hdrBody] = []string{ref.String()}
		default:
			wire.Data = m.bytes()
		}
		g.msgs = append(g.msgs, wire)
		g.refs = append(g.refs, ref)
		if len(g.msgs) > maxBatch {
			return nil, refuse(ErrInvalid, fmt.Errorf("more than %d messages at once", maxBatch))
		}
	}
	return groups, nil
}

// bytes is the body wherever it comes from.
func (m *Message) bytes() []byte {
	if m.BodyOf != nil {
		return m.BodyOf.Body
	}
	return m.Body
}

// placing says where the body of one message goes: inside it when both are nil.
type placing struct {
	body   *body
	passed *bodyRef
}

// planBodies decides for each message of one call.
func planBodies(msgs []Message, from *Delivery) []placing {
	plan := make([]placing, len(msgs))
	if from != nil && from.ref != nil && len(msgs) == 1 && msgs[0].BodyOf == from {
		// One message in, one out: it takes the place of the old one among the
		// references to the body.
		plan[0].passed = from.ref
		return plan
	}
	if len(msgs) == 1 && len(msgs[0].bytes()) <= maxInline {
		return plan
	}
	type slice struct {
		data *byte
		size int
	}
	users := make(map[slice]int, len(msgs))
	key := func(m *Message) slice {
		data := m.bytes()
		return slice{unsafe.SliceData(data), len(data)}
	}
	sum := 0
	for i := range msgs {
		users[key(&msgs[i])]++
		sum += len(msgs[i].bytes())
	}
	bodies := make(map[slice]*body)
	for i := range msgs {
		k := key(&msgs[i])
		n := users[k]
		if k.size <= maxInline && (n-1)*k.size < minShared && (sum <= maxInlineSum || k.size <= minShared) {
			continue
		}
		if bodies[k] == nil {
			bodies[k] = &body{id: newBodyID(n), n: n, data: msgs[i].bytes()}
		}
		plan[i].body = bodies[k]
	}
	return plan
}
