package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Dial connects to a server by TCP: to its addresses one after the other without
// waiting long for any of them (RFC 8305 §5), never to one that is in prohibited.
// TLS is the caller's. The error is an *Error.
func (r *Resolver) Dial(ctx context.Context, t Target, prohibited []netip.Prefix) (net.Conn, error) {
	addrs, err := r.Addresses(ctx, t.Host)
	if err != nil {
		return nil, err
	}
	var allowed []netip.AddrPort
	var left []Attempt
	for _, a := range addrs {
		// The check is on the very address that is dialled, so no second look-up can
		// bring in another one (DNS rebinding).
		if err := refuse(a, prohibited); err != nil {
			left = append(left, Attempt{netip.AddrPortFrom(a, t.Port), err})
			continue
		}
		allowed = append(allowed, netip.AddrPortFrom(a, t.Port))
	}
	name := net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
	if len(allowed) == 0 {
		return nil, &Error{Kind: Prohibited, Name: name, Attempts: left}
	}
	c, failed := r.race(ctx, allowed)
	if c == nil {
		return nil, &Error{Kind: Unreachable, Name: name, Attempts: append(failed, left...), Err: ctx.Err()}
	}
	return c, nil
}

// refuse says why an address is not connected to, nil for none. Forms of one
// address count as one: that of IPv4 within IPv6, and any zone.
func refuse(a netip.Addr, prohibited []netip.Prefix) error {
	a = a.Unmap().WithZone("")
	if a.IsUnspecified() {
		return errUnspecified // systems take it for loopback, which may be prohibited
	}
	within := func(p netip.Prefix) bool {
		return p.Contains(a) || a.Is4() && p.Addr().Is4In6() && p.Contains(netip.AddrFrom16(a.As16()))
	}
	if slices.ContainsFunc(prohibited, within) {
		return errProhibited
	}
	return nil
}

// race tries the addresses in their order, each next one when the one before it has
// failed or a quarter of a second has passed, and returns the first connection. It
// returns once all attempts are over.
func (r *Resolver) race(ctx context.Context, addrs []netip.AddrPort) (net.Conn, []Attempt) {
	type outcome struct {
		Attempt
		conn net.Conn
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan outcome, len(addrs))
	var attempts sync.WaitGroup
	defer func() {
		cancel()
		attempts.Wait()
		close(ended)
		for late := range ended {
			if late.conn != nil {
				_ = late.conn.Close() // nothing was said on it
			}
		}
	}()
	var failed []Attempt
	next := time.NewTimer(0)
	defer next.Stop()
	for waiting := addrs; ; {
		select {
		case <-next.C:
			if len(waiting) == 0 {
				continue
			}
			addr := waiting[0]
			waiting = waiting[1:]
			attempts.Go(func() {
				c, err := r.dial(ctx, "tcp", addr.String())
				ended <- outcome{Attempt{addr, err}, c}
			})
			next.Reset(r.delay)
		case o := <-ended:
			if o.Err == nil {
				return o.conn, nil
			}
			if failed = append(failed, o.Attempt); len(failed) == len(addrs) {
				return nil, failed
			}
			next.Reset(0)
		}
	}
}
