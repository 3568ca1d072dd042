package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"
)

// Bounds of what a domain's records may make us do.
const (
	maxHosts     = 10 // MX hosts that are tried
	maxAddresses = 8  // addresses of one that are
)

// target is a host that takes mail.
type target struct {
	name string // as an MX record or the configuration writes it, or an address
	port uint16
}

func (t target) String() string { return net.JoinHostPort(t.name, strconv.Itoa(int(t.port))) }

// smartHost reads host:port.
func smartHost(addr string) (target, error) {
	name, text, err := net.SplitHostPort(addr)
	if err != nil {
		return target{}, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return target{}, fmt.Errorf("%q is no port", text)
	}
	return target{name, uint16(port)}, nil
}

// route returns the hosts that take mail for a recipient's domain, in the order in
// which they are to be tried (RFC 5321 §5.1).
func (s *Sender) route(ctx context.Context, o *Options, domain string) ([]target, error) {
	if o.SmartHost != "" {
		t, err := smartHost(o.SmartHost)
		if err != nil {
			return nil, &HostError{Host: o.SmartHost, Kind: KindDNS, Step: "smart host", Err: err}
		}
		return []target{t}, nil
	}
	if literal, ok := strings.CutPrefix(domain, "["); ok {
		return s.literal(strings.TrimSuffix(literal, "]"))
	}
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil || name == "" {
		return nil, refuse(550, 1, 2, "domain "+domain, "not a name that the DNS can hold")
	}
	hosts, err := s.mx(ctx, o, name)
	if err != nil {
		return nil, err
	}
	var targets []target
	for _, host := range hosts[:min(len(hosts), maxHosts)] {
		targets = append(targets, target{host, s.port})
	}
	return targets, nil
}

// literal is the host of an address literal in lower case (RFC 5321 §4.1.3).
func (s *Sender) literal(text string) ([]target, error) {
	addr, err := netip.ParseAddr(strings.TrimPrefix(text, "ipv6:"))
	if err != nil {
		return nil, refuse(550, 1, 2, "domain ["+text+"]", "not an address literal")
	}
	return []target{{addr.String(), s.port}}, nil
}

// mx returns the names of the hosts of a domain.
func (s *Sender) mx(ctx context.Context, o *Options, domain string) ([]string, error) {
	all, err := o.resolver().LookupMX(ctx, domain+".")
	switch {
	case len(all) > 0: // beside some that are malformed
	case notFound(err), err == nil:
		return s.implicit(ctx, o, domain)
	default:
		return nil, &HostError{Host: domain, Kind: KindDNS, Step: "MX look-up", Err: err}
	}
	if len(all) == 1 && strings.TrimSuffix(all[0].Host, ".") == "" {
		return nil, refuse(556, 1, 10, "domain "+domain, "the domain takes no mail (null MX)") // RFC 7505 §3
	}
	hosts := order(all, o.hostname(), s.shuffle)
	if len(hosts) == 0 {
		// RFC 5321 §5.1: only hosts that are further away than we are left, so the mail
		// would come back.
		return nil, refuse(554, 4, 6, "domain "+domain, "its mail is ours to take, and we do not know it")
	}
	return hosts, nil
}

// implicit is the domain itself where it has no MX records but an address (RFC 5321
// §5.1).
func (s *Sender) implicit(ctx context.Context, o *Options, domain string) ([]string, error) {
	addrs, err := addresses(ctx, o.resolver(), domain)
	switch {
	case err != nil:
		return nil, &HostError{Host: domain, Kind: KindDNS, Step: "address look-up", Err: err}
	case len(addrs) == 0:
		return nil, refuse(550, 1, 2, "domain "+domain, "no such domain: it has neither MX records nor addresses")
	}
	return []string{domain}, nil
}

