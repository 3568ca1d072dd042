package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const request = "<r xmlns='urn:xmpp:sm:3'/>"

// manage returns a managed writer on p, on which nothing was written.
func manage(t *testing.T, p *pipe, o Managing) *Writer {
	t.Helper()
	w := newWriter(p, NSClient, 1<<20, time.Minute)
	w.patience = time.Minute
	w.unacked, w.unackedBytes = 1000, 1<<20
	if err := w.Manage(t.Context(), Enabled("", 0), o); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.writes = nil
	p.mu.Unlock()
	t.Cleanup(func() { w.kill(); w.join() })
	return w
}

func message(id string) *stanza.Stanza {
	st := stanza.NewMessage(jid.MustParse("a@b/c"), jid.MustParse("d@e"), "", "")
	st.ID = id
	return st
}

func wireOf(id string) string { return "<message to='a@b/c' from='d@e' id='" + id + "'/>" }

func send(t *testing.T, w *Writer, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := w.SendStanza(t.Context(), message(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func sendKept(t *testing.T, w *Writer, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if had, err := w.SendKept(t.Context(), message(id), id); had || err != nil {
			t.Fatalf("%s: had %v, %v", id, had, err)
		}
	}
}

func (p *pipe) want(t *testing.T, w *Writer, text string) {
	t.Helper()
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := string(p.all()); got != text {
		t.Fatalf("wrote\n%s\nwant\n%s", got, text)
	}
}

// TestRequestPerBurst: one request stands behind what is written at once, however
// many stanzas that is, and within it after each record.
func TestRequestPerBurst(t *testing.T) {
	t.Parallel()
	p := pipes(t, true)
	w := newWriter(p, NSClient, 1<<20, time.Minute)
	w.patience, w.unacked = time.Minute, 1000
	t.Cleanup(func() { w.kill(); w.join() })
	// The first write holds the gate: all the rest is one burst.
	if err := w.Manage(t.Context(), Enabled("", 0), Managing{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return w.taken() }, "the first burst is taken")
	send(t, w, "1", "2", "3")
	big := stanza.NewMessage(jid.MustParse("a@b/c"), jid.JID{}, "", strings.Repeat("x", record))
	if err := w.SendStanza(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	send(t, w, "4")
	close(p.gate)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(string(p.all()), wireOf("3"))
	if n := strings.Count(string(p.all()), request); n != 2 {
		t.Errorf("%d requests, want one behind the large stanza and one at the end", n)
	}
	if !strings.Contains(got, "</message>"+request+wireOf("4")+request) {
		t.Error("the requests stand elsewhere")
	}
	// Nothing new was sent: nothing new is asked.
	if err := w.Send(t.Context(), Ack(0)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(p.all()), request+"<a xmlns='urn:xmpp:sm:3' h='0'/>") {
		t.Error("what is no stanza is asked for")
	}
}

// taken says whether the writer has taken what was queued.
func (w *Writer) taken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.buf) == 0
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it does not come true that %s", what)
		}
	}
}

