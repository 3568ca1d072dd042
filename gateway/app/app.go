// Package app starts the parts of the gateway in one process and stops them in
// reverse order. It can be embedded: the tests and the demo run the real thing.
package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/delivery"
	"mcmt2xmpp/gateway/events"
	"mcmt2xmpp/gateway/intake"
	"mcmt2xmpp/gateway/listener"
	"mcmt2xmpp/gateway/outmail"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt/httpd"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/mcmt/smtpd"
	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/component"
	"mcmt2xmpp/xmpp/gateway"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/xmpplog"
)

// Options of an App.
type Options struct {
	Config  *config.Config
	Roles   Roles // none: all
	Log     zerolog.Logger
	Version string
	// Load reads the configuration again, for ReloadFile. nil: there is no file.
	Load  func() (*config.Config, error)
	Trace *trace.Bus // nil: one of its own
	// Inherited are sockets that are open already. Nil: there are none.
	Inherited *listener.Inherited
}

// App is a gateway. Run makes it work; the other methods may be called from any
// goroutine once Ready is closed.
type App struct {
	o     Options
	log   zerolog.Logger
	trace *trace.Bus
	ready chan struct{}

	state     atomic.Pointer[state] // what a reload replaces
	scripts   policy.Counters       // of policy scripts, over reloads
	reloading sync.Mutex            // one reload at a time

	broker      *broker.Broker
	accounts    *accounts
	rosters     *store.Rosters
	services    services
	submissions *store.Submissions
	routes      *store.Routes
	holds       *store.Holds
	certs       *certificates
	sessions    *store.Sessions // nil: those of this process only
	router      *router.Router
	servers     *servers
	mailGateway *gateway.Gateway
	links       *links
	components  *component.Domains
	delivery    *delivery.Delivery
	sender      *relay.Sender
	stanzaLog   *xmpplog.Log
	outmail     *outmail.Outmail
	receipts    *receipts
	events      *events.Events

	filesAttached, filesLeft atomic.Uint64
	mail                     *delivery.Delivery // of mail
	conversion               *delivery.Conversion
	intake                   *intake.Intake
	sockets                  []*socket
	slots                    map[string]*listener.Slots
	hibernation              *c2s.Hibernation // of the sessions of all XMPP listeners
	guard                    *c2s.Guard       // likewise
	proxies                  proxies

	stopping atomic.Bool
	audit    admin.Audit // of all control listeners

	// What serves, for the metrics and for the end.
	clients []*c2s.Server
	joined  []*component.Server
	smtp    []*smtpd.Server
	http    []*httpd.Server
	admin   []*admin.Server
}

// New returns an App that does nothing yet.
func New(o Options) *App {
	if o.Trace == nil {
		o.Trace = new(trace.Bus)
	}
	return &App{o: o, log: o.Log, trace: o.Trace, ready: make(chan struct{}), stanzaLog: xmpplog.New()}
}

// Ready is closed when every listener is open.
func (a *App) Ready() <-chan struct{} { return a.ready }

// shutdownGrace bounds the end of the broker after all parts have stopped.
const shutdownGrace = 20 * time.Second

// Run starts the gateway and blocks until ctx ends or a part fails. What was
// begun is finished before it returns.
func (a *App) Run(ctx context.Context) (err error) {
	if err := a.o.Roles.check(a.o.Config); err != nil {
		return err
	}
	defer a.trace.Subscribe(trace.Log(a.log))()
	st, err := a.newState(a.o.Config)
	if err != nil {
		return err
	}
	a.state.Store(st)
	a.warnOfScripts(st)
	// It is closed when nothing is there any more that could pass.
	defer a.closeStanzaLog(ctx)
	if err := a.openStanzaLog(); err != nil {
		return err
	}
	defer a.trace.Subscribe(a.logOutcome)()
	if err := a.open(ctx); err != nil {
		return errors.Join(err, a.close(ctx))
	}
	parts, err := a.parts(ctx)
	if err != nil {
		return errors.Join(err, a.close(ctx))
	}
	for _, address := range a.o.Inherited.Rest() {
		a.log.Warn().Str("address", address).Msg("no listener takes this inherited socket")
	}
	a.o.Inherited.Close()
	defer context.AfterFunc(ctx, func() { a.stopping.Store(true) })()
	close(a.ready)
	a.log.Info().Str("version", a.o.Version).Strs("files", a.o.Config.Files).Str("data", a.o.Config.DataDir).
		Strs("domains", a.o.Config.ServedDomains()).Stringer("role", a.o.Roles).Str("node", a.broker.Node()).Msg("ready")
	err = runParts(ctx, parts, stopGrace)
	a.log.Info().Msg("stopped")
	return errors.Join(err, a.close(ctx))
}

