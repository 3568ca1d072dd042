package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/dnstest"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

// listen returns the port of a listener on 127.0.0.1 that accepts one connection
// and says hello.
func listen(t *testing.T) uint16 {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := ln.Accept(); err == nil {
			_, _ = c.Write([]byte("hello"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().(*net.TCPAddr).AddrPort().Port()
}

// The whole way: records, addresses of both families of which one refuses, and a
// connection.
func TestDial(t *testing.T) {
	t.Parallel()
	port := listen(t)
	r := asking(t, fmt.Sprintf("_xmpp-server._tcp.p1.example SRV 0 0 %d host.p1.example", port),
		"host.p1.example A 127.0.0.1", "host.p1.example AAAA ::1")
	targets, err := r.Targets(t.Context(), "p1.example", Server)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Dial(t.Context(), targets[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hello := make([]byte, 5)
	if _, err := c.Read(hello); err != nil || string(hello) != "hello" {
		t.Errorf("read %q, %v", hello, err)
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // to know a port that refuses, once closed
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	r := asking(t, "host.example A 127.0.0.1", "host.example A 127.0.0.2", "inner.example AAAA ::ffff:127.0.0.1")
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	second := []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	for name, tt := range map[string]struct {
		host       string
		prohibited []netip.Prefix
		kind       Kind
		temporary  bool
		texts      []string
	}{
		"refused": {"host.example", nil, Unreachable, true,
			[]string{"host.example:PORT: ", "127.0.0.1:PORT: connection refused", "127.0.0.2:PORT: connection refused"}},
		"one left out": {"host.example", second, Unreachable, true,
			[]string{"127.0.0.1:PORT: connection refused, 127.0.0.2:PORT: in prohibited_hosts"}},
		"all left out": {"host.example", loopback, Prohibited, false,
			[]string{"127.0.0.1:PORT: in prohibited_hosts", "127.0.0.2:PORT: in prohibited_hosts"}},
		// Records of IPv4 within IPv6 are no addresses of a host.
		"IPv4 within IPv6 from the DNS": {"inner.example", nil, NoAddress, true, []string{"inner.example: the host has no address"}},
		"IPv4 within IPv6": {"::ffff:127.0.0.1", loopback, Prohibited, false,
			[]string{"[::ffff:127.0.0.1]:PORT: in prohibited_hosts"}},
		"localhost": {"localhost", loopback, Prohibited, false,
			[]string{"localhost:PORT: [::1]:PORT: in prohibited_hosts, 127.0.0.1:PORT: in prohibited_hosts"}},
		"an address":        {"127.0.0.1", loopback, Prohibited, false, []string{"127.0.0.1:PORT: in prohibited_hosts"}},
		"no host's address": {"0.0.0.0", nil, Prohibited, false, []string{"0.0.0.0:PORT: not the address of a host"}},
		"no address":        {"none.example", nil, NoAddress, true, []string{"none.example: the host has no address"}},
	} {
		c, err := r.Dial(t.Context(), Target{Host: tt.host, Port: port}, tt.prohibited)
		e, ok := errors.AsType[*Error](err)
		if !ok || c != nil || e.Kind != tt.kind || e.Temporary() != tt.temporary {
			t.Errorf("%s: %v, %v", name, c, err)
			continue
		}
		for _, text := range tt.texts {
			if want := strings.ReplaceAll(text, "PORT", fmt.Sprint(port)); !strings.Contains(e.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, e.Error(), want)
			}
		}
	}
}

// network is the far side: what each address does, and when it was tried.
type network struct {
	mu     sync.Mutex
	began  time.Time
	tried  []string
	does   map[string]string // "accept", "refuse", "late": else nothing comes back
	closed []string
}

type fakeConn struct {
	net.Conn
	n    *network
	addr string
}

func (c *fakeConn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.closed = append(c.n.closed, c.addr)
	return nil
}

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.tried = append(n.tried, fmt.Sprint(addr, " ", time.Since(n.began)))
	does := n.does[addr]
	n.mu.Unlock()
	switch does {
	case "accept":
		return &fakeConn{n: n, addr: addr}, nil
	case "refuse":
		return nil, errors.New("connection refused")
	case "late": // accepts what has been given up in this moment
		<-ctx.Done()
		return &fakeConn{n: n, addr: addr}, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestRace(t *testing.T) {
	t.Parallel()
	const v6, w6, v4 = "[2001:db8::1]:5269", "[2001:db8::2]:5269", "192.0.2.1:5269"
	for name, tt := range map[string]struct {
		does   map[string]string
		won    string
		tried  []string
		closed []string
	}{
		// RFC 8305 §5: the next one begins beside the first.
		"IPv6 goes nowhere": {map[string]string{v4: "accept"}, v4, []string{v6 + " 0s", v4 + " 250ms"}, nil},
		// RFC 8305 §5: a failure begins the next one at once.
		"IPv6 refuses": {map[string]string{v6: "refuse", v4: "accept"}, v4, []string{v6 + " 0s", v4 + " 0s"}, nil},
		"IPv6 works":   {map[string]string{v6: "accept", v4: "accept"}, v6, []string{v6 + " 0s"}, nil},
		// No connection is left behind.
		"both in the end": {map[string]string{v6: "late", v4: "accept"}, v4, []string{v6 + " 0s", v4 + " 250ms"}, []string{v6}},
		"only the last":   {map[string]string{w6: "accept"}, w6, []string{v6 + " 0s", v4 + " 250ms", w6 + " 500ms"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := &network{began: time.Now(), does: tt.does}
				r := New(Options{})
				r.dial = n.dial
				c, failed := r.race(t.Context(), []netip.AddrPort{netip.MustParseAddrPort(v6), netip.MustParseAddrPort(v4), netip.MustParseAddrPort(w6)})
				if c == nil || c.(*fakeConn).addr != tt.won {
					t.Fatalf("connected to %v, failed %v", c, failed)
				}
				if !slices.Equal(n.tried, tt.tried) || !slices.Equal(n.closed, tt.closed) {
					t.Errorf("tried %q, closed %q", n.tried, n.closed)
				}
			})
		})
	}
}

func TestRaceEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n := &network{began: time.Now()}
		r := New(Options{})
		r.dial = n.dial
		_, err := r.Dial(ctx, Target{Host: "2001:db8::1", Port: 1}, nil)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Kind != Unreachable || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if want := "[2001:db8::1]:1: [2001:db8::1]:1: no answer"; e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	})
}

// The answers are kept for a minute: records, addresses, and that there are none.
func TestCache(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "p1.example A 127.0.0.1", "broken.example SERVFAIL")
	r := New(Options{Servers: []string{s.Addr()}})
	for range 3 {
		if _, err := r.Targets(t.Context(), "p1.example", Server); err != nil {
			t.Fatal(err)
		}
	}
	asked := s.Asked()
	slices.Sort(asked)
	if want := "[_xmpp-server._tcp.p1.example SRV _xmpps-server._tcp.p1.example SRV p1.example A p1.example AAAA]"; fmt.Sprint(asked) != want {
		t.Errorf("asked %v", asked)
	}
	for range 2 {
		_, _ = r.Addresses(t.Context(), "broken.example") // fails, as it should
	}
	s.Set(t, "broken.example A 127.0.0.1")
	if _, err := r.Addresses(t.Context(), "broken.example"); err != nil {
		t.Errorf("a failure was kept: %v", err)
	}
}

func TestCacheEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c cache[int]
		asked := 0
		ask := func() (int, error) { asked++; return asked, nil }
		for _, want := range []int{1, 1, 2} {
			if got, _ := c.get("a", ask); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
			time.Sleep(keep / 2)
		}
		for i := range 2 * maxKey {
			_, _ = c.get(fmt.Sprint(i), ask)
		}
		if len(c.all) != maxKey {
			t.Errorf("%d answers are kept", len(c.all))
		}
		time.Sleep(keep)
		_, _ = c.get("b", ask)
		if len(c.all) != 1 {
			t.Errorf("%d answers are kept when all but one are over", len(c.all))
		}
	})
}
