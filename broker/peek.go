package broker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Peeked is a message as it lies in a stage. Body is nil where it is stored by
// reference.
type Peeked struct {
	Delivery

	// What follows is known of a message in Dead.
	Reason                string
	Attempts              int    // of the process that gave it up
	FirstError, LastError string // that its handler had named
	From                  Stage  // where it was given up
	FromSeq               uint64 // its position there
	FromID                string // its ID there
	FromStored            time.Time
	Died                  time.Time
}

// Peek returns messages of a stage in order, without handing them over or
// holding anybody up: those of one route ("": all) from the position from on, at
// most limit of them. next is the position to go on from, zero at the end. On a
// cluster the newest may be missing for a moment, and some be there still that
// were removed a moment ago.
func (b *Broker) Peek(ctx context.Context, stage Stage, route string, from uint64, limit int) (found []Peeked, next uint64, err error) {
	stream := streamOf(stage)
	if stream == "" {
		return nil, 0, fmt.Errorf("broker: peek: %w", refuse(ErrInvalid, fmt.Errorf("no stage %q", stage)))
	}
	if err := b.begin(); err != nil {
		return nil, 0, fmt.Errorf("broker: peek: %w", err)
	}
	defer b.calls.Done()
	q := query{stream: stream, from: max(from, 1)}
	switch {
	case route == "":
	case stage == Dead: // sorted by reason, not by partition
		q.filter = string(Dead) + ".*." + token(route) + ".*"
	default:
		q.filter = routeFilter(stage, route)
	}
	for len(found) < limit {
		q.limit = min(limit-len(found), readMessages)
		msgs, left, err := b.readSome(ctx, q)
		if err != nil {
			return nil, 0, fmt.Errorf("broker: peek: %w", err)
		}
		for _, m := range msgs {
			found = append(found, peeked(stage, m))
		}
		if left == 0 {
			return found, 0, nil
		}
		q.from = msgs[len(msgs)-1].seq + 1
	}
	return found, q.from, nil
}

// peeked takes apart what a stage holds, as far as it can be: what no Store has
// written must be seen as well.
func peeked(stage Stage, m storedMsg) Peeked {
	d, err := decode(stage, m.header, m.data)
	if err != nil {
		fromSubject(d, m)
	}
	d.Seq, d.Stored = m.seq, m.at
	if d.ref != nil {
		d.Body = nil
	}
	p := Peeked{Delivery: *d}
	if stage != Dead {
		return p
	}
	get := func(name string) string { return unescape(m.header.Get(name)) }
	p.Reason, p.FirstError, p.LastError = get(hdrReason), get(hdrFirst), get(hdrLast)
	p.Attempts, _ = strconv.Atoi(get(hdrAttempts)) // ours, or zero
	p.From, p.FromID = Stage(get(hdrStage)), get(hdrID)
	p.FromSeq, _ = strconv.ParseUint(get(hdrSeq), 10, 64)
	p.FromStored, _ = time.Parse(time.RFC3339Nano, get(hdrStored))
	p.Died = m.at
	return p
}

// fromSubject fills in the route and the recipient that the header does not name.
func fromSubject(d *Delivery, m storedMsg) {
	if _, ok := m.header[hdrRoute]; ok {
		return
	}
	if t := strings.Split(m.subject, "."); len(t) == 4 {
		d.Route, _ = untoken(t[2]) // a hash says nothing
		d.Recipient, _ = untoken(t[3])
	}
}

// Size is the length of the body in bytes, wherever it is stored.
func (p *Peeked) Size() int { return int(p.size()) }
