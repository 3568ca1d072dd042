package s2s

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
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
