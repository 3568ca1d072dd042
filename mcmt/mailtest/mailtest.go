// Package mailtest runs a real mail server that nobody here wrote, OpenSMTPD 6.8 of
// Debian's package, for tests. It listens on 127.0.0.1, takes mail for every
// address and puts it into a folder (Maildir), and ends with the test, also when
// that is killed. There is no TLS: with the OpenSSL 3 of that Debian OpenSMTPD 6.8 fails
// every handshake ("missing private key"), and without TLS it has no login either.
//
// OpenSMTPD has its queue and its socket at fixed places. So it runs with a view of
// the file system and of processes of its own, in which these are folders of the
// test: several run side by side, and nothing of them is left. That takes root.
//
// Where it cannot be run the test says what is missing and is skipped; where the
// environment has CI it fails.
package mailtest

import (
	"cmp"
	"fmt"
	"io"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Patience bounds every wait. Only a failure waits so long.
const Patience = 30 * time.Second

// Hostname is what the server calls itself.
const Hostname = "mx.mailtest.example"

// Server is a running OpenSMTPD. Its methods belong to the goroutine of the test.
type Server struct {
	// Addr is where it takes mail, host:port. It stays the same over restarts.
	Addr string

	t       testing.TB
	dir     string
	refused map[string]string // replies by recipient
	run     *process
	before  string // log of the runs that have ended
}

// Mail is a message that the server has delivered.
type Mail struct {
	*mail.Message
	Raw  []byte // with the server's own fields, and LF at the end of lines
	Text string // the body
}

const program = "/usr/sbin/smtpd"

// Start starts a server and waits until it listens. It skips short runs.
func Start(t testing.TB) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("a real mail server is asked in full runs only")
	}
	if _, err := os.Stat(program); err != nil {
		lacks(t, program+" is not here: apt-get install opensmtpd")
	}
	if os.Getuid() != 0 {
		lacks(t, "OpenSMTPD runs for root only")
	}
	s := &Server{Addr: reserve(t), t: t, dir: t.TempDir(), refused: make(map[string]string)}
	if err := s.folders(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.run.kill()
		if t.Failed() {
			t.Logf("log of OpenSMTPD:\n%s", s.run.log.text())
		}
	})
	s.Start()
	return s
}

// lacks ends a test for which something is not there.
func lacks(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// Start starts the server again after Stop, with the mail that it has, and waits until
// it listens.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.configure(); err != nil {
		s.t.Fatal(err)
	}
	run, err := start(s.command())
	if err != nil {
		lacks(s.t, fmt.Sprintf("a mount namespace is not to be had (CAP_SYS_ADMIN): %v", err))
	}
	s.run = run
	if err := run.logged("smtp: will accept at most", 1); err != nil {
		s.t.Fatalf("OpenSMTPD: %v\n%s", err, run.log.text())
	}
}

// envelopeID is that of a mail whose delivery succeeded, in the log.
var envelopeID = regexp.MustCompile(`evpid=([0-9a-f]{16}) .* result=Ok`)

// settled says whether what was delivered is out of the server's queue.
func (s *Server) settled() bool {
	for _, m := range envelopeID.FindAllStringSubmatch(s.run.log.text(), -1) {
		// Under the beginning of the id of the message, and that.
		if _, err := os.Stat(filepath.Join(s.dir, "spool", "smtpd", "queue", m[1][:2], m[1][:8], m[1])); err == nil {
			return false
		}
	}
	return true
}

// Stop asks the server to end, and waits for it. Connections to it end, too. What was
// delivered is taken out of its queue before: it would be delivered again.
func (s *Server) Stop() {
	s.t.Helper()
	for end := time.Now().Add(Patience); !s.settled(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal("OpenSMTPD: what was delivered stays in its queue")
		}
	}
	if err := s.run.stop(); err != nil {
		s.t.Fatalf("OpenSMTPD: %v", err)
	}
	s.before += s.run.log.text()
}

