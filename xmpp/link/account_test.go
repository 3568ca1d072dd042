package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

// accounts have one password, at p1.example.
type accounts struct{}

func (accounts) Credentials(_ context.Context, _, _ string) (sasl.Credentials, error) {
	return sasl.Credentials{Password: "secret"}, nil
}

func (accounts) Holds() sasl.Holding { return sasl.HoldsPassword }

// prosody is the server that has the accounts, on loopback.
type prosody struct {
	t       *testing.T
	address string

	mu    sync.Mutex
	conns []*deafening // of the link
}

// deafening is a connection of which the far side hears nothing any more from some time on.
type deafening struct {
	net.Conn
	deaf atomic.Bool
}

func (d *deafening) Write(p []byte) (int, error) {
	if d.deaf.Load() {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

func serveAccounts(t *testing.T, co c2s.ConnOptions) *prosody {
	t.Helper()
	rosters := new(xmpptest.Rosters)
	ro := router.New(router.Options{Domains: func(d string) bool { return d == "p1.example" }, Rosters: rosters})
	rosters.OnChange = ro.RosterChanged
	co.Accounts = accounts{}
	srv := c2s.New(c2s.Options{Router: ro, Connection: func(net.Addr) c2s.ConnOptions { return co }})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &prosody{t: t, address: ln.Addr().String()}
}

// dial is Options.Dial.
func (p *prosody) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d := &deafening{Conn: conn}
	p.mu.Lock()
	p.conns = append(p.conns, d)
	p.mu.Unlock()
	return d, nil
}

// deafen has the server hear nothing more of the link.
func (p *prosody) deafen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[len(p.conns)-1].deaf.Store(true)
}

// cut breaks the last connection of the link.
func (p *prosody) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.conns[len(p.conns)-1].Close()
}

// link logs in as gw@p1.example.
func (p *prosody) link(change func(*Options)) *near {
	p.t.Helper()
	n := run(p.t, nil, func(o *Options) {
		o.Type, o.JID, o.Password, o.Address = Account, jid.MustParse("gw@p1.example"), "secret", p.address
		o.Dial, o.Retry = p.dial, time.Millisecond
		if change != nil {
			change(o)
		}
	})
	p.t.Cleanup(n.stop)
	return n
}

// up waits until the server has the presence of the account.
func (n *near) up(t *testing.T) {
	t.Helper()
	<-n.ups
	c, err := n.Session(t.Context())
	if err == nil {
		_, err = c.Prove(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fails waits until a try has failed, and returns the state then.
func (n *near) fails() State {
	for {
		changed := n.Changed()
		if st := n.State(); st.Failure != nil {
			return st
		}
		<-changed
	}
}

// client logs in as somebody who has an account there, too.
func (p *prosody) client(address string) *stream.Client {
	p.t.Helper()
	c, err := stream.Dial(p.t.Context(), stream.ClientOptions{JID: jid.MustParse(address), Password: "secret", Address: p.address, ClearText: true})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close(context.Background()) })
	if err := c.Available(p.t.Context(), 1); err != nil {
		p.t.Fatal(err)
	}
	receive(p.t, c, stanza.Presence)
	send(p.t, c, stanza.NewIQ(jid.JID{}, jid.JID{}, stanza.TypeGet, "roster", xmlwire.New("jabber:iq:roster", "query")))
	receive(p.t, c, stanza.IQ) // or it is told of no subscription (RFC 6121 §3.1.6)
	return c
}

// receive is the next stanza of a kind.
func receive(t *testing.T, c *stream.Client, kind stanza.Kind) *stanza.Stanza {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		st, err := c.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Kind == kind {
			return st
		}
	}
}

func send(t *testing.T, c *stream.Client, st *stanza.Stanza) {
	t.Helper()
	st.From = jid.JID{}
	if err := c.Send(t.Context(), st); err != nil {
		t.Fatal(err)
	}
}

