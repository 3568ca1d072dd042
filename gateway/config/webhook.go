package config

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Webhook is a receiver that hears by HTTP how messages end.
type Webhook struct {
	Name string
	URL  string
	// Secrets are the keys of its signatures, whsec_ and base64; one at least.
	Secrets []Secret
	// Outcomes and Domains say which events it gets. None: all, but for deferrals.
	Outcomes, Domains []string
	// Timeout bounds one attempt.
	Timeout time.Duration
	// MaxBatch is how many events one request has. One: it is the event itself.
	MaxBatch int
	// RetryInterval and MaxRetryInterval are the first and the longest pause between
	// attempts.
	RetryInterval, MaxRetryInterval time.Duration
	// GiveUpAfter is the age of an event beyond which it is not tried again. Zero: none is.
	GiveUpAfter time.Duration
	// CA is the path of a PEM file with the authorities. Empty: the system's.
	CA string
	// PlainHTTP is whether an http: URL may lead to another machine.
	PlainHTTP bool
	Pos       Position
}

// Deferred is what is no end of a message: that it waits. As receivers take each event
// for an end unless they know better, only those get it that ask for it.
const Deferred = "deferred"

// outcomeWords are the ends of messages, and Deferred.
var outcomeWords = []string{"delivered", "filtered", "relayed", "failed", "expired", "dropped", Deferred}

// Wants says whether a webhook gets the events of an outcome.
func (w Webhook) Wants(outcome string) bool {
	if len(w.Outcomes) == 0 {
		return outcome != Deferred
	}
	return slices.Contains(w.Outcomes, outcome)
}

// WantsDeferred says whether it gets those of messages that begin to wait.
func (w Webhook) WantsDeferred() bool { return w.Wants(Deferred) }

// webhookOptions hold for webhooks.
var webhookOptions = []*option{
	{name: "url", kind: kindURI, schemes: []string{"https", "http"}, scopes: inWebhook,
		doc: "where events are posted to; redirects are not followed. It has to be set"},
	{name: "secret", kind: kindString, list: true, secret: true, scopes: inWebhook,
		doc: "key that events are signed with (HMAC-SHA-256, Standard Webhooks): whsec_ and 24 to 64 bytes in base64; each of several signs, while one takes the place of another. It, or secret_file, has to be set"},
	{name: "secret_file", kind: kindPath, scopes: inWebhook,
		doc: "file with such keys, one on each line"},
	{name: "outcomes", kind: kindEnum, words: outcomeWords, list: true, defDoc: "all but deferred", scopes: inWebhook,
		doc: "only events of these; deferred is no end: a message waits, which is told once, when it begins to"},
	{name: "timeout", kind: kindDuration, def: "15", min: 1, max: 300, scopes: inWebhook,
		doc: "how long the receiver has to answer"},
	{name: "max_batch", kind: kindNumber, def: "1", min: 1, max: 500, scopes: inWebhook,
		doc: "events in one request; with 1 its body is the event, with more a list of events, also where there is one"},
	{name: "retry_interval", kind: kindDuration, def: "10", min: 1, scopes: inWebhook,
		doc: "pause before the first retry of an event; doubles, with jitter"},
	{name: "max_retry_interval", kind: kindDuration, def: "1800", min: 1, scopes: inWebhook,
		doc: "longest pause between retries of an event, unless the receiver asks for a longer one (Retry-After, up to a day)"},
	{name: "give_up_after", kind: kindDuration, def: "3d", scopes: inWebhook,
		doc: "age of an event beyond which it is not tried again when an attempt has failed, and the next is; 0: events wait for as long as the journal has them, a week"},
	{name: "allow_plain_http", kind: kindBoolean, def: "false", scopes: inWebhook,
		doc: "allow an http: URL that is not on this machine: everybody on the way can read the events"},
}

