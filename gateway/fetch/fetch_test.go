package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	public  = netip.MustParseAddr("93.184.215.14")
	private = netip.MustParseAddr("127.0.0.1")
)

// resolver answers each question for a name with the next of its answers, the last
// again and again.
type resolver struct {
	mu      sync.Mutex
	answers map[string][][]netip.Addr
}

func (r *resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.answers[host]
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(all) > 1 {
		r.answers[host] = all[1:]
	}
	return all[0], nil
}

// world is a server that is the whole Internet, and the addresses that were connected
// to.
type world struct {
	*Fetcher
	names  *resolver
	dialed []netip.AddrPort
}

// inWorld has the handler answer for http://files.example and https://example.com, all
// of which have a public address.
func inWorld(t *testing.T, o Options, handler http.HandlerFunc) *world {
	t.Helper()
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	w := &world{names: &resolver{answers: map[string][][]netip.Addr{"files.example": {{public}}, "example.com": {{public}}}}}
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	o.Resolver, o.TLS = w.names, &tls.Config{RootCAs: roots}
	w.Fetcher = New(o)
	w.dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		w.dialed = append(w.dialed, to)
		at := plain.Listener.Addr()
		if to.Port() == 443 {
			at = secure.Listener.Addr()
		}
		return new(net.Dialer).DialContext(ctx, "tcp", at.String())
	}
	return w
}

func file(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/png; x=y")
	_, _ = io.WriteString(w, "pixels")
}

// TestFetch: a file, with what is said of it.
func TestFetch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reason, address string
		header                []string
		want                  Media
	}{
		{"plain", "the name is that of the address, the type without parameters", "http://files.example/a/b%20c.png?x=1#key",
			[]string{"Content-Type", "image/png; x=y"}, Media{"b c.png", "image/png", []byte("pixels")}},
		{"secure", "by TLS", "https://example.com/x", []string{"Content-Type", "image/png"}, Media{"x", "image/png", []byte("pixels")}},
		{"named", "a server may give another name, but no folder", "http://files.example:8080/x",
			[]string{"Content-Type", "image/png", "Content-Disposition", `attachment; filename="..\\..\\up.png"`}, Media{"up.png", "image/png", []byte("pixels")}},
		{"of no type", "nothing is guessed", "http://files.example/", []string{"Content-Type", "??"}, Media{"", "application/octet-stream", []byte("pixels")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := inWorld(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
				if len(r.Header["Cookie"])+len(r.Header["Referer"]) > 0 || strings.Contains(r.RequestURI, "key") {
					t.Errorf("asked %s with %v", r.RequestURI, r.Header)
				}
				for i := 0; i < len(tt.header); i += 2 {
					w.Header().Set(tt.header[i], tt.header[i+1])
				}
				_, _ = io.WriteString(w, "pixels")
			})
			got, err := w.Fetch(t.Context(), tt.address)
			if err != nil || got.Name != tt.want.Name || got.Type != tt.want.Type || string(got.Body) != string(tt.want.Body) {
				t.Errorf("%s: %+v, %v; want %+v", tt.reason, got, err, tt.want)
			}
		})
	}
}

// TestForbidden: nothing is connected to for an address that leads elsewhere than to the
// Internet, however it is written.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ reason, address string }{
		{"loopback", "http://127.0.0.1/"},
		{"loopback in IPv6", "http://[::1]/"},
		{"loopback mapped (RFC 4291 §2.5.5.2)", "http://[::ffff:127.0.0.1]/"},
		{"loopback mapped, in hexadecimal", "http://[::ffff:7f00:1]/"},
		{"loopback compatible (RFC 4291 §2.5.5.1)", "http://[::127.0.0.1]/"},
		{"loopback by 6to4", "http://[2002:7f00:1::]/"},
		{"loopback by NAT64", "http://[64:ff9b::7f00:1]/"},
		{"loopback by a Teredo address", "http://[2001:0:7f00:1::]/"},
		{"this host", "http://0.0.0.0/"},
		{"secrets of clouds", "http://169.254.169.254/latest/meta-data/"},
		{"private", "https://10.1.2.3/"},
		{"link-local with a zone", "http://[fe80::1%25eth0]/"},
		{"unique local", "http://[fd00::1]/"},
		{"a file", "file:///etc/passwd"},
		{"another protocol", "gopher://files.example/"},
		{"no protocol", "//files.example/"},
		{"no host", "http:///x"},
		{"a password", "http://user:secret@files.example/"},
		{"a port of mail", "http://files.example:25/"},
		{"no port", "http://files.example:x/"},
		{"not an address", "http://files.example/\x7f"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			t.Parallel()
			w := inWorld(t, Options{}, file)
			m, err := w.Fetch(t.Context(), tt.address)
			var e *Error
			if !errors.Is(err, ErrForbidden) || !errors.As(err, &e) || e.Temporary() || m.Body != nil || len(w.dialed) > 0 {
				t.Errorf("%s: %v, connected to %v", tt.address, err, w.dialed)
			}
		})
	}
}