// TestAccount: messages of our users come from the account and name who has written them
// (XEP-0033 §4.6.4); an answer goes to whoever wrote last.
func TestAccount(t *testing.T) {
	t.Parallel()
	p := serveAccounts(t, c2s.ConnOptions{})
	alice := p.client("alice@p1.example/phone")
	n := p.link(nil)
	n.up(t)
	for _, writer := range []string{"bob@localhost/desk", "carol@localhost"} {
		if err := n.Route(t.Context(), message("alice@p1.example", writer, "hi")); err != nil {
			t.Fatal(err)
		}
		got := receive(t, alice, stanza.Message)
		if got.From.Bare() != jid.MustParse("gw@p1.example") || got.Child("body").Text() != "hi" {
			t.Errorf("alice got %s", got)
		}
		addresses := got.Element.Child(nameAddresses)
		if addresses == nil {
			t.Fatalf("alice cannot see who wrote %s", got)
		}
		address := addresses.Child(xmlwire.Name{Space: nameAddresses.Space, Local: "address"})
		if address == nil || address.Attr("type") != "replyto" || address.Attr("jid") != writer {
			t.Errorf("alice sees %s", got)
		}
		send(t, alice, message(got.From.String(), "alice@p1.example/phone", "hello"))
		if back := <-n.received; back.To != jid.MustParse(writer) || back.From != jid.MustParse("alice@p1.example/phone") {
			t.Errorf("the answer to %s is %s", writer, back)
		}
	}
	c, err := n.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if proof, err := c.Prove(t.Context()); proof != router.ProofAck || err != nil {
		t.Errorf("proof %q, %v", proof, err)
	}
}

// TestStranger: somebody to whom nobody has written reaches reply_to, or learns that he
// reaches nobody.
func TestStranger(t *testing.T) {
	t.Parallel()
	p := serveAccounts(t, c2s.ConnOptions{})
	alice := p.client("alice@p1.example/phone")
	n := p.link(nil)
	n.up(t)
	send(t, alice, message("gw@p1.example", "alice@p1.example", "hello"))
	got := receive(t, alice, stanza.Message)
	if e := stanza.ParseError(got.Child("error")); got.Type != stanza.TypeError || e.Condition != stanza.ServiceUnavailable {
		t.Errorf("alice got %s", got)
	}
	n.stop()
	n = p.link(func(o *Options) { o.ReplyTo = jid.MustParse("desk@localhost") })
	n.up(t)
	send(t, alice, message("gw@p1.example", "alice@p1.example", "hello"))
	if st := <-n.received; st.To != jid.MustParse("desk@localhost") {
		t.Errorf("got %s", st)
	}
}

// TestOnlyMessages: our users do not act as the account. Its server obeys it: a change of
// its password (XEP-0077 §3.3) is an IQ to the server.
func TestOnlyMessages(t *testing.T) {
	t.Parallel()
	l := New(Options{Type: Account, JID: jid.MustParse("gw@p1.example/x")})
	bob, server := jid.MustParse("bob@localhost"), jid.MustParse("p1.example")
	for name, st := range map[string]*stanza.Stanza{
		"iq to the server":       stanza.NewIQ(server, bob, stanza.TypeSet, "1", xmlwire.New("jabber:iq:register", "query")),
		"iq to a contact":        stanza.NewIQ(jid.MustParse("alice@p1.example/a"), bob, stanza.TypeGet, "1", xmlwire.New("jabber:iq:version", "query")),
		"subscription":           stanza.NewPresence(jid.MustParse("alice@p1.example"), bob, "subscribe"),
		"message to a room":      stanza.NewMessage(jid.MustParse("room@p1.example"), bob, stanza.TypeGroupchat, "hi"),
		"message to the server":  stanza.NewMessage(server, bob, stanza.TypeNormal, "announce"),
		"message to the account": message("gw@p1.example", "bob@localhost", "hi"),
	} {
		if out, err := l.disguise(st); !errors.Is(err, onlyMessages) {
			t.Errorf("%s: goes out as %v, %v", name, out, err)
		}
	}
}

// TestLoginFails: the state tells the step. A wrong password is not tried again soon, and
// none is sent in clear text, where the server offers nothing better than PLAIN.
func TestLoginFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Options)
		step   Step
	}{
		{"wrong password", func(o *Options) { o.Password = "guess" }, StepLogin},
		{"no TLS", func(o *Options) { o.Protection = stream.ProtectionRequired }, StepTLS},
		{"unknown domain", func(o *Options) { o.JID = jid.MustParse("gw@other.example") }, StepStream},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := serveAccounts(t, c2s.ConnOptions{}).link(test.change)
			st := n.fails()
			if st.Failure.Step != test.step || time.Until(st.NextTry) < 2*time.Minute {
				t.Errorf("%s: %s, next try %v", st.Failure.Step, st.Failure.Text, time.Until(st.NextTry))
			}
		})
	}
}

