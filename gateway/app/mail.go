package app

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/delivery"
	"mcmt2xmpp/gateway/fetch"
	"mcmt2xmpp/gateway/outmail"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/jid"
)

// openMail makes the way out over SMTP: what becomes mail and which reports are written,
// in every process; and who sends it, where the role is relay.
func (a *App) openMail() {
	a.sender = relay.New(a.relayOptions())
	a.outmail = outmail.New(outmail.Options{
		Store:     a.broker,
		Converter: func() *convert.Converter { return a.state.Load().rules.Converter },
		Hostname:  a.hostname(),
		Node:      a.broker.Node(),
		Forward:   a.router.Forward,
		Send:      a.sender.Send,
		Settings:  func(domain string) config.Mail { return a.state.Load().cfg.Mail(domain) },
		Fetch:     a.fetchFiles(),
		Serves:    a.router.Serves,
		May:       a.mayMail,
		Tickets:   convert.Tickets{Key: a.accounts.secret},
		Trace:     a.trace,
		Log:       a.log,
	})
	a.mail = delivery.New(delivery.Options{
		Broker: a.broker, Carrier: a.outmail, Reporter: a.outmail, States: a.routes, Holds: a.holds, Exchange: a.broker,
		Outgoing:  func(string) config.Outgoing { return a.state.Load().cfg.Relay.Outgoing() },
		Deferrals: a.deferralsWanted,
		Trace:     a.trace, Log: a.log, Node: a.broker.Node(),
	})
}

// fetchTime bounds the fetching of the files of one mail.
const fetchTime = time.Minute

// fetchFiles gets files for mail, where the configuration wants that (mail_media).
func (a *App) fetchFiles() func(ctx context.Context, urls []string) []mcmt.Media {
	f := fetch.New(fetch.Options{Own: a.ownFile, Resolver: resolver{a}})
	return func(ctx context.Context, urls []string) (files []mcmt.Media) {
		if !a.state.Load().cfg.Media.Attach {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, fetchTime)
		defer cancel()
		for _, r := range f.All(ctx, urls) {
			switch {
			case r.Err != nil:
				a.filesLeft.Add(1)
				a.log.Info().Err(reasonOf(r.Err)).Msg("file not attached, its link stays in the mail")
			case len(r.Media.Body) > 0:
				a.filesAttached.Add(1)
				files = append(files, mcmt.Media{Type: r.Media.Type, Name: r.Media.Name, Body: r.Media.Body})
			}
		}
		return files
	}
}

// reasonOf is why a file was not fetched, without its address: that is text of a message.
func reasonOf(err error) error {
	var e *fetch.Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return errors.New("not fetched")
}

// resolver asks the DNS servers that the configuration names now.
type resolver struct{ app *App }

// LookupNetIP implements fetch.Resolver.
func (r resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return relay.NewResolver(r.app.state.Load().cfg.Resolvers).LookupNetIP(ctx, network, host)
}

// mayMail says whether a Jabber user may send mail to any address: those whom the
// configuration knows, on domains of ours or of others, and not whoever can open a stream.
func (a *App) mayMail(author jid.JID) bool {
	domain := author.Domain()
	linked, _ := a.linkedTo(domain)
	return linked || a.components.Serves(domain) || a.state.Load().rules.Role(domain) != convert.NoRole
}

// relayOptions are how mail is sent now.
func (a *App) relayOptions() relay.Options {
	cfg := a.state.Load().cfg
	r := cfg.Relay
	return relay.Options{
		Hostname: a.hostname(), SmartHost: r.Gateway, User: r.User, Password: r.Password.Reveal(),
		TLS: tlsModes[r.TLS], Verify: verifyModes[r.Verify], Roots: a.servers.roots(r.CA),
		MaxConnections: r.MaxConnections, IdleTimeout: r.IdleTimeout, Prohibited: r.Prohibited,
		Resolver: relay.NewResolver(cfg.Resolvers),
		Log:      a.log.With().Str("part", "relay").Logger(),
	}
}

// The words of tls and tls_verify for mail; others are the zero values.
var (
	tlsModes    = map[string]relay.TLSMode{"no": relay.TLSNever, "required": relay.TLSRequired}
	verifyModes = map[string]relay.VerifyMode{"ca": relay.VerifyCA, "host": relay.VerifyHost}
)