// order sorts MX records by preference, those of one preference in the order of the
// draw so that they share the load (RFC 5321 §5.1). Where we are among them only
// those before us are left.
func order(all []*net.MX, self string, shuffle func(n int, swap func(i, j int))) []string {
	all = slices.Clone(all)
	shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	ours := slices.IndexFunc(all, func(mx *net.MX) bool { return strings.EqualFold(strings.TrimSuffix(mx.Host, "."), self) })
	var hosts []string
	for _, mx := range all {
		host := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		if ours >= 0 && mx.Pref >= all[ours].Pref {
			break
		}
		if host != "" && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// addresses returns those of a host, IPv6 first, none if there are none.
func addresses(ctx context.Context, r Resolver, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	if host == "localhost" { // RFC 6761 §6.3: no DNS server is asked
		return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	addrs, err := r.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")+".")
	if err != nil {
		if notFound(err) {
			return nil, nil
		}
		return nil, err
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return b.BitLen() - a.BitLen() })
	return slices.Compact(addrs), nil
}

func notFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// dial connects to the first address that answers, never to one that is prohibited.
func (s *Sender) dial(ctx context.Context, o *Options, t target) (net.Conn, error) {
	fail := func(kind Kind, err error) error {
		return &HostError{Host: t.String(), Kind: kind, Step: "connect", Err: err}
	}
	addrs, err := addresses(ctx, o.resolver(), t.name)
	if err != nil {
		return nil, fail(KindDNS, err)
	}
	allowed := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return prohibited(a, o.Prohibited) })
	switch {
	case len(addrs) == 0:
		return nil, fail(KindDNS, errors.New("the host has no address"))
	case len(allowed) == 0:
		// The addresses are those that are dialled, so no second look-up can bring in
		// others.
		return nil, fail(KindProhibited, errors.New("its addresses are in prohibited_hosts"))
	}
	var failed []string
	for _, a := range allowed[:min(len(allowed), maxAddresses)] {
		c, err := s.reach(ctx, netip.AddrPortFrom(a, t.port))
		if err == nil {
			return c, nil
		}
		failed = append(failed, fmt.Sprintf("%s: %v", a, reason(err)))
	}
	return nil, fail(KindUnreachable, errors.New(strings.Join(failed, ", ")))
}

// reach connects to one address.
func (s *Sender) reach(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return s.connect(ctx, "tcp", addr.String())
}

// prohibited says whether an address is not to be connected to. Forms of one address
// count as one.
func prohibited(a netip.Addr, prefixes []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	if a.IsUnspecified() {
		return true // systems take it for loopback, which may be prohibited
	}
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool {
		return p.Contains(a) || a.Is4() && p.Addr().Is4In6() && p.Contains(netip.AddrFrom16(a.As16()))
	})
}

func (o *Options) resolver() Resolver {
	if o.Resolver != nil {
		return o.Resolver
	}
	return net.DefaultResolver
}

// routes keeps where the mail of domains goes for a while, since the standard library
// does not say how long an answer holds, and that a look-up failed for a shorter one,
// so that the next message for the domain does not wait for it too. The zero value is
// empty.
type routes struct {
	mu  sync.Mutex
	all map[string]kept
}

type kept struct {
	targets []target
	err     error
	until   time.Time
}

const (
	keepRoute   = time.Minute
	keepFailure = 10 * time.Second
	maxRoutes   = 4096
)

// get returns what is kept for a domain, or looks it up; two who ask at once both
// ask.
func (r *routes) get(ctx context.Context, domain string, look func() ([]target, error)) ([]target, error) {
	r.mu.Lock()
	known, ok := r.all[domain]
	r.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.targets, known.err
	}
	targets, err := look()
	if ctx.Err() != nil {
		return targets, err // nothing was found out about the domain
	}
	until := time.Now().Add(keepRoute)
	if err != nil {
		until = time.Now().Add(keepFailure)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[string]kept)
	}
	for name := range r.all { // whatever comes first makes room
		if len(r.all) < maxRoutes {
			break
		}
		delete(r.all, name)
	}
	r.all[domain] = kept{targets, err, until}
	return targets, err
}

func (r *routes) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.all)
}
