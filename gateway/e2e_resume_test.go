package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// cable is what lies between clients and a listener. It can be cut, which both
// ends notice, and go dead, which neither does.
type cable struct {
	t      *testing.T
	server string
	addr   string
	ln     net.Listener
	all    sync.WaitGroup

	mu    sync.Mutex
	conns map[*strand]struct{}
}

// strand is one connection through a cable.
type strand struct {
	near, far net.Conn
	mu        sync.Mutex
	dead      bool
}

func newCable(t *testing.T, server string) *cable {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{t: t, server: server, addr: ln.Addr().String(), ln: ln, conns: make(map[*strand]struct{})}
	c.all.Go(c.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		c.cut()
		c.all.Wait()
	})
	return c
}

func (c *cable) accept() {
	for {
		near, err := c.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.server)
		if err != nil {
			_ = near.Close()
			continue
		}
		s := &strand{near: near, far: far}
		c.mu.Lock()
		c.conns[s] = struct{}{}
		c.mu.Unlock()
		c.all.Go(func() { s.carry(far, near) })
		c.all.Go(func() { s.carry(near, far) })
	}
}

// carry passes bytes on until the connection ends; then the other one does, too,
// unless the strand is dead.
func (s *strand) carry(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		s.mu.Lock()
		dead := s.dead
		s.mu.Unlock()
		switch {
		case err != nil && !dead:
			s.end()
			return
		case err != nil:
			return
		case !dead:
			if _, err := to.Write(buf[:n]); err != nil {
				s.end()
				return
			}
		}
	}
}

func (s *strand) end() {
	_ = s.near.Close()
	_ = s.far.Close()
}

// cut ends all connections, without what is on the way.
func (c *cable) cut() { c.each((*strand).end) }

// die has all connections lose what is on the way from now on, both ways.
func (c *cable) die() {
	c.each(func(s *strand) {
		s.mu.Lock()
		s.dead = true
		s.mu.Unlock()
	})
}

func (c *cable) each(f func(*strand)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.conns {
		f(s)
	}
}

// managed logs in with stream management, or resumes the session of old. A new
// session sends presence and has it back.
func managed(t *testing.T, addr, user string, old *stream.Client) *stream.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := stream.Dial(ctx, stream.ClientOptions{
		JID: jid.MustParse(user), Password: "secret", Address: addr, Manage: true, Resume: old,
		TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stream().Abort() })
	if c.Resumed() {
		return c
	}
	if !c.Resumable() {
		t.Fatal("the session may not be resumed")
	}
	if err := c.Available(ctx, 0); err != nil {
		t.Fatal(err)
	}
	for {
		st, err := c.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Kind == stanza.Presence && st.From == c.JID() {
			return c
		}
	}
}

// bodies receives messages for a while, n at most.
func bodies(t *testing.T, c *stream.Client, n int, while time.Duration) (got []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), while)
	defer cancel()
	for len(got) < n {
		st, err := c.Receive(ctx)
		if err != nil {
			return got
		}
		if st.Kind == stanza.Message && st.Type != stanza.TypeError {
			got = append(got, bodyOf(st))
		}
	}
	return got
}

func numbered(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func metric(t *testing.T, g *gateway, name string) float64 {
	t.Helper()
	return metricsOf(t, g).value(t, "mcmt2xmpp_"+name)
}

// TestHalfDeadClient: a client whose connection is up and carries nothing has got
// nothing that counts. When it comes back, to its session or a new one, everything
// arrives, once and in order.
func TestHalfDeadClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wait   bool // until the gateway finds out by itself
		resume bool
	}{
		"resumes": {false, true}, "resumes after it was found out": {true, true}, "logs in anew": {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, "")
			g.start()
			const user = "mobile@localhost"
			g.addUser(user, "secret")
			line := newCable(t, g.xmpp())
			phone := managed(t, line.addr, user+"/phone", nil)
			send := func(from, to int) {
				for i := from; i < to; i++ {
					if err := inject(t.Context(), g, i%10 == 0, user, fmt.Sprint(i)); err != nil {
						t.Fatal(err)
					}
				}
			}
			send(0, 5)
			got := bodies(t, phone, 5, patience)
			settled(t, g, phone, 5)
			line.die()
			send(5, 30)
			if c.wait {
				g.eventually("the session is suspended", func() bool { return metric(t, g, "xmpp_suspended_sessions") == 1 })
				g.eventually("its messages wait", func() bool { return metric(t, g, "parked_messages") >= 25 })
			}
			if n := metric(t, g, `delivery_total{outcome="delivered"}`); n != 5 {
				t.Errorf("%v messages are delivered", n)
			}
			var back *stream.Client
			if c.resume {
				if back = managed(t, g.xmpp(), user+"/phone", phone); !back.Resumed() {
					t.Error("the session was not resumed")
				}
			} else {
				back = managed(t, g.xmpp(), user+"/phone", nil)
			}
			got = append(got, bodies(t, back, 30-len(got), patience)...)
			if want := numbered(0, 30); !slices.Equal(got, want) {
				t.Errorf("received %v", got)
			}
			send(30, 31)
			if next := bodies(t, back, 1, patience); !slices.Equal(next, []string{"30"}) {
				t.Errorf("then received %v", next)
			}
			settled(t, g, back, 31)
		})
	}
}