// TestNames: a name is judged by the addresses that it has when it is connected to.
func TestNames(t *testing.T) {
	t.Parallel()
	here := netip.MustParseAddr("::ffff:10.0.0.1")
	for _, tt := range []struct {
		name, reason string
		answers      [][]netip.Addr
		ends         []error // of as many attempts
		dialed       int
	}{
		{"private", "names of the public DNS may lead anywhere", [][]netip.Addr{{private}}, []error{ErrForbidden}, 0},
		{"both", "one public address is enough, and the others are left alone", [][]netip.Addr{{private, here, public}}, []error{nil}, 1},
		{"rebinding", "what was judged is connected to: a second answer is not asked for", [][]netip.Addr{{public}, {private}}, []error{nil, ErrForbidden}, 1},
		{"unknown", "may be known later", nil, []error{ErrUnreachable}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := inWorld(t, Options{}, file)
			w.names.answers["files.example"] = tt.answers
			for i, want := range tt.ends {
				if _, err := w.Fetch(t.Context(), "http://files.example/x"); !errors.Is(err, want) {
					t.Errorf("%s: attempt %d ended with %v, want %v", tt.reason, i+1, err, want)
				}
			}
			want := netip.AddrPortFrom(public, 80)
			if len(w.dialed) != tt.dialed || slices.ContainsFunc(w.dialed, func(to netip.AddrPort) bool { return to != want }) {
				t.Errorf("connected to %v, want %d times %s", w.dialed, tt.dialed, want)
			}
		})
	}
}

// TestDial: the last judge is asked about the address that the system connects to.
func TestDial(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := dialPublic(t.Context(), netip.MustParseAddrPort(l.Addr().String()))
	if !errors.Is(err, ErrForbidden) {
		t.Errorf("connected: %v, %v", conn, err)
	}
}

// TestRedirects: whoever sends us on cannot send us where we would not have gone.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, address, to string
		rebind            bool
		want              error
		dialed            int
	}{
		{name: "to another file", address: "http://files.example/r", to: "/file", dialed: 2},
		{name: "to TLS", address: "http://files.example/r", to: "https://example.com/file", dialed: 2},
		{name: "from TLS", address: "https://example.com/r", to: "http://files.example/file", want: ErrForbidden, dialed: 1},
		{name: "home", address: "http://files.example/r", to: "http://127.0.0.1/file", want: ErrForbidden, dialed: 1},
		{name: "home by its name", address: "http://files.example/r", to: "http://localhost/file", want: ErrForbidden, dialed: 1},
		{name: "home by a name that has changed", address: "http://files.example/r", to: "/file", rebind: true, want: ErrForbidden, dialed: 1},
		{name: "to a file here", address: "http://files.example/r", to: "file:///etc/passwd", want: ErrForbidden, dialed: 1},
		{name: "with a password", address: "http://files.example/r", to: "http://a:b@files.example/file", want: ErrForbidden, dialed: 1},
		{name: "in a circle", address: "http://files.example/r", to: "/r", want: ErrAnswer, dialed: 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := inWorld(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/r" {
					http.Redirect(w, r, tt.to, http.StatusFound)
					return
				}
				if r.Header.Get("Referer") != "" {
					t.Errorf("told where it came from: %s", r.Header.Get("Referer"))
				}
				file(w, r)
			})
			w.names.answers["localhost"] = [][]netip.Addr{{private, netip.IPv6Loopback()}}
			if tt.rebind {
				w.names.answers["files.example"] = [][]netip.Addr{{public}, {private}}
			}
			m, err := w.Fetch(t.Context(), tt.address)
			if !errors.Is(err, tt.want) || err == nil && string(m.Body) != "pixels" || len(w.dialed) != tt.dialed {
				t.Errorf("%q, %v after connecting to %v; want %v after %d", m.Body, err, w.dialed, tt.want, tt.dialed)
			}
		})
	}
}

