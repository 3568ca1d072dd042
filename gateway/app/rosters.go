package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
)

func openRosters(ctx context.Context, b *broker.Broker, o config.Accounts, log zerolog.Logger) (*store.Rosters, error) {
	log = log.With().Str("part", "rosters").Logger()
	limits := roster.Limits{Items: o.MaxRosterContacts, Groups: o.MaxRosterGroups, Requests: o.MaxRosterRequests, Bytes: int(o.MaxRosterSize)}
	return store.OpenRosters(ctx, store.RostersOptions{Buckets: b, Limits: limits, Report: func(err error) { log.Warn().Err(err).Msg("roster store") }})
}

// removeRoster removes the roster of a user who is no account of any store, and says
// whether there was one.
func removeRoster(ctx context.Context, user jid.JID, rosters *store.Rosters, exists func(context.Context, jid.JID) (bool, error)) (bool, error) {
	switch still, err := exists(ctx, user); {
	case err != nil:
		return false, fmt.Errorf("roster of %s: is there another account of that name: %w", user, err)
	case still || !rosters.Has(user):
		return false, nil
	}
	return true, rosters.Remove(ctx, user)
}

// Rosters are the rosters of all accounts.
func (a *App) Rosters() admin.Rosters { return operatedRosters{a} }

// operatedRosters are the rosters as an operator sees them.
type operatedRosters struct{ app *App }

// Roster returns that of an account, or store.ErrNoAccount.
func (o operatedRosters) Roster(ctx context.Context, user jid.JID) (*roster.Roster, error) {
	if err := o.known(ctx, user); err != nil {
		return nil, err
	}
	return o.app.rosters.Roster(user), nil
}

// Import takes a record over, and brings presence into line with it. A roster that
// cannot be read any more is replaced, not added to.
func (o operatedRosters) Import(ctx context.Context, user jid.JID, record *roster.Roster, replace bool) error {
	if err := o.known(ctx, user); err != nil {
		return err
	}
	if _, ok := record.Item(user); ok || record.State(user) != roster.None {
		return fmt.Errorf("%w: %s in the roster of %[2]s", store.ErrInvalid, user)
	}
	var old, now *roster.Roster
	change := func(r *roster.Roster) error {
		old, now = r.Clone(), r
		return r.Import(record, replace)
	}
	err := o.app.rosters.Update(ctx, user, change, nil)
	if replace && errors.Is(err, store.ErrDamaged) {
		if err = o.app.rosters.Remove(ctx, user); err == nil {
			err = o.app.rosters.Update(ctx, user, change, nil)
		}
	}
	if err != nil {
		return err
	}
	o.app.router.Align(ctx, user, old, now)
	return nil
}

func (o operatedRosters) known(ctx context.Context, user jid.JID) error {
	ok, err := users(o).Exists(ctx, user)
	if err == nil && !ok {
		err = store.ErrNoAccount
	}
	if err != nil {
		return fmt.Errorf("%s: %w", user, err)
	}
	return nil
}
