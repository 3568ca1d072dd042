package app

import (
	"context"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/xmpp/stanza"
)

// filtering is what the filters of the configuration do now.
type filtering struct{ app *App }

// Report implements admin.Filters.
func (f filtering) Report() filters.Report { return f.app.state.Load().rules.Filters.Report() }

// errDeferred is the answer to a Jabber user whose message a filter puts off: he has
// the message, so it is he who tries again later.
var errDeferred = &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "not now: try again later"}

// filter returns what the filters leave of it, nil for nothing.
func (a *App) filter(ctx context.Context, it *filters.Item) (*stanza.Stanza, error) {
	it.Software = a.router.Software
	outcome := a.state.Load().rules.Filters.Apply(ctx, it)
	for _, v := range outcome.Verdicts {
		if v.Err != nil {
			a.log.Warn().Err(v.Err).Str("filter", v.Filter).Msg("filter failed, the message goes on")
		}
	}
	switch outcome.Action {
	case filters.Drop:
		a.logDropped(it.Stanza, outcome.Verdicts)
		return nil, nil
	case filters.Defer:
		return nil, errDeferred
	}
	return it.Stanza, nil
}

// filterOut judges messages to mail and mobile, of which receipts are for the gateway.
func (a *App) filterOut(ctx context.Context, st *stanza.Stanza) (*stanza.Stanza, error) {
	a.receipts.take(ctx, st)
	// A JID that stands for no address saves no mail.
	address, _ := a.state.Load().rules.Converter.MailAddress(st.To)
	return a.filter(ctx, &filters.Item{Stanza: st, Direction: filters.Out, Recipient: address})
}

// filterBetween judges messages between two Jabber users. keep says that the message,
// which has been judged already, would be kept for later: a chat state must not wait
// in storage for somebody to come online.
func (a *App) filterBetween(ctx context.Context, st *stanza.Stanza, keep bool) (*stanza.Stanza, error) {
	it := &filters.Item{Stanza: st, Direction: filters.Between}
	if keep {
		it.Direction = filters.Store
	}
	return a.filter(ctx, it)
}

// filterWaiting judges a message in custody that would wait for its recipient, and
// returns why it must not.
func (a *App) filterWaiting(ctx context.Context, rec custody.Record, st *stanza.Stanza) (why string) {
	it := &filters.Item{Stanza: st, Direction: filters.Store, Sender: rec.From, Recipient: rec.To.Address}
	outcome := a.state.Load().rules.Filters.Apply(ctx, it)
	if outcome.Action != filters.Drop {
		return ""
	}
	last := outcome.Verdicts[len(outcome.Verdicts)-1]
	return last.Filter + ": " + last.Reason
}

// collectVerdicts collects what the filters have decided.
func (a *App) collectVerdicts(add add) {
	for _, f := range a.state.Load().rules.Filters.Report().Filters {
		for verdict, n := range f.Verdicts {
			if f.Mode == "shadow" && verdict != filters.Continue.String() {
				verdict = "would_" + verdict
			}
			add(float64(n), f.Filter, verdict)
		}
		add(float64(f.Errors), f.Filter, "error")
	}
}
