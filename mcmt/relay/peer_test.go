package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/xdg-go/scram"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/mailtest"
	"mcmt2xmpp/mcmt/smtpd"
)

func newSender(t *testing.T, o Options) *Sender {
	t.Helper()
	s := New(o)
	t.Cleanup(s.Close)
	return s
}

// to is a message for an address.
func to(rcpt, raw string) Message {
	return Message{From: "a@corp.example", To: mcmt.Recipient{Address: rcpt}, Raw: []byte(raw)}
}

// Mail to OpenSMTPD as a smart host: dots, long lines and 8 bits arrive, and each
// message once.
func TestOpenSMTPD(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t)
	_, port, _ := net.SplitHostPort(server.Addr)
	s := newSender(t, Options{Hostname: "us.example", SmartHost: "localhost:" + port})
	body := ".\n..\r\nü\n" + strings.Repeat("x", 1200) + "\n.\n"
	for range 3 {
		m := to("b@p1.example", "Subject: hello\n\n"+body)
		m.To.Notify, m.EnvelopeID = []string{"NEVER"}, "an id"
		res, err := s.Send(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if res.TLS || !res.DSN || !strings.HasPrefix(res.Reply, "250 2.0.0 ") || res.Host != "localhost:"+port {
			t.Errorf("result %+v", res)
		}
	}
	server.Wait("b@p1.example", 3)
	box := server.Mailbox("b@p1.example")
	want := ".\n..\nü\n" + strings.Repeat("x", 998) + "\n " + strings.Repeat("x", 202) + "\n.\n"
	for _, m := range box {
		if m.Text != want || m.Header.Get("Subject") != "hello" {
			t.Errorf("it arrived as %q", m.Raw)
		}
		if !strings.Contains(m.Header.Get("Received"), "from us.example ") {
			t.Errorf("EHLO said something else: %s", m.Header.Get("Received"))
		}
	}
	if st := s.Stats(); len(box) != 3 || st.Sent != 3 || st.Open != 1 || st.Idle != 1 {
		t.Errorf("%d messages, %+v", len(box), st)
	}
}

