package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// chapter is a stanza of the reference chapter, as it prints it.
func chapter(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "chapter", name+".conf"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestChapter runs the stanzas of the reference chapter. Only the path of the
// password file and the port differ: both belong to the machine.
func TestChapter(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, "")
	passwd := g.write("passwd", "# people\nalice:secret\nbob:with:colon\n")
	listener := chapter(t, "xmpp_listener")
	for old, new := range map[string]string{"/opt/msys/etc/passwd": passwd, "*:5222": "127.0.0.1:0"} {
		if strings.Count(listener, old) != 1 {
			t.Fatalf("the stanza does not hold %s once", old)
		}
		listener = strings.Replace(listener, old, new, 1)
	}
	g.write("gateway.conf", chapter(t, "xmpp")+"\n"+listener+"\n"+chapter(t, "domain")+`
# What the chapter leaves to the rest of the file.
data_dir = "data"
log_format = "json"
relay_hosts = ( "192.0.2.1/32" )
domain "localhost" { xmpp_role = "server" }
esmtp_listener { mcmt_reception = "allow" listen "127.0.0.1:0" {} }
http_listener { listen "127.0.0.1:0" {} }
`)
	if out, _, code := program(t, "", "check", "-c", g.conf); code != 0 {
		t.Errorf("check: %s", out)
	}
	g.start()

	scram := login(t, g.xmpp(), "alice@localhost/scram", 0)
	if got := scram.c.Stream().Mechanism(); !strings.HasPrefix(got, "SCRAM-SHA-256") {
		t.Errorf("logged in by %s, want SCRAM-SHA-256", got)
	}
	plain := dialWire(t, g.xmpp(), "")
	features := plain.open()
	if slices.Contains(mechanisms(features), "PLAIN") {
		t.Error("PLAIN is offered in clear text")
	}
	if !offersTLS(features) {
		t.Error("STARTTLS is not offered")
	}
	features = plain.startTLS(nil)
	for _, name := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"} {
		if !slices.Contains(mechanisms(features), name) {
			t.Errorf("%s is not offered under TLS: %v", name, mechanisms(features))
		}
	}
	plain.plain("bob", "with:colon")
	plain.bind("plain")

	for i, smtp := range []bool{true, false} {
		text := []string{"by SMTP", "by HTTP"}[i]
		for _, to := range []string{"alice@localhost", "bob@localhost"} {
			if err := inject(t.Context(), g, smtp, to, text); err != nil {
				t.Fatal(err)
			}
		}
		scram.want(text)
		if got := plain.message().Child(nameBody).Text(); got != text {
			t.Errorf("bob received %q, want %q", got, text)
		}
	}
	// A domain that is a "client" is known, so a message for it is taken, and waits.
	if err := inject(t.Context(), g, true, "someone@remotexmpp.example.com", "x"); err != nil {
		t.Errorf("a message to the remote domain: %v", err)
	}
	// And one nobody named is unknown, to who may not relay.
	if err := inject(t.Context(), g, true, "someone@unknown.example.com", "x"); err == nil || !strings.Contains(err.Error(), "550 5.1.2") {
		t.Errorf("a message to an unknown domain: %v, want 550 5.1.2", err)
	}
}
