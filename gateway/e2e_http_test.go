package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// answer is what the HTTP listener answered.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// post sends a request with pairs of header names and values.
func (g *gateway) post(path, contentType, body string, header ...string) answer {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.http()+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// httpResult is the body of a 202, or a line of a batch.
type httpResult struct {
	Line, Status  int
	ID            string
	Where, Detail string
	Recipients    []struct{ To, Status, ID, Reason string }
}

func (a answer) result(t *testing.T) (r httpResult) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Errorf("%s: %v", a, err)
	}
	return r
}

// TestHTTP: each kind of request has its answer, and what is answered 202 arrives.
func TestHTTP(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `max_message_size = 20k`)
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	alice, bob := login(t, g.xmpp(), "alice@localhost/a", 0), login(t, g.xmpp(), "bob@localhost/b", 0)

	t.Run("results per recipient", func(t *testing.T) {
		a := g.post("/v1/messages", "application/json",
			`{"from":"a@corp.example","to":["alice@localhost","nobody@localhost","bob@localhost","x@mail.localhost"],"subject":"s","text":"to some"}`)
		r := a.result(t)
		if a.status != http.StatusAccepted || r.ID == "" || len(r.Recipients) != 4 {
			t.Fatal(a)
		}
		for i, want := range []string{"accepted", "refused", "accepted", "refused"} {
			rcpt := r.Recipients[i]
			if rcpt.Status != want || (want == "accepted") != (rcpt.ID == r.ID) || (want == "refused") != (rcpt.Reason != "") {
				t.Errorf("recipient %d: %+v, want it %s", i, rcpt, want)
			}
		}
		alice.want("to some")
		bob.want("to some")
	})

	boundary := "multipart/vnd.msys.mcmt; boundary=XX"
	_, body, _ := strings.Cut(sample("alice@localhost", "a part"), "\r\n\r\n")
	for _, c := range []struct {
		name, path, contentType, body string
		want                          int
		where                         string // in the problem
	}{
		{"multipart", "/v1/messages?from=a@corp.example&to=alice@localhost", boundary, body, 202, ""},
		{"rfc822", "/v1/messages?from=a@corp.example&to=alice@localhost", "message/rfc822", sample("x@y.example", "a part"), 202, ""},
		{"rfc822, envelope from the header", "/v1/messages", "message/rfc822", sample("alice@localhost", "a part"), 202, ""},
		{"json", "/v1/messages", "application/json", `{"from":"a@corp.example","to":["alice@localhost"],"text":"a part"}`, 202, ""},
		{"json that is cut short", "/v1/messages", "application/json", `{"from":"a@corp.example","to":["alice@localhost"`, 400, "offset"},
		{"json with a field nobody knows", "/v1/messages", "application/json", `{"from":"a@corp.example","to":["alice@localhost"],"txt":"a part"}`, 400, "txt"},
		{"query that is not known", "/v1/messages?fro=a@corp.example", "message/rfc822", sample("alice@localhost", "x"), 400, "fro"},
		{"no boundary", "/v1/messages?to=alice@localhost", "multipart/vnd.msys.mcmt", body, 400, "Content-Type"},
		{"too large", "/v1/messages", "application/json", `{"to":["alice@localhost"],"text":"` + strings.Repeat("x", 30<<10) + `"}`, 413, ""},
		{"a form", "/v1/messages", "application/x-www-form-urlencoded", "to=alice", 415, "Content-Type"},
		{"no content type", "/v1/messages", "", "x", 415, "Content-Type"},
		{"no recipient that is known", "/v1/messages", "application/json", `{"from":"a@corp.example","to":["nobody@localhost"],"text":"x"}`, 422, "recipients"},
		{"mcmt without its mail part", "/v1/messages?from=a@corp.example&to=alice@localhost", boundary, "--XX\r\nContent-Type: message/vnd.msys.smpp\r\n\r\nsms\r\n--XX--\r\n", 422, ""},
		// The next part in the order of preference serves.
		{"xmpp part that is not well-formed", "/v1/messages", "application/json", `{"from":"a@corp.example","to":["alice@localhost"],"text":"a part","xmpp":"<message><body></message>"}`, 202, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := g.post(c.path, c.contentType, c.body)
			if a.status != c.want {
				t.Fatalf("%s, want %d", a, c.want)
			}
			if c.want == http.StatusAccepted {
				alice.want("a part")
				return
			}
			if got := a.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %s", got)
			}
			if r := a.result(t); r.Status != c.want || r.Detail == "" || !strings.Contains(r.Where+" "+r.Detail, c.where) {
				t.Errorf("%s: want it to say where: %s", a, c.where)
			}
		})
	}

	t.Run("batch", func(t *testing.T) {
		var lines strings.Builder
		for i := range 50 {
			fmt.Fprintf(&lines, `{"from":"a@corp.example","to":["bob@localhost"],"text":"line %d"}`+"\n", i)
			if i == 20 {
				lines.WriteString("{broken\n")
				lines.WriteString(`{"from":"a@corp.example","to":["nobody@localhost"],"text":"x"}` + "\n")
			}
		}
		a := g.post("/v1/messages:batch", "application/x-ndjson", lines.String())
		got := strings.Split(strings.TrimSpace(a.body), "\n")
		if a.status != http.StatusOK || len(got) != 52 {
			t.Fatalf("%d results, want 52: %s", len(got), a)
		}
		for i, line := range got {
			r := answer{body: line}.result(t)
			want := http.StatusAccepted
			switch i {
			case 21:
				want = http.StatusBadRequest
			case 22:
				want = http.StatusUnprocessableEntity
			}
			if r.Line != i+1 || r.Status != want {
				t.Errorf("result %d: %s, want %d", i, line, want)
			}
		}
		for i := range 50 {
			bob.want(fmt.Sprintf("line %d", i)) // in the order of the lines
		}
	})
}

// TestIdempotencyKey: a request that is repeated, also after the gateway died, is
// answered with the same id and stored once.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	const request = `{"from":"a@corp.example","to":["alice@localhost"],"text":"once"}`
	send := func(key, body string) answer {
		return g.post("/v1/messages", "application/json", body, "Idempotency-Key", key)
	}
	first := send("k1", request)
	id := first.result(t).ID
	if first.status != http.StatusAccepted || id == "" {
		t.Fatal(first)
	}
	repeat := func(when string) {
		t.Helper()
		if a := send("k1", request); a.status != http.StatusAccepted || a.result(t).ID != id {
			t.Errorf("%s: %s, want 202 with the id %s", when, a, id)
		}
	}
	repeat("at once")
	g.stop()
	g.start()
	repeat("after a restart")
	g.kill()
	g.start()
	repeat("after a kill")
	if a := send("k1", strings.Replace(request, "once", "another", 1)); a.status != http.StatusUnprocessableEntity {
		t.Errorf("the key for another message: %s, want 422", a)
	}
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	alice.want("once")
	repeat("after delivery")
	if a := send("k2", strings.Replace(request, "once", "twice", 1)); a.status != http.StatusAccepted || a.result(t).ID == id {
		t.Error(a)
	}
	alice.want("twice") // and nothing before it
}
