package component

import (
	"context"
	"errors"
	"sync"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// Domains are the domains that components may join, and those that have. They are a
// router.Remote. For the router
// they are like those of other servers: what is for one whose component is away waits in
// custody. All methods may be called from any goroutine.
type Domains struct {
	mu      sync.Mutex
	secrets map[string]string
	up      map[string]*session // that have joined
	onJoin  func(domain string)
}

// NewDomains returns domains with their secrets. onJoin is called when stanzas can be sent
// to one, and must not block; nil: nobody is told.
func NewDomains(secrets map[string]string, onJoin func(domain string)) *Domains {
	if onJoin == nil {
		onJoin = func(string) {}
	}
	return &Domains{secrets: secrets, up: make(map[string]*session), onJoin: onJoin}
}

// Set replaces the secrets. A component whose secret is another one now, or whose domain is
// gone, is disconnected.
func (d *Domains) Set(secrets map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for domain, c := range d.up {
		if secrets[domain] != d.secrets[domain] {
			c.Close(&stream.Error{Condition: stream.NotAuthorized, Text: "the secret has changed"})
		}
	}
	d.secrets = secrets
}

// Serves says whether a domain is one that a component may join.
func (d *Domains) Serves(domain string) bool { return d.secret(domain) != "" }

// Joined are the domains that have joined, in no order.
func (d *Domains) Joined() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for domain, c := range d.up {
		if c.joinedNow {
			all = append(all, domain)
		}
	}
	return all
}

func (d *Domains) secret(domain string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.secrets[domain]
}

// join makes room for a component, or refuses it: the domain has one. That one is asked
// whether it is still there, for the next try.
func (d *Domains) join(c *session) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	domain := c.domain.Domain()
	if there := d.up[domain]; there != nil {
		there.pings.Probe()
		return &stream.Error{Condition: stream.Conflict, Text: "the component has joined already"}
	}
	d.up[domain] = c
	return nil
}

// joined says that the component may be sent to.
func (d *Domains) joined(c *session) {
	d.mu.Lock()
	c.joinedNow = true
	d.mu.Unlock()
	d.onJoin(c.domain.Domain())
}

// leave takes a component out; one that was refused leaves the other in.
func (d *Domains) leave(c *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.up[c.domain.Domain()] == c {
		delete(d.up, c.domain.Domain())
	}
	c.joinedNow = false
}

// find is the stream of a domain, nil while it has none.
func (d *Domains) find(domain string) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.up[domain]; c != nil && c.joinedNow {
		return c
	}
	return nil
}

// away refuses what is for a component that is not there.
var away = &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout, Text: "the component is not connected"}

// Route sends a stanza that nobody keeps. A *stanza.Error goes to its sender.
func (d *Domains) Route(ctx context.Context, st *stanza.Stanza) error {
	c := d.find(st.To.Domain())
	if c == nil {
		return away
	}
	err := c.Send(ctx, st)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, stream.ErrSlow):
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint}
	}
	return away
}

// Session returns the stream of a domain. The error is temporary: a component joins when
// it likes, and is not waited for.
func (d *Domains) Session(_ context.Context, _, to string) (router.Session, error) {
	if c := d.find(to); c != nil {
		return c, nil
	}
	return nil, away
}

// Ready says whether a stanza would be sent at once.
func (d *Domains) Ready(_ context.Context, _, to string) (bool, error) { return d.find(to) != nil, nil }

// Reachable says whether the component of a domain has joined.
func (d *Domains) Reachable(domain string) bool { return d.find(domain) != nil }
