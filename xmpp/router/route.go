package router

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mcmt2xmpp/xmpp/stanza"
)

// Route takes a stanza that the client of from sent, with the addresses checked
// and stamped: it is delivered, kept, answered, or its sender gets a stanza
// error (RFC 6120 §10, RFC 6121 §8). The error is that of sending to from.
func (r *Router) Route(ctx context.Context, from Session, st *stanza.Stanza) error {
	seen := st // by the account's other resources
	if st.Kind == stanza.Message {
		st = r.withoutIDs(st)
		if seen = st; r.o.Archive != nil {
			seen = r.archiveSent(ctx, st)
			out := *st // which its recipient's archive marks
			st = &out
		}
	}
	answer, err := r.sent(ctx, from, st)
	if st.Kind == stanza.Message {
		r.copySent(ctx, from, seen) // even what is refused was said
	}
	if err != nil {
		answer = st.ErrorReply(r.refusal(err))
		if answer != nil {
			r.copyRefusal(ctx, from, answer)
		}
	}
	if answer == nil {
		return nil
	}
	if err := from.Send(ctx, answer); err != nil {
		return fmt.Errorf("answer %s: %w", st.Kind, err)
	}
	return nil
}

// sent is route for a stanza of a client, unless somebody else deals with it.
func (r *Router) sent(ctx context.Context, from Session, st *stanza.Stanza) (answer *stanza.Stanza, err error) {
	if r.o.Sent != nil && st.Kind == stanza.Message && st.Type != stanza.TypeError {
		if done, err := r.o.Sent(ctx, st); done || err != nil {
			return nil, err
		}
	}
	return r.route(ctx, from, st)
}

// refusal is what the sender may know of an error.
func (r *Router) refusal(err error) *stanza.Error {
	r.stats.refused.Add(1)
	var refused *stanza.Error
	if errors.As(err, &refused) {
		return refused
	}
	// Ours is the fault, and the text of err stays here.
	return &stanza.Error{Type: stanza.Wait, Condition: stanza.InternalServerError}
}

// route does what Route says; from is nil for a stanza that no client here has sent.
func (r *Router) route(ctx context.Context, from Session, st *stanza.Stanza) (answer *stanza.Stanza, err error) {
	if stop, err := r.barred(st); stop {
		return nil, err
	}
	domain := st.To.Domain()
	if h := r.host(domain); h != nil {
		return nil, h(ctx, from, st)
	}
	if !r.Serves(domain) {
		return nil, r.away(ctx, st)
	}
	switch st.Kind {
	case stanza.Message:
		return nil, r.message(ctx, st)
	case stanza.IQ:
		return r.iq(ctx, from, st)
	}
	return nil, r.presence(ctx, st)
}

func (r *Router) message(ctx context.Context, st *stanza.Stanza) error {
	if st.To.Local() == "" {
		return unavailable // the server reads no messages (RFC 6120 §10.5.1)
	}
	st, err := r.filter(ctx, st, false)
	if st == nil {
		return err
	}
	if s := r.Session(st.To); s != nil && suspended(s) { // it would wait for the client
		if st, err = r.filter(ctx, st, true); st == nil {
			return err
		}
	}
	if st.Type != stanza.TypeError { // which may answer what is being given back, and keeps to no order
		r.returns.wait(ctx, st.To.Bare())
	}
	if r.mustKeep(ctx, st) {
		return r.keep(ctx, st)
	}
	_, err = r.Deliver(ctx, st)
	if errors.Is(err, ErrOffline) {
		return r.keep(ctx, st)
	}
	return err
}

// filter returns what Options.Filter leaves of a message; nil: nothing, and the error
// is for the sender.
func (r *Router) filter(ctx context.Context, st *stanza.Stanza, keep bool) (*stanza.Stanza, error) {
	if r.o.Filter == nil {
		return st, nil
	}
	left, err := r.o.Filter(ctx, st, keep)
	switch {
	case err != nil:
		return nil, err
	case left == nil:
		r.stats.filtered.Add(1)
	}
	return left, nil
}

// keep puts a message for a user who is offline into custody (RFC 6121
// §8.5.2.2.1). Without a body it is about a conversation that is not taking
// place, such as a chat state: the filter drops those in silence, and the rest
// is refused.
func (r *Router) keep(ctx context.Context, st *stanza.Stanza) error {
	st, err := r.filter(ctx, st, true)
	if st == nil {
		return err
	}
	if r.o.Custody == nil || !hasBody(st) || hint(st, "no-store") { // see Storable
		return unavailable
	}
	if err := r.o.Custody.Keep(ctx, r.archived(ctx, st, "")); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	r.stats.kept.Add(1)
	return nil
}

// hasBody says whether any <body/>, in whatever language, has text.
func hasBody(st *stanza.Stanza) bool {
	for e := range st.Element.Elements() {
		if e.Name.Space == stanza.Client && e.Name.Local == "body" && strings.TrimSpace(e.Text()) != "" {
			return true
		}
	}
	return false
}

// presence delivers presence, broadcast or directed (RFC 6121 §4.2.3, §4.6, §8.5.2.1.2,
// §8.5.3). To nobody it is ignored (§8.5.1).
func (r *Router) presence(ctx context.Context, st *stanza.Stanza) error {
	switch st.Type {
	case "", "unavailable", stanza.TypeError:
	case "probe":
		return r.probed(ctx, st)
	default:
		return r.subscription(ctx, st)
	}
	for _, s := range r.Sessions(st.To.Bare()) {
		if s.JID() == st.To || st.To.IsBare() && Present(s) && st.Type != stanza.TypeError {
			// A session that is going away needs no presence any more.
			_ = s.Send(ctx, st)
		}
	}
	return nil
}
