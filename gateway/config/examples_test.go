package config

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
)

const examples = "../../deploy/examples/"

// chapterPath is the password file of example 10.1.
const chapterPath = "/opt/msys/etc/passwd"

// environment is how a file of deploy/ takes in secrets.
var environment = regexp.MustCompile(`\$\{[A-Z_]+\}`)

// secretOf is what the environment has under a name: a key of a webhook, or a secret that
// is no other's.
func secretOf(name []byte) []byte {
	if bytes.Contains(name, []byte("WEBHOOK_KEY")) {
		return []byte("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
	}
	return append([]byte("a-secret-of-the-environment-"), bytes.Trim(name, "${}")...)
}

// Every example loads, apart from the path that the chapter prints, and nothing is to be
// said against it; that of the chapter shows what has no effect here.
func TestExamples(t *testing.T) {
	t.Parallel()
	files := newTestFiles(t)
	confs, err := filepath.Glob(examples + "*.conf")
	if err != nil || len(confs) < 8 {
		t.Fatalf("found %v: %v", confs, err)
	}
	for _, conf := range confs {
		text, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte(chapterPath), []byte(files.passwd))
		c, err := LoadBytes(conf, environment.ReplaceAllFunc(text, secretOf))
		if err != nil {
			t.Errorf("%s: %v", conf, err)
			continue
		}
		for _, w := range c.Warnings {
			if w.Severity == SeverityWarning && filepath.Base(conf) != "reference-chapter.conf" {
				t.Errorf("%s", w)
			}
		}
	}
}

// The stanzas of the chapter paste in as they are printed: they are cut out of
// the example, whose text is compared with the chapter's by hand once.
func TestChapterStanzas(t *testing.T) {
	t.Parallel()
	const chapter = `xmpp {}
xmpp_listener {
  AuthPlainParameters = [
     # you may use any auth storage scheme here, such as auth_ds,
     # but it must provide access to the password in clear text
     uri = "file:///opt/msys/etc/passwd"
  ]

  Listen "*:5222" {} # xmpp client port
}
domain "#xmpp#remotexmpp.example.com" {
  XMPP_Role = "client"
  XMPP_Dialback_Secret = "myS3cr3T"
}
dkim_sign "dkim_sign1" {}
`
	example, err := os.ReadFile(examples + "reference-chapter.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, stanza := range strings.SplitAfter(chapter, "}\n") {
		if !strings.Contains(string(example), stanza) && !strings.HasPrefix(stanza, "dkim") {
			t.Errorf("the example does not have the chapter's stanza:\n%s", stanza)
		}
	}

	// The only thing to say about the text as it is, is that the file is missing.
	_, err = LoadBytes("chapter.conf", []byte(chapter))
	var found Diagnostics
	if !errors.As(err, &found) || len(found) != 1 || !strings.Contains(found[0].Message, chapterPath) {
		t.Fatalf("got %v", err)
	}

	files := newTestFiles(t)
	c, err := LoadBytes("chapter.conf", []byte(strings.ReplaceAll(chapter, chapterPath, files.passwd)))
	if err != nil {
		t.Fatal(err)
	}
	l := c.Listeners[0]
	if l.Address != "*:5222" || l.Kind != XMPPStreams || l.Stream != StreamClient || !l.Enable {
		t.Errorf("listen: %+v", l)
	}
	if got := l.For(netip.MustParseAddr("2001:db8::1")).AuthPlain; got != "file://"+files.passwd {
		t.Errorf("account store: %s", got)
	}
	d := c.Domain("remotexmpp.example.com")
	if d == nil || d.Role != RoleClient || d.DialbackSecret.Reveal() != "myS3cr3T" {
		t.Errorf("domain: %+v", d)
	}
	var said []string
	for _, w := range c.Warnings {
		said = append(said, w.String())
	}
	all := strings.Join(said, "\n")
	for _, want := range []string{"dkim_sign has no effect", "nobody can log in"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning %q in\n%s", want, all)
		}
	}
	if strings.Contains(all, "myS3cr3T") {
		t.Errorf("a warning shows the secret:\n%s", all)
	}
}

// The embedded default is what SPEC 3.4 says.
func TestDefault(t *testing.T) {
	t.Parallel()
	c, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range c.Warnings {
		if w.Severity != SeverityNote {
			t.Errorf("the default is warned about: %s", w)
		}
	}
	want := map[string]ListenerKind{
		"127.0.0.1:2525": ESMTP, "127.0.0.1:8025": HTTP, "127.0.0.1:8026": Control,
		"127.0.0.1:5222": XMPPStreams, "127.0.0.1:5269": XMPPStreams,
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, l := range c.Listeners {
		if want[l.Address] != l.Kind || !l.Enable {
			t.Errorf("listen %s of %s", l.Address, l.Kind)
		}
		delete(want, l.Address)
		o := l.For(loopback)
		if o.TLSCertificate != "" || o.NoTLS || !o.Trusted {
			t.Errorf("%s: %+v", l.Address, o)
		}
		if l.Kind != Control && o.AuthPlain != builtInStore {
			t.Errorf("%s: accounts in %q", l.Address, o.AuthPlain)
		}
		if l.Kind == ESMTP && o.MCMTReception != mcmt.Allow {
			t.Errorf("%s: mcmt_reception %v", l.Address, o.MCMTReception)
		}
		if l.Address == "127.0.0.1:5269" && l.Stream != StreamServer {
			t.Errorf("%s: stream %s", l.Address, l.Stream)
		}
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
	if c.DataDir != "./mcmt2xmpp-data" || len(c.NATS.URLs) > 0 || c.NATS.Replicas != 1 {
		t.Errorf("data_dir %s, nats %+v", c.DataDir, c.NATS)
	}
	if served := c.ServedDomains(); len(served) != 1 || served[0] != "localhost" {
		t.Errorf("served: %v", served)
	}
	if c.MailGatewayDomain != "mail.localhost" {
		t.Errorf("mail gateway: %s", c.MailGatewayDomain)
	}
	copied, err := os.ReadFile(examples + "default.conf")
	if err != nil || string(copied) != defaultText {
		t.Errorf("the example default.conf is not the embedded one: %v", err)
	}
}

// A file that leaves out data_dir, certificate or nats gets the default's.
func TestLeftOutIsDefault(t *testing.T) {
	t.Parallel()
	c, err := LoadBytes("/etc/mcmt2xmpp/a.conf", []byte("esmtp_listener { listen \":25\" {} }"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if c.DataDir != d.DataDir || c.NATS.Replicas != d.NATS.Replicas || len(c.NATS.URLs) != 0 {
		t.Errorf("%s, %+v", c.DataDir, c.NATS)
	}
	if o := c.Listeners[0].For(netip.Addr{}); o.TLSCertificate != "" || o.NoTLS {
		t.Errorf("certificate %q, none %v", o.TLSCertificate, o.NoTLS)
	}
}
