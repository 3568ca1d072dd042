package app

import (
	"context"
	"fmt"
	"sync/atomic"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// receipts bring what the clients of recipients confirm to those who asked for it when they
// sent mail (RFC 3461 §4.1, NOTIFY=SUCCESS).
type receipts struct {
	app  *App
	kept *store.Receipts

	told, again, unknown, failed atomic.Uint64
}

func receiptKey(id string, recipient jid.JID) string { return id + "\x00" + recipient.Bare().String() }

// Expect implements delivery.Receipts.
func (r *receipts) Expect(ctx context.Context, l custody.Letter) error {
	data, err := l.Record.Encode()
	if err != nil {
		return err
	}
	return r.kept.Expect(ctx, receiptKey(l.StanzaID, l.JID), data)
}

// Settle implements delivery.Receipts. What was not expected, as by an older version, is
// told.
func (r *receipts) Settle(ctx context.Context, l custody.Letter) (first bool, err error) {
	data, first, err := r.kept.Settle(ctx, receiptKey(l.StanzaID, l.JID))
	return first || data == nil, err
}

// take reads what a message to the mail gateway confirms.
func (r *receipts) take(ctx context.Context, st *stanza.Stanza) {
	ids, proof := convert.Receipts(st)
	for _, id := range ids {
		if err := r.confirm(ctx, id, st.From, proof); err != nil {
			r.failed.Add(1)
			r.app.log.Warn().Err(err).Str("stanza", id).Str("jid", st.From.String()).Msg("receipt not passed on")
		}
	}
}

// confirm tells who sent a message that the client of its recipient has it.
func (r *receipts) confirm(ctx context.Context, id string, from jid.JID, proof string) error {
	data, first, err := r.kept.Settle(ctx, receiptKey(id, from))
	switch {
	case err != nil:
		return err
	case data == nil:
		r.unknown.Add(1) // most authors do not ask
		return nil
	case !first:
		r.again.Add(1)
		return nil
	}
	rec, err := custody.DecodeRecord(data, from.Bare())
	if err != nil {
		return err
	}
	l := custody.Letter{Record: rec, Key: "receipt." + string(rec.ID) + "." + rec.StanzaID}
	reports, _ := r.app.outmail.Report(ctx, l, custody.Ending{End: custody.Delivered, Proof: proof, Client: true})
	if len(reports) > 0 {
		if err := r.app.broker.Store(ctx, reports...); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	r.told.Add(1)
	return nil
}

func (a *App) receiptMetrics() []admin.Metric {
	return []admin.Metric{
		{Name: "receipts_total", Help: "Receipts and markers of clients for messages that came as mail: reported to their senders, of messages that were reported before, and of those that nobody asked about.", Labels: []string{"outcome"}, Collect: func(add add) {
			add(float64(a.receipts.told.Load()), "reported")
			add(float64(a.receipts.again.Load()), "again")
			add(float64(a.receipts.unknown.Load()), "not_asked")
			add(float64(a.receipts.failed.Load()), "failed")
		}},
	}
}
