package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/mcmt/relay"
)

// TestStopProvesDeliveries: a message that a client has received when the
// gateway is asked to end is proven and done, not delivered again by the next one.
func TestStopProvesDeliveries(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := r.login("alice@localhost/a", "secret")
	if err := c.Available(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(ctx); err != nil { // its own presence: it is online now
		t.Fatal(err)
	}
	mail := "From: a@corp.example\r\nTo: alice@localhost\r\n\r\nhello\r\n"
	if _, err := relay.Submit(ctx, r.Addr(config.ESMTP, ""), "a@corp.example", []string{"alice@localhost"}, []byte(mail)); err != nil {
		t.Fatal(err)
	}
	st, err := c.Receive(ctx)
	if err != nil || !strings.Contains(st.String(), "hello") {
		t.Fatalf("received %v, %v", st, err)
	}

	// The ping that proves the arrival is answered by the next Receive only.
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	for !r.stopping.Load() {
		<-time.After(time.Millisecond)
	}
	if _, err := c.Receive(ctx); err == nil || !strings.Contains(err.Error(), "system-shutdown") {
		t.Errorf("the stream ended with %v, want system-shutdown", err)
	}
	_ = c.Close(ctx) // or the server waits a while for it
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	b, err := OpenBroker(ctx, r.state.Load().cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for _, stage := range []broker.Stage{broker.Ingest, broker.Deliver, broker.Park} {
		left, err := b.Routes(ctx, stage)
		if err != nil || len(left) != 0 {
			t.Errorf("%s still has %v (%v)", stage, left, err)
		}
	}
}
