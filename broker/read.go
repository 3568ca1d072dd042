package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// readMessages is a good number of messages for one read.
	readMessages = 256

	// readBytes is what one read returns at most, but for its last message.
	readBytes = 1 << 20

	// maxReads bounds the reads under way: the server closes a connection to
	// which it has more than 64 MiB to write.
	maxReads = 16
)

// storedMsg is a message as a stream holds it.
type storedMsg struct {
	seq     uint64
	at      time.Time
	subject string
	header  nats.Header
	data    []byte
}

// query says which messages of a stream to read.
type query struct {
	stream string
	filter string    // "": all
	from   uint64    // position of the first; zero: see since
	since  time.Time // when the first was stored, where from is zero; zero: all
	limit  int       // at least one
}

// read returns the first messages that q asks for, in order and without a gap,
// fewer than the limit when they are large; left is how many others the server
// knows to follow. It takes nothing out and disturbs nobody (ADR-31). With
// replicas any server may answer, also one that does not know yet of the newest
// messages, or that some are gone: what must be certain is asked with get.
func (b *Broker) read(ctx context.Context, q query) (msgs []storedMsg, left int, err error) {
	if err := b.reads.Acquire(ctx, 1); err != nil {
		return nil, 0, refuse(ErrUnavailable, err)
	}
	defer b.reads.Release(1)
	req := server.JSApiMsgGetRequest{Seq: q.from, NextFor: q.filter, Batch: q.limit, MaxBytes: readBytes}
	if q.from == 0 {
		if q.since.IsZero() {
			req.Seq = 1
		} else {
			req.StartTime = &q.since
		}
	}
	data, err := json.Marshal(req)
	if err != nil {
		return nil, 0, err
	}
	var bad error
	err = b.admin.in.exchange(ctx, b.o.StoreTimeout,
		func(reply string) error {
			return b.admin.nc.PublishMsg(&nats.Msg{Subject: fmt.Sprintf(server.JSDirectMsgGetT, q.stream), Reply: reply, Data: data})
		},
		func(_ string, m *nats.Msg) (last bool) {
			switch status := m.Header.Get("Status"); status {
			case "":
				var next storedMsg
				if next, bad = readMsg(m, msgs); bad != nil {
					return true
				}
				msgs = append(msgs, next)
				return false
			case "204": // the end of the batch
				if left, bad = strconv.Atoi(m.Header.Get(server.JSNumPending)); bad == nil {
					bad = inChain(m, msgs)
				}
			case "404": // nothing
			default:
				bad = fmt.Errorf("read %s: status %s %s", q.stream, status, m.Header.Get("Description"))
			}
			return true
		})
	if err = errors.Join(err, bad); err != nil {
		return nil, 0, refuse(ErrUnavailable, err)
	}
	return msgs, left, nil
}

// readSome is read for a filter that few of the messages match. The server finds
// the first by an index, but looks for the rest one message after the other; so
// it is asked for no more than there are, because behind the last it would go on
// to the end, and for one subject where all have the same, because then it passes
// over whole blocks of the file.
func (b *Broker) readSome(ctx context.Context, q query) (msgs []storedMsg, left int, err error) {
	if q.filter == "" {
		return b.read(ctx, q)
	}
	one := q
	one.limit = 1
	msgs, left, err = b.read(ctx, one)
	if err != nil || left == 0 || q.limit <= 1 {
		return msgs, left, err
	}
	total := left + 1
	q.limit = min(q.limit, total)
	one.filter, one.limit = msgs[0].subject, q.limit
	msgs, left, err = b.read(ctx, one)
	if err != nil || len(msgs)+left == total {
		return msgs, left, err
	}
	return b.read(ctx, q)
}

// readMsg takes one answer of a batch apart. before are those of the batch so far.
func readMsg(m *nats.Msg, before []storedMsg) (storedMsg, error) {
	s := storedMsg{subject: m.Header.Get(jetstream.SubjectHeader), header: m.Header, data: m.Data}
	var err error
	if s.seq, err = strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64); err != nil {
		return s, fmt.Errorf("read: position: %w", err)
	}
	if s.at, err = time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer)); err != nil {
		return s, fmt.Errorf("read: time: %w", err)
	}
	return s, inChain(m, before)
}

// inChain reports an answer of the batch that has been lost before m: each names
// the one before it.
func inChain(m *nats.Msg, before []storedMsg) error {
	last := "0"
	if n := len(before); n > 0 {
		last = strconv.FormatUint(before[n-1].seq, 10)
	}
	if got := m.Header.Get(server.JSLastSequence); got != last {
		return fmt.Errorf("read: answer after %s is missing, %s was the last", got, last)
	}
	return nil
}

// get asks the leader of a stream, who knows everything that was stored and
// nothing that was removed; nil when there is no such message.
func (b *Broker) get(ctx context.Context, stream string, req server.JSApiMsgGetRequest) (*storedMsg, error) {
	return b.admin.get(ctx, stream, req, b.o.StoreTimeout)
}

func (l *link) get(ctx context.Context, stream string, req server.JSApiMsgGetRequest, timeout time.Duration) (*storedMsg, error) {
	query, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	answer, err := l.request(ctx, &nats.Msg{Subject: fmt.Sprintf(server.JSApiMsgGetT, stream), Data: query}, timeout)
	if err != nil {
		return nil, refuse(ErrUnavailable, err)
	}
	var got server.JSApiMsgGetResponse
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return nil, refuse(ErrUnavailable, err)
	}
	switch {
	case got.Error != nil && got.Error.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound):
		return nil, nil
	case got.Error != nil:
		return nil, refuse(ErrUnavailable, got.Error)
	case got.Message == nil:
		return nil, nil
	}
	s := &storedMsg{seq: got.Message.Sequence, at: got.Message.Time.UTC(), subject: got.Message.Subject, data: got.Message.Data}
	if len(got.Message.Header) > 0 {
		if s.header, err = nats.DecodeHeadersMsg(got.Message.Header); err != nil {
			return nil, refuse(ErrInvalid, err)
		}
	}
	return s, nil
}