// TestResumed: a stream whose connection breaks is resumed (XEP-0198 §5); what its
// sender keeps is not sent twice where the server has it.
func TestResumed(t *testing.T) {
	t.Parallel()
	p := serveAccounts(t, c2s.ConnOptions{ResumeTime: time.Minute})
	alice := p.client("alice@p1.example/phone")
	n := p.link(nil)
	n.up(t)
	c, err := n.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept := message("alice@p1.example", "bob@localhost", "kept")
	if _, err := c.SendKept(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	receive(t, alice, stanza.Message)
	p.cut()
	<-n.ups
	if got := n.Stats().Resumed; got != 1 {
		t.Errorf("%d resumptions, state %+v", got, n.State().Failure)
	}
	again, err := n.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Whether its ack had come before the cut is a matter of time; what counts is what
	// the recipient gets.
	if _, err := c.Prove(t.Context()); errors.Is(err, router.ErrSuspended) {
		if had, err := again.SendKept(t.Context(), kept); !had || err != nil {
			t.Errorf("it was sent again: %v, %v", had, err)
		}
	}
	if err := n.Route(t.Context(), message("alice@p1.example", "bob@localhost", "later")); err != nil {
		t.Fatal(err)
	}
	if st := receive(t, alice, stanza.Message); st.ID != "m-later" {
		t.Errorf("alice got %s once more", st)
	}
}

// TestGivenBack: what the server has not acknowledged when the stream ends goes back, with
// the sender that it had.
func TestGivenBack(t *testing.T) {
	t.Parallel()
	l := New(Options{Type: Account, JID: jid.MustParse("gw@p1.example/x")})
	st := message("alice@p1.example", "bob@localhost/desk", "hi")
	out, err := l.disguise(st)
	if err != nil {
		t.Fatal(err)
	}
	back, ok := l.undisguise(out)
	if !ok || back.String() != st.String() {
		t.Errorf("came back as %s", back)
	}
	if _, ok := l.undisguise(stanza.NewPresence(jid.JID{}, jid.JID{}, "")); ok {
		t.Error("the account's own presence belongs to somebody")
	}
}

// TestReturned: what a server has not heard goes back to where it came from when the
// stream cannot be resumed.
func TestReturned(t *testing.T) {
	t.Parallel()
	p := serveAccounts(t, c2s.ConnOptions{}) // which keeps no session for its client
	returned := make(chan *stanza.Stanza, 1)
	n := p.link(func(o *Options) {
		o.Return = func(_ context.Context, st *stanza.Stanza, _ time.Time) error {
			returned <- st
			return nil
		}
	})
	n.up(t)
	p.deafen()
	st := message("alice@p1.example", "bob@localhost/desk", "hi")
	if err := n.Route(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	p.cut()
	if back := <-returned; back.String() != st.String() {
		t.Errorf("came back as %s", back)
	}
}

// TestSubscriptions: people who want the presence of the account get the answer of the
// policy (RFC 6121 §3.1.4, §3.2.1).
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	for policy, want := range map[Subscriptions][]string{Accept: {"subscribed", "", "subscribe"}, Refuse: {"unsubscribed"}} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			p := serveAccounts(t, c2s.ConnOptions{})
			alice := p.client("alice@p1.example/phone")
			n := p.link(func(o *Options) { o.Subscriptions = policy })
			n.up(t)
			send(t, alice, stanza.NewPresence(jid.MustParse("gw@p1.example"), jid.JID{}, "subscribe"))
			seen := make(map[string]bool)
			for len(seen) < len(want) {
				seen[receive(t, alice, stanza.Presence).Type] = true
			}
			for _, typ := range want {
				if !seen[typ] {
					t.Errorf("no presence of type %q, but %v", typ, seen)
				}
			}
		})
	}
}

// TestContactsBounded: those who were written to longest ago are forgotten first.
func TestContactsBounded(t *testing.T) {
	t.Parallel()
	cs := contacts{max: 2}
	a, b, c, us := jid.MustParse("a@x.example"), jid.MustParse("b@x.example"), jid.MustParse("c@x.example"), jid.MustParse("us@localhost")
	for _, who := range []jid.JID{a, b, a, c} {
		cs.note(who, us)
	}
	if cs.writer(a) != us || cs.writer(c) != us || !cs.writer(b).IsZero() || len(cs.of) != 2 {
		t.Errorf("known: %v", cs.of)
	}
}