// open makes what the parts share: custody first, then who may log in.
func (a *App) open(ctx context.Context) error {
	cfg := a.o.Config
	b, err := a.openBroker(ctx)
	if err != nil {
		return err
	}
	a.broker = b
	sayCustody(ctx, b, a.log)
	if a.accounts, err = openAccounts(ctx, b, cfg.ServedDomains(), a.log); err != nil {
		return err
	}
	if a.rosters, err = openRosters(ctx, b, cfg.Accounts, a.log); err != nil {
		return err
	}
	if err := a.services.open(ctx, b, cfg, a.log); err != nil {
		return err
	}
	if a.submissions, err = store.OpenSubmissions(ctx, b); err != nil {
		return err
	}
	if err := a.openQueue(ctx); err != nil {
		return err
	}
	if err := a.openEvents(ctx); err != nil {
		return err
	}
	a.certs = newCertificates(cfg, a.log)
	a.slots = make(map[string]*listener.Slots)
	for name, n := range cfg.ThreadPools {
		a.slots[name] = listener.NewSlots(n)
	}
	if err := a.prepare(ctx, a.state.Load()); err != nil {
		return err
	}
	a.sessions = a.newSessions(b)
	a.links, a.components = a.newLinks(), a.newComponents()
	a.router = a.newRouter()
	a.services.provide(a.router, cfg.Accounts)
	if a.servers, err = a.newServers(ctx); err != nil {
		return err
	}
	a.openMail()
	a.mailGateway = a.newMailGateway()
	a.hostMailGateway(nil, a.state.Load())
	a.hibernation = c2s.NewHibernation(c2s.HibernationOptions{
		Sessions: cfg.XMPP.MaxSuspendedSessions, PerAccount: cfg.XMPP.MaxSuspendedPerAccount,
	})
	a.guard = c2s.NewGuard()
	a.rosters.OnChange(a.router.RosterChanged)
	a.conversion = &delivery.Conversion{
		Rules:  a.conversionRules,
		Limits: Limits,
		Keeps:  a.keepsMail, Reporter: a.outmail, Store: b.Store,
		Trace: a.trace,
		Node:  b.Node(),
		Log:   a.log,

		Tickets: convert.Tickets{Key: a.accounts.secret},
	}
	if a.services.media != nil {
		a.conversion.Media = a.services.media
	}
	if a.o.Roles.has(Convert) {
		a.conversion.Parsed = new(custody.Parsed)
		if a.o.Roles.has(Deliver) {
			a.conversion.Made = new(delivery.Made)
		}
	}
	a.delivery = a.newDelivery()
	a.router.OnAvailable(a.delivery.Wake)
	a.holds.OnChange(func(name string) { a.delivery.WakeAll(name); a.mail.WakeAll(name) })
	a.intake = a.newIntake()
	return a.openSessions(ctx)
}

// folderPatience is how long a start waits for the data folder: for the gateway
// before it to end, or a command that has just made an account.
const folderPatience = 3 * time.Second

func (a *App) openBroker(ctx context.Context) (*broker.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, folderPatience)
	defer cancel()
	for {
		b, err := OpenBroker(context.WithoutCancel(ctx), a.o.Config, a.log)
		if !errors.Is(err, broker.ErrInUse) {
			return b, err
		}
		if !backoff.Wait(ctx, 100*time.Millisecond) {
			return nil, err
		}
	}
}

