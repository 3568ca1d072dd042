package s2s

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmpptest"
)

// TestFailure: what passes by itself must not have a message returned for good.
func TestFailure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		f         *Failure
		temporary bool
		condition stanza.Condition
	}{
		"our policy":           {failed(StepPolicy, errDenied), false, stanza.NotAllowed},
		"too many connections": {failed(StepPolicy, fmt.Errorf("%w (20)", errConnections)), true, stanza.ResourceConstraint},
		"we stop":              {failed(StepUse, stream.Shutdown), true, stanza.RemoteServerTimeout},
		"no such domain":       {failed(StepDNS, &dns.Error{Kind: dns.NoDomain}), false, stanza.RemoteServerNotFound},
		"dns is silent":        {failed(StepDNS, context.DeadlineExceeded), true, stanza.RemoteServerTimeout},
		"their certificate":    {failed(StepCertificate, errors.New("expired")), true, stanza.RemoteServerTimeout},
	} {
		if e := c.f.stanzaError(); c.f.Temporary() != c.temporary || e.Temporary() != c.temporary || e.Condition != c.condition {
			t.Errorf("%s: temporary %v, %v", name, c.f.Temporary(), e)
		}
	}
}

// TestBusyLane: who looks for room among many domains, with the lock of the server held,
// must not wait for one to which something is being sent: that would hold up all others,
// and may itself wait for a lock that is held here.
func TestBusyLane(t *testing.T) {
	t.Parallel()
	v := New(Options{})
	defer v.Close()
	p, err := v.peer("b.example")
	if err != nil {
		t.Fatal(err)
	}
	l := p.lane("a.example")
	l.mu.Lock() // somebody sends
	done := make(chan bool, 1)
	go func() { done <- p.idle() }()
	select {
	case idle := <-done:
		if idle {
			t.Error("a domain that is sent to is idle")
		}
		l.mu.Unlock()
	case <-time.After(5 * time.Second):
		l.mu.Unlock()
		t.Errorf("it waits: %v", <-done)
	}
}

// TestConnectionsOver: more connections than a domain may have are no reason to give up.
func TestConnectionsOver(t *testing.T) {
	t.Parallel()
	_, err := play(t, []string{"one-connection"}, `
SEND <iq type='get' id='1' from='alice@a.example/x' to='b.example'><ping xmlns='urn:xmpp:ping'/></iq>
DIAL2 b.example
S2: <stream:stream from='a.example' to='b.example' version='1.0' xml:lang='en'>
C2: HEADER b.example a.example x
C2: <stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>
S2: <db:result from='a.example' to='b.example'>{key b.example a.example id2 sa.example}</db:result>
C2: <db:result from='b.example' to='a.example' type='valid'/>
S2: <iq type='get' id='1' from='alice@a.example/x' to='b.example'><ping xmlns='urn:xmpp:ping'/></iq>
SEND <iq type='get' id='2' from='alice@a2.example/x' to='b.example'><ping xmlns='urn:xmpp:ping'/></iq>
CALL
`, func(s *site) error {
		_, err := s.Session(t.Context(), "a2.example", "b.example")
		var e *stanza.Error
		if !errors.As(err, &e) || !e.Temporary() || e.Condition != stanza.ResourceConstraint {
			return fmt.Errorf("session: %w", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCheck: an active test says what there is at each step, and does not count as a
// stream or a failure of the domain.
func TestCheck(t *testing.T) {
	t.Parallel()
	ca := xmpptest.NewAuthority(t)
	n := new(names)
	a := newSite(t, n, siteOptions{domains: []string{"a.example"}, cert: own(t, "a.example"), policy: trusting(ca.Pool())})
	newSite(t, n, siteOptions{domains: []string{"b.example"}, cert: issue(t, ca, "b.example")})
	n.set("c.example", "127.0.0.1:1") // where nobody listens
	for _, c := range []struct {
		domain string
		ok     bool
		steps  []Step
	}{
		{"b.example", true, []Step{StepDNS, StepTCP, StepTLS, StepCertificate, StepStream, StepDialback}},
		{"c.example", false, []Step{StepDNS, StepTCP}},
		{"nowhere.example", false, []Step{StepDNS}},
		{"a.example", false, []Step{StepPolicy}},
	} {
		check, err := a.Check(t.Context(), "a.example", c.domain)
		if err != nil {
			t.Fatal(err)
		}
		var steps []Step
		for i, s := range check.Steps {
			steps = append(steps, s.Step)
			if last := i == len(check.Steps)-1; s.OK != (c.ok || !last) || s.Text == "" || (s.Advice != "") == s.OK {
				t.Errorf("%s: step %+v", c.domain, s)
			}
		}
		if check.OK != c.ok || !slices.Equal(steps, c.steps) {
			t.Errorf("%s: ok %v, steps %v", c.domain, check.OK, check.Steps)
		}
	}
	for _, st := range a.States() {
		if st.Failure != nil {
			t.Errorf("left behind: %+v", st)
		}
	}
}

// TestRecheck: a domain that is denied from now on loses its streams, with the reason.
func TestRecheck(t *testing.T) {
	t.Parallel()
	n := new(names)
	var denied atomic.Bool
	a := newSite(t, n, siteOptions{domains: []string{"a.example"}, policy: func(string) Policy { return Policy{Deny: denied.Load()} }})
	b := newSite(t, n, siteOptions{domains: []string{"b.example"}})
	alice, bob := a.bind(t, "alice@a.example/x"), b.bind(t, "bob@b.example/y")
	a.send(t, alice, "bob@b.example", "before")
	bob.next(t)
	a.Recheck()
	if st := a.open(t, "b.example"); st.State != "open" {
		t.Errorf("state %+v", st)
	}
	s, err := a.Session(t.Context(), "a.example", "b.example")
	if err != nil {
		t.Fatal(err)
	}
	denied.Store(true)
	a.Recheck()
	<-s.(*conn).returned // the stream is over
	var refused *stanza.Error
	if _, err := a.Session(t.Context(), "a.example", "b.example"); !errors.As(err, &refused) || refused.Condition != stanza.NotAllowed {
		t.Errorf("session: %v", err)
	}
}
