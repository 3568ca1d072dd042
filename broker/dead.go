package broker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

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

func deadSubject(reason string, d *Delivery) string {
	kind, _, _ := strings.Cut(reason, ":")
	kind = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(kind)), " ", "-")
	return string(Dead) + "." + token(kind) + "." + token(d.Route) + "." + token(d.Recipient)
}
