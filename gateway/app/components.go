package app

import (
	"net"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/xmpp/component"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/link"
)

// componentSecrets are those of the domains that an external component may be.
func componentSecrets(cfg *config.Config) map[string]string {
	secrets := make(map[string]string)
	for _, d := range cfg.Domains {
		if secret := d.ComponentSecret.Reveal(); secret != "" {
			secrets[d.Name] = secret
		}
	}
	return secrets
}

func (a *App) newComponents() *component.Domains {
	return component.NewDomains(componentSecrets(a.o.Config), func(domain string) { a.delivery.WakeAll(domain) })
}

// componentListener lets components join on a socket.
func (a *App) componentListener(s *socket) *component.Server {
	host, err := jid.New("", a.firstDomain(), "")
	if err != nil {
		host = jid.MustParse("localhost")
	}
	srv := component.New(component.Options{
		Domains: a.components, Host: host, Receive: a.router.Receive,
		Slots: a.slotsOf(s.scope), PerAddress: s.scope.MaxConnectionsPerAddress,
		Log: a.xmppLog().With().Str("part", "component").Logger(), Observer: a.stanzaLog,
		Connection: func(addr net.Addr) component.ConnOptions {
			p := a.peer(s, addrOf(addr))
			o := component.ConnOptions{IdleTime: p.IdleTime, Limits: streamLimits(p)}
			if s.scope.UseSSL {
				o.TLS = a.directTLS(s)
			}
			return o
		},
	})
	a.joined = append(a.joined, srv)
	return srv
}

// linkMetrics are those of links and of components.
func (a *App) linkMetrics() []admin.Metric {
	each := func(name, help string, gauge bool, read func(*link.Link) float64) admin.Metric {
		return admin.Metric{Name: name, Help: help, Gauge: gauge, Labels: []string{"link"}, Collect: func(add add) {
			for _, l := range a.links.all() {
				add(read(l), l.State().Name)
			}
		}}
	}
	sum := func(read func(component.Stats) float64) func(add) {
		return func(add add) {
			total := 0.0
			for _, srv := range a.joined {
				total += read(srv.Stats())
			}
			add(total)
		}
	}
	return []admin.Metric{
		each("link_up", "Whether stanzas can be sent by a link.", true, func(l *link.Link) float64 { return flag(l.Ready()) }),
		each("link_connects_total", "Streams of a link that became ready.", false, func(l *link.Link) float64 { return float64(l.Stats().Connects) }),
		each("link_failures_total", "Streams of a link that did not, or broke.", false, func(l *link.Link) float64 { return float64(l.Stats().Failures) }),
		each("link_sent_total", "Stanzas sent by a link.", false, func(l *link.Link) float64 { return float64(l.Stats().Sent) }),
		each("link_received_total", "Stanzas that came by a link.", false, func(l *link.Link) float64 { return float64(l.Stats().Received) }),
		each("link_dropped_total", "Of them, those that may not come by it.", false, func(l *link.Link) float64 { return float64(l.Stats().Dropped) }),
		{Name: "component_sessions", Help: "External components that have joined.", Gauge: true, Collect: sum(func(s component.Stats) float64 { return float64(s.Components) })},
		{Name: "component_refused_total", Help: "External components that were not let in.", Collect: sum(func(s component.Stats) float64 { return float64(s.Refused) })},
		{Name: "component_sent_total", Help: "Stanzas sent to external components.", Collect: sum(func(s component.Stats) float64 { return float64(s.Sent) })},
		{Name: "component_received_total", Help: "Stanzas from external components.", Collect: sum(func(s component.Stats) float64 { return float64(s.Received) })},
	}
}
