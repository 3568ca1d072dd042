package app

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

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

// TestNeedsRestart: each field of a listen scope that a socket keeps from its
// opening is told to need a restart when it changes; the others are looked up for
// each connection.
func TestNeedsRestart(t *testing.T) {
	t.Parallel()
	elsewhere := map[string]string{"Kind": "key", "Address": "key", "Enable": "switches the socket", "Pos": "says nothing"}
	before := load(t, t.TempDir(), basic)
	rt := reflect.TypeOf(config.Listen{})
	for i := range rt.NumField() {
		f := rt.Field(i)
		if !f.IsExported() || elsewhere[f.Name] != "" {
			continue
		}
		l := *before.Listeners[0]
		v := reflect.ValueOf(&l).Elem().Field(i)
		if f.Name == "Stream" {
			v = reflect.Value{} // a socket that changes it to another is not served any more
		}
		if v.IsValid() {
			v.Set(other(v))
		} else {
			l.Stream = config.StreamServer
		}
		after := *before
		after.Listeners = append([]*config.Listen{&l}, before.Listeners[1:]...)
		if got := restarts(t, before, &after); len(got) != 1 {
			t.Errorf("a change of %s: %v, want one notice", f.Name, got)
		}
	}
	for _, c := range []struct{ name, from, to, want string }{
		{"nothing", "", "", ""},
		{"a new listener", "http_listener {", `http_listener { listen "127.0.0.1:8025" {}`, "http_listener 127.0.0.1:8025 is new"},
		{"one that is gone", `listen "127.0.0.1:0" {} }` + "\ncontrol_listener", "}\ncontrol_listener", "http_listener 127.0.0.1:0 is gone"},
		{"one switched off", `http_listener {`, `http_listener { enable = false`, "http_listener 127.0.0.1:0 is switched"},
		{"the data folder", "data_dir = data", "data_dir = other", "data_dir"},
		{"the log", "data_dir = data", "data_dir = data\nlog_level = debug", "log_level, log_format"},
		{"the broker", "data_dir = data", "data_dir = data\nnats { max_memory = 64m }", "nats"},
		{"a thread pool", "data_dir = data", "data_dir = data\nthreadpool p { concurrency = 3 }", "threadpool"},
		{"the host name", "data_dir = data", "data_dir = data\nhostname = a.example", "hostname"},
		{"expiration", "data_dir = data", "data_dir = data\nmessage_expiration = 3600", "message_expiration of dead messages"},
		{"sessions", "data_dir = data", "data_dir = data\nmax_sessions_per_account = 3", "max_sessions_per_account"},
		{"suspended sessions", "data_dir = data", "data_dir = data\nmax_suspended_sessions = 3", "max_suspended_sessions"},
		{"suspended sessions of an account", "data_dir = data", "data_dir = data\nmax_suspended_per_account = 3", "max_suspended_per_account"},
		{"what is kept for accounts", "data_dir = data", "data_dir = data\nmax_blocked_per_account = 3", "what is kept for accounts: archive…, max_blocked_per_account, max_private_…, max_roster_…, max_upload_size, max_vcard_size, upload_…"},
		{"the XMPP log", "xmpp {}", "xmpp { debug_level = debug }", "debug_level"},
	} {
		dir := t.TempDir()
		got := restarts(t, load(t, dir, basic), load(t, dir, strings.Replace(basic, c.from, c.to, 1)))
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
	}
}

func restarts(t *testing.T, before, after *config.Config) []string {
	t.Helper()
	a, err := newState(before)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newState(after)
	if err != nil {
		t.Fatal(err)
	}
	return needsRestart(a, b)
}

// other is a value that differs.
func other(v reflect.Value) reflect.Value {
	switch x := v.Interface().(type) {
	case bool:
		return reflect.ValueOf(!x)
	case string:
		return reflect.ValueOf(x + "x")
	case *bool:
		return reflect.ValueOf(new(bool))
	case time.Duration:
		return reflect.ValueOf(x + time.Second)
	}
	n := reflect.New(v.Type()).Elem()
	if v.CanUint() {
		n.SetUint(v.Uint() + 1)
	} else {
		n.SetInt(v.Int() + 1)
	}
	return n
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