// OpenBroker opens the custody of a configuration: the embedded server on its
// data folder, or the external one.
func OpenBroker(ctx context.Context, cfg *config.Config, log zerolog.Logger) (*broker.Broker, error) {
	n := cfg.NATS
	o := broker.Options{
		URLs: n.URLs, CredsFile: n.Credentials, User: n.User, Password: n.Password.Reveal(), Token: n.Token.Reveal(),
		TLSCA: n.TLSCA, TLSCert: n.TLSCert, TLSKey: n.TLSKey, Replicas: n.Replicas, Slices: n.Slices,
		Durability: broker.Durability(n.Durability),
		MaxStore:   n.MaxStore, MaxMemory: n.MaxMemory, DiskReserve: n.DiskReserve, Expiration: cfg.MessageExpiration, Journal: cfg.TraceExpiration,
		Log: log.With().Str("part", "broker").Logger(),
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if len(n.URLs) == 0 {
		o.Dir = filepath.Join(cfg.DataDir, "nats")
	} else {
		o.NodeDir = filepath.Join(cfg.DataDir, "node")
	}
	b, err := broker.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// close ends what open made.
func (a *App) close(ctx context.Context) error {
	for _, s := range a.sockets {
		_ = s.Close() // closed already by whoever served it
	}
	for _, s := range a.admin {
		s.Close()
	}
	if a.sender != nil {
		a.sender.Close()
	}
	var err error
	if a.servers != nil {
		err = a.servers.close()
	}
	a.closeSessions(ctx)
	if a.holds != nil {
		err = errors.Join(err, a.holds.Close())
	}
	if a.accounts != nil {
		err = errors.Join(err, a.accounts.close())
	}
	if a.rosters != nil {
		err = errors.Join(err, a.rosters.Close())
	}
	err = errors.Join(err, a.services.close())
	if a.broker == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	return errors.Join(err, a.broker.Close(ctx))
}

// parts opens the listeners and lists what runs, in the order of starting, which
// is the reverse of that of stopping. First ends what takes messages in, then
// what works them off, then the sessions, whose clients still prove what they
// received, then the events about that, and last the admin HTTP, which says that all
// this happens.
func (a *App) parts(ctx context.Context) ([]part, error) {
	listeners := make(map[config.ListenerKind][]part)
	for _, kind := range []config.ListenerKind{config.XMPPStreams, config.ESMTP, config.HTTP, config.Control} {
		for _, l := range a.o.Config.Listeners {
			if l.Kind != kind || !Served(l) || !a.o.Roles.serves(kind) {
				continue
			}
			p, err := a.listen(ctx, l)
			if err != nil {
				return nil, err
			}
			listeners[kind] = append(listeners[kind], p)
		}
	}
	a.provideUploads()
	a.provideMedia()
	return slices.Concat(listeners[config.Control], []part{{"events", a.events.Run}}, a.outside(), listeners[config.XMPPStreams], a.work(),
		listeners[config.ESMTP], listeners[config.HTTP]), nil
}

// outside are the parts that have the streams to others.
func (a *App) outside() []part {
	parts := []part{a.serverStreams()}
	if a.o.Roles.has(Deliver) {
		parts = append(parts, part{"links", a.links.run})
	}
	return parts
}

// work are the parts that work messages off.
func (a *App) work() []part {
	var work []part
	if a.o.Roles.has(Deliver) || a.o.Roles.has(Relay) {
		work = append(work, part{"route states", func(ctx context.Context) error { a.routes.Run(ctx); return nil }})
	}
	work = append(work, a.mailWork()...)
	if a.o.Roles.has(Deliver) {
		work = append(work,
			part{"delivery", func(ctx context.Context) error { return a.delivery.Run(ctx, deliverOptions) }})
	}
	if a.o.Roles.has(Convert) {
		work = append(work, part{"conversion", func(ctx context.Context) error {
			return a.broker.Consume(ctx, broker.Ingest, a.conversion, broker.ConsumeOptions{})
		}})
	}
	return work
}

// Served reports whether a listen scope gets a socket.
func Served(l *config.Listen) bool { return l.Enable }

// deliverOptions let many routes wait for the proof of their clients at once: a
// client that is dead but not yet known to be costs a waiting goroutine, and its
// messages their place among those held.
var deliverOptions = broker.ConsumeOptions{Workers: 8192, MaxAckPending: 16384}