// keepsMail says whether the e-mail of a message is kept beside its stanza.
func (a *App) keepsMail(domain string) bool { return a.state.Load().cfg.Outgoing(domain).Fallback }

// carries is who works off what waits for a route: delivery, or mail.
func (a *App) carries(route string) *delivery.Delivery {
	if custody.IsMail(route) {
		return a.mail
	}
	return a.delivery
}

// mailWork are the parts that send mail.
func (a *App) mailWork() []part {
	if !a.o.Roles.has(Relay) {
		return nil
	}
	return []part{{"mail", func(ctx context.Context) error { return a.mail.Run(ctx, mailOptions) }}}
}

// mailOptions let as many recipients' mail go out at once as the connections to one host
// can be shared by, for many hosts.
var mailOptions = broker.ConsumeOptions{Workers: 1024}

func (a *App) mailMetrics() []admin.Metric {
	return []admin.Metric{
		{Name: "mail_total", Help: "Mail by what became of it.", Labels: []string{"outcome"}, Collect: func(add add) {
			s := a.mail.Stats()
			add(float64(s.Relayed), "relayed")
			add(float64(s.Deferred), "deferred")
			add(float64(s.Failed), "failed")
			add(float64(s.Expired), "expired")
			add(float64(s.Dropped), "dropped")
		}},
		{Name: "mail_parked_messages", Help: "Mail that waits for its next attempt.", Gauge: true,
			Collect: admin.Value(func() int { return a.mail.Stats().Parked })},
		{Name: "relay_attempts_total", Help: "Attempts to hand a mail to a host.", Labels: []string{"outcome"}, Collect: func(add add) {
			s := a.sender.Stats()
			add(float64(s.Sent), "sent")
			add(float64(s.Refused), "refused")
			add(float64(s.Deferred), "try_later")
		}},
		{Name: "relay_failures_total", Help: "Hosts that a mail could not be handed to, by why.", Labels: []string{"why"}, Collect: func(add add) {
			for kind, n := range a.sender.Stats().Failures {
				add(float64(n), kind.String())
			}
		}},
		{Name: "relay_cleartext_total", Help: "Hosts with which TLS failed, so that clear text was used.",
			Collect: admin.Value(func() uint64 { return a.sender.Stats().Fallbacks })},
		{Name: "relay_connections", Help: "Connections to mail hosts.", Labels: []string{"state"}, Gauge: true, Collect: func(add add) {
			s := a.sender.Stats()
			add(float64(s.Open-s.Idle), "busy")
			add(float64(s.Idle), "idle")
		}},
		{Name: "relay_waiting", Help: "Mails that wait for a connection.", Gauge: true,
			Collect: admin.Value(func() int { return a.sender.Stats().Waiting })},
		{Name: "mail_made_total", Help: "Mails made of messages of Jabber users, and the messages that they were made of.", Labels: []string{"of"}, Collect: func(add add) {
			s := a.outmail.Stats()
			add(float64(s.Mails), "mails")
			add(float64(s.Lines), "messages")
		}},
		{Name: "mail_files_total", Help: "Files of messages that were attached to mail, and those that could not be fetched.", Labels: []string{"outcome"}, Collect: func(add add) {
			add(float64(a.filesAttached.Load()), "attached")
			add(float64(a.filesLeft.Load()), "not_fetched")
		}},
		{Name: "mail_refused_total", Help: "Messages of Jabber users that did not become mail, by why.", Labels: []string{"why"}, Collect: func(add add) {
			s := a.outmail.Stats()
			add(float64(s.NotAllowed), "not_allowed")
			add(float64(s.NoAddress), "address")
			add(float64(s.NoContent), "content")
			add(float64(s.Loops), "loop")
			add(float64(s.NotStored), "store")
		}},
		{Name: "mail_receipts_total", Help: "Receipts for Jabber users that were made of reports of mail servers.", Collect: func(add add) {
			add(float64(a.conversion.Stats().Receipts))
		}},
		{Name: "reports_total", Help: "Delivery status notifications by their action; told are Jabber users who got a stanza error instead.", Labels: []string{"action"}, Collect: func(add add) {
			s := a.outmail.Stats()
			add(float64(s.Failures), "failed")
			add(float64(s.Successes), "delivered")
			add(float64(s.Relays), "relayed")
			add(float64(s.Delays), "delayed")
			add(float64(s.Told), "told")
		}},
	}
}
