package app

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/mcmt/httpd"
	"mcmt2xmpp/xmpp/sasl"
)

// exchange runs a whole login as an SMTP server and its client do.
func exchange(t *testing.T, a smtpAuth, mechanism, user, password string, state *tls.ConnectionState) (string, error) {
	t.Helper()
	client, err := sasl.Login{Username: user, Password: password, AllowPlainWithoutTLS: true}.Choose([]string{mechanism})
	if err != nil {
		t.Fatal(err)
	}
	server, err := a.Start(t.Context(), mechanism, state)
	if err != nil {
		return "", err
	}
	response, err := client.Start()
	if err != nil {
		t.Fatal(err)
	}
	for {
		challenge, done, err := server.Next(response)
		if err != nil {
			return "", err
		}
		if done {
			if err := client.Finish(challenge); err != nil {
				t.Errorf("%s: the client does not believe the server: %v", mechanism, err)
			}
			return server.Username(), nil
		}
		if response, err = client.Step(challenge); err != nil {
			t.Fatal(err)
		}
	}
}

// handshake returns the state of a connection under TLS, as the server has it.
func (r *running) handshake(p *config.PeerOptions) *tls.ConnectionState {
	r.t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	server := tls.Server(near, r.tls(p).conf)
	done := make(chan error, 1)
	go func() {
		done <- tls.Client(far, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}).HandshakeContext(r.t.Context())
	}()
	if err := errors.Join(server.HandshakeContext(r.t.Context()), <-done); err != nil {
		r.t.Fatal(err)
	}
	state := server.ConnectionState()
	return &state
}

// TestSMTPAuth: the built-in store holds SCRAM keys; whatever a mail client has
// works with them. (LOGIN is PLAIN to us: mcmt/smtpd plays it.)
func TestSMTPAuth(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	secure := r.handshake(r.options(config.ESMTP))
	a := smtpAuth{r.App, r.options(config.ESMTP), r.watch(netip.AddrPort{}, r.options(config.ESMTP))}
	if got := a.Mechanisms(nil); slices.Contains(got, sasl.Plain) || !slices.Contains(got, sasl.ScramSHA256) {
		t.Errorf("without TLS: %v, want SCRAM and no PLAIN", got)
	}
	if got := a.Mechanisms(secure); !slices.Contains(got, sasl.Plain) || slices.Contains(got, sasl.External) || slices.Contains(got, sasl.DigestMD5) {
		t.Errorf("under TLS: %v", got)
	}
	for _, c := range []struct {
		name, mechanism, user, password string
		state                           *tls.ConnectionState
		want                            string // empty: refused for good
	}{
		{"PLAIN", sasl.Plain, "alice@localhost", "secret", secure, "alice@localhost"},
		{"another spelling", sasl.Plain, "Alice@LOCALHOST", "secret", secure, "alice@localhost"},
		{"SCRAM-SHA-256", sasl.ScramSHA256, "alice@localhost", "secret", nil, "alice@localhost"},
		{"SCRAM-SHA-1", sasl.ScramSHA1, "alice@localhost", "secret", nil, "alice@localhost"},
		{"wrong password", sasl.Plain, "alice@localhost", "guess", secure, ""},
		{"wrong password in SCRAM", sasl.ScramSHA256, "alice@localhost", "guess", nil, ""},
		{"unknown user", sasl.Plain, "nobody@localhost", "secret", secure, ""},
		{"no domain", sasl.Plain, "alice", "secret", secure, ""},
		{"PLAIN in clear text", sasl.Plain, "alice@localhost", "secret", nil, ""},
	} {
		got, err := exchange(t, a, c.mechanism, c.user, c.password, c.state)
		var verdict interface{ Temporary() bool }
		switch {
		case got != c.want || (err == nil) != (c.want != ""):
			t.Errorf("%s: %q %v, want %q", c.name, got, err, c.want)
		case err != nil && (!errors.As(err, &verdict) || verdict.Temporary()):
			t.Errorf("%s: %v would be answered 454", c.name, err)
		}
	}
}

func TestHTTPAuth(t *testing.T) {
	t.Parallel()
	r := start(t, strings.Replace(basic, "http_listener {", `http_listener { bearer_token = ( "one" "two" )`, 1))
	r.add("alice@localhost", "secret")
	watch := r.watch(netip.AddrPort{}, r.options(config.HTTP))
	h := httpAuth{r.App, r.options(config.HTTP), watch}
	none := httpAuth{r.App, &config.PeerOptions{}, watch}
	for _, c := range []struct {
		name      string
		got       func() (string, error)
		want      string
		temporary bool
	}{
		{"basic", func() (string, error) { return h.Basic(t.Context(), "alice@localhost", "secret") }, "alice@localhost", false},
		{"wrong password", func() (string, error) { return h.Basic(t.Context(), "alice@localhost", "guess") }, "", false},
		{"unknown user", func() (string, error) { return h.Basic(t.Context(), "nobody@localhost", "secret") }, "", false},
		{"a NUL in the name", func() (string, error) { return h.Basic(t.Context(), "alice@localhost\x00", "secret") }, "", false},
		{"a NUL that shifts the fields", func() (string, error) { return h.Basic(t.Context(), "alice@localhost\x00secret", "") }, "", false},
		{"no accounts", func() (string, error) { return none.Basic(t.Context(), "alice@localhost", "secret") }, "", false},
		{"bearer", func() (string, error) { return h.Bearer(t.Context(), "one") }, "token", false},
		{"the other token", func() (string, error) { return h.Bearer(t.Context(), "two") }, "token", false},
		{"wrong token", func() (string, error) { return h.Bearer(t.Context(), "three") }, "", false},
		{"empty token", func() (string, error) { return h.Bearer(t.Context(), "") }, "", false},
		{"no tokens", func() (string, error) { return none.Bearer(t.Context(), "") }, "", false},
	} {
		got, err := c.got()
		switch {
		case got != c.want:
			t.Errorf("%s: %q %v, want %q", c.name, got, err, c.want)
		case c.want == "" && !errors.Is(err, httpd.ErrDenied):
			t.Errorf("%s: %v, want ErrDenied", c.name, err)
		}
	}
}
