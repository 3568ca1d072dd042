package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Publishes under way in this process, in units of one message or windowUnit
// bytes, whichever is more: 4096 messages, 64 MiB. A server drops what exceeds
// 10,000 messages or 128 MiB waiting for one stream.
const (
	window     = 4096
	windowUnit = 16 << 10
)

// maxBatch is the most that one atomic batch holds (ADR-50).
const maxBatch = 1000

// Retries of a batch that the server had no room to collect: it keeps at most
// 50 open ones per stream, over all processes.
const (
	crowdedTries = 20
	crowdedWait  = 25 * time.Millisecond
)

// Store takes custody of msgs: it returns nil after the server has stored all of
// them, with DurabilityPower on the disk. Several messages of one stage are stored all or none, at most 1000 of
// them. A message whose ID is stored already counts as stored. Messages of
// different stages are stored stage by stage in the order given.
//
// Errors: ErrFull, ErrUnavailable (temporary, at once where possible), ErrInvalid
// (permanent). After ErrUnavailable call again with the same IDs.
func (b *Broker) Store(ctx context.Context, msgs ...Message) error {
	if err := b.begin(); err != nil {
		return fmt.Errorf("broker: store: %w", err)
	}
	defer b.calls.Done()
	if err := b.room(b.o.DiskReserve); err != nil {
		return fmt.Errorf("broker: store: %w", err)
	}
	if err := b.disk.healthy(); err != nil {
		return fmt.Errorf("broker: store: %w", err)
	}
	if err := b.store(ctx, msgs, nil, b.o.DiskReserve); err != nil {
		return fmt.Errorf("broker: store: %w", err)
	}
	if err := b.onDisk(ctx); err != nil {
		return fmt.Errorf("broker: store: %w", err)
	}
	return nil
}

// onDisk waits until what the server has stored for us before is as durable as
// Options ask.
func (b *Broker) onDisk(ctx context.Context) error {
	if b.disk == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.StoreTimeout)
	defer cancel()
	return b.disk.wait(ctx)
}

// store is Store without its guards and without waiting for the disk. from is the delivery that is being moved,
// whose reference to a body may be passed on, or nil; reserve is the disk space in
// bytes that must stay free.
func (b *Broker) store(ctx context.Context, msgs []Message, from *Delivery, reserve int64) error {
	groups, err := b.prepare(msgs, from)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := b.put(ctx, g, reserve); err != nil {
			return err
		}
	}
	return nil
}

// put stores the messages of one stage with the bodies they refer to.
func (b *Broker) put(ctx context.Context, g *group, reserve int64) error {
	stored, err := b.setAside(g.bytes(), reserve)
	if err != nil {
		return err
	}
	defer stored()
	weight := min(g.weight(), window)
	if err := b.enter(ctx, weight); err != nil {
		return err
	}
	defer b.window.Release(weight)
	if err := g.flow.entitled(); err != nil { // the wait may have been long
		return refuse(ErrUnavailable, err)
	}

	if err := b.writeBodies(ctx, g.bodies); err != nil {
		return err
	}
	if len(g.msgs) == 1 {
		err = b.putOne(ctx, g, 0)
	} else {
		err = b.putBatch(ctx, g)
	}
	if err != nil && answered(err) && !g.partly {
		b.dropBodies(g.bodies)
	}
	return err
}

// enter waits for a place in the window. The wait counts as time of the server:
// it is the server that has not answered the others.
func (b *Broker) enter(ctx context.Context, weight int64) error {
	if b.window.TryAcquire(weight) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.StoreTimeout)
	defer cancel()
	if err := b.window.Acquire(ctx, weight); err != nil {
		return refuse(ErrUnavailable, err)
	}
	return nil
}

// putOne publishes g.msgs[i] by itself.
func (b *Broker) putOne(ctx context.Context, g *group, i int) error {
	ack, err := b.publish(ctx, g.msgs[i])
	if err != nil {
		return err
	}
	c := b.counts[g.stage]
	if ack.Duplicate {
		c.duplicates.Add(1)
		// What is stored refers to another copy of the body.
		b.release(ctx, g.refs[i])
		return nil
	}
	c.stored.Add(1)
	return nil
}

