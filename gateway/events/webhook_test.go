package events

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
)

const key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestSign: the vector that the libraries of Standard Webhooks are tested with.
func TestSign(t *testing.T) {
	t.Parallel()
	s := newSigner([]config.Secret{key})
	at := time.Unix(1614265330, 0)
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := s.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	two := newSigner([]config.Secret{"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", key})
	if got := two.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`)); !strings.HasSuffix(got, " "+want) || !strings.HasPrefix(got, "v1,") {
		t.Errorf("with two keys: %s", got)
	}
}

// hook is a webhook to an address.
func hook(url string, change ...func(*config.Webhook)) *webhook {
	c := config.Webhook{Name: "crm", URL: url, Secrets: []config.Secret{key}, Timeout: 10 * time.Second, MaxBatch: 1, PlainHTTP: true}
	for _, f := range change {
		f(&c)
	}
	return newWebhook(c, "1")
}

func eventsOf(t *testing.T, n int) []*Event {
	t.Helper()
	all := make([]*Event, n)
	for i := range all {
		e, err := newEvent(record(t, func(o *custody.Outcome) { o.Attempts = i }))
		if err != nil {
			t.Fatal(err)
		}
		all[i] = e
	}
	return all
}

// TestAnswers: what an answer means, and what an operator sees of it.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		says   string // what is noted
		taken  bool
		gone   bool
		after  time.Duration
	}{
		"200":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }, "200 OK", true, false, 0},
		"204":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "204 No Content", true, false, 0},
		"an odd one": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(299) }, "299", true, false, 0},
		"410":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }, "410 Gone", false, true, 0},
		"500 with a text that is not for a terminal": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = w.Write([]byte("no\x1b[31m database\r\n\n  today\xff"))
		}, "500 Internal Server Error: no?[31m database today?", false, false, 0},
		"a long text": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = w.Write([]byte(strings.Repeat("x", 1<<20)))
		}, "400 Bad Request: " + strings.Repeat("x", quoteBytes) + "…", false, false, 0},
		"429 that asks for time": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(429)
		}, "429 Too Many Requests", false, false, 2 * time.Minute},
		"503 that asks for a year": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "31536000")
			w.WriteHeader(503)
		}, "503 Service Unavailable", false, false, 24 * time.Hour},
		"a redirect is not followed": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("followed a redirect")
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(307)
		}, "307 Temporary Redirect", false, false, 0},
		"less than it has promised": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("short"))
		}, "200 OK", true, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(tc.answer)
			defer srv.Close()
			h := hook(srv.URL)
			defer h.close()
			answer, err := h.send(t.Context(), eventsOf(t, 1))
			if answer != tc.says || (err == nil) != tc.taken {
				t.Errorf("answer %q, %v", answer, err)
			}
			var r *refusal
			if errors.As(err, &r) && (r.gone != tc.gone || r.after != tc.after) || err != nil && r == nil {
				t.Errorf("refusal %+v, %v", r, err)
			}
		})
	}
}

// TestNoAnswer: what is no answer of HTTP is an error that does not name the path, and
// takes no longer than the timeout.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(release)
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	go func() {
		for {
			c, err := raw.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 this is a mail server\r\n"))
			_ = c.Close()
		}
	}()
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	secret := func(c *config.Webhook) { c.Timeout = time.Second; c.URL += "/s3cr3t?t0ken=x" }
	for name, tc := range map[string]struct{ url, want string }{
		"nobody listens":     {"http://127.0.0.1:1", "refused"},
		"it never answers":   {slow.URL, "no answer within 1s"},
		"it is not HTTP":     {"http://" + raw.Addr().String(), ""},
		"nobody trusts it":   {tls.URL, "certificate"},
		"no such host":       {"http://nowhere.invalid", ""},
		"TLS where is none":  {strings.Replace(slow.URL, "http", "https", 1), ""},
		"HTTP where is TLS":  {strings.Replace(tls.URL, "https", "http", 1), "400"},
		"not even an answer": {"http://127.0.0.1:1/\x7f", ""},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := hook(tc.url, secret).send(ctx, eventsOf(t, 1))
		cancel()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		if err != nil && (strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "t0ken")) {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hook(slow.URL).send(ctx, eventsOf(t, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("broken off: %v", err)
	}
}

// TestAuthorities: the certificate is checked against tls_ca, and the file is a part of
// what a webhook is made of.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	path := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	trusting := func(c *config.Webhook) { c.CA = path }
	h := hook(srv.URL, trusting)
	defer h.close()
	if _, err := h.send(t.Context(), eventsOf(t, 1)); err != nil {
		t.Error(err)
	}
	before := h.of()
	write([]byte("nothing"))
	bad := hook(srv.URL, trusting)
	if _, err := bad.send(t.Context(), eventsOf(t, 1)); err == nil {
		t.Error("sent without authorities")
	}
	if reflect.DeepEqual(bad.of(), before) {
		t.Error("another file, and the same webhook")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := hook(srv.URL, trusting).send(t.Context(), eventsOf(t, 1)); err == nil {
		t.Error("sent without the file")
	}
}

// TestOnlyHere: without allow_plain_http nothing is sent in clear text to another machine,
// whatever a name leads to.
func TestOnlyHere(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true,
		"192.0.2.1:80": false, "[2001:db8::1]:80": false, "0.0.0.0:80": false, "x": false,
	} {
		if err := onlyHere("tcp", address, nil); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
	h := hook("http://192.0.2.1/", func(c *config.Webhook) { c.PlainHTTP = false })
	if _, err := h.send(t.Context(), eventsOf(t, 1)); err == nil || !strings.Contains(err.Error(), "allow_plain_http") {
		t.Errorf("to another machine: %v", err)
	}
}

// TestBatch: several events are one body, with an id that the same events have each time.
func TestBatch(t *testing.T) {
	t.Parallel()
	h := hook("http://127.0.0.1/", func(c *config.Webhook) { c.MaxBatch = 10 })
	all := eventsOf(t, 3)
	for i, e := range all {
		e.ID = fmt.Sprint("evt_", i)
	}
	id, body, err := h.body(all)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ID, Type string
		Version  int
		Data     []Event
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != id || got.Type != "messages" || got.Version != Version || len(got.Data) != 3 || got.Data[2].Data.Attempts != 2 {
		t.Errorf("%s: %s", id, body)
	}
	if again, same, err := h.body(all); err != nil || again != id || string(same) != string(body) {
		t.Errorf("the second time %s, %v: %s", again, err, same)
	}
	if other, _, err := h.body(all[:2]); err != nil || other == id {
		t.Errorf("other events have the id %s, %v", other, err)
	}
	if one, body, err := h.body(all[:1]); err != nil || !strings.HasPrefix(one, "evts_") || !strings.Contains(string(body), `"data":[{`) {
		t.Errorf("a batch of one is %s: %s, %v", one, body, err)
	}
}

// TestPlace: an operator sees where a webhook leads to, and no secret.
func TestPlace(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"https://hooks.example":                 "https://hooks.example",
		"https://hooks.example/":                "https://hooks.example",
		"https://u:p@hooks.example:8443/T0/B0":  "https://hooks.example:8443/…",
		"http://127.0.0.1:80/?key=x":            "http://127.0.0.1:80/…",
		"http://[::1]:80/a%2fb":                 "http://[::1]:80/…",
		"https://hooks.example/\x00 not a path": "?",
	} {
		if got := place(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// TestEvents: receivers do not hinder each other, a reload changes them, orders reach
// them, and all is over when Run has returned.
func TestEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var fast, other atomic.Int64
	blocked := make(chan struct{})
	serve := func(do func(*http.Request)) *httptest.Server {
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { do(r) }))
		t.Cleanup(srv.Close)
		return srv
	}
	quick := serve(func(*http.Request) { fast.Add(1) })
	second := serve(func(*http.Request) { other.Add(1) })
	stuck := serve(func(r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-blocked:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(blocked) })
	conf := func(name, url string) config.Webhook {
		c := hook(url).conf
		c.Name, c.RetryInterval, c.MaxRetryInterval = name, time.Second, time.Second
		return c
	}
	p := w.run(config.NATSEvents{Size: 1, Expiration: 1}, conf("stuck", stuck.URL), conf("quick", quick.URL))
	defer p.stop()
	await := func(what string, holds func() bool) {
		t.Helper()
		for begin := time.Now(); !holds(); {
			if time.Since(begin) > time.Minute {
				t.Fatalf("no %s", what)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	states := func() (all string) {
		list, err := p.List(t.Context())
		if err != nil {
			return err.Error()
		}
		for _, s := range list {
			all += s.Name + " " + s.State + ","
		}
		return all
	}
	await("receivers", func() bool { return states() == "event.> idle,stuck idle,quick idle," })
	for i := range 3 {
		w.ended(fmt.Sprint(i), "a@b.example", custody.Delivered)
	}
	await("events at the quick one", func() bool { return fast.Load() == 3 })
	await("events in the stream", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.published) == 3
	})
	if e := w.published[0]; e.Kind != "delivered" || e.Of != "b.example" || !strings.HasPrefix(e.ID, "evt_") {
		t.Errorf("published %+v", e)
	}
	// The one that is stuck leads elsewhere now, and has what it had not; the other is as it was.
	p.change(conf("stuck", second.URL), conf("quick", quick.URL))
	await("events at the other address", func() bool { return other.Load() == 3 })
	if n := fast.Load(); n != 3 {
		t.Errorf("the quick one has %d", n)
	}
	if s, err := p.Replay(t.Context(), "quick", time.Time{}, time.Time{}); err != nil || s.Name != "quick" {
		t.Errorf("replay: %+v, %v", s, err)
	}
	await("a replay", func() bool { return fast.Load() == 6 })
	if _, err := p.Retry(t.Context(), "quick"); err != nil {
		t.Error(err)
	}
	if _, err := p.Retry(t.Context(), "nobody"); !errors.Is(err, ErrUnknown) {
		t.Errorf("retry of nobody: %v", err)
	}
	p.change(conf("stuck", second.URL))
	await("one webhook", func() bool { return states() == "event.> idle,stuck idle," })
	counts := make(map[string]uint64)
	for _, c := range p.Counts() {
		counts[c.Name] = c.Sent
	}
	if counts["quick"] != 6 || counts["stuck"] != 3 || counts[StreamName] != 3 || len(p.Here()) != 2 {
		t.Errorf("counts %v, here %+v", counts, p.Here())
	}
	p.stop()
	if _, err := p.List(t.Context()); err == nil {
		t.Error("listed after the end")
	}
}

// FuzzVerdict: whatever a receiver answers, what is noted of it is short and printable.
func FuzzVerdict(f *testing.F) {
	f.Add(503, "120", []byte("down"))
	f.Add(200, "Fri, 27 Nov 2026 08:00:00 GMT", []byte("\x1b[2J\xff"))
	f.Add(410, "-1", []byte(strings.Repeat("é", 200)))
	f.Fuzz(func(t *testing.T, status int, after string, body []byte) {
		resp := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(strings.NewReader(string(body)))}
		answer, err := verdict(resp, time.Now())
		if !utf8.ValidString(answer) || strings.ContainsAny(answer, "\r\n\x1b\x00") || len(answer) > 4*quoteBytes+64 {
			t.Errorf("noted %q", answer)
		}
		var r *refusal
		if errors.As(err, &r) && (r.after < 0 || r.after > longestRetryAfter) {
			t.Errorf("left alone for %v", r.after)
		}
		if (err == nil) != (status >= 200 && status <= 299) {
			t.Errorf("%d: %v", status, err)
		}
	})
}
