package config

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// TestEveryOptionHasEffect sets every option in every scope that it is valid in,
// and sees the typed result change, or a warning that says that it is not in
// effect. An option that is parsed and then ignored fails here.
func TestEveryOptionHasEffect(t *testing.T) {
	t.Parallel()
	l := loads{files: newTestFiles(t), dumps: make(map[string]string)}
	cases := 0
	t.Run("options", func(t *testing.T) {
		for _, o := range table {
			for _, s := range scopes {
				if o.scopes&s.bit == 0 {
					continue
				}
				for _, listener := range o.listenersToTry(s) {
					cases++
					t.Run(o.name, func(t *testing.T) {
						t.Parallel()
						checkEffectOf(t, o, s, listener, &l)
					})
				}
			}
		}
	})
	if cases < 250 {
		t.Errorf("only %d cases: the walk over the table is broken", cases)
	}
}

// listenersToTry are the kinds of listener to look at for an option in a scope:
// all in which it is valid, or one where the scope stands in none.
func (o *option) listenersToTry(s *scope) []scopeSet {
	if s.bit&inListeners != 0 {
		return []scopeSet{s.bit}
	}
	var kinds []scopeSet
	for _, k := range []scopeSet{inXMPPListener, inESMTPListener, inHTTPListener, inControlListener} {
		if o.listeners()&k != 0 {
			kinds = append(kinds, k)
		}
	}
	if s.bit&(inListen|inPeer|inPathways) != 0 {
		return kinds
	}
	return kinds[:1]
}

// loads are configurations that were loaded for TestEveryOptionHasEffect.
type loads struct {
	files testFiles

	mu    sync.Mutex
	dumps map[string]string // by their text: most options are compared with the same one
}

// load reads a configuration.
func (l *loads) load(t *testing.T, name, text string) *Config {
	t.Helper()
	c, err := LoadBytes(l.files.dir+"/test.conf", []byte(text))
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return c
}

// dump is what a configuration amounts to; empty: it is none.
func (l *loads) dump(t *testing.T, name, text string) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.dumps[text]
	if !ok {
		if c := l.load(t, name, text); c != nil {
			d = dump(c)
		}
		l.dumps[text] = d
	}
	return d
}

func checkEffectOf(t *testing.T, o *option, s *scope, listener scopeSet, l *loads) {
	t.Helper()
	setting := o.name + " = " + sample(o, l.files)
	name := fmt.Sprintf("%s in %s of %s", setting, s.name, listener)
	text := func(setting string) string { return wiringText(o, s, listener, setting, l.files) }
	without, with := l.dump(t, name, text(baseline[s.bit][o.name])), l.load(t, name, text(setting))
	if with == nil || without == "" {
		return
	}
	if s.planned || o.planned&s.bit != 0 || o.inert != "" {
		if text := fmt.Sprint(with.Warnings); !strings.Contains(text, "not yet in effect") && !strings.Contains(text, "has no effect") {
			t.Errorf("%s: is not in effect, and no warning says so", name)
		}
		return
	}
	if dump(with) == without {
		t.Errorf("%s: changes nothing", name)
	}
}

// baseline are other values, for options that cannot be left out.
var baseline = map[scopeSet]map[string]string{
	inFilter:       {"namespace": "namespace = urn:other", "max": "max = 1", "type": "type = empty_body", "pattern": "pattern = other", "rate": "rate = \"1/1\""},
	inRelay:        {"user": "user = other", "password": "password = other"},
	inLink:         {"type": "type = component jid = base.example gateway = \"h.example:1\" password = x", "jid": "jid = \"a@p1.example\"", "password": "password = other"},
	inScript:       {"source": "source = key.pem"},
	inWebhook:      {"url": `url = "https://other.example/"`, "secret": otherKeySet, "secret_file": otherKeySet},
	inOperator:     {"bearer_token": "bearer_token = 0123456789abcdef", "token_file": "bearer_token = 0123456789abcdef"},
	inRecipientMap: {"match": `match = "(.*)@z.example"`, "jid": "jid = z.example"},
}

// Keys of webhooks.
const (
	oneKey   = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	otherKey = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="

	withKey     = `secret = "` + oneKey + `"`
	otherKeySet = `secret = "` + otherKey + `"`
)

