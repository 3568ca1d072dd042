package httpd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
)

const (
	batchPath  = "/v1/messages:batch"
	batchField = "Content-Type: application/x-ndjson\n"
)

// lineTo is a message to one recipient.
func lineTo(to, text string) string {
	return fmt.Sprintf(`{"from":"a@corp.example","to":[%q],"text":%q}`, to, text) + "\n"
}

// lineResult is one line of the answer.
type lineResult struct {
	Line   int
	Status int
	ID     string
	Where  string
	Detail string
}

func results(t testing.TB, body string) (out []lineResult) {
	t.Helper()
	for text := range strings.Lines(body) {
		var r lineResult
		if err := json.Unmarshal([]byte(text), &r); err != nil || !strings.HasSuffix(text, "\n") {
			t.Fatalf("line %q: %v", text, err)
		}
		out = append(out, r)
	}
	return out
}

// statuses returns line:status of each result.
func statuses(rs []lineResult) (out []string) {
	for _, r := range rs {
		out = append(out, fmt.Sprintf("%d:%d", r.Line, r.Status))
	}
	return out
}

// Each line has its result, in order and by its number; a bad one does not stop
// the rest.
func TestBatch(t *testing.T) {
	t.Parallel()
	good := lineTo("juliet@localhost", "x")
	for name, tc := range map[string]struct {
		body   string
		want   []string
		stored int
	}{
		"two":                         {good + good, []string{"1:202", "2:202"}, 2},
		"the last without its end":    {good + strings.TrimSpace(good), []string{"1:202", "2:202"}, 2},
		"CR LF, and empty lines":      {"\r\n" + strings.TrimSpace(good) + "\r\n\n  \n" + good, []string{"2:202", "5:202"}, 2},
		"one that is not JSON":        {good + "what\n" + good, []string{"1:202", "2:400", "3:202"}, 2},
		"one nobody is known for":     {lineTo("nobody@localhost", "x") + good, []string{"1:422", "2:202"}, 1},
		"one for later":               {lineTo("later@localhost", "x") + good, []string{"1:503", "2:202"}, 1},
		"one too large":               {good + lineTo("juliet@localhost", strings.Repeat("x", 100_000)) + good, []string{"1:202", "2:413", "3:202"}, 2},
		"two objects in one line":     {strings.TrimSpace(good) + good, []string{"1:400"}, 0},
		"an object over two lines":    {`{"from":"a@b",` + "\n" + `"to":["c@d"],"text":"x"}` + "\n", []string{"1:400", "2:400"}, 0},
		"as many as there may be":     {strings.Repeat(good, 6), []string{"1:202", "2:202", "3:202", "4:202", "5:202", "6:202"}, 6},
		"one more than there may be":  {strings.Repeat(good, 8), []string{"1:202", "2:202", "3:202", "4:202", "5:202", "6:202", "7:413"}, 6},
		"the last one, which is long": {good + strings.Repeat("x", 60_000), []string{"1:202", "2:413"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{}
			s, addr := start(t, Options{Sink: snk, MaxBatchLines: 6, BatchWindow: 3, Config: stranger(PeerOptions{MaxMessageSize: 50_000})})
			got := post(t, addr, batchPath, batchField, tc.body)
			if got.status != 200 || got.header.Get("Content-Type") != "application/x-ndjson" {
				t.Fatalf("%d %v %s", got.status, got.header, got.body)
			}
			if have := statuses(results(t, got.body)); !slices.Equal(have, tc.want) || snk.stored() != tc.stored {
				t.Errorf("got %v, %d stored; want %v, %d", have, snk.stored(), tc.want, tc.stored)
			}
			if !s.memory.TryAcquire(256 << 20) {
				t.Error("some memory is lost")
			}
		})
	}
}

// What concerns the whole batch is answered before any of it is read.
func TestBatchRefused(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{})
	for name, tc := range map[string]struct {
		path, fields, body string
		status             int
		where              string
	}{
		"content type":          {batchPath, jsonField, goodJSON, 415, "header Content-Type"},
		"query":                 {batchPath + "?to=a@b", batchField, goodJSON, 400, "query parameter to"},
		"idempotency key":       {batchPath, batchField + "Idempotency-Key: ü\n", goodJSON, 400, "header Idempotency-Key"},
		"nothing":               {batchPath, batchField, "", 422, "body"},
		"nothing but new lines": {batchPath, batchField, "\n\n", 422, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := post(t, addr, tc.path, tc.fields, tc.body)
			if p := got.problem(t); p.Status != tc.status || p.Where != tc.where {
				t.Errorf("%+v", p)
			}
		})
	}
}

// chunk sends a body piece by piece.
func (w *wire) chunk(s string) { w.send(fmt.Sprintf("%x\r\n%s\r\n", len(s), s)) }

