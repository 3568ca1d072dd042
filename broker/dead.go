package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxError is how much of a reason or error goes into a header, in bytes.
const maxError = 1024

// bury copies it into the stage Dead. A body stored by reference stays where it
// is and goes with its age.
func (b *Broker) bury(ctx context.Context, it *item, d Disposition) error {
	it.note(d.cause)
	del := it.del
	h := make(nats.Header, len(del.Header)+12)
	set := func(k, v string) {
		if v != "" {
			h[k] = []string{escapeValue(v[:min(len(v), maxError)])}
		}
	}
	for k, v := range del.Header {
		h[k] = []string{escapeValue(v)}
	}
	h[hdrRoute] = []string{escapeValue(del.Route)}
	h[hdrRecipient] = []string{escapeValue(del.Recipient)}
	set(hdrReason, d.reason)
	set(hdrAttempts, strconv.Itoa(del.Attempt))
	set(hdrFirst, it.first)
	set(hdrLast, it.last)
	set(hdrStage, string(del.Stage))
	set(hdrSeq, strconv.FormatUint(del.Seq, 10))
	set(hdrStored, del.Stored.UTC().Format(time.RFC3339Nano))
	set(hdrID, del.ID)
	// The position and the time of storing name the original for ever, even if
	// the stage is emptied and counts from one again.
	set(jetstream.MsgIDHeader, fmt.Sprintf("dead-%s-%d-%d", del.Stage, del.Seq, del.Stored.UnixNano()))
	m := &nats.Msg{Subject: deadSubject(d.reason, del), Header: h, Data: it.inline}
	if del.ref != nil {
		h[hdrBody] = []string{del.ref.String()}
	}
	ack, err := b.publish(ctx, m)
	if err != nil {
		return fmt.Errorf("dead: %w", err)
	}
	if !ack.Duplicate {
		b.counts[Dead].stored.Add(1)
	}
	return nil
}

// Revive stores what message makes of the dead message at seq and removes that
// from Dead. A body stored by reference is passed on with Message.BodyOf, and is
// released when it is not. ErrGone says that there is no such message; an error
// of message is returned as it is, and what Store returns is returned here.
//
// The new message always gets an ID that follows from its own and from seq: the
// one under which it once died may still be known to its stage, which would take
// it for a copy and not keep it. After an error the message may be in both
// places, as after a crash between storing and removing; Revive of the same seq
// within the stage's window (see Message.ID) stores nothing more and removes it,
// later it stores a second copy. Of a body that both refer to, the one that ends
// first releases it, and the other dies unreadable.
func (b *Broker) Revive(ctx context.Context, seq uint64, message func(*Peeked) (Message, error)) error {
	if err := b.begin(); err != nil {
		return fmt.Errorf("broker: revive: %w", err)
	}
	defer b.calls.Done()
	m, err := b.get(ctx, streamDead, server.JSApiMsgGetRequest{Seq: seq})
	if err == nil && m == nil {
		err = ErrGone
	}
	if err != nil {
		return fmt.Errorf("broker: revive: %w", err)
	}
	p := peeked(Dead, *m)
	next, err := message(&p)
	if err != nil {
		return err
	}
	next.ID = fmt.Sprintf("%s.r%d", next.ID, seq)
	if err := b.revive(ctx, &p, next); err != nil {
		return fmt.Errorf("broker: revive: %w", err)
	}
	return nil
}

func (b *Broker) revive(ctx context.Context, p *Peeked, next Message) error {
	if err := errors.Join(b.room(b.o.DiskReserve), b.disk.healthy()); err != nil {
		return err
	}
	if err := b.store(ctx, []Message{next}, &p.Delivery, b.o.DiskReserve); err != nil {
		return err
	}
	if err := b.onDisk(ctx); err != nil {
		return err
	}
	removed, err := b.remove(ctx, Dead, p.Seq)
	if removed && next.BodyOf != &p.Delivery {
		b.release(ctx, p.ref)
	}
	return err
}

func deadSubject(reason string, d *Delivery) string {
	kind, _, _ := strings.Cut(reason, ":")
	kind = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(kind)), " ", "-")
	return string(Dead) + "." + token(kind) + "." + token(d.Route) + "." + token(d.Recipient)
}
