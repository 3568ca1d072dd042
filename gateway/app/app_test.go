package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stream"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// COMPAT nats-server 2.15.2 sometimes leaves a file store open when it
		// stops, and with it its clock (the tests of package broker say when).
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
		// COMPAT nats.go 1.55.0: where an object is put before this has begun, it waits
		// for a channel that is forgotten already, for ever.
		goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// patience is how long a test waits for what must happen.
const patience = 3 * time.Minute

// logBuffer collects JSON lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is an App in this process.
type running struct {
	*App
	t    *testing.T
	dir  string
	log  *logBuffer
	stop func() error // once
}

const basic = `data_dir = data
xmpp {}
xmpp_listener { listen "127.0.0.1:0" {} }
esmtp_listener { listen "127.0.0.1:0" { mcmt_reception = allow } }
http_listener { listen "127.0.0.1:0" {} }
control_listener { listen "127.0.0.1:0" {} }
domain localhost { xmpp_role = server }
`

// load reads text as the configuration file of dir.
func load(t *testing.T, dir, text string) *config.Config {
	t.Helper()
	cfg, err := config.LoadBytes(filepath.Join(dir, "test.conf"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs a gateway until the end of the test.
func start(t *testing.T, text string) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{t: t, dir: dir, log: new(logBuffer)}
	r.App = New(Options{Config: load(t, dir, text), Log: zerolog.New(r.log), Version: "test"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return fmt.Errorf("no end after %s", patience)
		}
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	select {
	case <-r.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("not started: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	return r
}

func (r *running) dial(user, password string) (*stream.Client, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	return stream.Dial(ctx, stream.ClientOptions{JID: jid.MustParse(user), Password: password,
		Address: r.Addr(config.XMPPStreams, config.StreamClient), TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}})
}

// login logs a client in.
func (r *running) login(user, password string) *stream.Client {
	r.t.Helper()
	c, err := r.dial(user, password)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (r *running) add(user, password string) {
	r.t.Helper()
	if err := r.Accounts().Add(r.t.Context(), jid.MustParse(user), password); err != nil {
		r.t.Fatal(err)
	}
}

// TestStartStop: nothing outlives Run (TestMain looks for goroutines), and what is
// on the disk serves the next one.
func TestStartStop(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	var titles []string
	for _, a := range r.Addresses() {
		titles = append(titles, a.Title)
	}
	if want := []string{"XMPP", "SMTP", "HTTP", "admin"}; !slices.Equal(titles, want) {
		t.Errorf("addresses %v, want %v", titles, want)
	}
	ready := func() int {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Addr(config.Control, "")+"/readyz", nil)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := ready(); got != http.StatusOK {
		t.Errorf("/readyz: %d", got)
	}
	r.stopping.Store(true)
	if got := ready(); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz while stopping: %d", got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	err := WithAccounts(t.Context(), r.state.Load().cfg, zerolog.Nop(), func(a admin.Accounts) error {
		all, err := a.List(t.Context())
		if len(all) != 1 || all[0].String() != "alice@localhost" {
			t.Errorf("accounts of the stopped gateway: %v", all)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOrder: what takes messages in stops first, then what works them off, then
// the sessions that prove their arrival, and the admin HTTP last.
func TestOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := New(Options{Config: load(t, dir, basic), Log: zerolog.Nop()})
	st, err := newState(a.o.Config)
	if err != nil {
		t.Fatal(err)
	}
	a.state.Store(st)
	if err := a.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	parts, err := a.parts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range parts {
		name, _, _ := strings.Cut(p.name, " ")
		names = append(names, name)
	}
	want := []string{"control_listener", "events", "server", "links", "xmpp_listener", "route", "mail", "delivery", "conversion", "esmtp_listener", "http_listener"}
	if !slices.Equal(names, want) {
		t.Errorf("started in the order %v, want %v", names, want)
	}
}

// TestOneDataFolder: the second gateway on a folder says so, and does no harm.
func TestOneDataFolder(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	second := New(Options{Config: r.state.Load().cfg, Log: zerolog.Nop()})
	err := second.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second gateway: %v", err)
	}
	r.add("alice@localhost", "secret") // the first one still works
}

// TestStartFails: what cannot be opened is named with its place, and nothing
// stays behind.
func TestStartFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "passwd"), []byte("alice:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := start(t, basic)
	for _, c := range []struct{ name, text, want string }{
		{"an address in use", strings.Replace(basic, "127.0.0.1:0", taken.Addr(config.XMPPStreams, config.StreamClient), 1), "test.conf:3:17: listen 127.0.0.1:"},
		{"an account store that went away", basic + "pathway p { }\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(c.text, "data_dir = data", "data_dir = "+strings.ReplaceAll(c.name, " ", "-"), 1)
			if c.want == "" {
				text = strings.Replace(text, `listen "127.0.0.1:0" {}`, `listen "127.0.0.1:0" { authplainparameters = [ uri = "file://`+dir+`/passwd" ] }`, 1)
				c.want = "test.conf:3:17: "
			}
			cfg := load(t, dir, text)
			if strings.HasPrefix(c.name, "an account") {
				if err := os.Remove(filepath.Join(dir, "passwd")); err != nil {
					t.Fatal(err)
				}
			}
			err := New(Options{Config: cfg, Log: zerolog.Nop()}).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestRemoveEndsSessions: whoever has no account any more is not online either,
// and an account is on a domain of ours.
func TestRemoveEndsSessions(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	c := r.login("alice@localhost/a", "secret")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.Accounts().Remove(ctx, jid.MustParse("alice@localhost")); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := c.Receive(ctx); err != nil {
			if ctx.Err() != nil || !strings.Contains(err.Error(), "not-authorized") {
				t.Errorf("the session ended with %v", err)
			}
			break
		}
	}
	if err := r.Accounts().Add(ctx, jid.MustParse("alice@elsewhere.example"), "secret"); err == nil {
		t.Error("an account on a domain that is not ours was made")
	}
}

// TestMaxSessions: the option reaches the router.
func TestMaxSessions(t *testing.T) {
	t.Parallel()
	r := start(t, basic+"max_sessions_per_account = 1\n")
	r.add("alice@localhost", "secret")
	r.login("alice@localhost/a", "secret")
	_, err := r.dial("alice@localhost/b", "secret")
	if err == nil || !strings.Contains(err.Error(), "resource-constraint") {
		t.Errorf("a second session: %v", err)
	}
}
