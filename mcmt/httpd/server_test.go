package httpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/mcmt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Two requests on one connection: keep-alive holds after an acceptance, after a
// refusal, and after a refusal whose small body was not read.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	snk := &sink{}
	_, addr := start(t, Options{Sink: snk})
	w := dial(t, addr)
	for i, step := range []struct {
		fields, body string
		status       int
	}{
		{jsonField, goodJSON, 202},
		{jsonField, `{"broken"`, 400},
		{"Content-Type: text/plain\n", "not read", 415},
		{mailField, goodMail, 202},
	} {
		w.send(request("/v1/messages", step.fields, step.body))
		if got := w.read(); got.status != step.status {
			t.Errorf("request %d: %d %s", i+1, got.status, got.body)
		}
	}
	if snk.stored() != 2 {
		t.Errorf("%d stored", snk.stored())
	}
}

// A sink that takes longer than a read may does not cost the connection: the
// deadline was for the body.
func TestSlowSinkKeepsConnection(t *testing.T) {
	t.Parallel()
	const read = 20 * time.Millisecond
	snk := &sink{put: func(context.Context, mcmt.Envelope, []byte) error {
		<-time.After(3 * read)
		return nil
	}}
	_, addr := start(t, Options{Sink: snk, ReadTimeout: read})
	w := dial(t, addr)
	for range 2 {
		w.send(request("/v1/messages", jsonField, goodJSON))
		if got := w.read(); got.status != 202 {
			t.Errorf("got %d %s", got.status, got.body)
		}
	}
}

// A client that asks first is refused before it sends the body, and told to go
// on otherwise (RFC 9110 §10.1.1).
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	o := Options{Config: stranger(PeerOptions{Authenticator: Tokens{"secret"}, AllowPlainWithoutTLS: true, MaxMessageSize: 1000})}
	_, addr := startStrange(t, o)
	const expect, token = "Expect: 100-continue\n", "Authorization: Bearer secret\n"
	for name, tc := range map[string]struct {
		fields string
		length int
		first  int // status of the first response
	}{
		"no credentials":       {jsonField, 10, 401},
		"wrong credentials":    {jsonField + "Authorization: Bearer wrong\n", 10, 401},
		"too large":            {jsonField + token, 1001, 413},
		"content type":         {"Content-Type: text/plain\n" + token, 10, 415},
		"content coding":       {jsonField + "Content-Encoding: gzip\n" + token, 10, 415},
		"bad idempotency key":  {jsonField + "Idempotency-Key: \n" + token, 10, 400},
		"nothing wrong so far": {jsonField + token, len(goodJSON), 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := dial(t, addr)
			w.send(fmt.Sprintf("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n",
				strings.ReplaceAll(expect+tc.fields, "\n", "\r\n"), tc.length))
			got := w.read()
			if got.status != tc.first {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if tc.first == 100 {
				w.send(goodJSON)
				if got := w.read(); got.status != 202 {
					t.Errorf("got %d %s", got.status, got.body)
				}
				return
			}
			got.problem(t)
			if _, err := w.br.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection stays open, and the body would be read as a request: %v", err)
			}
		})
	}
}

func TestMethodsAndPaths(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{})
	for name, tc := range map[string]struct {
		line   string
		status int
		allow  string
	}{
		"GET":               {"GET /v1/messages", 405, "OPTIONS, POST"},
		"HEAD":              {"HEAD /v1/messages", 405, "OPTIONS, POST"},
		"PUT":               {"PUT /v1/messages:batch", 405, "OPTIONS, POST"},
		"OPTIONS":           {"OPTIONS /v1/messages", 204, "OPTIONS, POST"},
		"another path":      {"POST /v1/message", 404, ""},
		"a longer path":     {"POST /v1/messages/", 404, ""},
		"the root":          {"GET /", 404, ""},
		"an encoded colon":  {"GET /v1/messages%3Abatch", 405, "OPTIONS, POST"},
		"OPTIONS elsewhere": {"OPTIONS /x", 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := dial(t, addr)
			w.send(tc.line + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
			res, err := http.ReadResponse(w.br, &http.Request{Method: strings.Fields(tc.line)[0]})
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != tc.status || res.Header.Get("Allow") != tc.allow {
				t.Errorf("got %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
			}
			if strings.HasPrefix(tc.line, "OPTIONS") && res.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("pages of other origins are let in")
			}
		})
	}
}

