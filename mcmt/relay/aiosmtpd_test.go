package relay

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt/mailtest"
)

const python = "/usr/bin/python3"

// aiosmtpd runs a server in Python, over whose TLS and login nobody here had a say. It
// returns the port, and what it prints of each message.
func aiosmtpd(t *testing.T, exclude ...string) (port string, messages *bufio.Scanner) {
	t.Helper()
	if testing.Short() {
		t.Skip("real mail servers are asked in full runs only")
	}
	if err := exec.Command(python, "-c", "import aiosmtpd").Run(); err != nil {
		if why := "aiosmtpd is not here: apt-get install python3-aiosmtpd"; os.Getenv("CI") != "" {
			t.Fatal(why)
		} else {
			t.Skip(why)
		}
	}
	cmd := exec.Command(python, append([]string{"testdata/tlsserver.py", certificateFile(t, "localhost")}, exclude...)...)
	cmd.Stderr = os.Stderr
	end, err := cmd.StdinPipe() // its end, which comes with ours at the latest, ends it
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = end.Close()
		_ = cmd.Wait() // what it says of connections that are left does not matter
	})
	messages = bufio.NewScanner(out)
	if !messages.Scan() {
		t.Fatal("it does not start")
	}
	return messages.Text(), messages
}

// certificateFile writes the certificate of a name with its key.
func certificateFile(t *testing.T, name string) string {
	t.Helper()
	cert := certificates().by[name]
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	file := filepath.Join(t.TempDir(), "certificate.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// STARTTLS with a certificate that has to name the host, and a login by each of the
// mechanisms that the server knows.
func TestAiosmtpd(t *testing.T) {
	t.Parallel()
	for mechanism, exclude := range map[string][]string{"PLAIN": nil, "LOGIN": {"PLAIN"}} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			port, messages := aiosmtpd(t, exclude...)
			ctx, cancel := context.WithTimeout(t.Context(), mailtest.Patience)
			defer cancel()
			o := Options{
				Hostname: "us.example", SmartHost: "localhost:" + port, User: "us", Password: "hunter2",
				TLS: TLSRequired, Verify: VerifyHost, Roots: certificates().roots,
			}
			m := to("ü@p1.example", "Subject: ü\n\n.\nhello\n")
			m.UTF8 = true
			if res, err := newSender(t, o).Send(ctx, m); err != nil || !res.TLS || res.Reply != "250 2.0.0 taken" {
				t.Fatalf("%+v, %v", res, err)
			}
			messages.Scan()
			var got map[string]any
			if err := json.Unmarshal(messages.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{
				"from": "a@corp.example", "to": []any{"ü@p1.example"}, "content": "Subject: ü\r\n\r\n.\r\nhello\r\n",
				"hello": "us.example", "auth": []any{mechanism, "us"}, "tls": true,
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("it got %v", got)
			}
			o.Password = "wrong"
			if _, err := newSender(t, o).Send(ctx, m); err == nil || !strings.Contains(err.Error(), "AUTH "+mechanism+": 535 ") {
				t.Errorf("a wrong password: %v", err)
			}
		})
	}
}