// settled waits, with a client that acknowledges and is to receive nothing more,
// until n messages are delivered and none is left.
func settled(t *testing.T, g *gateway, c *stream.Client, n float64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			st, err := c.Receive(ctx)
			if err != nil {
				return
			}
			if st.Kind == stanza.Message {
				t.Errorf("received %s too", st)
			}
		}
	})
	g.eventually("all is delivered", func() bool {
		m := metricsOf(t, g)
		return m[`mcmt2xmpp_delivery_total{outcome="delivered"}`] == n && m["mcmt2xmpp_parked_messages"] == 0 && m[`mcmt2xmpp_custody_waiting{stage="dlv"}`] == 0
	})
	cancel()
	reader.Wait()
}

// TestCutCable loses the connection again and again while messages flow from outside
// and from another user: each arrives once, those from each side in their order.
func TestCutCable(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	const user = "mobile@localhost"
	g.addUser(user, "secret")
	g.addUser("friend@localhost", "secret")
	line := newCable(t, g.xmpp())
	phone := managed(t, line.addr, user+"/phone", nil)
	friend := login(t, g.xmpp(), "friend@localhost/f", 0)
	const n = 150
	senders := fromTwoSides(t, user, friend, n, func(int) *gateway { return g })
	var got []string
	lost := 0
	for ; len(got) < 2*n; lost++ {
		got = append(got, bodies(t, phone, 2*n-len(got), time.Duration(5+lost*37%40)*time.Millisecond)...)
		if lost%3 == 2 {
			line.die() // and the gateway does not know
		} else {
			line.cut()
		}
		old := phone
		if phone = managed(t, line.addr, user+"/phone", old); !phone.Resumed() {
			t.Fatal("the session was not resumed")
		}
		_ = old.Stream().Abort()
	}
	senders.Wait()
	eachOnce(t, got, friend, n)
	if lost < 3 || metric(t, g, `xmpp_resumptions_total{outcome="resumed"}`) != float64(lost) {
		t.Errorf("%d losses, %v resumptions", lost, metric(t, g, `xmpp_resumptions_total{outcome="resumed"}`))
	}
	t.Logf("%d losses", lost)
}

// TestNotResumed: a session that nobody resumes in time ends as if its client had
// logged out then: what another user wrote to it, and it never acknowledged, waits
// for the next login, marked with the time of writing.
func TestNotResumed(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.replace(`Listen "127.0.0.1:0" { stream = "client" }`, `Listen "127.0.0.1:0" { stream = "client" resume_time = 1 }`)
	g.start()
	const user = "mobile@localhost"
	g.addUser(user, "secret")
	g.addUser("friend@localhost", "secret")
	line := newCable(t, g.xmpp())
	phone := managed(t, line.addr, user+"/phone", nil)
	friend := login(t, g.xmpp(), "friend@localhost/f", 0)
	before := time.Now().Add(-2 * time.Second)
	for i := range 3 {
		friend.say(user, fmt.Sprintf("<body>%d</body>", i))
	}
	friend.say("friend@localhost", "<body>sync</body>")
	friend.want("sync") // the gateway has handed over what came before
	line.cut()
	g.eventually("the session is over", func() bool { return metric(t, g, `xmpp_resumptions_total{outcome="expired"}`) == 1 })
	g.eventually("the messages wait", func() bool { return metric(t, g, "parked_messages") == 3 })
	again := managed(t, g.xmpp(), user+"/phone", phone)
	if again.Resumed() || metric(t, g, `xmpp_resumptions_total{outcome="failed"}`) != 1 {
		t.Error("the session is resumed after its end")
	}
	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		st, err := again.Receive(ctx)
		cancel()
		if err != nil || bodyOf(st) != fmt.Sprint(i) || st.From.String() != "friend@localhost/f" {
			t.Fatalf("message %d is %v, %v", i, st, err)
		}
		delay := st.Element.Child(nameDelay)
		if delay == nil {
			t.Fatalf("%s has no delay", st)
		}
		if at, err := time.Parse(time.RFC3339, delay.Attr("stamp")); err != nil || at.Before(before) || at.After(time.Now()) {
			t.Errorf("stamp of %s", delay)
		}
	}
}

