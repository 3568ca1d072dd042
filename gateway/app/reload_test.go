package app

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// reload gives the gateway another text.
func (r *running) reload(text string) {
	r.t.Helper()
	cfg, err := config.LoadBytes(filepath.Join(r.dir, "test.conf"), []byte(text))
	r.Reload(r.t.Context(), cfg, err)
}

// options are those of loopback at the listener of a kind.
func (r *running) options(kind config.ListenerKind) *config.PeerOptions {
	r.t.Helper()
	for _, s := range r.sockets {
		if s.scope.Kind == kind {
			return r.peer(s, netip.Addr{})
		}
	}
	r.t.Fatalf("no %s", kind)
	return nil
}

func TestReload(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	if got := r.options(config.ESMTP).MCMTReception; got != mcmt.Allow {
		t.Fatalf("reception %v", got)
	}

	// An invalid one: every mistake is logged, nothing changes.
	r.reload(basic + "bogus = 1\nlog_level = loud\n")
	for _, want := range []string{`unknown option bogus`, `test.conf:8:1`, `test.conf:9:`, `"mistakes":2`, "configuration refused, the old one stays"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if got := r.options(config.ESMTP).MCMTReception; got != mcmt.Allow {
		t.Errorf("reception %v after an invalid configuration", got)
	}

	// A valid one: peers, domains, and rules change, sockets stay.
	r.reload(strings.NewReplacer("mcmt_reception = allow", "mcmt_reception = reject", "domain localhost", "domain new.example { xmpp_role = server }\ndomain localhost").Replace(basic) +
		`recipient_map m { match = "(.*)@sms.example" jid = "$1@localhost" }`)
	if got := r.options(config.ESMTP).MCMTReception; got != mcmt.Reject {
		t.Errorf("reception %v after reload", got)
	}
	if !r.router.Serves("new.example") {
		t.Error("the new domain is not served")
	}
	if to, err := r.state.Load().rules.Converter.Recipient("a@sms.example"); err != nil || to.String() != "a@localhost" {
		t.Errorf("the new recipient map: %v %v", to, err)
	}
	log := r.log.String()
	if !strings.Contains(log, "configuration reloaded") {
		t.Error("success is not logged")
	}
	if strings.Count(log, "takes effect after a restart") != 1 { // of the domain, for the certificate
		t.Error("changes that are in effect are said to need a restart, or the domain is not")
	}
}

// TestReloadRefusesStore: a store that cannot be opened is found by the reload,
// not by the next client.
func TestReloadRefusesStore(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	passwd := filepath.Join(r.dir, "passwd")
	if err := os.WriteFile(passwd, []byte("carol@localhost:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := load(t, r.dir, strings.Replace(basic, "xmpp_listener {", `xmpp_listener { authplainparameters = [ uri = "file://`+passwd+`" ]`, 1))
	if err := os.Rename(passwd, passwd+".away"); err != nil {
		t.Fatal(err)
	}
	r.Reload(t.Context(), cfg, nil)
	if !strings.Contains(r.log.String(), "configuration refused") || r.options(config.XMPPStreams).AuthPlain != "nats://accounts" {
		t.Error("a configuration whose accounts cannot be read was taken")
	}
	if err := os.Rename(passwd+".away", passwd); err != nil {
		t.Fatal(err)
	}
	r.Reload(t.Context(), cfg, nil)
	r.login("carol@localhost/a", "secret")
}

func TestReloadBeforeReady(t *testing.T) {
	t.Parallel()
	log := new(logBuffer)
	a := New(Options{Config: load(t, t.TempDir(), basic), Log: zerolog.New(log)})
	a.Reload(t.Context(), a.o.Config, nil) // SIGHUP may come at any moment
	if !strings.Contains(log.String(), "while starting") {
		t.Errorf("log %s", log)
	}
}

// TestNeedsRestart: what the process or a socket keeps from its start is told to need
// a restart when it changes; the rest is looked up for each connection.
func TestNeedsRestart(t *testing.T) {
	t.Parallel()
	elsewhere := map[string]string{"Kind": "another scope", "Address": "another scope", "Pos": "says nothing"}
	settings := map[string]string{
		"Enable": "enable = false", "Stream": "stream = server", "UseSSL": "use_ssl = true", "ListenBacklog": "listen_backlog = 7",
		"AcceptQueueBacklog": "accept_queue_backlog = 7", "EventsPerIter": "events_per_iter = 7", "Concurrency": "concurrency = 7", "Pool": "pool_name = p",
		"DisableNagle": "disable_nagle_algorithm = true", "TCPRecvBuffer": "tcp_recv_buffer_size = 7777", "TCPSendBuffer": "tcp_send_buffer_size = 7777",
		"MaxConnections": "max_connections = 7", "MaxConnectionsPerAddress": "max_connections_per_address = 7", "FileMode": "file_mode = 0600",
	}
	base := basic + "threadpool p { concurrency = 1 }\n"
	rt := reflect.TypeOf(config.Listen{})
	for i := range rt.NumField() {
		f := rt.Field(i)
		if !f.IsExported() || elsewhere[f.Name] != "" {
			continue
		}
		at := `xmpp_listener { listen "127.0.0.1:0" {`
		switch {
		case settings[f.Name] == "":
			t.Errorf("no option for %s", f.Name)
			continue
		case f.Name == "FileMode":
			at = "xmpp_listener {"
		case f.Name == "MaxConnections":
			at = `http_listener { listen "127.0.0.1:0" {`
		}
		if !strings.Contains(base, at) {
			t.Fatalf("no %s", at)
		}
		got := restarts(t, base, strings.Replace(base, at, at+" "+settings[f.Name], 1))
		name, _, _ := strings.Cut(settings[f.Name], " ")
		if len(got) != 1 || !strings.HasSuffix(got[0], name+": all") {
			t.Errorf("a change of %s: %v, want one notice", f.Name, got)
		}
	}
	for _, c := range []struct{ name, from, to, want string }{
		{"nothing", "", "", ""},
		{"a new listener", "http_listener {", `http_listener { listen "127.0.0.1:8025" {}`, "http_listener listen 127.0.0.1:8025 : all"},
		{"one that is gone", `listen "127.0.0.1:0" {} }` + "\ncontrol_listener", "}\ncontrol_listener", "http_listener listen 127.0.0.1:0 : all"},
		{"one switched off", `http_listener {`, `http_listener { enable = false`, "http_listener enable: all"},
		{"the data folder", "data_dir = data", "data_dir = other", "global data_dir: all"},
		{"the log", "data_dir = data", "data_dir = data\nlog_level = debug", "global log_level: all"},
		{"the broker", "data_dir = data", "data_dir = data\nnats { max_memory = 64m }", "nats : all"},
		{"a thread pool", "data_dir = data", "data_dir = data\nthreadpool p { concurrency = 3 }", "threadpool p : all"},
		{"the host name", "data_dir = data", "data_dir = data\nhostname = a.example", "global hostname: all"},
		{"expiration", "data_dir = data", "data_dir = data\nmessage_expiration = 3600", "global message_expiration: how long dead messages are kept"},
		{"sessions", "data_dir = data", "data_dir = data\nmax_sessions_per_account = 3", "global max_sessions_per_account: all"},
		{"suspended sessions", "data_dir = data", "data_dir = data\nmax_suspended_sessions = 3", "global max_suspended_sessions: all"},
		{"suspended sessions of an account", "data_dir = data", "data_dir = data\nmax_suspended_per_account = 3", "global max_suspended_per_account: all"},
		{"what is kept for accounts", "data_dir = data", "data_dir = data\nmax_blocked_per_account = 3", "global max_blocked_per_account: all"},
		{"the XMPP log", "xmpp {}", "xmpp { debug_level = debug }", "xmpp debug_level: all"},
		{"a peer", `xmpp_listener { listen "127.0.0.1:0" {`, `xmpp_listener { listen "127.0.0.1:0" { max_failed_logins = 3 peer "10.0.0.0/8" { always_deny = true }`, ""},
		{"an operator", "data_dir = data", "data_dir = data\noperator a { bearer_token = 0123456789abcdef }", ""},
	} {
		if got := restarts(t, basic, strings.Replace(basic, c.from, c.to, 1)); strings.Join(got, "; ") != c.want {
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
	}
}

// restarts are the changes from one text to another that need one.
func restarts(t *testing.T, before, after string) (all []string) {
	t.Helper()
	dir := t.TempDir()
	for _, c := range changes(load(t, dir, after), load(t, dir, before)) {
		if c.Restart != "" {
			all = append(all, c.Scope+" "+c.Option+": "+c.Restart)
		}
	}
	return all
}

// TestReloadAnswer: what has changed is said with its scope, place, and whether it is
// in effect; all mistakes are; and a certificate that cannot be read.
func TestReloadAnswer(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	text := strings.Replace(basic, "mcmt_reception = allow", "mcmt_reception = reject listen_backlog = 7", 1)
	cfg, err := config.LoadBytes(filepath.Join(r.dir, "test.conf"), []byte(text))
	done, err := r.Reload(t.Context(), cfg, err)
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]admin.ConfigChange)
	for _, c := range done.Changes {
		byName[c.Option] = c
	}
	if len(done.Changes) != 2 || byName["listen_backlog"].Restart != config.WholeRestart || byName["mcmt_reception"].Restart != "" {
		t.Errorf("changes %+v", done.Changes)
	}
	if c := byName["mcmt_reception"]; c.Was != "allow" || c.Is != "reject" || !strings.Contains(c.At, "test.conf:") || !strings.HasPrefix(c.Scope, "esmtp_listener") {
		t.Errorf("change %+v", c)
	}
	if len(done.Certificates) != 1 || done.Certificates[0].Replaced || done.Certificates[0].Error != "" || done.Certificates[0].Expires.Before(time.Now()) {
		t.Errorf("certificates %+v", done.Certificates)
	}
	if len(done.Pending) != 1 || done.Pending[0].Option != "listen_backlog" {
		t.Errorf("pending %+v", done.Pending)
	}
	file := done.Certificates[0].File
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	done, err = r.Reload(t.Context(), cfg, nil)
	if err != nil || len(done.Changes) != 0 || len(done.Pending) != 1 || done.Certificates[0].Error == "" || done.Certificates[0].Expires.IsZero() {
		t.Errorf("with a certificate that is gone: %+v, %v", done, err)
	}
	_, err = r.Reload(t.Context(), nil, config.Diagnostics{{Pos: config.Position{File: "a", Line: 3, Column: 4}, Message: "x", Hint: "y"}, {Message: "z"}})
	invalid, ok := errors.AsType[*admin.Invalid](err)
	if !ok || len(invalid.Mistakes) != 2 || invalid.Mistakes[0] != (admin.Finding{At: "a:3:4", Message: "x", Hint: "y"}) {
		t.Errorf("mistakes: %v", err)
	}
}

// TestAccountStores: whoever can log in somewhere has an account; whoever is in a
// store that no client listener names has none.
func TestAccountStores(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"one": "alice@localhost:secret\nbob:secret\n", "two": "carol@localhost:secret\n", "mail": "dave@localhost:secret\n",
		"htdigest": "erin:localhost:0123456789abcdef0123456789abcdef\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, strings.ReplaceAll(`data_dir = data
xmpp {}
xmpp_listener {
  authplainparameters = [ uri = "file://DIR/one" ]
  listen "127.0.0.1:0" {}
}
xmpp_listener { listen "127.0.0.1:0" { authplainparameters = [ uri = "file://DIR/two" ] } }
xmpp_listener {
  listen "127.0.0.1:0" {
    authplainparameters = [ uri = "file://DIR/one" ]
    peer "10.0.0.0/8" { authdigestmd5parameters = [ uri = "digest://DIR/htdigest" ] }
  }
}
esmtp_listener { authplainparameters = [ uri = "file://DIR/mail" ] listen "127.0.0.1:0" {} }
domain localhost { xmpp_role = server }
`, "DIR", dir))
	r.add("frank@localhost", "secret") // in the built-in store, with which nobody logs in here
	for user, want := range map[string]bool{"alice": true, "bob": true, "carol": true, "erin": true, "dave": false, "frank": false, "nobody": false} {
		ok, err := users{r.App}.Exists(t.Context(), jid.MustParse(user+"@localhost"))
		if err != nil || ok != want {
			t.Errorf("%s: %v %v, want %v", user, ok, err, want)
		}
	}
	// Three sockets of one label are three sockets.
	var stores []string
	for _, s := range r.sockets {
		if s.scope.Kind == config.XMPPStreams {
			stores = append(stores, filepath.Base(r.peer(s, netip.Addr{}).AuthPlain))
		}
	}
	if strings.Join(stores, " ") != "one two one" {
		t.Errorf("stores by listener: %v", stores)
	}
}