// TestResumeWriter: on the new stream goes what the peer lacks, in order, without
// what its senders keep; then what was sent while there was none, and then the new.
func TestResumeWriter(t *testing.T) {
	t.Parallel()
	p := pipes(t, false)
	w := manage(t, p, Managing{Resumable: true})
	send(t, w, "1", "2")
	sendKept(t, w, "k1")
	send(t, w, "3")
	sendKept(t, w, "k2", "k3")
	send(t, w, "4")
	if err := w.Acknowledge(1); err != nil {
		t.Fatal(err)
	}
	proven := make(chan error, 1)
	go func() { proven <- w.Prove(t.Context()) }()
	eventually(t, func() bool { return w.proofs() == 1 }, "somebody waits for the proof")
	_ = p.Conn.Close()
	held := w.Suspend()
	if w.Suspend() != held {
		t.Error("suspended twice")
	}
	if err := <-proven; !errors.Is(err, ErrSuspended) {
		t.Errorf("the proof that was waited for: %v", err)
	}
	if err := w.Prove(t.Context()); !errors.Is(err, ErrSuspended) {
		t.Errorf("a proof while it is suspended: %v", err)
	}
	send(t, w, "5")
	if _, err := w.SendKept(t.Context(), message("k4"), "k4"); !errors.Is(err, ErrSuspended) {
		t.Errorf("a kept stanza while it is suspended: %v", err)
	}

	next := pipes(t, false)
	n := newWriter(next, NSClient, 1<<20, time.Minute)
	n.patience = time.Minute
	t.Cleanup(func() { n.kill(); n.join() })
	var high *AckError
	if err := n.resume(held, 9, nil, Managing{Resumable: true}); !errors.As(err, &high) || high.Sent != 8 {
		t.Fatalf("9 of 8 received: %v", err)
	}
	if err := n.resume(held, 5, []*xmlwire.Element{Ack(7)}, Managing{Resumable: true}); err != nil { // 1 2 k1 3 k2
		t.Fatal(err)
	}
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(t, w, "6") // by somebody who does not know yet
	next.want(t, n, "<a xmlns='urn:xmpp:sm:3' h='7'/>"+wireOf("4")+wireOf("5")+request+wireOf("6")+request)
	for id, want := range map[string]bool{"k1": true, "k2": true, "k4": false} {
		if had, err := w.SendKept(t.Context(), message(id), id); had != want || err != nil {
			t.Errorf("%s was received: %v, %v", id, had, err)
		}
	}
	if had, err := n.SendKept(t.Context(), message("k1"), "k1"); had || err != nil {
		t.Errorf("k1, asked for the second time, was received: %v, %v", had, err)
	}
	// Counting goes on from what the peer has received.
	if err := n.Acknowledge(11); !errors.As(err, &high) || high.Sent != 10 {
		t.Errorf("after 5: 4 5 6 k4 k1, and 11 acknowledged: %v", err)
	}
	if err := n.Acknowledge(10); err != nil {
		t.Error(err)
	}
	if err := n.Prove(t.Context()); err != nil {
		t.Error(err)
	}
	if err := n.resume(held, 5, nil, Managing{}); !errors.Is(err, ErrClosed) {
		t.Errorf("resumed twice: %v", err)
	}
	if left := n.Release(); len(left) != 0 {
		t.Errorf("all is acknowledged, and there is left %v", left)
	}
}

// proofs is how many wait for acknowledgements.
func (w *Writer) proofs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.m.proofs)
}

// TestManagedDies: the writer finds out by itself that the connection is dead.
func TestManagedDies(t *testing.T) {
	t.Parallel()
	for _, resumable := range []bool{true, false} {
		t.Run(fmt.Sprint("resumable ", resumable), func(t *testing.T) {
			t.Parallel()
			p := pipes(t, false)
			w := manage(t, p, Managing{Resumable: resumable})
			send(t, w, "1")
			p.fail()
			send(t, w, "2")
			w.join()
			err := w.Prove(t.Context())
			if errors.Is(err, ErrSuspended) != resumable || err == nil {
				t.Errorf("prove: %v", err)
			}
			if err := w.SendStanza(t.Context(), message("3")); (err == nil) != resumable {
				t.Errorf("send: %v", err)
			}
			var ids []string
			for _, u := range w.Release() {
				ids = append(ids, u.Stanza.ID)
			}
			want := "[1 2 3]"
			if !resumable {
				want = "[1 2]"
			}
			if fmt.Sprint(ids) != want {
				t.Errorf("left are %v, want %s", ids, want)
			}
			if err := w.SendStanza(t.Context(), message("4")); err == nil {
				t.Error("taken after the end")
			}
		})
	}
}

