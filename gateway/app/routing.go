package app

import (
	"context"
	"os"
	"slices"

	"github.com/rs/zerolog"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/delivery"
	"mcmt2xmpp/gateway/intake"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

func (a *App) newRouter() *router.Router {
	return router.New(router.Options{
		Domains:  func(domain string) bool { return a.state.Load().rules.Role(domain) == convert.Server },
		Accounts: users{a}.Exists,
		Registry: a.registry(),
		Rosters:  a.rosters,
		Archive:  a.services.archiving(),
		Blocks:   a.services.blocks,
		Avatars:  a.services.avatars,
		Custody:  keeper{a},
		Remote:   remote{a},
		Filter:   a.filterBetween,
		Sent:     a.askAboutSent,
		Tells:    filters.Tells,
		Version:  a.o.Version,

		MaxSessions: a.o.Config.XMPP.MaxSessionsPerAccount,
	})
}

func (a *App) newDelivery() *delivery.Delivery {
	return delivery.New(delivery.Options{
		Broker: a.broker, Router: a.router, Made: a.conversion.Made, Reporter: a.outmail, Receipts: a.receipts, Hooks: a.deliveryHooks, Resolve: a.resolve, States: a.routes, Holds: a.holds, Exchange: a.broker,
		Outgoing:  func(domain string) config.Outgoing { return a.state.Load().cfg.Outgoing(domain) },
		Filter:    a.filterWaiting,
		Deferrals: a.deferralsWanted,
		Trace:     a.trace, Log: a.log, Node: a.broker.Node(),
	})
}

// openQueue opens what is known of routes that wait.
func (a *App) openQueue(ctx context.Context) (err error) {
	log := a.log.With().Str("part", "queue").Logger()
	report := func(err error) { log.Warn().Err(err).Msg("queue") }
	if a.routes, err = store.OpenRoutes(ctx, a.broker, report); err != nil {
		return err
	}
	if a.holds, err = store.OpenHolds(ctx, a.broker, report); err != nil {
		return err
	}
	a.receipts = &receipts{app: a}
	a.receipts.kept, err = store.OpenReceipts(ctx, a.broker, a.o.Config.MessageExpiration)
	return err
}

// keeper breaks the circle between the router, which keeps what it cannot
// deliver, and delivery, which needs the router.
type keeper struct{ app *App }

func (k keeper) Keep(ctx context.Context, st *stanza.Stanza) error {
	return k.app.delivery.Keep(ctx, st)
}

func (k keeper) Waits(ctx context.Context, bare jid.JID) bool {
	return k.app.delivery.Waits(ctx, bare)
}

// remote is the way to domains that are not ours: a component's stream, a link, or
// streams between servers.
type remote struct{ app *App }

// way is what leads from a domain of ours to another one.
func (r remote) way(from, to string) router.Remote {
	if way := r.app.linked(from, to); way != nil {
		return way
	}
	return r.app.servers
}

// Route implements router.Remote.
func (r remote) Route(ctx context.Context, st *stanza.Stanza) error {
	return r.way(st.From.Domain(), st.To.Domain()).Route(ctx, st)
}

// Session implements router.Remote.
func (r remote) Session(ctx context.Context, from, to string) (router.Session, error) {
	return r.way(from, to).Session(ctx, from, to)
}

// Ready implements router.Remote.
func (r remote) Ready(ctx context.Context, from, to string) (bool, error) {
	return r.way(from, to).Ready(ctx, from, to)
}

// Reachable implements router.Remote. A link need not lead there from all our domains.
func (r remote) Reachable(domain string) bool {
	if _, reachable := r.app.linkedTo(domain); reachable {
		return true
	}
	return !r.app.components.Serves(domain) && r.app.servers.Reachable(domain)
}

func (a *App) newIntake() *intake.Intake {
	return intake.New(intake.Options{
		Broker: a.broker, Accounts: users{a}, Submissions: a.submissions, Node: a.broker.Node(),
		Converter: func() *convert.Converter { return a.state.Load().rules.Converter },
		Role:      func(domain string) convert.Role { return a.state.Load().rules.Role(domain) },
		Reachable: func(domain string) bool {
			linked, _ := a.linkedTo(domain)
			return linked || !a.servers.policy(domain).Deny
		},
		Relays:   func(domain string) bool { return slices.Contains(a.state.Load().cfg.RelayDomains, domain) },
		PartFrom: a.partFrom,
		Limits:   Limits,
		Parsed:   a.conversion.Parsed,
		Trace:    a.trace,
		Log:      a.log,
	})
}

// partFrom is xmpp_part_from for the listener and the peer of a message.
func (a *App) partFrom(env mcmt.Envelope) bool {
	for _, s := range a.sockets {
		if s.name() == env.Listener {
			return a.peer(s, env.Peer.Addr()).KeepPartFrom
		}
	}
	return false
}

// hostname is our name in greetings.
func (a *App) hostname() string {
	if name := a.o.Config.Hostname; name != "" {
		return name
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

func (a *App) firstDomain() string {
	if all := a.o.Config.ServedDomains(); len(all) > 0 {
		return all[0]
	}
	return a.hostname()
}

// xmppLog is the log of the XMPP packages, at the level of the xmpp module's
// debug_level where that is set.
func (a *App) xmppLog() zerolog.Logger {
	level := a.o.Config.XMPP.DebugLevel
	if level == nil {
		return a.log
	}
	return a.log.Level(zerologLevel(*level))
}

func zerologLevel(level config.LogLevel) zerolog.Level {
	return map[config.LogLevel]zerolog.Level{
		config.LogDebug: zerolog.DebugLevel, config.LogInfo: zerolog.InfoLevel,
		config.LogWarn: zerolog.WarnLevel, config.LogError: zerolog.ErrorLevel,
	}[level]
}

// listening is the condition of readiness that the sockets are open.
func (a *App) listening() error {
	if a.stopping.Load() {
		return errStopping
	}
	select {
	case <-a.ready:
		return nil
	default:
		return errStarting
	}
}
