package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// resolverTimeout is the longest that one DNS server is waited for: two attempts of
// the system's usual 5 seconds.
const resolverTimeout = 10 * time.Second

// resolvers asks given DNS servers, one after the other until one answers.
type resolvers []*net.Resolver

// NewResolver returns one that asks the DNS servers, each host:port, in their order.
// None: those of the system.
func NewResolver(servers []string) Resolver {
	if len(servers) == 0 {
		return net.DefaultResolver
	}
	var all resolvers
	for _, addr := range servers {
		all = append(all, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				// The standard library waits for its own timeout, not for the context. The
				// connection must not be wrapped: its type tells UDP from TCP there.
				context.AfterFunc(ctx, func() { _ = c.Close() }) // also after its use, to no effect
			}
			return c, err
		}})
	}
	return all
}

// LookupMX asks for the MX records of a name.
func (r resolvers) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return ask(ctx, r, func(ctx context.Context, n *net.Resolver) ([]*net.MX, error) { return n.LookupMX(ctx, name) })
}

// LookupNetIP asks for the addresses of a host.
func (r resolvers) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return ask(ctx, r, func(ctx context.Context, n *net.Resolver) ([]netip.Addr, error) {
		return n.LookupNetIP(ctx, network, host)
	})
}

// ask puts a question to one server after the other. That there is nothing is an
// answer.
func ask[T any](ctx context.Context, r resolvers, question func(context.Context, *net.Resolver) ([]T, error)) ([]T, error) {
	var failed []error
	for _, server := range r {
		limited, cancel := context.WithTimeout(ctx, resolverTimeout)
		got, err := question(limited, server)
		late := limited.Err() != nil
		cancel()
		switch {
		case len(got) > 0 || err == nil:
			return got, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case late:
			err = fmt.Errorf("no answer in time: %w", err)
		case notFound(err):
			return nil, err
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}
