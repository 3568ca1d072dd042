package smtpd

import (
	"context"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSwaks lets a client that nobody here wrote send mail: plainly, pipelined,
// under STARTTLS with its certificate verified, with each AUTH it knows.
func TestSwaks(t *testing.T) {
	t.Parallel()
	swaks, err := exec.LookPath("swaks")
	if err != nil {
		const text = "swaks is not installed: apt-get install swaks libnet-ssleay-perl libauthen-sasl-perl"
		if os.Getenv("CI") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	server, _ := testTLS()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificates[0].Certificate[0]}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	tlsArgs := []string{"--tls", "--tls-verify", "--tls-ca-path", ca}

	for _, tt := range []struct {
		name string
		args []string
		want string // in the dialog
		user string
		fail bool
	}{
		{name: "plain", want: "Ok: queued as id1"},
		{name: "pipelined", args: []string{"--pipeline"}, want: "Ok: queued as id1"},
		{name: "starttls", args: tlsArgs, want: "Ok: queued as id1"},
		{name: "auth plain", args: append([]string{"--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "secret"}, tlsArgs...), want: "Ok: queued as id1", user: "alice"},
		{name: "auth login", args: append([]string{"--auth", "LOGIN", "--auth-user", "alice", "--auth-password", "secret"}, tlsArgs...), want: "Ok: queued as id1", user: "alice"},
		{name: "wrong password", args: append([]string{"--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "wrong"}, tlsArgs...), want: "535 5.7.8", fail: true},
		{name: "no TLS, no AUTH", args: []string{"--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "secret"}, want: "Host did not advertise authentication", fail: true},
		{name: "unknown recipient", args: []string{"--to", "unknown@example.com"}, want: "550 5.1.1", fail: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, Options{}, PeerOptions{TLS: server, Authenticator: testAuth{}})
			host, port, err := net.SplitHostPort(r.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			args := append([]string{
				"--server", host, "--port", port, "--helo", "swaks.example", "--timeout", "10",
				"--from", "a@example.org", "--to", "b@example.com", "--body", ".\n..\ntext from swaks",
			}, tt.args...)
			out, err := exec.CommandContext(ctx, swaks, args...).CombinedOutput()
			if (err != nil) != tt.fail {
				t.Errorf("swaks: %v\n%s", err, out)
			}
			if !strings.Contains(string(out), tt.want) {
				t.Errorf("no %q in\n%s", tt.want, out)
			}
			puts := r.sink.taken()
			if tt.fail {
				if len(puts) != 0 {
					t.Errorf("%d messages taken", len(puts))
				}
				return
			}
			if len(puts) != 1 || puts[0].env.User != tt.user || !strings.Contains(string(puts[0].raw), "\r\n.\r\n..\r\ntext from swaks\r\n") {
				t.Errorf("taken: %v", puts)
			}
		})
	}
}
