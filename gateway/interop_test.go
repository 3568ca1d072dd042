package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// python is Debian's, which has slixmpp; another one in PATH may not.
const python = "/usr/bin/python3"

// slixmpp is a running slixmpp_client.py.
type slixmpp struct {
	t      *testing.T
	events chan slixmppEvent
	stdin  io.WriteCloser
}

type slixmppEvent struct {
	Event, JID, ID, Type, Body, Subject, Thread, From, Mechanism string
	Delayed                                                      bool
	Items                                                        int
	Features                                                     []string
	Show, Status, Name, Subscription, Ask                        string
	Groups                                                       []string
}

func startSlixmpp(t *testing.T, addr, jid, password, mechanism string, more ...string) *slixmpp {
	t.Helper()
	return runSlixmpp(t, "slixmpp_client.py", addr, append([]string{jid, password, mechanism}, more...)...)
}

// runSlixmpp runs a script of testdata with the host and port of addr and more
// arguments.
func runSlixmpp(t *testing.T, script, addr string, more ...string) *slixmpp {
	t.Helper()
	if err := exec.Command(python, "-c", "import slixmpp").Run(); err != nil {
		why := "slixmpp is not here: apt-get install python3-slixmpp"
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{filepath.Join("testdata", script), host, port}, more...)
	return startEvents(t, exec.CommandContext(t.Context(), python, args...))
}

// startEvents starts a client that prints one JSON object for each event.
func startEvents(t *testing.T, cmd *exec.Cmd) *slixmpp {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &testWriter{t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &slixmpp{t: t, events: make(chan slixmppEvent, 1024), stdin: stdin}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(s.events)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			var e slixmppEvent
			if err := json.Unmarshal(lines.Bytes(), &e); err == nil {
				s.events <- e
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
	})
	return s
}

// wait returns the next event of that name.
func (s *slixmpp) wait(name string) slixmppEvent {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.t.Fatalf("the client ended while waiting for %q", name)
			}
			if e.Event == name {
				return e
			}
			if e.Event == "failed_auth" || e.Event == "error" {
				s.t.Fatalf("the client could not log in: %s", e.Body)
			}
		case <-timeout:
			s.t.Fatalf("the client has no %q", name)
		}
	}
}

// testWriter puts a peer's stderr into the test's log.
type testWriter struct{ t *testing.T }

func (w *testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// sample is an MCMT message with all kinds of parts.
func sample(to, text string) string {
	return strings.ReplaceAll(fmt.Sprintf(`From: News <news@corp.example>
To: %s
Subject: outer
MIME-Version: 1.0
Content-Type: multipart/vnd.msys.mcmt; boundary=XX

--XX
Content-Type: message/rfc822

From: news@corp.example
To: %s
Subject: Track 7
Message-ID: <track7@corp.example>

mail: %s
--XX
Content-Type: message/vnd.msys.xmpp

<message type="chat"><body>%s</body></message>
--XX
Content-Type: message/vnd.msys.smpp; charset=utf-8

sms: %s
--XX--
`, to, to, text, text, text), "\n", "\r\n")
}

func swaks(t *testing.T, g *gateway, args ...string) (string, error) {
	t.Helper()
	path := peer(t, "swaks", "swaks")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, append([]string{"--server", g.smtp()}, args...)...).CombinedOutput()
	return string(out), err
}