// TestBodies: what a server says of a file, and how it sends it, does not decide how
// much is taken.
func TestBodies(t *testing.T) {
	t.Parallel()
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = rw.WriteString(text)
			_ = rw.Flush()
		}
	}
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}
	slow := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	bomb := func(packed bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if packed {
				w.Header().Set("Content-Encoding", "gzip")
			}
			_, _ = w.Write(gzipped(make([]byte, 1<<20)))
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	const head = "HTTP/1.1 200 OK\r\nConnection: close\r\n"
	for _, tt := range []struct {
		name, reason string
		handler      http.HandlerFunc
		patience     time.Duration
		want         error
		temporary    bool
		size         int // of what is fetched
	}{
		{name: "says too much", reason: "nothing of it is read", handler: raw(head + "Content-Length: 1001\r\n\r\n"), want: ErrTooLarge},
		{name: "says less than it sends", reason: "the rest is not its body", handler: raw(head + "Content-Length: 3\r\n\r\nabcdef"), size: 3},
		{name: "says more than it sends", reason: "it was cut off", handler: raw(head + "Content-Length: 10\r\n\r\nabc"), want: ErrUnreachable, temporary: true},
		{name: "says nothing", reason: "its end is that of the connection", handler: raw(head + "\r\nabc"), size: 3},
		{name: "no number", reason: "is no answer", handler: raw(head + "Content-Length: -1\r\n\r\nabc"), want: ErrUnreachable, temporary: true},
		{name: "just fits", reason: "the bound is part of what is allowed", handler: raw(head + "\r\n" + strings.Repeat("a", 1000)), size: 1000},
		{name: "endless", reason: "ends for us", handler: endless, want: ErrTooLarge},
		{name: "slow", reason: "is given up", handler: slow, patience: 100 * time.Millisecond, want: ErrUnreachable, temporary: true},
		{name: "packed", reason: "would have to be unpacked", handler: bomb(true), want: ErrAnswer},
		{name: "an archive", reason: "stays as it is", handler: bomb(false), size: len(gzipped(make([]byte, 1<<20)))},
		{name: "a header without end", reason: "is not read", handler: raw(head + "X: " + strings.Repeat("x", 1<<20)), want: ErrUnreachable, temporary: true},
		{name: "not there", reason: "will not be", handler: status(404), want: ErrAnswer},
		{name: "not now", reason: "may be later", handler: status(503), want: ErrAnswer, temporary: true},
		{name: "nothing", reason: "is no file", handler: status(204), want: ErrAnswer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := int64(1000)
			if tt.name == "an archive" {
				limit = 2000
			}
			w := inWorld(t, Options{Size: limit, Time: tt.patience}, tt.handler)
			m, err := w.Fetch(t.Context(), "http://files.example/x")
			var e *Error
			if !errors.Is(err, tt.want) || len(m.Body) != tt.size || errors.As(err, &e) && e.Temporary() != tt.temporary {
				t.Errorf("%s: %d bytes, %v; want %d, %v, temporary %t", tt.reason, len(m.Body), err, tt.size, tt.want, tt.temporary)
			}
		})
	}
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// TestCanceled: whoever waits no longer is not waited for.
func TestCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	w := inWorld(t, Options{}, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := w.Fetch(ctx, "http://files.example/x"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

// TestOwn: our files need no connection, but keep the bounds.
func TestOwn(t *testing.T) {
	t.Parallel()
	own := func(_ context.Context, at *url.URL) (Media, bool, error) {
		switch {
		case at.Host != "our.example":
			return Media{}, false, nil
		case at.Path == "/gone":
			return Media{}, true, errors.New("no such file")
		}
		return Media{Name: "a", Type: "b/c", Body: make([]byte, 10)}, true, nil
	}
	w := inWorld(t, Options{Own: own, Size: 10}, file)
	if m, err := w.Fetch(t.Context(), "https://our.example/a"); err != nil || len(m.Body) != 10 || m.Type != "b/c" {
		t.Errorf("ours: %+v, %v", m, err)
	}
	if _, err := w.Fetch(t.Context(), "https://our.example/gone"); !errors.Is(err, ErrAnswer) {
		t.Errorf("not there: %v", err)
	}
	if len(w.dialed) != 0 {
		t.Errorf("connected to %v", w.dialed)
	}
	if _, err := w.Fetch(t.Context(), "http://files.example/a"); err != nil || len(w.dialed) != 1 {
		t.Errorf("theirs: %v", err)
	}
	w.o.Size = 9
	if _, err := w.Fetch(t.Context(), "https://our.example/a"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

// TestAll: there are bounds on files together, and one that is missing costs only itself.
func TestAll(t *testing.T) {
	t.Parallel()
	w := inWorld(t, Options{Count: 5, Total: 15}, file)
	all := w.All(t.Context(), []string{"http://files.example/1", "http://127.0.0.1/", "http://files.example/2", "http://files.example/3", "http://files.example/4", "http://files.example/5"})
	for i, want := range []error{nil, ErrForbidden, nil, ErrTooLarge, ErrTooLarge, ErrTooLarge} {
		if r := all[i]; !errors.Is(r.Err, want) || r.Err == nil && string(r.Media.Body) != "pixels" || r.URL == "" {
			t.Errorf("file %d: %q of %s, %v; want %v", i+1, r.Media.Body, r.URL, r.Err, want)
		}
	}
	if len(w.dialed) != 4 {
		t.Errorf("connected %d times", len(w.dialed))
	}
}

// TestPublic: one address of each kind, and what is next to it.
func TestPublic(t *testing.T) {
	t.Parallel()
	for want, all := range map[bool]string{
		true: `1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255 172.15.255.255 172.32.0.0
			192.0.1.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 ::ffff:8.8.8.8 2606:4700::1111 2001:200::1 2a00::1`,
		false: `0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255 169.254.0.1 172.16.0.0 172.31.255.255
			192.0.0.8 192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.175.48.1 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.9
			224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::1.2.3.4 ::ffff:10.0.0.1 ::ffff:0:1.2.3.4 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1
			2001::1 2001:10::1 2001:20::1 2001:db8::1 2002:808:808::1 2620:4f:8000::1 3fff::1 5f00::1 4000::1 fc00::1 fdff::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1`,
	} {
		for _, s := range strings.Fields(all) {
			if got := Public(netip.MustParseAddr(s)); got != want {
				t.Errorf("%s: public %t, want %t", s, got, want)
			}
		}
	}
	if Public(netip.Addr{}) {
		t.Error("no address at all is public")
	}
}

// FuzzName: whatever a server calls a file, it is a name of one element, within bounds.
func FuzzName(f *testing.F) {
	f.Add(`attachment; filename="..\\a/b.png"`, "/x/%2e%2e")
	f.Add(`attachment; filename*=UTF-8''%e2%80%aegpj.exe`, "/")
	f.Fuzz(func(t *testing.T, disposition, path string) {
		resp := &http.Response{Header: http.Header{"Content-Disposition": {disposition}}, Request: &http.Request{URL: &url.URL{Path: path}}}
		name := fileName(resp)
		if len(name) > maxName || strings.ContainsAny(name, "/\\\x00\r\n") || name == "." || name == ".." {
			t.Fatalf("%q", name)
		}
		if again := baseName(name); again != name {
			t.Fatalf("%q becomes %q", name, again)
		}
	})
}

// ExampleFetcher_All shows what becomes of what a person has written.
func ExampleFetcher_All() {
	for _, r := range New(Options{}).All(context.Background(), []string{"http://169.254.169.254/latest/meta-data/", "ftp://files.example/a"}) {
		fmt.Println(r.Err)
	}
	// Output:
	// fetch: address not allowed: no public address
	// fetch: address not allowed: neither http nor https
}
