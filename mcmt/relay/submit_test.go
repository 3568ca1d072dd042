package relay

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/smtpd"
)

// sink takes everything except what it is told to refuse.
type sink struct {
	mu      sync.Mutex
	env     mcmt.Envelope
	raw     []byte
	refused map[string]error
	put     error
}

func (s *sink) Sender(context.Context, mcmt.Envelope) error { return nil }
func (s *sink) Recipient(_ context.Context, _ mcmt.Envelope, addr string) error {
	return s.refused[addr]
}

func (s *sink) Put(_ context.Context, env mcmt.Envelope, raw []byte) (mcmt.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.put != nil {
		return "", s.put
	}
	s.env, s.raw = env, bytes.Clone(raw)
	return "the-id", nil
}

// serve runs a real server and returns its address.
func serve(t *testing.T, s *sink) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, err := smtpd.New(smtpd.Options{Sink: s, Config: func(netip.AddrPort) smtpd.PeerOptions { return smtpd.PeerOptions{Trusted: true} }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return l.Addr().String()
}

const message = "Subject: x\r\n\r\n.dot at the start\r\nünicode\r\n"

func TestSubmit(t *testing.T) {
	t.Parallel()
	s := new(sink)
	reply, err := Submit(t.Context(), serve(t, s), "a@corp.example", []string{"b@localhost", "ü@localhost"}, []byte(message))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains([]byte(reply), []byte("the-id")) {
		t.Errorf("reply %q does not name the id", reply)
	}
	if !bytes.HasSuffix(s.raw, []byte(message)) {
		t.Errorf("the message changed on the way: %q", s.raw)
	}
	if s.env.From != "a@corp.example" || len(s.env.To) != 2 || !s.env.SMTPUTF8 {
		t.Errorf("envelope %+v", s.env)
	}
}

// TestSubmitRefused: the server's code and its place survive.
func TestSubmitRefused(t *testing.T) {
	t.Parallel()
	unknown := &mcmt.Refusal{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user here"}
	full := &mcmt.Refusal{Code: 452, Enhanced: [3]int{4, 3, 1}, Text: "no room"}
	for _, c := range []struct {
		name      string
		sink      *sink
		where     string
		code      int
		temporary bool
	}{
		{"recipient for good", &sink{refused: map[string]error{"b@localhost": unknown}}, "RCPT TO:<b@localhost>", 550, false},
		{"message for now", &sink{put: full}, "message", 452, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Submit(t.Context(), serve(t, c.sink), "a@corp.example", []string{"b@localhost"}, []byte(message))
			var refusal *mcmt.Refusal
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v, want a Refusal", err)
			}
			if refusal.Code != c.code || refusal.Where != c.where || refusal.Temporary() != c.temporary {
				t.Errorf("got %+v", refusal)
			}
		})
	}
}

// TestSubmitSilence: a server that accepts and says nothing costs no more than
// the caller's patience.
func TestSubmitSilence(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Submit(ctx, l.Addr().String(), "a@b", []string{"c@d"}, []byte(message)); err == nil {
		t.Error("no error from a silent server")
	}
}
