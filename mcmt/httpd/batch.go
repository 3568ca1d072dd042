package httpd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// maxUnsent is how many bytes of results may wait for a client that sends
// without reading; then its lines wait.
const maxUnsent = 4 << 20

// batch answers POST /v1/messages:batch. Several messages are on their way into
// custody at once; those that share a recipient go one after the other, in the
// order of their lines, so that each recipient gets them in that order.
func (s *Server) batch(x *exchange) {
	_, _, err := contentType(x.r, batchTypes)
	if err == nil {
		_, err = parseQuery(x.r, typeJSON)
	}
	var key string
	if err == nil {
		key, err = idempotencyKey(x.r)
	}
	if err == nil {
		// The answer to the first line must not wait for the last.
		err = x.rc.EnableFullDuplex()
	}
	if err != nil {
		s.fail(x, err)
		return
	}
	b := &batchRun{s: s, x: x, key: key,
		window: make(chan struct{}, s.opt.BatchWindow),
		queue:  make(chan *batchLine, s.opt.MaxBatchLines+1),
		last:   make(map[string]*batchLine),
	}
	b.room.L = &b.mu
	b.run()
}

// longAgo as a deadline wakes whoever reads.
var longAgo = time.Unix(1, 0)

// batchRun is one batch while it is answered. Its own goroutine reads the lines
// and owns what is not guarded; one writes the results.
type batchRun struct {
	s      *Server
	x      *exchange
	key    string
	window chan struct{}         // a token for each line on its way
	queue  chan *batchLine       // in the order of the lines, to the writer
	last   map[string]*batchLine // by recipient: the last line that names it
	lines  int                   // read, empty ones included
	queued int
	work   sync.WaitGroup

	mu     sync.Mutex
	room   sync.Cond // unsent has shrunk, or the client is gone
	unsent int       // bytes of results that wait for the writer
	gone   bool      // the client does not take results any more
}

// batchLine is one line on its way.
type batchLine struct {
	n      int
	done   chan struct{} // closed when result holds
	result []byte
}

// run reads to the end and answers. Everything it started is over when it
// returns.
func (b *batchRun) run() {
	in := b.s.newTimedReader(b.x)
	in.ended = b.ended
	br := bufio.NewReaderSize(in, firstBody)
	// The end of Serve's context ends the reading; lines begun are finished.
	stop := context.AfterFunc(b.x.r.Context(), func() { _ = b.x.rc.SetReadDeadline(longAgo) })
	defer stop()
	var writer sync.WaitGroup
	end := b.readLines(br, func() { writer.Go(b.write) })
	if b.queued == 0 { // nothing was answered yet: the request as a whole is
		if end == nil {
			end = newProblem(http.StatusUnprocessableEntity, "body", "there is no message in it")
		}
		b.s.fail(b.x, end)
		return
	}
	if end != nil {
		b.settle(b.line(), result{problem: asProblem(end)})
	}
	b.work.Wait()
	close(b.queue)
	writer.Wait()
	b.s.logEvent(b.x).Int("status", http.StatusOK).Int("lines", b.lines).AnErr("error", end).Msg("batch")
}

// ended reports whether lines are still wanted.
func (b *batchRun) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone || b.x.r.Context().Err() != nil
}

// line makes the next line in the queue, which has room for all there can be.
func (b *batchRun) line() *batchLine {
	l := &batchLine{n: b.lines, done: make(chan struct{})}
	b.queue <- l
	b.queued++
	return l
}

// start decodes a line and sends it on its way after those before it that share
// a recipient. bad is what is wrong with it already.
func (b *batchRun) start(text *body, bad *problem) {
	l := b.line()
	x := *b.x // of this line: its size and time
	x.start, x.size = time.Now(), int64(len(text.b))
	m := &message{body: text, line: l.n}
	if b.key != "" {
		m.key = fmt.Sprintf("%s/%d", b.key, l.n)
	}
	if bad == nil {
		if err := m.fromJSON(b.s, &x, text.b); err != nil {
			bad = asProblem(err)
		}
	}
	if bad != nil {
		<-b.window
		m.release()
		b.conclude(&x, l, m, result{problem: bad})
		return
	}
	before := b.chain(l, m.to)
	b.work.Go(func() {
		defer func() { <-b.window }()
		defer m.release()
		for _, earlier := range before {
			<-earlier.done // has its token already, so it will come
		}
		b.conclude(&x, l, m, b.submit(&x, m))
	})
}

// conclude logs, counts and answers one line.
func (b *batchRun) conclude(x *exchange, l *batchLine, m *message, res result) {
	b.s.logMessage(x, m, res)
	b.s.count(res.problem)
	b.settle(l, res)
}

// submit is Server.submit; net/http catches what panics in its own goroutines
// only, and one message must not end the process.
func (b *batchRun) submit(x *exchange, m *message) (res result) {
	defer func() {
		if v := recover(); v != nil {
			b.s.opt.Log.Error().Interface("panic", v).Bytes("stack", debug.Stack()).Msg("bug while a message was submitted")
			res = result{problem: asProblem(fmt.Errorf("panic: %v", v))}
		}
	}()
	return b.s.submit(x, m)
}

// chain puts l behind the earlier lines that name one of its recipients and are
// still on their way. Case is ignored: two spellings may be one account.
func (b *batchRun) chain(l *batchLine, to []string) (before []*batchLine) {
	for _, addr := range to {
		key := strings.ToLower(addr)
		if earlier := b.last[key]; earlier != nil && earlier != l && !earlier.settled() {
			before = append(before, earlier)
		}
		b.last[key] = l
	}
	if len(b.last) > 16*1024 {
		for key, earlier := range b.last {
			if earlier.settled() {
				delete(b.last, key)
			}
		}
	}
	return before
}

func (l *batchLine) settled() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// settle gives a line its result.
func (b *batchRun) settle(l *batchLine, res result) {
	var v any = struct {
		Line   int `json:"line"`
		Status int `json:"status"`
		answer
	}{l.n, http.StatusAccepted, res.answer}
	if res.problem != nil {
		v = struct {
			Line int `json:"line"`
			*problem
		}{l.n, res.problem}
	}
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types of strings and numbers
	}
	l.result = append(text, '\n')
	b.mu.Lock()
	b.unsent += len(l.result)
	b.mu.Unlock()
	close(l.done)
}

// write sends the results in order until the queue is closed, and flushes
// whenever the next one is not there yet.
func (b *batchRun) write() {
	b.x.w.Header().Set("Content-Type", "application/x-ndjson")
	for l := range b.queue {
		if !l.settled() {
			b.flush()
			<-l.done
		}
		b.mu.Lock()
		gone := b.gone
		b.unsent -= len(l.result)
		b.room.Signal()
		b.mu.Unlock()
		if gone {
			continue
		}
		b.x.writable(b.s.opt.WriteTimeout)
		if _, err := b.x.w.Write(l.result); err != nil {
			b.lost()
		}
		if len(b.queue) == 0 {
			b.flush()
		}
	}
}

func (b *batchRun) flush() {
	b.x.writable(b.s.opt.WriteTimeout)
	if b.x.rc.Flush() != nil {
		b.lost()
	}
}

// lost stops the reading: a client that does not learn what became of its
// messages sends them all again.
func (b *batchRun) lost() {
	b.mu.Lock()
	b.gone = true
	b.room.Signal()
	b.mu.Unlock()
	_ = b.x.rc.SetReadDeadline(longAgo)
}
