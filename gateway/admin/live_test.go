package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/s2s"
)

// outlook is an Overview with what it is made of.
type outlook struct {
	routes []QueueRoute
	err    error
	took   time.Duration // by each Waiting
	reads  atomic.Int64
}

func (o *outlook) Backlog() []StageBacklog { return []StageBacklog{{Stage: "convert", Messages: 7}} }

func (o *outlook) Waiting(ctx context.Context) ([]QueueRoute, error) {
	o.reads.Add(1)
	select {
	case <-time.After(o.took):
		return append([]QueueRoute(nil), o.routes...), o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (o *outlook) Sessions() SessionCounts { return SessionCounts{Sessions: 5, Connections: 6} }

// watcher is a client of /v1/live without a network.
type watcher struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
	done  chan struct{}
}

func (f *fixture) watch(t *testing.T, query string) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{httptest.NewRecorder(), cancel, make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, "GET", "/v1/live"+query, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:4711", "127.0.0.1:8026"
	go func() {
		defer close(w.done)
		f.handler.ServeHTTP(w, r)
	}()
	return w
}

// events are the data of those that came. Nothing may be writing any more.
func (w *watcher) events(t *testing.T) (all []string) {
	t.Helper()
	w.leave()
	<-w.done
	for event := range strings.SplitSeq(w.Body.String(), "\n\n") {
		if event == "" {
			continue
		}
		data, ok := strings.CutPrefix(event, "data: ")
		if !ok || strings.ContainsAny(data, "\r\n") {
			t.Fatalf("event %q", event)
		}
		all = append(all, data)
	}
	return all
}

// TestLive: each second one computation for all who watch, whenever they came.
func TestLive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		look := &outlook{routes: []QueueRoute{{Route: "a@x.example", Domain: "x.example", State: Deferred, Messages: 3}}}
		f.o.Overview = look
		var watchers []*watcher
		for i := range 4 {
			watchers = append(watchers, f.watch(t, map[bool]string{true: "?view=page"}[i%2 == 1]))
			time.Sleep(300 * time.Millisecond)
		}
		f.bus.Emit(trace.Event{Stage: trace.Stored})
		time.Sleep(10*time.Second - 1200*time.Millisecond - time.Millisecond)
		synctest.Wait()
		if n := look.reads.Load(); n != 10 {
			t.Errorf("%d computations in ten seconds", n)
		}
		var last Live
		for i, w := range watchers {
			events := w.events(t)
			if len(events) != 10 {
				t.Errorf("watcher %d got %d events", i, len(events))
			}
			if i == 0 {
				if err := json.Unmarshal([]byte(events[len(events)-1]), &last); err != nil {
					t.Fatal(err)
				}
			}
			var page string
			if i == 1 {
				if err := json.Unmarshal([]byte(events[len(events)-1]), &page); err != nil || !strings.Contains(page, "a@x.example") {
					t.Errorf("%v: %s", err, page)
				}
			}
		}
		if last.Queue.Deferred != 3 || last.Sessions.Sessions != 5 || last.Backlog[0].Messages != 7 || last.Flow[1].Total != 1 {
			t.Errorf("told %+v", last)
		}
		h := watchers[0].Header()
		if h.Get("Content-Type") != "text/event-stream" || h.Get("X-Accel-Buffering") != "no" || !strings.Contains(h.Get("Cache-Control"), "no-transform") {
			t.Errorf("header %v", h)
		}
	})
}

// TestLiveEnds: with the time after which a token has to be shown again, and with the server.
func TestLiveEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		began := time.Now()
		w := f.watch(t, "")
		<-w.done
		if d := time.Since(began); d != maxWatch {
			t.Errorf("ended after %v", d)
		}
		w = f.watch(t, "")
		synctest.Wait()
		f.live.end()
		f.live.end()
		<-w.done
	})
}

// TestLiveBounded: one too many is told so, and let in when another has left.
func TestLiveBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		var all []*watcher
		for range maxWatchers {
			all = append(all, f.watch(t, ""))
		}
		synctest.Wait()
		w := f.watch(t, "")
		<-w.done
		checkProblem(t, w.ResponseRecorder, 503, "watch already")
		if w.Header().Get("Retry-After") == "" {
			t.Error("it is not told when to come again")
		}
		all[0].leave()
		<-all[0].done
		all[0] = f.watch(t, "")
		synctest.Wait()
		for _, w := range all {
			if len(w.events(t)) == 0 {
				t.Error("one of them got nothing")
			}
		}
	})
}

func TestLiveRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	checkProblem(t, f.ask("GET", "/v1/live?view=all", "", nil), 400, "view=page")
	checkProblem(t, f.ask("GET", "/v1/live?%zz", "", nil), 400, "query")
	checkProblem(t, f.ask("POST", "/v1/live", "{}", nil), 405, "GET, HEAD")
	checkProblem(t, f.ask("GET", "/v1/live", "", func(r *http.Request) { r.RemoteAddr = "192.0.2.7:1" }), 401, "token")
	if w := f.ask("HEAD", "/v1/live", "", nil); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %s", w.Code, w.Body)
	}
}

