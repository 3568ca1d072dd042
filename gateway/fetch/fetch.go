// Package fetch gets files whose addresses strangers have written, for mail that is to
// hold them. Whoever writes an address must not reach by it what only this machine
// reaches (server-side request forgery): each connection goes to an address of the
// public Internet, which is judged after its name was resolved and is the one that is
// connected to, redirects included.
//
// Standards: RFC 9110 and 9112 (HTTP), RFC 6890 and its registries (addresses of special
// purpose), RFC 6266 (file names).
package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// Media is a file that was fetched.
type Media struct {
	Name string // base name, fit for any file system; empty where the peer gives none
	Type string // media type in lower case without parameters; application/octet-stream where the peer gives none
	Body []byte
}

// Options bound what is fetched. The zero value of a field means its default.
type Options struct {
	Size      int64         // bytes of one file; default 10 MiB
	Total     int64         // bytes of all files of one All; default 20 MiB
	Count     int           // files of one All; default 10
	Time      time.Duration // for one file, from the resolver to its last byte; default 30 s
	Redirects int           // that are followed for one file; default 3; negative: none
	// Resolver finds the addresses of names. Default: the system's.
	Resolver Resolver
	// Own returns files that are ours, without HTTP: our own address may not be a public
	// one. It reports false for what is none. nil: none is.
	Own func(ctx context.Context, at *url.URL) (Media, bool, error)
	// TLS is what servers have to prove. Default: a certificate of the system's
	// authorities.
	TLS *tls.Config
}

// Resolver is what is needed of a net.Resolver.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Error is why a file was not fetched. Its text names no address of ours.
type Error struct {
	Reason    error // ErrForbidden, ErrTooLarge, ErrAnswer or ErrUnreachable
	Text      string
	temporary bool
}

// Reasons why a file is not fetched.
var (
	ErrForbidden   = errors.New("address not allowed")
	ErrTooLarge    = errors.New("too large")
	ErrAnswer      = errors.New("no such file")
	ErrUnreachable = errors.New("not reached")
)

// Error returns reason and text.
func (e *Error) Error() string { return "fetch: " + e.Reason.Error() + ": " + e.Text }

// Unwrap returns the Reason.
func (e *Error) Unwrap() error { return e.Reason }

// Temporary reports whether another attempt may end otherwise.
func (e *Error) Temporary() bool { return e.temporary }

func refuse(reason error, format string, args ...any) *Error {
	return &Error{Reason: reason, Text: fmt.Sprintf(format, args...)}
}

