package dns

import (
	"context"
	"net/netip"
	"strings"
	"sync"
)

// maxTargets is how many servers of a domain are tried, so that its records do not
// decide how long a look-up holds up a message, nor whom it is sent to knock at.
const maxTargets = 16

// Targets returns the servers of a domain for a service in the order in which they
// are to be tried, drawn anew at each call. The domain is as jid gives it. Without
// SRV records it is the domain itself (RFC 6120 §3.2.2), which then has an address.
// The error is an *Error.
func (r *Resolver) Targets(ctx context.Context, domain string, s Service) ([]Target, error) {
	itself := Target{Host: strings.Trim(domain, "[]"), Port: s.port()}
	if _, err := netip.ParseAddr(itself.Host); err == nil {
		return []Target{itself}, nil // RFC 6120 §3.2: an address has no SRV records
	}
	all, refused, err := r.services(ctx, domain, s)
	switch {
	case len(all) > 0:
		// One service is enough, even if the other's look-up failed.
		targets := order(all, r.intN)
		return targets[:min(len(targets), maxTargets)], nil
	case err != nil:
		// RFC 6120 §3.2.1 step 9 allows the fallback if no answer comes. But no answer
		// does not mean that there are no records, and the host of the bare domain is
		// often another one: its refusal would pass for that of the domain (step 8).
		return nil, err
	case refused:
		return nil, &Error{Kind: NoService, Name: domain}
	}
	addrs, err := r.addresses(ctx, domain)
	switch {
	case err != nil:
		return nil, err
	case len(addrs) == 0:
		return nil, &Error{Kind: NoDomain, Name: domain}
	}
	return []Target{itself}, nil
}

// services asks for the records of a service without and with TLS from the first
// byte at once. refused says that there was the target ".", so the service is
// decidedly not there and nothing else may be tried in its place (RFC 6120 §3.2.1
// step 3; XEP-0368 §5).
func (r *Resolver) services(ctx context.Context, domain string, s Service) (all []record, refused bool, err error) {
	var plain, direct []record
	var plainErr, directErr error
	var both sync.WaitGroup
	both.Go(func() { plain, plainErr = r.srv(ctx, string(s), domain) })
	both.Go(func() { direct, directErr = r.srv(ctx, s.direct(), domain) })
	both.Wait()
	for _, rec := range plain {
		refused = refused || rec.Host == ""
		all = append(all, rec)
	}
	for _, rec := range direct {
		refused = refused || rec.Host == ""
		rec.Direct = true
		all = append(all, rec)
	}
	named := all[:0]
	for _, rec := range all {
		if rec.Host != "" {
			named = append(named, rec)
		}
	}
	if plainErr != nil {
		return named, refused, plainErr
	}
	return named, refused, directErr
}