// TestInteropSlixmpp: a client nobody here wrote logs in with each mechanism and
// receives what an SMTP client nobody here wrote sent.
func TestInteropSlixmpp(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	for _, c := range []struct{ name, mechanism, want string }{
		// Its own choice is a -PLUS mechanism with a binding that TLS 1.3 does
		// not have; it must get in by SCRAM nevertheless, not by PLAIN.
		{"own choice", "", "SCRAM-SHA-256"},
		{"plain", "PLAIN", "PLAIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			user, mechanism := strings.ReplaceAll(c.name, " ", "")+"@localhost", c.mechanism
			g.addUser(user, "secret")
			client := startSlixmpp(t, g.xmpp(), user, "secret", mechanism)
			online := client.wait("online")
			if online.Mechanism != c.want {
				t.Errorf("logged in by %s, want %s", online.Mechanism, c.want)
			}
			if online.Items != 0 {
				t.Errorf("a new account has %d roster items", online.Items)
			}
			if !slices.Contains(online.Features, "urn:xmpp:ping") {
				t.Errorf("disco#info of the server lacks ping: %v", online.Features)
			}
			data := filepath.Join(t.TempDir(), "message.eml")
			if err := os.WriteFile(data, []byte(sample(user, "hello "+c.name)), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := swaks(t, g, "--from", "news@corp.example", "--to", user, "--data", "@"+data); err != nil {
				t.Fatalf("swaks: %v\n%s", err, out)
			}
			msg := client.wait("message")
			if msg.Body != "hello "+c.name || msg.Type != "chat" {
				t.Errorf("received %+v", msg)
			}
			if want := `news\40corp.example@mail.localhost`; !strings.HasPrefix(msg.From, want) {
				t.Errorf("from %s, want %s: a reply must find its way", msg.From, want)
			}
			if msg.ID == "" || msg.Delayed {
				t.Errorf("id %q, delayed %v: want an id and no delay", msg.ID, msg.Delayed)
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		g.addUser("wrong@localhost", "secret")
		client := startSlixmpp(t, g.xmpp(), "wrong@localhost", "guess", "")
		timeout := time.After(patience)
		for {
			select {
			case e, ok := <-client.events:
				if !ok || e.Event == "online" {
					t.Fatalf("want failed_auth, got %+v", e)
				}
				if e.Event == "failed_auth" {
					return
				}
			case <-timeout:
				t.Fatal("no answer to a wrong password")
			}
		}
	})
}

// tell writes a line to the client's stdin.
func (s *slixmpp) tell(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.stdin, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// TestInteropSlixmppResume: a client nobody here wrote enables stream management,
// loses its connection and resumes its session (XEP-0198): what came meanwhile
// arrives, once and in order, and what it acknowledged is the proof of delivery.
func TestInteropSlixmppResume(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	const user = "mobile@localhost"
	g.addUser(user, "secret")
	g.addUser("friend@localhost", "secret")
	client := startSlixmpp(t, g.xmpp(), user+"/phone", "secret", "", "--managed")
	if e := client.wait("enabled"); e.ID == "" {
		t.Fatal("the session may not be resumed")
	}
	client.wait("online")
	friend := login(t, g.xmpp(), "friend@localhost/f", 0)
	send := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if err := inject(t.Context(), g, false, user, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if msg := client.wait("message"); msg.Body != text {
				t.Errorf("received %q, want %q", msg.Body, text)
			}
		}
	}
	send("1", "2")
	want("1", "2")
	friend.say(user+"/phone", "<body>3</body>")
	want("3")
	g.eventually("they are acknowledged", func() bool { return metric(t, g, `delivery_total{outcome="delivered"}`) == 2 })
	for round := range 3 {
		client.tell("cut")
		client.wait("disconnected")
		g.eventually("the session is suspended", func() bool { return metric(t, g, "xmpp_suspended_sessions") == 1 })
		send("4", "5")
		g.eventually("they wait", func() bool { return metric(t, g, "parked_messages") == 2 })
		friend.say(user+"/phone", "<body>6</body>")
		g.eventually("so does the friend's", func() bool { return metric(t, g, "parked_messages") == 3 })
		client.tell("connect")
		client.wait("resumed")
		want("4", "5", "6")
		send("7")
		want("7")
		if n := metric(t, g, `xmpp_resumptions_total{outcome="resumed"}`); n != float64(round+1) {
			t.Errorf("%v resumptions", n)
		}
	}
	g.eventually("all are acknowledged", func() bool {
		return metric(t, g, `delivery_total{outcome="delivered"}`) == 2+3*4 && metric(t, g, "parked_messages") == 0
	})
	if n := strings.Count(g.logFrom(0), `"proof":"stream management ack"`); n != 2+3*4 {
		t.Errorf("%d deliveries are proven by stream management", n)
	}
}

// TestInteropDigestMD5: the reference chapter's other kind of account store.
func TestInteropDigestMD5(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	// MD5 of "digest:localhost:secret".
	htdigest := filepath.Join(g.dir, "htdigest")
	if err := os.WriteFile(htdigest, []byte("digest:localhost:"+md5hex("digest:localhost:secret")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.replace(`AuthPlainParameters = [ uri = "nats://accounts" ]`, `AuthDigestMD5Parameters = [ uri = "digest://`+htdigest+`" ]`)
	g.start()
	client := startSlixmpp(t, g.xmpp(), "digest@localhost", "secret", "DIGEST-MD5")
	client.wait("online")
	if out, err := swaks(t, g, "--from", "news@corp.example", "--to", "digest@localhost", "--body", "plain mail"); err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	if msg := client.wait("message"); strings.TrimSpace(msg.Body) != "plain mail" {
		t.Errorf("received %+v", msg)
	}
}

// TestInteropGoSendxmpp: go-sendxmpp sends a line and a file to slixmpp, and receives what
// has waited and what comes.
func TestInteropGoSendxmpp(t *testing.T) {
	t.Parallel()
	path := peer(t, "go-sendxmpp", "go-sendxmpp")
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	bob := startSlixmpp(t, g.xmpp(), "bob@localhost", "secret", "")
	bob.wait("online")

	sender := exec.CommandContext(t.Context(), path, "-n", "-u", "alice@localhost", "-p", "secret", "-j", g.xmpp(), "bob@localhost")
	sender.Stdin = strings.NewReader("from go-sendxmpp\n")
	if out, err := sender.CombinedOutput(); err != nil {
		t.Fatalf("go-sendxmpp: %v\n%s", err, out)
	}
	if msg := bob.wait("message"); strings.TrimSpace(msg.Body) != "from go-sendxmpp" || !strings.HasPrefix(msg.From, "alice@localhost/") {
		t.Errorf("bob received %+v", msg)
	}

	file := g.write("file.txt", "a file\n")
	if out, err := exec.CommandContext(t.Context(), path, "-n", "-u", "alice@localhost", "-p", "secret", "-j", g.xmpp(), "-h", file, "bob@localhost").CombinedOutput(); err != nil {
		t.Fatalf("go-sendxmpp: %v\n%s", err, out)
	}
	download(t, bob.wait("message").Body, "a file\n")

	if err := inject(t.Context(), g, false, "alice@localhost", "it has waited"); err != nil {
		t.Fatal(err)
	}
	g.eventually("the message waits", func() bool { return metric(t, g, "parked_messages") == 1 })
	listener := exec.CommandContext(t.Context(), path, "-n", "-l", "-u", "alice@localhost", "-p", "secret", "-j", g.xmpp())
	stdout, err := listener.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	listener.Stderr = &testWriter{t}
	if err := listener.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(stdout)
		for s.Scan() {
			lines <- s.Text()
		}
		_ = listener.Wait()
	}()
	t.Cleanup(func() {
		_ = listener.Process.Kill()
		for range lines { // until the process is gone
		}
	})
	timeout := time.After(patience)
	prints := func(text string) {
		t.Helper()
		for {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatalf("go-sendxmpp ended without %q", text)
				}
				if strings.Contains(line, text) {
					return
				}
			case <-timeout:
				t.Fatalf("go-sendxmpp does not print %q", text)
			}
		}
	}
	prints("it has waited")
	if out, err := swaks(t, g, "--from", "news@corp.example", "--to", "alice@localhost", "--body", "to go-sendxmpp"); err != nil {
		t.Fatalf("swaks: %v\n%s", err, out)
	}
	prints("to go-sendxmpp")
}

// TestInteropSwaks: each kind of refusal has its code, as an SMTP client nobody
// here wrote sees it.
func TestInteropSwaks(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `relay_hosts = ( "192.0.2.1/32" )`)
	g.start()
	g.addUser("alice@localhost", "secret")
	noMail := "From: a@corp.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/vnd.msys.mcmt; boundary=X\r\n\r\n--X\r\nContent-Type: message/vnd.msys.smpp\r\n\r\nsms\r\n--X--\r\n"
	for _, c := range []struct {
		name string
		args []string
		want string // in swaks' output; empty: the message is taken
	}{
		{"plain", []string{"--to", "alice@localhost"}, ""},
		{"starttls", []string{"--to", "alice@localhost", "--tls"}, ""},
		{"pipelining", []string{"--to", "alice@localhost", "--pipeline"}, ""},
		{"login", []string{"--to", "alice@localhost", "--tls", "--auth", "LOGIN", "--auth-user", "alice@localhost", "--auth-password", "secret"}, ""},
		{"plain auth", []string{"--to", "alice@localhost", "--tls", "--auth", "PLAIN", "--auth-user", "alice@localhost", "--auth-password", "secret"}, ""},
		{"wrong password", []string{"--to", "alice@localhost", "--tls", "--auth", "PLAIN", "--auth-user", "alice@localhost", "--auth-password", "guess"}, "535 5.7.8"},
		{"unknown user", []string{"--to", "nobody@localhost"}, "550 5.1.1"},
		{"unknown domain", []string{"--to", "alice@elsewhere.example"}, "550 5.1.2"},
		{"mcmt without its mail part", []string{"--to", "alice@localhost", "--data", noMail}, "554 5.6.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, err := swaks(t, g, append([]string{"--from", "news@corp.example"}, c.args...)...)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%v\n%s", err, out)
			case c.want != "" && (err == nil || !strings.Contains(out, c.want)):
				t.Errorf("want %s, got %v\n%s", c.want, err, out)
			}
		})
	}
}