// Recipients that are refused, and a restart under a connection that is kept.
func TestOpenSMTPDRestarts(t *testing.T) {
	t.Parallel()
	server := mailtest.Start(t)
	s := newSender(t, Options{SmartHost: server.Addr})
	if _, err := s.Send(t.Context(), to("b@p1.example", "Subject: 1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	server.Wait("b@p1.example", 1)
	server.Refuse("later@p1.example", "451 4.7.1 not now")
	server.Refuse("never@p1.example", "550 5.1.1 nobody here")
	for rcpt, want := range map[string]string{
		"later@p1.example": "451 4.7.1 not now (RCPT at " + server.Addr + ")",
		"never@p1.example": "550 5.1.1 nobody here (RCPT at " + server.Addr + ")",
	} {
		_, err := s.Send(t.Context(), to(rcpt, "\r\n"))
		refusal, ok := errors.AsType[*mcmt.Refusal](err)
		if !ok || refusal.Error() != want || refusal.Temporary() != (refusal.Code == 451) {
			t.Errorf("%s: got %v", rcpt, err)
		}
	}
	if _, err := s.Send(t.Context(), to("b@p1.example", "Subject: 2\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	server.Wait("b@p1.example", 1)
	if n := len(server.Mailbox("b@p1.example")); n != 2 {
		t.Errorf("%d messages", n)
	}
	server.Stop()
	_, err := s.Send(t.Context(), to("b@p1.example", "\r\n"))
	if host, ok := errors.AsType[*HostError](err); !ok || host.Kind != KindUnreachable || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
}

// ours runs our own server with TLS, for localhost, and a login.
func ours(t *testing.T, sink mcmt.Sink) (srv *smtpd.Server, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{certificates().by["localhost"]}}
	srv, err = smtpd.New(smtpd.Options{Sink: sink, Config: func(netip.AddrPort) smtpd.PeerOptions {
		return smtpd.PeerOptions{Trusted: true, TLS: conf, Authenticator: accounts{}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return srv, port
}

// accounts knows everybody by the password "hunter2".
type accounts struct{}

func (accounts) Mechanisms(*tls.ConnectionState) []string { return []string{"SCRAM-SHA-256"} }

func (accounts) Start(context.Context, string, *tls.ConnectionState) (smtpd.Exchange, error) {
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		client, err := scram.SHA256.NewClient(user, "hunter2", "")
		if err != nil {
			return scram.StoredCredentials{}, err
		}
		return client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
	})
	if err != nil {
		return nil, err
	}
	return exchange{server.NewConversation()}, nil
}

type exchange struct{ conv *scram.ServerConversation }

func (e exchange) Username() string { return e.conv.Username() }
func (e exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return nil, false, nil
	}
	out, err := e.conv.Step(string(response))
	return []byte(out), e.conv.Done() && e.conv.Valid(), err
}

// counting is a sink that counts.
type counting struct {
	sink
	mu    sync.Mutex
	count int
	users map[string]int
	last  []byte
}

func (s *counting) Put(_ context.Context, env mcmt.Envelope, raw []byte) (mcmt.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.users[env.User]++
	s.last = bytes.Clone(raw)
	return "id", nil
}

// Many messages at once over few connections to our own server, with TLS and a login by
// SCRAM.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	taken := &counting{users: make(map[string]int)}
	_, port := ours(t, taken)
	s := newSender(t, Options{
		SmartHost: "localhost:" + port, MaxConnections: 3, User: "us", Password: "hunter2",
		TLS: TLSRequired, Verify: VerifyHost, Roots: certificates().roots,
	})
	const messages = 200
	var sends sync.WaitGroup
	for range messages {
		sends.Go(func() {
			if res, err := s.Send(t.Context(), to("b@p1.example", message)); err != nil || !res.TLS || !res.DSN {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
	sends.Wait()
	if st := s.Stats(); st.Sent != messages || st.Open > 3 || st.Waiting != 0 || taken.count != messages || taken.users["us"] != messages {
		t.Errorf("%+v; %d taken, of %v", st, taken.count, taken.users)
	}
	if !bytes.HasSuffix(taken.last, []byte(message)) {
		t.Errorf("the message changed on the way: %q", taken.last)
	}
}

// A wrong password, and a certificate for another name than the one we look for.
func TestOursRefuses(t *testing.T) {
	t.Parallel()
	_, port := ours(t, &counting{users: make(map[string]int)})
	for why, tt := range map[string]struct {
		o    Options
		kind Kind
		text string
	}{
		"wrong password": {Options{SmartHost: "localhost:" + port, User: "us", Password: "wrong"}, KindLogin, "AUTH SCRAM-SHA-256: 535 "},
		"other name":     {Options{SmartHost: "127.0.0.1:" + port, Verify: VerifyHost}, KindTLS, "certificate: x509: "},
	} {
		tt.o.Roots = certificates().roots
		_, err := newSender(t, tt.o).Send(t.Context(), to("b@p1.example", "\r\n"))
		host, ok := errors.AsType[*HostError](err)
		if !ok || host.Kind != tt.kind || !strings.Contains(err.Error(), tt.text) || !temporary(err) {
			t.Errorf("%s: got %v", why, err)
		}
	}
}

// A connection is used a hundred times and no more.
func TestUses(t *testing.T) {
	t.Parallel()
	srv, port := ours(t, &counting{users: make(map[string]int)})
	s := newSender(t, Options{SmartHost: "127.0.0.1:" + port})
	for range maxUses + 1 {
		if _, err := s.Send(t.Context(), to("b@p1.example", message)); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.Stats().Connections; n != 2 {
		t.Errorf("%d connections", n)
	}
}