// sample is a value of an option that is not its default.
func sample(o *option, f testFiles) string {
	if o.scopes == inFilter && o.name == "type" {
		return "markers" // which needs no option of its own
	}
	switch {
	case o.scopes == inOperator && o.name == "bearer_token":
		return "fedcba9876543210"
	case o.scopes == inOperator && o.name == "token_file":
		return `"` + f.token + `"`
	}
	if o.scopes == inLink {
		switch o.name {
		case "type":
			return `client jid = "a@p1.example" password = x`
		case "jid":
			return `"b@p1.example"`
		case "reply_to":
			return `"desk@base.example"`
		}
	}
	if o.name == "outcomes" {
		return "( failed expired )"
	}
	named := map[string]string{
		"secret_file": f.webhookKeys, "secret": oneKey, "url": "https://hooks.example/gateway", "events_size": "77m",
		"tls_certificate": f.both, "tls_key": f.key, "tls_client_ca": f.cert, "tls_ca": f.cert,
		"pathway": "taken", "pool_name": "pool", "credentials": f.passwd, "source": f.script,
		"xmpp_part_from": "keep", "logfile": f.dir + "/log", "jid": "$1@other.example", "match": "(.*)@map.example",
		"urls": "nats://nats.example:4222", "mail_gateway_domain": "gw.base.example",
		"relay_hosts": "10.0.0.0/8", "max": "77", "enable": "false", "enabled": "false",
		"routes": "xmpp-server://host.example:5269", "replicas": "3", "tls_ciphers": "ECDHE+AESGCM",
		"durability": "power", "websocket_url": "wss://chat.example/ws", "max_store": "512m", "disk_reserve": "77m", "max_memory": "77m",
		"archive_expiration": "77h", "archive_size": "77m", "upload_expiration": "77h", "media_expiration": "77h", "trace_expiration": "77h", "upload_size": "77m", "upload_url": "https://files.example/f/", "slices": "7", "max_stanza_size": "77k", "stream": "server", "interval": "77",
	}
	if v, ok := named[o.name]; ok {
		return `"` + v + `"`
	}
	switch o.kind {
	case kindNumber, kindDuration:
		return "77"
	case kindSize:
		return "7777"
	case kindBoolean:
		if o.def == "true" {
			return "false"
		}
		return "true"
	case kindMode:
		return "0600"
	case kindEnum:
		for _, w := range o.words {
			if w != o.def && !strings.HasPrefix(o.def, "( "+w) {
				return w
			}
		}
	case kindRate:
		return `"77/7"`
	case kindAuth:
		return `[ uri = "file://` + f.passwd + `" ]`
	case kindCIDR:
		return `"192.0.2.0/24"`
	case kindAddress:
		return "host.example:77"
	case kindDomain:
		return "sample.example"
	}
	return `"sample"`
}

// companions are settings without which an option cannot be set.
func companions(o *option, s *scope, f testFiles) string {
	switch {
	case s.bit == inFilter && o.name != "type":
		return filterCompanions[o.name]
	case s.bit == inXMPPLogger && strings.HasSuffix(o.name, "_format") && o.name != "log_heartbeat_format":
		return strings.TrimSuffix(o.name, "_format") + " = true"
	case s.bit == inFilter:
		return "action = drop"
	case s.bit == inRecipientMap && o.name == "match":
		return `jid = "$1@x.example"`
	case s.bit == inRecipientMap:
		return `match = "(.*)@x.example"`
	case o.name == "tls_key" && s.bit&(inBindings|inDomain) == 0 && s.bit != inNATS:
		return `tls_certificate = "` + f.both + `"`
	}
	switch s.bit {
	case inNATS:
		return natsCompanions(o, f)
	case inLink:
		return linkCompanions(o)
	case inRelay:
		return relayCompanions[o.name]
	case inWebhook:
		return webhookCompanions(o)
	case inOperator:
		if o.name == "role" {
			return "bearer_token = 0123456789abcdef"
		}
	}
	return ""
}

// relayCompanions are the settings that an option of relay goes with.
var relayCompanions = map[string]string{
	"user":     `gateway = "h.example:587" password = x`,
	"password": `gateway = "h.example:587" user = x`,

	"max_retry_interval": "retry_interval = 7",
}

var filterCompanions = map[string]string{
	"action": "type = chat_state", "direction": "type = chat_state", "mode": "type = chat_state", "domains": "type = chat_state",
	"interval": "type = chat_state action = throttle", "strip": "type = chat_state",
	"namespace": "type = element element = x", "element": "type = element namespace = urn:x", "max": "type = size",
	"pattern": "type = body_regex", "rate": "type = rate",
}

// wiringText is a configuration in which the setting stands in a scope.
func wiringText(o *option, s *scope, listener scopeSet, setting string, f testFiles) string {
	with := companions(o, s, f)
	set := with + "\n" + setting + "\n"
	at := func(bit scopeSet) string {
		if s.bit == bit {
			return set
		}
		return ""
	}
	text := at(inGlobal) + "xmpp {" + at(inXMPP) + "}\n" +
		"domain base.example { xmpp_role = server }\n"
	switch { // not more than it needs: it is read hundreds of times
	case s.bit == inThreadpool || o.name == "pool_name":
		text += "threadpool pool {" + at(inThreadpool) + "}\n"
	case o.name == "pathway":
		text += "pathway taken { max_message_size = 7m max_failed_logins = 7 bearer_token = x idle_time = 7 always_deny = true }\n"
	}
	switch s.bit {
	case inPathwayGroup:
		text += "pathway_group group {" + set + " pathway grouped { } }\n"
	case inPathway:
		text += "pathway alone {" + set + "}\n"
	}
	use := map[scopeSet]string{inPathway: "pathway = alone", inPathwayGroup: "pathway = grouped"}[s.bit]
	listeners := listener
	if s.bit == inGlobal {
		listeners = inListeners
	}
	for i, name := range listeners.names() {
		text += fmt.Sprintf("%s { %s %s listen 127.0.0.1:%d { %s peer \"10.0.0.0/8\" { %s } } }\n",
			name, at(scopeByName(name).bit), use, 7000+i, at(inListen), at(inPeer))
	}
	switch s.bit {
	case inDomain, inNATS, inFilter, inRecipientMap, inXMPPLogger, inRelay, inLink, inWebhook, inDKIM, inOperator, inBinding, inBindingGroup:
		label := " sample.example "
		if s.label == labelNone {
			label = " "
		}
		text += s.name + label + "{" + set + "}\n"
	case inScriptlet:
		text += "scriptlet {" + set + " script x { source = \"" + f.script + "\" } }\n"
	case inScript:
		text += "scriptlet { script x {" + set + "} }\n"
	}
	return text
}

