package smtpd

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdg-go/scram"
)

// scramExchange is a SCRAM server of a library nobody here wrote.
type scramExchange struct{ conv *scram.ServerConversation }

var scramServer = sync.OnceValue(func() *scram.Server {
	c, err := scram.SHA256.NewClient("alice", "secret", "")
	if err != nil {
		panic(err)
	}
	stored, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "saltsaltsalt", Iters: 4096})
	if err != nil {
		panic(err)
	}
	s, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
	if err != nil {
		panic(err)
	}
	return s
})

func newScramExchange(mechanism string, state *tls.ConnectionState) (Exchange, error) {
	if !strings.HasSuffix(mechanism, "-PLUS") {
		return &scramExchange{scramServer().NewConversation()}, nil
	}
	cb, err := scram.NewTLSExporterBinding(state)
	if err != nil {
		return nil, err
	}
	return &scramExchange{scramServer().NewConversationWithChannelBindingRequired(cb)}, nil
}

func (x *scramExchange) Username() string { return x.conv.Username() }
func (x *scramExchange) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return nil, false, nil
	}
	out, err := x.conv.Step(string(response))
	return []byte(out), x.conv.Done() && x.conv.Valid(), err
}

// The whole of SCRAM, with the server's proof, which go-smtp alone would drop
// (RFC 4954 §4), and with the channel binding of the TLS connection (RFC 9266).
func TestSCRAM(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
		for _, initial := range []bool{true, false} {
			t.Run(mechanism, func(t *testing.T) {
				t.Parallel()
				server, _ := testTLS()
				r := start(t, Options{}, PeerOptions{TLS: server, Authenticator: testAuth{}})
				p := dial(t, r.addr)
				p.expect("220 *")
				p.do("STARTTLS", "220 *")
				p.startTLS()
				p.do("EHLO c.example", "250 *")

				client, err := scram.SHA256.NewClient("alice", "secret", "")
				if err != nil {
					t.Fatal(err)
				}
				conv := client.NewConversation()
				if strings.HasSuffix(mechanism, "-PLUS") {
					state := p.c.(*tls.Conn).ConnectionState()
					cb, err := scram.NewTLSExporterBinding(&state)
					if err != nil {
						t.Fatal(err)
					}
					conv = client.NewConversationWithChannelBinding(cb)
				}
				first, err := conv.Step("")
				if err != nil {
					t.Fatal(err)
				}
				first = base64.StdEncoding.EncodeToString([]byte(first))
				if initial {
					p.send("AUTH " + mechanism + " " + first + "\r\n")
				} else {
					p.do("AUTH "+mechanism, "334 ")
					p.send(first + "\r\n")
				}
				for !conv.Done() {
					challenge, err := base64.StdEncoding.DecodeString(p.expect("334 *")[4:])
					if err != nil {
						t.Fatal(err)
					}
					response, err := conv.Step(string(challenge))
					if err != nil {
						t.Fatal(err)
					}
					p.send(base64.StdEncoding.EncodeToString([]byte(response)) + "\r\n")
				}
				p.expect("235 2.7.0 *")
				if !conv.Valid() {
					t.Error("client did not see the server's proof")
				}
				p.deliver("250 2.0.0 Ok: queued as id1")
				if got := r.sink.taken()[0].env; got.User != "alice" || !got.Trusted {
					t.Errorf("envelope of user %q, trusted %t", got.User, got.Trusted)
				}
				if got := r.sink.taken()[0].trace(); !strings.Contains(got, " with ESMTPSA\r\n") {
					t.Errorf("trace field %q without ESMTPSA", got)
				}
			})
		}
	}
}

// A wrong password is answered after the delay that the Authenticator wants, or at
// once where the server stops; what it says is not seen by the peer.
func TestAuthDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		soft, stop := context.WithCancel(t.Context())
		s := &session{srv: &Server{opt: Options{}.withDefaults()}, soft: soft}
		began := time.Now()
		reply := s.authFailed("PLAIN", &AuthError{Delay: 8 * time.Second, Err: denial{}})
		if took := time.Since(began); took != 8*time.Second || !strings.Contains(reply.Error(), "authentication failed") {
			t.Errorf("%v after %v", reply, took)
		}
		stop()
		_ = s.authFailed("PLAIN", &AuthError{Delay: time.Hour, Err: denial{}})
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("a server that stops waits for %v", took)
		}
		if s.failures != 2 {
			t.Errorf("%d failures counted", s.failures)
		}
	})
}

type denial struct{}

func (denial) Error() string   { return "no such user" }
func (denial) Temporary() bool { return false }
