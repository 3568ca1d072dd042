package app

import (
	"context"
	"fmt"
	"sync"
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

	told, again, unknown, failed, bounced atomic.Uint64

	mu          sync.Mutex
	sent, older map[string]*passed // to other servers, by receiptKey; the newest, and those before
}

// passed is a message that another server gets.
type passed struct {
	letter custody.Letter
	taken  bool          // it has it
	why    *stanza.Error // it has sent it back before that was known
}

// maxSent is how many messages to other servers are remembered, twice at the most: an
// error of one comes back within seconds.
const maxSent = 1 << 14

// Sent implements delivery.Receipts.
func (r *receipts) Sent(l custody.Letter) {
	l.Body = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sent == nil || len(r.sent) >= maxSent {
		r.sent, r.older = make(map[string]*passed), r.sent
	}
	r.sent[receiptKey(l.StanzaID, l.JID)] = &passed{letter: l}
}

// Taken implements delivery.Receipts.
func (r *receipts) Taken(l custody.Letter) *stanza.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.find(receiptKey(l.StanzaID, l.JID))
	if p == nil {
		return nil
	}
	p.taken = true
	return p.why
}

// find needs mu.
func (r *receipts) find(key string) *passed {
	if p := r.sent[key]; p != nil {
		return p
	}
	return r.older[key]
}

// sentBack is the message that another server had taken and sends back now, which is told
// once; false where there is none, or its end is not known yet and will be this.
func (r *receipts) sentBack(id string, from jid.JID, why *stanza.Error) (custody.Letter, bool) {
	key := receiptKey(id, from)
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.find(key)
	if p == nil {
		return custody.Letter{}, false
	}
	if !p.taken {
		p.why = why
		return custody.Letter{}, false
	}
	delete(r.sent, key)
	delete(r.older, key)
	return p.letter, true
}

// refused ends a message anew that another server had taken and has sent back: it has
// failed after all (RFC 6120 §8.3).
func (r *receipts) refused(ctx context.Context, st *stanza.Stanza) {
	why := &stanza.Error{}
	if e := st.Child("error"); e != nil {
		why = stanza.ParseError(e)
	}
	if why.Type == stanza.Continue {
		return // a warning only
	}
	l, ok := r.sentBack(st.ID, st.From, why)
	if !ok {
		return
	}
	r.bounced.Add(1)
	if err := r.app.delivery.SentBack(ctx, l, why); err != nil {
		r.failed.Add(1)
		r.app.log.Warn().Err(err).Str("id", string(l.ID)).Str("jid", st.From.String()).Msg("error of another server not passed on")
	}
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
		{Name: "sent_back_total", Help: "Messages that another server had taken and sent back as an error.",
			Collect: admin.Value(func() uint64 { return a.receipts.bounced.Load() })},
	}
}
