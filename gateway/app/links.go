package app

import (
	"context"
	"crypto/tls"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/xmpp/certificate"
	"mcmt2xmpp/xmpp/link"
	"mcmt2xmpp/xmpp/s2s"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// links are those to existing servers that the configuration names.
type links struct {
	app     *App
	changed chan struct{} // capacity 1: the configuration may have changed
	current atomic.Pointer[link.Links]

	running []*runningLink // only run touches it
}

// runningLink is a link with what it was made of.
type runningLink struct {
	of   config.Link
	link *link.Link
	stop context.CancelFunc
	done sync.WaitGroup
}

func (a *App) newLinks() *links {
	return &links{app: a, changed: make(chan struct{}, 1)}
}

// all are the links of now.
func (ls *links) all() link.Links {
	if all := ls.current.Load(); all != nil {
		return *all
	}
	return nil
}

// reload has run look at the configuration again.
func (ls *links) reload() {
	select {
	case ls.changed <- struct{}{}:
	default:
	}
}

// run holds the links up until ctx ends: it outlasts whatever sends on them.
func (ls *links) run(ctx context.Context) error {
	for {
		ls.follow(ctx)
		select {
		case <-ls.changed:
		case <-ctx.Done():
			ls.follow(ctx)
			return nil
		}
	}
}

// follow ends the links that are not in the configuration any more, all when ctx has
// ended, and begins those that are new in it. One that has changed is another one.
func (ls *links) follow(ctx context.Context) {
	want := ls.app.state.Load().cfg.Links
	if ctx.Err() != nil {
		want = nil
	}
	var now []*runningLink
	var gone sync.WaitGroup
	for _, r := range ls.running {
		if find(want, r.of) >= 0 {
			now = append(now, r)
			continue
		}
		gone.Go(func() {
			r.stop()
			r.done.Wait()
		})
	}
	gone.Wait() // a server may have room for one component of a name
	ls.running = nil
	all := make(link.Links, 0, len(want))
	for _, of := range want {
		r := ls.find(now, of)
		if r == nil {
			r = ls.start(ctx, of)
		}
		ls.running = append(ls.running, r)
		all = append(all, r.link)
	}
	ls.current.Store(&all)
}

// find is where a link is in a configuration, wherever it is written; -1: nowhere.
func find(all []config.Link, of config.Link) int {
	for i, l := range all {
		l.Pos, of.Pos = config.Position{}, config.Position{}
		if reflect.DeepEqual(l, of) {
			return i
		}
	}
	return -1
}

func (ls *links) find(all []*runningLink, of config.Link) *runningLink {
	for _, r := range all {
		if find([]config.Link{of}, r.of) >= 0 {
			return r
		}
	}
	return nil
}

func (ls *links) start(ctx context.Context, of config.Link) *runningLink {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &runningLink{of: of, stop: stop, link: link.New(ls.app.linkOptions(of))}
	r.done.Go(func() { _ = r.link.Run(ctx) }) // it has no error
	return r
}

var (
	linkTypes   = map[string]link.Type{config.LinkClient: link.Account, config.LinkComponent: link.Component}
	protections = map[string]stream.Protection{"ifavailable": stream.ProtectionIfAvailable, "no": stream.ProtectionNone}
)

func (a *App) linkOptions(l config.Link) link.Options {
	return link.Options{
		Name: l.Name, Type: linkTypes[l.Type], JID: l.JID, Password: l.Password.Reveal(), Address: l.Gateway, Resolver: func() link.Resolver { return a.servers.dns() },
		Protection: protections[l.TLS], TLS: a.linkTLS(l), Domains: l.Domains,
		Subscriptions: link.Subscriptions(l.Subscriptions), ReplyTo: l.ReplyTo,
		Takes: func(domain string) bool { return a.componentAt(l.Gateway, domain) },
		Stray: func(st *stanza.Stanza) bool { return a.links.all().Answered(st) },
		Ours:  a.serves, Receive: a.router.Receive, Return: a.router.Return,
		OnUp: func() {
			a.delivery.WakeDomains(func(domain string) bool { return a.links.all().Any(domain) })
		},
		Limits: a.serverLimits(), Log: a.xmppLog().With().Str("part", "link").Logger(), Observer: a.stanzaLog,
	}
}

// componentAt says whether a link is the component of a domain at a server.
func (a *App) componentAt(gateway, domain string) bool {
	return slices.ContainsFunc(a.state.Load().cfg.Links, func(l config.Link) bool {
		return l.Type == config.LinkComponent && l.Gateway == gateway && l.JID.Domain() == domain
	})
}

// linkTLS verifies the server of a link as tls_verify says, by the authorities that tls_ca
// has now: of an account by the domain that it is in, of a component by the host that is
// connected to.
func (a *App) linkTLS(l config.Link) *tls.Config {
	name := l.JID.Domain()
	if host, _, err := net.SplitHostPort(l.Gateway); err == nil && l.Type == config.LinkComponent {
		name = host
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: name,
		InsecureSkipVerify: true, // #nosec G402: VerifyConnection does it, with the names of RFC 6120 §13.7.1.2
		VerifyConnection: func(cs tls.ConnectionState) error {
			switch l.Verify {
			case "no":
				return nil
			case "ca":
				return certificate.Verify(cs.PeerCertificates, a.servers.roots(l.CA), time.Now())
			}
			return certificate.Check(cs.PeerCertificates, a.servers.roots(l.CA), time.Now(), name, "xmpp-client")
		},
	}
}

// streams are the links in the form of streams with servers.
func (ls *links) streams() (all []admin.ServerStream) {
	for _, l := range ls.all() {
		st, counts := l.State(), l.Stats()
		row := admin.ServerStream{Link: st.Name, State: s2s.State{
			Domain: st.JID.String(), Direction: "both", State: linkStates[st.Phase], Authenticated: string(st.Type), Since: st.Since,
			TLS: st.TLS, Sent: counts.Sent, Received: counts.Received, NextTry: st.NextTry,
		}}
		if f := st.Failure; f != nil {
			row.Failure = &s2s.FailureState{Step: s2s.Step(f.Step), Text: f.Text, At: f.At}
		}
		all = append(all, row)
	}
	return all
}

var linkStates = map[link.Phase]string{link.Up: "open", link.Connecting: "opening", link.Waiting: "waiting", link.Stopped: "closed"}