// webhookName is what stands in paths of the admin HTTP and in labels of metrics.
var webhookName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// buildWebhooks makes a Webhook of each scope that is good.
func (t *tree) buildWebhooks(c *Config) {
	for _, n := range t.root.of(inWebhook) {
		v := t.view(n)
		w := Webhook{
			Name: n.label, URL: v.text("url"), Outcomes: v.words("outcomes"), Domains: v.words("domains"),
			Timeout: v.duration("timeout"), MaxBatch: v.number("max_batch"),
			RetryInterval: v.duration("retry_interval"), MaxRetryInterval: v.duration("max_retry_interval"),
			GiveUpAfter: v.duration("give_up_after"), CA: v.text("tls_ca"), PlainHTTP: v.flag("allow_plain_http"), Pos: n.pos,
		}
		found := len(t.report.found)
		if !webhookName.MatchString(n.label) {
			t.report.errorf(n.pos, "", "a webhook is called by letters, digits, dots, - and _, 64 at most")
		}
		t.checkWebhookURL(n, v)
		t.checkWebhookDomains(v, &w)
		w.Secrets = t.webhookSecrets(n, v)
		if w.MaxRetryInterval < w.RetryInterval {
			t.report.errorf(v.pos("max_retry_interval"), "", "max_retry_interval is shorter than retry_interval")
		}
		if s := n.settings["tls_ca"]; s != nil && !s.bad {
			t.checkAuthorities(s)
		}
		if len(t.report.found) == found {
			c.Webhooks = append(c.Webhooks, w)
		}
	}
}

// checkWebhookURL reports a URL that events must not go to.
func (t *tree) checkWebhookURL(n *node, v view) {
	s := v.set("url")
	if s == nil {
		if n.settings["url"] == nil {
			t.report.errorf(n.pos, "", "webhook %s has no url", n.label)
		}
		return
	}
	u, err := url.Parse(s.value.(string))
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		t.report.errorf(s.valuePos, "write https://HOST/PATH", "url: there is no host in it")
	case u.Fragment != "":
		t.report.errorf(s.valuePos, "", "url: what follows # is not sent to the receiver")
	case strings.EqualFold(u.Scheme, "http") && !v.flag("allow_plain_http") && !loopback(hostPort(u)):
		t.report.errorf(s.valuePos, "write https, or set allow_plain_http = true", "url: %s is not on this machine, and without TLS everybody on the way can read the events", u.Host)
	}
}

// hostPort is the host with a port, whichever it is.
func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":80"
}

// checkWebhookDomains prepares the domains, and reports those that are none.
func (t *tree) checkWebhookDomains(v view, w *Webhook) {
	for i, d := range w.Domains {
		dot := ""
		name, sub := strings.CutPrefix(strings.TrimPrefix(d, "*"), ".")
		if sub {
			dot = "."
		}
		prepared, err := readDomain(name)
		if err != nil {
			t.report.errorf(v.pos("domains"), "", "domains: %q is not a domain", d)
			return
		}
		w.Domains[i] = dot + prepared.(string)
	}
}

// webhookSecrets are those of the scope and of its file.
func (t *tree) webhookSecrets(n *node, v view) (all []Secret) {
	for _, text := range v.words("secret") {
		all = t.webhookSecret(all, v.set("secret"), text)
	}
	if s := v.set("secret_file"); s != nil {
		text, ok := t.readFile(s)
		before := len(t.report.found)
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				all = t.webhookSecret(all, s, line)
			}
		}
		if ok && len(all) == 0 && len(t.report.found) == before {
			t.report.errorf(s.valuePos, "", "secret_file: %s holds no key", s.value)
		}
	}
	if n.settings["secret"] == nil && n.settings["secret_file"] == nil {
		t.report.errorf(n.pos, secretHint, "webhook %s has no secret", n.label)
	}
	return all
}

const secretHint = `make one: echo "whsec_$(openssl rand -base64 32)"`

func (t *tree) webhookSecret(all []Secret, s *setting, text string) []Secret {
	if err := checkSecret(text); err != "" {
		t.report.errorf(s.valuePos, secretHint, "%s: %s", s.option.name, err)
		return all
	}
	return append(all, Secret(text))
}

// checkSecret says what is wrong with a key, without naming it.
func checkSecret(text string) string {
	encoded, ok := strings.CutPrefix(text, "whsec_")
	if !ok {
		return "a key begins with whsec_"
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil:
		return "what follows whsec_ is not base64"
	case len(key) < 24 || len(key) > 64:
		return "a key has 24 to 64 bytes"
	}
	return ""
}