// Fetcher fetches files. Its methods may be called from any goroutine.
type Fetcher struct {
	o      Options
	client *http.Client
	// dial connects to an address that was judged; another one in tests, which have no
	// Internet.
	dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// New returns a Fetcher.
func New(o Options) *Fetcher {
	o.Size, o.Total, o.Count = cmp.Or(o.Size, 10<<20), cmp.Or(o.Total, 20<<20), cmp.Or(o.Count, 10)
	o.Time, o.Redirects = cmp.Or(o.Time, 30*time.Second), cmp.Or(o.Redirects, 3)
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	f := &Fetcher{o: o, dial: dialPublic}
	f.client = &http.Client{
		CheckRedirect: f.redirect,
		Transport: &http.Transport{
			Proxy:                  nil, // one would connect for us, to wherever
			DialContext:            f.connect,
			TLSClientConfig:        o.TLS,
			DisableKeepAlives:      true, // a connection was judged for one request
			DisableCompression:     true, // a file of 10 MiB unpacks to 10 GiB
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return f
}

// Fetch gets the file at an address. The error is an *Error.
func (f *Fetcher) Fetch(ctx context.Context, address string) (Media, error) {
	return f.fetch(ctx, address, f.o.Size)
}

// Result is what has become of one address.
type Result struct {
	URL   string
	Media Media
	Err   error // an *Error; nil: it was fetched
}

// All gets the files at some addresses, one after the other, as many as its bounds
// allow. There is a Result for each, in their order.
func (f *Fetcher) All(ctx context.Context, addresses []string) []Result {
	all := make([]Result, len(addresses))
	left := f.o.Total
	for i, address := range addresses {
		all[i].URL = address
		if i >= f.o.Count || left <= 0 {
			all[i].Err = refuse(ErrTooLarge, "there are too many files")
			continue
		}
		all[i].Media, all[i].Err = f.fetch(ctx, address, min(left, f.o.Size))
		left -= int64(len(all[i].Media.Body))
	}
	return all
}

// fetch gets a file of so many bytes at most.
func (f *Fetcher) fetch(ctx context.Context, address string, most int64) (Media, error) {
	ctx, cancel := context.WithTimeout(ctx, f.o.Time)
	defer cancel()
	at, err := url.Parse(address)
	if err != nil {
		return Media{}, refuse(ErrForbidden, "not a URL")
	}
	if err := allowed(at); err != nil {
		return Media{}, err
	}
	if f.o.Own != nil {
		m, ours, err := f.o.Own(ctx, at)
		switch {
		case ours && err != nil:
			return Media{}, failure(ErrAnswer, err)
		case ours && int64(len(m.Body)) > most:
			return Media{}, refuse(ErrTooLarge, "larger than %d bytes", most)
		case ours:
			return m, nil
		}
	}
	at.Fragment = "" // is not for servers, and may be a key
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return Media{}, refuse(ErrForbidden, "not a URL")
	}
	rq.Header.Set("User-Agent", "mcmt2xmpp")
	rq.Header.Set("Accept-Encoding", "identity")
	resp, err := f.client.Do(rq)
	if err != nil {
		return Media{}, failure(ErrUnreachable, err)
	}
	defer resp.Body.Close()
	return receive(resp, most)
}

// failure is err as an *Error: itself if it holds one, else of a reason that may pass.
func failure(reason, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	text := "the connection failed"
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		text = "it takes too long"
	}
	return &Error{Reason: reason, Text: text, temporary: true}
}

// receive reads the file that an answer holds.
func receive(resp *http.Response, most int64) (Media, error) {
	switch {
	case resp.StatusCode != http.StatusOK:
		e := refuse(ErrAnswer, "answered %d", resp.StatusCode)
		e.temporary = resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
		return Media{}, e
	case resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity":
		return Media{}, refuse(ErrAnswer, "it is packed") // and was not asked to be
	case resp.ContentLength > most:
		return Media{}, refuse(ErrTooLarge, "larger than %d bytes", most)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return Media{}, failure(ErrUnreachable, err)
	case int64(len(body)) > most:
		return Media{}, refuse(ErrTooLarge, "larger than %d bytes", most)
	}
	return Media{Name: fileName(resp), Type: mediaType(resp.Header.Get("Content-Type")), Body: body}, nil
}

// redirect judges where a server sends us (RFC 9110 §15.4). Where that leads is judged
// once more when it is connected to.
func (f *Fetcher) redirect(rq *http.Request, via []*http.Request) error {
	if len(via) > f.o.Redirects {
		return refuse(ErrAnswer, "more than %d redirects", max(0, f.o.Redirects))
	}
	if via[len(via)-1].URL.Scheme == "https" && rq.URL.Scheme != "https" {
		return refuse(ErrForbidden, "from https to %.20q", rq.URL.Scheme)
	}
	rq.Header.Del("Referer") // the address before may be a secret
	return allowed(rq.URL)
}

// allowed judges an address as it is written.
func allowed(at *url.URL) error {
	switch {
	case at.Scheme != "http" && at.Scheme != "https":
		return refuse(ErrForbidden, "neither http nor https")
	case at.User != nil:
		return refuse(ErrForbidden, "has a password")
	case at.Hostname() == "":
		return refuse(ErrForbidden, "has no host")
	case !allowedPort(at.Port()):
		return refuse(ErrForbidden, "port %.10q", at.Port())
	}
	return nil
}

// allowedPort leaves out what other protocols have: a request could be read as one of
// theirs. XMPP servers give files from ports of their own.
func allowedPort(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && (n == 80 || n == 443 || n >= 1024)
}

// connect resolves a name once, and connects to what was found if it is public. What
// the name means a moment later does not matter.
func (f *Fetcher) connect(ctx context.Context, _, address string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, err
	}
	found, err := f.lookup(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("resolve: %w", err)
	}
	failed := error(refuse(ErrForbidden, "no public address"))
	for _, addr := range found {
		if !Public(addr) {
			continue
		}
		var conn net.Conn
		if conn, failed = f.dial(ctx, netip.AddrPortFrom(addr.Unmap(), uint16(port))); failed == nil {
			return conn, nil
		}
	}
	return nil, failed
}

func (f *Fetcher) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	return f.o.Resolver.LookupNetIP(ctx, "ip", host)
}