// TestReleaseKeepsText: what was sent comes back as it was, whatever it holds.
func TestReleaseKeepsText(t *testing.T) {
	t.Parallel()
	w := manage(t, pipes(t, false), Managing{})
	st, err := stanza.ParseBytes([]byte(`<message xmlns='jabber:client' to='a@b/c' from='d@e' id='1' type='chat' xml:lang='de'><body>a &lt; b</body><x xmlns='urn:x'><message xmlns='jabber:client'/></x></message>`), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SendStanza(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	left := w.Release()
	if len(left) != 1 || left[0].Stanza.String() != st.String() || time.Since(left[0].Sent) > time.Minute {
		t.Errorf("left %v, want %s", left, st)
	}
}

// TestNotResumed: what a server has received of a stream that it will not resume (XEP-0198
// §5) is not given back. The stream is that of a client which asks for the former one.
func TestNotResumed(t *testing.T) {
	t.Parallel()
	old := New(&canned{r: strings.NewReader("")}, Options{})
	w := old.Writer()
	w.unacked, w.unackedBytes = 1000, 1<<20
	if err := w.Manage(t.Context(), nil, Managing{Resumable: true}); err != nil {
		t.Fatal(err)
	}
	send(t, w, "1", "2", "3")
	_ = old.Abort()
	for _, test := range []struct {
		answer string
		left   int
	}{
		{"<failed xmlns='urn:xmpp:sm:3' h='2'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>", 1},
		{"<failed xmlns='urn:xmpp:sm:3' h='9'/>", 1}, // more than there were: it says nothing
		{"<failed xmlns='urn:xmpp:sm:3'/>", 1},
	} {
		s := New(&canned{r: strings.NewReader(strings.TrimSuffix(openTag, ">") + " id='x'>" + test.answer)}, Options{})
		if _, err := s.receiveHeader(t.Context()); err != nil {
			t.Fatal(err)
		}
		f := &requestResume{old: &Client{s: old, sm: clientManagement{id: "former"}}}
		next, err := f.Initiate(t.Context(), s, xmlwire.New(xmlwire.Streams, "features").Add(xmlwire.New(NSManagement, "sm")))
		if next != Continue || err != nil || f.resumed {
			t.Errorf("%s: %v, %v", test.answer, next, err)
		}
		held := w.Suspend()
		held.mu.Lock()
		left := len(held.m.queue)
		held.mu.Unlock()
		if left != test.left {
			t.Errorf("%s leaves %d", test.answer, left)
		}
		_ = s.Abort()
	}
	if left := w.Release(); len(left) != 1 || left[0].Stanza.ID != "3" {
		t.Errorf("given back: %v", left)
	}
}

// TestUnackedBound: a peer that reads and does not acknowledge is as slow as one
// that does not read; who reads its stream does not wait for it.
func TestUnackedBound(t *testing.T) {
	t.Parallel()
	w := manage(t, pipes(t, false), Managing{Resumable: true})
	w.unacked, w.m.maxStanzas, w.patience = 2, 2, time.Millisecond
	send(t, w, "1", "2")
	if err := w.SendStanza(t.Context(), message("3")); !errors.Is(err, ErrSlow) {
		t.Errorf("over the bound: %v", err)
	}
	for range 2 {
		if err := w.SendAnswer(t.Context(), message("answer")); err != nil {
			t.Errorf("an answer: %v", err)
		}
	}
	if err := w.SendAnswer(t.Context(), message("answer")); !errors.Is(err, ErrUnacked) {
		t.Errorf("over twice the bound: %v", err)
	}
	w.patience = time.Minute
	sent := make(chan error, 1)
	go func() { sent <- w.SendStanza(t.Context(), message("3")) }()
	if err := w.Acknowledge(4); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Errorf("with room: %v", err)
	}
	w.Suspend()
	send(t, w, "4", "5", "6")
	if err := w.SendStanza(t.Context(), message("7")); !errors.Is(err, ErrUnacked) {
		t.Errorf("over twice the bound while suspended: %v", err)
	}
	var left []string
	for _, u := range w.Release() {
		left = append(left, u.Stanza.ID)
	}
	if got := strings.Join(left, " "); got != "3 4 5 6" {
		t.Errorf("left are %s", got)
	}
}

// TestManagedWraps: the counts on the wire begin anew after 2^32-1 (§4).
func TestManagedWraps(t *testing.T) {
	t.Parallel()
	w := manage(t, pipes(t, false), Managing{Resumable: true})
	w.m.acked = math.MaxUint32 - 1
	send(t, w, "1", "2", "3", "4")
	if err := w.Acknowledge(math.MaxUint32); err != nil {
		t.Fatal(err)
	}
	proven := make(chan error, 1)
	go func() { proven <- w.Prove(t.Context()) }()
	eventually(t, func() bool { return w.proofs() == 1 }, "somebody waits for the proof")
	for _, h := range []uint32{0, 1} {
		if err := w.Acknowledge(h); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-proven:
		t.Fatalf("proven too early: %v", err)
	default:
	}
	var high *AckError
	if err := w.Acknowledge(3); !errors.As(err, &high) || high.Sent != 2 {
		t.Errorf("one too many: %v", err)
	}
	if err := w.Acknowledge(2); err != nil {
		t.Fatal(err)
	}
	if err := <-proven; err != nil {
		t.Error(err)
	}
}

// TestOverdue: a peer that owes an answer is asked again after half of the time, and
// given up after all of it; each bit that it acknowledges gives it the time anew.
func TestOverdue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const answer = 10 * time.Second
		start := time.Now()
		var given atomic.Int64
		p := pipes(t, false)
		w := manage(t, p, Managing{Answer: answer, Overdue: func() { given.Store(int64(time.Since(start))) }})
		time.Sleep(time.Hour) // an idle stream owes nothing
		start = time.Now()
		send(t, w, "1", "2", "3")
		time.Sleep(answer - time.Second)
		if n := strings.Count(string(p.all()), request); n != 2 {
			t.Errorf("asked %d times", n)
		}
		if err := w.Acknowledge(1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(answer - time.Second)
		if err := w.Acknowledge(1); err != nil { // says nothing new
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got, want := time.Duration(given.Swap(0)), 2*answer-time.Second; got != want {
			t.Errorf("given up after %s, want %s", got, want)
		}
		if err := w.Acknowledge(3); err != nil {
			t.Fatal(err)
		}
		w.Probe()
		time.Sleep(answer - time.Second)
		if err := w.Acknowledge(3); err != nil { // it lives
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if given.Load() != 0 {
			t.Error("given up though it has answered")
		}
		start = time.Now()
		w.Probe()
		time.Sleep(time.Hour)
		if got := time.Duration(given.Load()); got != answer {
			t.Errorf("a probe is given up after %s, want %s", got, answer)
		}
		w.kill()
		w.join()
	})
}

// TestProveForgets: who does not wait for a proof any more will not ask either, so
// that another stanza of the same id is not taken for that one.
func TestProveForgets(t *testing.T) {
	t.Parallel()
	w := manage(t, pipes(t, false), Managing{Resumable: true})
	sendKept(t, w, "k")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Prove(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := w.Acknowledge(1); err != nil {
		t.Fatal(err)
	}
	sendKept(t, w, "k") // another one
	if err := w.Acknowledge(2); err != nil {
		t.Fatal(err)
	}
	if had, err := w.SendKept(t.Context(), message("k"), "k"); !had || err != nil {
		t.Errorf("one that nobody has proven: had %v, %v", had, err)
	}
}

// TestSettling: behind <enabled/> nothing is written for a while, and then all that
// was sent meanwhile, with one request.
func TestSettling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := pipes(t, false)
		w := newWriter(p, NSClient, 1<<20, time.Minute)
		defer w.join()
		defer w.kill()
		w.patience, w.unacked, w.unackedBytes = time.Minute, 1000, 1<<20
		send(t, w, "before")
		if err := w.Manage(t.Context(), Enabled("", 0), Managing{Settling: time.Second}); err != nil {
			t.Fatal(err)
		}
		send(t, w, "1", "2")
		time.Sleep(time.Second - 1)
		synctest.Wait()
		start := wireOf("before") + "<enabled xmlns='urn:xmpp:sm:3'/>"
		if got := string(p.all()); got != start {
			t.Errorf("wrote\n%s\nwant\n%s", got, start)
		}
		send(t, w, "3")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got, want := string(p.all()), start+wireOf("1")+wireOf("2")+wireOf("3")+request; got != want {
			t.Errorf("wrote\n%s\nwant\n%s", got, want)
		}
		send(t, w, "4")
		synctest.Wait()
		if got := string(p.all()); !strings.HasSuffix(got, wireOf("4")+request) {
			t.Errorf("wrote %s, not the last", got)
		}
	})
}