// putBatch publishes g.msgs in one atomic batch (ADR-50).
func (b *Broker) putBatch(ctx context.Context, g *group) error {
	for try := 0; ; try++ {
		err := b.publishJointly(ctx, g)
		if errors.Is(err, errApart) {
			err = b.publishBatch(ctx, g.msgs)
		}
		var api *jetstream.APIError
		if err == nil {
			b.counts[g.stage].stored.Add(uint64(len(g.msgs)))
			return nil
		}
		if !errors.As(err, &api) {
			return err
		}
		switch {
		case server.ErrorIdentifier(api.ErrorCode) == server.JSAtomicPublishContainsDuplicateMessageErr:
			// A part or all of it was stored by an earlier call that did not
			// get to see the answer. What remains goes one by one, in order: a
			// failure on the way is an error, and the caller comes back.
			return b.putRest(ctx, g)
		case crowded(err) && try < crowdedTries && pause(ctx, crowdedWait):
			continue
		}
		return err
	}
}

func (b *Broker) putRest(ctx context.Context, g *group) error {
	for i, m := range g.msgs {
		for _, h := range []string{server.JSBatchId, server.JSBatchSeq, server.JSBatchCommit} {
			m.Header.Del(h)
		}
		if err := b.putOne(ctx, g, i); err != nil {
			g.partly = true
			return err
		}
	}
	return nil
}

// publishBatch sends the parts. The first is asked about, because a server that
// cannot take the batch tells only who asks; the last one commits.
func (b *Broker) publishBatch(ctx context.Context, msgs []*nats.Msg) error {
	id := rand.Text()
	last := len(msgs) - 1
	for i, m := range msgs {
		m.Header[server.JSBatchId] = []string{id}
		m.Header[server.JSBatchSeq] = []string{strconv.Itoa(i + 1)}
		delete(m.Header, server.JSBatchCommit) // of an attempt before
		switch i {
		case 0:
			resp, err := b.askStream(ctx, m)
			if err != nil {
				return err
			}
			if len(resp.Data) > 0 { // empty: go on
				if _, err := parseAck(resp.Data); err != nil {
					return err
				}
			}
		case last:
			m.Header[server.JSBatchCommit] = []string{"1"}
		default:
			if err := b.pub.nc.PublishMsg(m); err != nil {
				return requestRefusal(err)
			}
		}
	}
	_, err := b.publish(ctx, msgs[last])
	return err
}

// pubAck is the server's answer to a publish. Of a plain success parseAck reads nothing.
type pubAck struct {
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Error     *jetstream.APIError `json:"error"`
}

// publish sends m and waits until it is stored.
func (b *Broker) publish(ctx context.Context, m *nats.Msg) (pubAck, error) {
	resp, err := b.askStream(ctx, m)
	if err != nil {
		return pubAck{}, err
	}
	return parseAck(resp.Data)
}

// askStream publishes m and waits for the answer of its stream, unless that has
// become silent.
func (b *Broker) askStream(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	if err := b.damage(); err != nil {
		return nil, err
	}
	kind, _, _ := strings.Cut(m.Subject, ".")
	s := b.silences[kind]
	if err := s.try(); err != nil {
		return nil, refuse(ErrUnavailable, err)
	}
	resp, err := b.pub.request(ctx, m, b.o.StoreTimeout)
	if s.note(err) >= sickness {
		// The leader of the stream may be out of reach for our server alone.
		b.pub.move(err)
	}
	if err != nil {
		return nil, requestRefusal(err)
	}
	return resp, nil
}

func parseAck(data []byte) (pubAck, error) {
	if plainAck(data) {
		return pubAck{}, nil
	}
	return readAck(data)
}

// readAck is parseAck for what is more than a plain success.
func readAck(data []byte) (ack pubAck, err error) {
	switch err := json.Unmarshal(data, &ack); {
	case err != nil:
		return ack, refuse(ErrUnavailable, fmt.Errorf("answer of the server: %w", err))
	case ack.Error != nil:
		return ack, apiRefusal(ack.Error)
	case ack.Stream == "":
		return ack, refuse(ErrUnavailable, errors.New("answer of the server: no stream"))
	}
	return ack, nil
}

// plainAck reports whether data is the answer that nearly all get, byte for byte
// as the server writes it: `{"stream":"NAME","seq":1}`. Reading it as JSON cost
// a fifth of a request.
func plainAck(data []byte) bool {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	stream, rest, ok2 := bytes.Cut(rest, []byte(`","seq":`))
	seq, ok3 := bytes.CutSuffix(rest, []byte("}"))
	return ok && ok2 && ok3 && len(stream) > 0 && bytes.IndexByte(stream, '"') < 0 && len(seq) > 0 &&
		!bytes.ContainsFunc(seq, func(r rune) bool { return r < '0' || r > '9' })
}

// pause waits until d has passed or ctx ends, and reports whether ctx is alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