// Refuse has the server answer RCPT for an address with the reply, such as "451 4.7.1
// later"; with "" it takes it again. The server is restarted for that.
func (s *Server) Refuse(rcpt, reply string) {
	s.t.Helper()
	s.refused[rcpt] = reply
	if reply == "" {
		delete(s.refused, rcpt)
	}
	s.Stop()
	s.Start()
}

// Wait waits until the server that runs has delivered so many messages to an address.
func (s *Server) Wait(rcpt string, count int) {
	s.t.Helper()
	if err := s.run.logged(" to=<"+rcpt+"> rcpt=<"+rcpt+"> ", count); err != nil {
		s.t.Fatalf("OpenSMTPD: %d messages for %s: %v\n%s", count, rcpt, err, s.run.log.text())
	}
}

// Mailbox returns the messages that were delivered to an address, in the order in which
// the server has taken them.
func (s *Server) Mailbox(rcpt string) []Mail {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "spool", "mail", rcpt, "new", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	var all []Mail
	for _, file := range files {
		m, err := read(file)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, m)
	}
	log := s.before + s.run.log.text()
	slices.SortFunc(all, func(a, b Mail) int { return cmp.Compare(a.taken(log), b.taken(log)) })
	return all
}

// serverID is the name of a message in the server's own trace field.
var serverID = regexp.MustCompile(`^Received: [^;]*\(OpenSMTPD\)[^;]* id ([0-9a-f]+)`)

// taken is where the log says that the server has taken the message.
func (m Mail) taken(log string) int {
	if _, top, ok := strings.Cut(string(m.Raw), "\nReceived: "); ok {
		if id := serverID.FindStringSubmatch("Received: " + top); id != nil {
			return strings.Index(log, " message msgid="+id[1]+" ")
		}
	}
	return -1
}

func read(file string) (Mail, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Mail{}, err
	}
	m, err := mail.ReadMessage(strings.NewReader(string(raw)))
	if err != nil {
		return Mail{}, fmt.Errorf("%s: %w", file, err)
	}
	body, err := io.ReadAll(m.Body)
	return Mail{m, raw, string(body)}, err
}

// owner is who the delivered mail belongs to.
const owner = "nobody"

// folders makes those that stand for /var/spool, as OpenSMTPD wants them.
func (s *Server) folders() error {
	queue, boxes := filepath.Join(s.dir, "spool", "smtpd"), filepath.Join(s.dir, "spool", "mail")
	for _, dir := range []string{queue, boxes} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(queue, 0o711); err != nil {
		return err
	}
	return exec.Command("chown", owner, boxes).Run()
}

// configure writes the configuration (smtpd.conf(5)).
func (s *Server) configure() error {
	var b strings.Builder
	_, port, _ := strings.Cut(s.Addr, ":")
	listen := "listen on 127.0.0.1 port " + port + " hostname " + Hostname
	var filters []string
	for rcpt, reply := range s.refused {
		name := fmt.Sprintf("refuse%d", len(filters))
		fmt.Fprintf(&b, "filter %s phase rcpt-to match rcpt-to { %q } reject %q\n", name, rcpt, reply)
		filters = append(filters, name)
	}
	if len(filters) > 0 {
		fmt.Fprintf(&b, "filter refuse chain { %s }\n", strings.Join(filters, ", "))
		listen += " filter refuse"
	}
	fmt.Fprintf(&b, "table boxes { \"@\" = %q }\n%s\naction box maildir \"/var/spool/mail/%%{rcpt}\" virtual <boxes>\nmatch from any for any action box\n", owner, listen)
	return os.WriteFile(filepath.Join(s.dir, "smtpd.conf"), []byte(b.String()), 0o600)
}

// command runs OpenSMTPD with the folders in their places.
func (s *Server) command() *exec.Cmd {
	const script = `set -e
mount --make-rprivate /
mount --bind "$1/spool" /var/spool
mount -t tmpfs none /run
exec ` + program + ` -d -v -f "$1/smtpd.conf"`
	return exec.Command("/bin/sh", "-c", script, "sh", s.dir)
}