// TestResumeAfterKill: a session does not outlive its process, and its custody does.
// The client is told so, and binds again.
func TestResumeAfterKill(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	const user = "mobile@localhost"
	g.addUser(user, "secret")
	line := newCable(t, g.xmpp())
	phone := managed(t, line.addr, user+"/phone", nil)
	line.die()
	for i := range 10 {
		if err := inject(t.Context(), g, false, user, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	g.kill()
	g.start()
	from := g.logSize()
	again := managed(t, g.xmpp(), user+"/phone", phone)
	if again.Resumed() {
		t.Error("the session is resumed")
	}
	if got := bodies(t, again, 10, patience); !slices.Equal(got, numbered(0, 10)) {
		t.Errorf("received %v", got)
	}
	if text := g.logFrom(from); !strings.Contains(text, "resumption refused") || !strings.Contains(text, "none of this process") {
		t.Errorf("the log does not say why: %s", text)
	}
	settled(t, g, again, 10)
}

// TestRemovedWhileSuspended: the end of an account is that of its sessions, those
// that wait too.
func TestRemovedWhileSuspended(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("mobile@localhost", "secret")
	line := newCable(t, g.xmpp())
	managed(t, line.addr, "mobile@localhost/phone", nil)
	line.cut()
	g.eventually("the session is suspended", func() bool { return metric(t, g, "xmpp_suspended_sessions") == 1 })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, g.admin()+"/v1/users/mobile@localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode >= 300 {
		t.Fatal(resp.Status)
	}
	g.eventually("it is over", func() bool { return metric(t, g, "xmpp_suspended_sessions") == 0 })
}

// TestSuspendedLimits: each limit of the configuration ends sessions that wait.
func TestSuspendedLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		global, listen string
		more           string // another client that loses its connection; empty: none
		waiting        float64
		expired        float64
	}{
		"of the process":         {"max_suspended_sessions = 1", "", "friend@localhost/x", 1, 0},
		"of an account":          {"max_suspended_per_account = 1", "", "mobile@localhost/tablet", 1, 1},
		"none":                   {"", "resume_time = 0", "", 0, 0},
		"stanzas of one session": {"", "max_unacked_stanzas = 10", "", 0, 1},
		"bytes of one session":   {"", "max_unacked_size = 4096", "", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, c.global)
			g.replace(`stream = "client"`, `stream = "client" `+c.listen)
			g.start()
			g.addUser("mobile@localhost", "secret")
			g.addUser("friend@localhost", "secret")
			gone := func(user string) {
				t.Helper()
				line := newCable(t, g.xmpp())
				if name == "none" {
					c, err := stream.Dial(t.Context(), stream.ClientOptions{JID: jid.MustParse(user), Password: "secret", Address: line.addr,
						Manage: true, TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}})
					if err != nil || c.Resumable() {
						t.Fatalf("resumable, or %v", err)
					}
					t.Cleanup(func() { _ = c.Stream().Abort() })
				} else {
					managed(t, line.addr, user, nil)
				}
				from := g.logSize()
				line.cut()
				g.eventually("the gateway has noticed", func() bool {
					text := g.logFrom(from)
					return strings.Contains(text, "session suspended") || strings.Contains(text, "session ended")
				})
			}
			gone("mobile@localhost/phone")
			switch {
			case c.more != "":
				gone(c.more)
			case c.expired > 0:
				friend := login(t, g.xmpp(), "friend@localhost/f", 0)
				for range 30 {
					friend.say("mobile@localhost/phone", "<received xmlns='urn:xmpp:receipts' id='"+strings.Repeat("x", 300)+"'/>")
				}
			}
			g.eventually("so many wait", func() bool {
				return metric(t, g, "xmpp_suspended_sessions") == c.waiting && metric(t, g, `xmpp_resumptions_total{outcome="expired"}`) == c.expired
			})
		})
	}
}

// fromTwoSides sends n messages to user from outside, by the gateways that at names, and as
// many from friend.
func fromTwoSides(t *testing.T, user string, friend *jabber, n int, at func(i int) *gateway) *sync.WaitGroup {
	senders := new(sync.WaitGroup)
	senders.Go(func() {
		for i := range n {
			if err := inject(t.Context(), at(i), i%10 == 0, user, fmt.Sprintf("outside %d", i)); err != nil {
				t.Error(err)
			}
		}
	})
	senders.Go(func() {
		for i := range n {
			friend.say(user, fmt.Sprintf("<body>friend %d</body>", i))
		}
	})
	return senders
}

// eachOnce checks that what was got are the messages of fromTwoSides, each once and those
// from each side in their order, and that friend was told of no error.
func eachOnce(t *testing.T, got []string, friend *jabber, n int) {
	t.Helper()
	for _, from := range []string{"outside", "friend"} {
		var of, want []string
		for _, text := range got {
			if strings.HasPrefix(text, from) {
				of = append(of, text)
			}
		}
		for i := range n {
			want = append(want, fmt.Sprintf("%s %d", from, i))
		}
		if !slices.Equal(of, want) {
			t.Errorf("received of %s: %v", from, of)
		}
	}
	select {
	case st := <-friend.in:
		t.Errorf("the friend was told %s", st)
	default:
	}
}