// The result of a line comes before the next line is sent.
func TestBatchStreams(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{})
	w := dial(t, addr)
	w.send("POST " + batchPath + " HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
	if got := w.read(); got.status != 100 {
		t.Fatalf("got %d", got.status)
	}
	w.chunk(lineTo("juliet@localhost", "1"))
	res, err := http.ReadResponse(w.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	br := bufio.NewReader(res.Body)
	for n := 1; n <= 3; n++ {
		text, err := br.ReadString('\n')
		if r := results(t, text); err != nil || r[0].Line != n || r[0].Status != 202 {
			t.Fatalf("result %d: %q, %v", n, text, err)
		}
		if n < 3 {
			w.chunk(lineTo("juliet@localhost", "next"))
		}
	}
	w.chunk("")
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// Messages to one recipient are stored in the order of their lines, though
// several are on their way at once.
func TestBatchOrder(t *testing.T) {
	t.Parallel()
	var flying, most atomic.Int64
	snk := &sink{put: func(_ context.Context, env mcmt.Envelope, _ []byte) error {
		n := flying.Add(1)
		defer flying.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if len(env.To[0].Address)%2 == 0 { // some take longer than those after them
			<-time.After(2 * time.Millisecond)
		}
		return nil
	}}
	_, addr := start(t, Options{Sink: snk, BatchWindow: 8})
	var body strings.Builder
	names := []string{"a", "bb", "ccc", "dddd", "A"} // A and a are one account
	for i := range 100 {
		to := names[i%len(names)] + "@localhost"
		if i%10 == 9 { // several at once tie their recipients together
			fmt.Fprintf(&body, `{"from":"a@b","to":["a@localhost","ccc@localhost"],"subject":"%03d"}`+"\n", i)
			continue
		}
		fmt.Fprintf(&body, `{"from":"a@b","to":[%q],"subject":"%03d"}`+"\n", to, i)
	}
	got := results(t, post(t, addr, batchPath, batchField, body.String()).body)
	if len(got) != 100 || !slices.IsSortedFunc(got, func(a, b lineResult) int { return a.Line - b.Line }) {
		t.Errorf("results %v", statuses(got))
	}
	last := make(map[string]string)
	for i, env := range snk.envs {
		m, err := mcmt.Parse([]byte(snk.raws[i]), mcmt.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range addresses(env) {
			key := strings.ToLower(to)
			if m.Email.Subject <= last[key] {
				t.Errorf("%s got %s after %s", to, m.Email.Subject, last[key])
			}
			last[key] = m.Email.Subject
		}
	}
	if n := most.Load(); n < 2 || n > 8 {
		t.Errorf("%d at once, want several and at most 8", n)
	}
}

// Every line that is not empty has one result, whatever it holds.
func FuzzBatch(f *testing.F) {
	f.Add([]byte(lineTo("juliet@localhost", "x") + "\r\n{}\n" + goodJSON))
	f.Add([]byte("{\n}\n\x00\n[]"))
	_, addr := start(f, Options{Config: stranger(PeerOptions{MaxMessageSize: 4096})})
	w := dial(f, addr)
	_ = w.SetDeadline(noDeadline)
	f.Fuzz(func(t *testing.T, b []byte) {
		want := 0
		for line := range bytes.Lines(b) {
			if len(bytes.TrimSpace(line)) > 0 {
				want++
			}
		}
		if want > 1000 {
			t.Skip()
		}
		w := &wire{Conn: w.Conn, t: t, br: w.br}
		w.send(request(batchPath, batchField, string(b)))
		got := w.read()
		if want == 0 {
			if got.status != 422 {
				t.Errorf("nothing: %d", got.status)
			}
			return
		}
		if rs := results(t, got.body); len(rs) != want {
			t.Errorf("%d results for %d lines", len(rs), want)
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	_, addr := start(b, Options{Sink: discard{}})
	const lines = 1000
	var body strings.Builder
	for i := range lines {
		body.WriteString(lineTo(fmt.Sprintf("user%d@localhost", i), "hello"))
	}
	req := request(batchPath, batchField, body.String())
	w := dial(b, addr)
	_ = w.SetDeadline(noDeadline)
	b.ReportAllocs()
	for b.Loop() {
		go w.send(req)
		if got := w.read(); strings.Count(got.body, "\n") != lines {
			b.Fatal(got)
		}
	}
	b.ReportMetric(float64(b.N)*lines/b.Elapsed().Seconds(), "messages/s")
}

// discard takes everything and keeps nothing.
type discard struct{}

func (discard) Sender(context.Context, mcmt.Envelope) error            { return nil }
func (discard) Recipient(context.Context, mcmt.Envelope, string) error { return nil }
func (discard) Put(context.Context, mcmt.Envelope, []byte) (mcmt.ID, error) {
	return "id", nil
}