// A body that stalls, trickles on for ever, or breaks off, ends with an answer,
// and nothing of it is stored.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	head := "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: message/rfc822\r\nContent-Length: 100\r\n\r\n"
	t.Run("stalls", func(t *testing.T) {
		t.Parallel()
		snk := &sink{}
		_, addr := start(t, Options{Sink: snk, ReadTimeout: 50 * time.Millisecond})
		w := dial(t, addr)
		w.send(head + goodMail)
		if got := w.read(); got.status != 408 || snk.stored() != 0 {
			t.Errorf("got %d, %d stored", got.status, snk.stored())
		}
	})
	t.Run("trickles", func(t *testing.T) {
		t.Parallel()
		snk := &sink{}
		_, addr := start(t, Options{Sink: snk, ReadTimeout: patience, BodyTimeout: 100 * time.Millisecond})
		w := dial(t, addr)
		w.send(head)
		go func() {
			for range 99 {
				if _, err := io.WriteString(w, "x"); err != nil {
					return
				}
				<-time.After(5 * time.Millisecond)
			}
		}()
		if got := w.read(); got.status != 408 || snk.stored() != 0 {
			t.Errorf("got %d, %d stored", got.status, snk.stored())
		}
	})
	t.Run("breaks off", func(t *testing.T) {
		t.Parallel()
		snk := &sink{}
		_, addr := start(t, Options{Sink: snk})
		w := dial(t, addr)
		w.send(head + goodMail)
		_ = w.Conn.(*net.TCPConn).CloseWrite()
		if got := w.read(); got.status != 400 || snk.stored() != 0 {
			t.Errorf("got %d, %d stored", got.status, snk.stored())
		}
	})
	t.Run("not wanted and never sent", func(t *testing.T) {
		t.Parallel()
		_, addr := start(t, Options{ReadTimeout: 50 * time.Millisecond})
		w := dial(t, addr)
		w.send(strings.Replace(head, "message/rfc822", "text/plain", 1))
		if got := w.read(); got.status != 415 {
			t.Errorf("got %d", got.status)
		}
		if _, err := w.br.ReadByte(); !errors.Is(err, io.EOF) { // nobody waits for the rest
			t.Errorf("the connection: %v", err)
		}
	})
	t.Run("header never ends", func(t *testing.T) {
		t.Parallel()
		_, addr := start(t, Options{HeaderTimeout: 50 * time.Millisecond})
		w := dial(t, addr)
		w.send("POST /v1/messages HTTP/1.1\r\nX: ")
		if _, err := io.ReadAll(w.br); err != nil {
			t.Errorf("the connection: %v", err)
		}
	})
	t.Run("header too large", func(t *testing.T) {
		t.Parallel()
		_, addr := start(t, Options{MaxHeaderBytes: 4096})
		if got := post(t, addr, "/v1/messages", "X: "+strings.Repeat("x", 10_000)+"\n", ""); got.status != 431 {
			t.Errorf("got %d", got.status)
		}
	})
}

// The end of Serve's context lets a request finish that has begun, and Serve
// returns only then.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	snk := &sink{put: func(context.Context, mcmt.Envelope, []byte) error {
		close(entered)
		<-release
		return nil
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Options{Sink: snk}).Serve(ctx, ln) }()
	w := dial(t, ln.Addr().String())
	w.send(request("/v1/messages", jsonField, goodJSON))
	<-entered
	cancel()
	select {
	case err := <-done:
		t.Fatalf("Serve returned before the request was answered: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if got := w.read(); got.status != 202 {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A request that does not finish within Grace loses its connection, but not its
// custody: Serve waits for the sink.
func TestServeGraceEnds(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	snk := &sink{put: func(ctx context.Context, _ mcmt.Envelope, _ []byte) error {
		close(entered)
		<-release
		return ctx.Err()
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(Options{Sink: snk, Grace: time.Millisecond}).Serve(ctx, ln) }()
	w := dial(t, ln.Addr().String())
	w.send(request("/v1/messages", jsonField, goodJSON))
	<-entered
	cancel()
	if _, err := w.br.ReadByte(); err == nil {
		t.Error("an answer before custody")
	}
	select {
	case <-done:
		close(release)
		t.Fatal("Serve left a request behind")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if err := <-done; err != nil || snk.stored() != 1 {
		t.Errorf("%v, %d stored", err, snk.stored())
	}
}

// The log has one line per request, with the outcome and never the text.
func TestLog(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	_, addr := start(t, Options{Log: zerolog.New(&log)})
	w := dial(t, addr)
	for _, body := range []string{
		`{"from":"a@b","to":["juliet@localhost"],"text":"SECRET"}`,
		`{"from":"a@b","to":["nobody@localhost"],"text":"SECRET"}`,
		`{"from":"a@b","to":["juliet@localhost"],"text":"SECRET" x`,
	} {
		w.send(request("/v1/messages", jsonField, body))
		w.read()
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), log.String())
	}
	for i, want := range []string{`"outcome":"accepted"`, `"outcome":"refused"`, `"status":400`} {
		if !strings.Contains(lines[i], want) || strings.Contains(lines[i], "SECRET") {
			t.Errorf("line %d: %s", i+1, lines[i])
		}
	}
}