// webhookCompanions are the settings without which no webhook is one.
func webhookCompanions(o *option) string {
	switch o.name {
	case "url":
		return withKey
	case "secret", "secret_file":
		return `url = "https://hooks.example/"`
	case "retry_interval":
		return withKey + "\nurl = \"https://hooks.example/\"\nmax_retry_interval = 99"
	}
	return withKey + "\nurl = \"https://hooks.example/\""
}

// linkCompanions are the settings without which no link is one.
func linkCompanions(o *option) string {
	with := ""
	for _, c := range [][2]string{{"type", "type = client"}, {"jid", `jid = "a@p1.example"`}, {"password", "password = x"}} {
		if o.name != "type" && o.name != c[0] {
			with += c[1] + "\n"
		}
	}
	return with
}

// natsCompanions are the settings that an option of nats goes with.
func natsCompanions(o *option, f testFiles) string {
	switch o.name {
	case "password":
		return `urls = "nats://a.example" user = u`
	case "tls_key":
		return `urls = "nats://a.example" tls_certificate = "` + f.both + `"`
	case "credentials", "user", "token", "tls_ca", "tls_certificate", "replicas", "slices", "events", "events_deferred", "events_expiration", "events_size":
		return `urls = "nats://a.example"`
	}
	return ""
}

// dump writes out all of a configuration but positions.
func dump(c *Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v %+v %+v %+v %v %v %v %+v %+v\n", c.DataDir, c.Hostname, c.Log, c.NATS, c.MCMT, c.MailGatewayDomain, c.MessageExpiration, c.TraceExpiration, c.Filters, c.ThreadPools)
	fmt.Fprintf(&b, "%+v\n", c.Outgoing("elsewhere.example"))
	fmt.Fprintf(&b, "%+v %+v\n", c.Mail("elsewhere.example"), c.Mail("sample.example"))
	fmt.Fprintln(&b, c.Accounts, c.Media, c.DenyUnknown, c.Resolvers, c.RelayDomains)
	for _, o := range c.Operators {
		o.Pos = Position{}
		fmt.Fprintf(&b, "%+v %s\n", o, o.Token.Reveal())
	}
	fmt.Fprintf(&b, "%+v %s\n", c.Relay, c.Relay.Password.Reveal())
	fmt.Fprintln(&b, c.XMPP.Enabled, c.XMPP.DebugLevel != nil, c.XMPP.MaxSessionsPerAccount, c.XMPP.MaxSuspendedPerAccount, c.XMPP.MaxSuspendedSessions)
	for _, d := range c.Domains {
		fmt.Fprintln(&b, d.Name, d.Role, d.DialbackSecret, d.ComponentSecret, d.Outgoing)
	}
	for _, l := range c.Links {
		l.Pos = Position{}
		fmt.Fprintf(&b, "%+v %s\n", l, l.Password.Reveal())
	}
	for _, w := range c.Webhooks {
		w.Pos = Position{}
		fmt.Fprintf(&b, "%+v\n", w)
		for _, s := range w.Secrets {
			fmt.Fprintln(&b, s.Reveal())
		}
	}
	for _, s := range c.Scripts {
		fmt.Fprintln(&b, s.Name, s.Path, s.Text, s.Level != nil)
	}
	for _, g := range c.Loggers {
		fmt.Fprintln(&b, g.Name, g.File, g.Mode, g.Heartbeat, g.Formats, g.Level != nil)
	}
	for _, m := range c.RecipientMaps {
		fmt.Fprintln(&b, m.Name, m.Match, m.JID)
	}
	for _, l := range c.Listeners {
		x := *l
		x.base, x.peers, x.Pos = nil, nil, Position{}
		if x.DisableNagle != nil {
			fmt.Fprint(&b, "nagle ", *x.DisableNagle)
			x.DisableNagle = nil
		}
		fmt.Fprintf(&b, "%+v\n", x)
		for _, addr := range []string{"10.1.2.3", "192.0.2.1"} {
			fmt.Fprintf(&b, "%s %+v\n", addr, *l.For(netip.MustParseAddr(addr)))
		}
	}
	return b.String()
}