// TestLiveQueueSpared: a queue that takes long to read is read seldom, one that cannot be
// read is said to be so, and whoever leaves while it is read spoils nothing for the others.
func TestLiveQueueSpared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		look := &outlook{took: 2 * time.Second}
		f.o.Overview = look
		first := f.watch(t, "")
		synctest.Wait() // it reads
		second := f.watch(t, "")
		time.Sleep(time.Second)
		first.leave()
		<-first.done
		time.Sleep(39 * time.Second)
		if n := look.reads.Load(); n != 3 {
			t.Errorf("read %d times in 40 s, want once in vain and once in 20 s", n)
		}
		for _, event := range second.events(t) {
			if strings.Contains(event, "cannot be read") {
				t.Errorf("told %s", event)
			}
		}
		look.took, look.err = 0, errors.New("secret detail of the broker")
		time.Sleep(time.Minute)
		third := f.watch(t, "")
		time.Sleep(5 * time.Second)
		events := third.events(t)
		if e := events[len(events)-1]; !strings.Contains(e, "the queue cannot be read now") || strings.Contains(e, "secret detail") {
			t.Errorf("told %s", e)
		}
		if n := strings.Count(f.log.String(), "secret detail"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

// pipeListener accepts the connections that it is given.
type pipeListener struct {
	conns chan net.Conn
	close func()
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.done) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return localConn{c}, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.close(); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// localConn is one from loopback.
type localConn struct{ net.Conn }

func (localConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// TestLiveLasts: events go on when the time is over that the server gives a request, and
// an answer.
func TestLiveLasts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := New(Options{})
		defer srv.Close()
		l := newPipeListener()
		stop, wait := serving(t, srv, l)
		ours, theirs := net.Pipe()
		l.conns <- theirs
		if _, err := io.WriteString(ours, "GET /v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		answer, err := http.ReadResponse(bufio.NewReader(ours), nil)
		if err != nil {
			t.Fatal(err)
		}
		events := 0
		for lines := bufio.NewScanner(answer.Body); time.Since(began) < 5*time.Minute && lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "data: ") {
				events++
			}
		}
		if events < 300 {
			t.Errorf("%d events, then it ended after %v", events, time.Since(began))
		}
		_ = ours.Close()
		stop()
		wait()
	})
}

// TestLiveStops: through a proxy, events come when they are sent, and a stream ends with
// the server without being broken off.
func TestLiveStops(t *testing.T) {
	t.Parallel()
	srv := New(Options{})
	defer srv.Close()
	l := loopback(t)
	stop, wait := serving(t, srv, l)
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: l.Addr().String()}))
	defer proxy.Close()
	resp, err := http.Get(proxy.URL + "/v1/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 6)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: " {
		t.Fatalf("%q, %v", first, err)
	}
	stop()
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(string(rest), "\n\n") {
		t.Errorf("broken off with %v: %.100q", err, rest)
	}
	wait()
}

func TestByDomain(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	q := byDomain([]QueueRoute{
		{Route: "young@x.example", Domain: "x.example", State: Deferred, Messages: 1, Oldest: at(30), Next: at(90), Reason: "young"},
		{Route: "held.example", Domain: "held.example", State: Held, Oldest: at(1)},
		{Route: "b@held.example", Domain: "held.example", State: Held, Messages: 2, Oldest: at(20)},
		{Route: "old@x.example", Domain: "x.example", State: Deferred, Messages: 4, Oldest: at(10), Next: at(100), Reason: "old"},
		{Route: "kept@x.example", Domain: "x.example", State: Held, Messages: 8, Oldest: at(15)},
	})
	if q.Deferred != 5 || q.Held != 10 || !q.Oldest.Equal(at(10)) || len(q.Domains) != 2 {
		t.Fatalf("%+v", q)
	}
	held, x := q.Domains[0], q.Domains[1]
	if held.Domain != "held.example" || !held.Hold || held.Held != 2 || !held.Oldest.Equal(at(20)) || len(held.Routes) != 2 {
		t.Errorf("%+v", held)
	}
	if x.Hold || x.Deferred != 5 || x.Held != 8 || !x.Oldest.Equal(at(10)) || !x.Next.Equal(at(90)) || x.Reason != "old" || x.Routes[0].Route != "old@x.example" {
		t.Errorf("%+v", x)
	}
	var many []QueueRoute
	for i := range 3000 {
		domain := fmt.Sprintf("d%d.example", i%60)
		many = append(many, QueueRoute{Route: fmt.Sprintf("u%d@%s", i, domain), Domain: domain, State: Deferred, Messages: 1, Oldest: at(int64(i + 1))})
	}
	q = byDomain(many)
	if q.Deferred != 3000 || len(q.Domains) != maxLiveDomains || q.More != 10 || len(q.Domains[0].Routes) != maxLiveRoutes || q.Domains[0].More != 30 || q.Domains[0].Deferred != 50 {
		t.Errorf("%d domains and %d more, the first %+v", len(q.Domains), q.More, q.Domains[0])
	}
}

func TestWorstServers(t *testing.T) {
	t.Parallel()
	var all []ServerStream
	for i := range maxLiveServers {
		all = append(all, ServerStream{State: s2s.State{Domain: fmt.Sprintf("%d.example", i), State: "open"}})
	}
	all = append(all, ServerStream{State: s2s.State{Domain: "closed.example", State: "closed"}, Blocked: true}, ServerStream{State: s2s.State{Domain: "down.example", State: "waiting"}})
	worst, more := worstServers(all)
	if len(worst) != maxLiveServers || more != 2 || worst[0].Domain != "down.example" || worst[1].Domain != "closed.example" || worst[2].Domain != "0.example" {
		t.Errorf("%d more than %+v", more, worst[:3])
	}
	if all[0].Domain != "0.example" {
		t.Error("the list of the part was changed")
	}
}
