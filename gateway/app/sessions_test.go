package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// outside starts a NATS server and returns its address.
func outside(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return s.ClientURL()
}

// otherNode is another process as far as sessions go.
func otherNode(t *testing.T, url string) *router.Router {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	b, err := broker.Open(ctx, broker.Options{URLs: []string{url}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	s := store.NewSessions(store.SessionsOptions{Broker: b, Members: members(b)})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	return router.New(router.Options{Domains: func(d string) bool { return d == "localhost" }, Registry: s})
}

// handset is a session on the other node.
type handset struct {
	full jid.JID
	got  chan *stanza.Stanza
	end  chan *stream.Error
}

func newHandset(full string) *handset {
	return &handset{jid.MustParse(full), make(chan *stanza.Stanza, 10), make(chan *stream.Error, 1)}
}

func (h *handset) JID() jid.JID                                    { return h.full }
func (h *handset) Priority() (int8, bool)                          { return 0, true }
func (h *handset) Send(_ context.Context, st *stanza.Stanza) error { h.got <- st; return nil }
func (h *handset) Prove(context.Context) (router.Proof, error)     { return router.ProofAck, nil }
func (h *handset) Close(reason *stream.Error)                      { h.end <- reason }

func (h *handset) SendKept(ctx context.Context, st *stanza.Stanza) (bool, error) {
	return false, h.Send(ctx, st)
}

func (h *handset) receive(t *testing.T) *stanza.Stanza {
	t.Helper()
	select {
	case st := <-h.got:
		return st
	case <-time.After(patience):
		t.Fatal("nothing comes")
		return nil
	}
}

// page is a page of the admin HTTP.
func (r *running) page(path string) string {
	r.t.Helper()
	req, _ := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.Addr(config.Control, "")+path, nil)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func (r *running) submit(to string) {
	r.t.Helper()
	req, _ := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.Addr(config.HTTP, "")+"/v1/messages",
		strings.NewReader(fmt.Sprintf(`{"from":"news@corp.example","to":[%q],"text":"parcel"}`, to)))
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		r.t.Fatal(resp.Status)
	}
}

func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			r.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// TestSessionsShared: with an external broker what waits for a recipient goes out
// when a client logs in on another node, and clients here are found from there.
func TestSessionsShared(t *testing.T) {
	t.Parallel()
	url := outside(t)
	r := start(t, basic+fmt.Sprintf("nats { urls = ( %q ) }\n", url))
	for _, user := range []string{"alice@localhost", "bob@localhost"} {
		r.add(user, "secret")
	}
	other := otherNode(t, url)
	r.submit("bob@localhost")
	r.until("the message waits", func() bool { return r.delivery.Stats().Parked == 1 })
	bob := newHandset("bob@localhost/phone")
	if err := other.Bind(bob); err != nil {
		t.Fatal(err)
	}
	if st := bob.receive(t); st.Child("body").Text() != "parcel" || st.To.Bare() != bob.full.Bare() {
		t.Errorf("got %s", st)
	}
	r.until("its arrival is proven", func() bool { return r.delivery.Stats().Delivered == 1 && r.delivery.Stats().Parked == 0 })

	alice := r.login("alice@localhost/a", "secret")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := alice.Available(ctx, 0); err != nil {
		t.Fatal(err)
	}
	r.until("alice is known there", func() bool { return other.Reachable(jid.MustParse("alice@localhost")) })
	hello := stanza.NewMessage(jid.MustParse("alice@localhost"), bob.full, stanza.TypeChat, "hello")
	if _, err := other.Deliver(ctx, hello); err != nil {
		t.Fatal(err)
	}
	for {
		st, err := alice.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Kind == stanza.Message {
			if st.String() != hello.String() {
				t.Errorf("got %s, want %s", st, hello)
			}
			break
		}
	}
	if err := r.Accounts().Remove(ctx, jid.MustParse("bob@localhost")); err != nil {
		t.Fatal(err)
	}
	select {
	case reason := <-bob.end:
		if reason == nil || reason.Condition != stream.NotAuthorized {
			t.Errorf("the session of a removed account ends with %v", reason)
		}
	case <-ctx.Done():
		t.Error("the session of a removed account goes on on another node")
	}
	text := r.page("/metrics")
	for _, line := range []string{
		"mcmt2xmpp_xmpp_remote_sessions 1", "mcmt2xmpp_xmpp_remote_nodes 1", "mcmt2xmpp_xmpp_remote_conflicts_total 0",
		`mcmt2xmpp_xmpp_remote_requests_total{outcome="succeeded",request="send"} 1`, `mcmt2xmpp_xmpp_remote_requests_total{outcome="succeeded",request="prove"} 1`,
		`mcmt2xmpp_xmpp_remote_requests_total{outcome="failed",request="send"} 0`, `mcmt2xmpp_xmpp_remote_requests_total{outcome="failed",request="prove"} 0`,
		"mcmt2xmpp_xmpp_remote_answered_total 1",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("/metrics lacks %q", line)
		}
	}
	// What is bound here ends with the gateway, on other nodes too.
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	r.until("alice is gone there", func() bool { return len(other.Sessions(jid.MustParse("alice@localhost"))) == 0 })
}

// TestSessionsAlone: with the embedded broker there is nobody to share with.
func TestSessionsAlone(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	if r.sessions != nil || r.registry() != nil {
		t.Error("sessions are shared")
	}
	if text := r.page("/metrics"); strings.Contains(text, "remote") {
		t.Error("there are numbers of other nodes")
	}
}
