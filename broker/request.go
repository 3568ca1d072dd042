package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

var errDisconnected = errors.New("connection to the server is lost")

// noAnswer is why a request has failed that the server has not answered in time.
type noAnswer time.Duration

func (d noAnswer) Error() string { return fmt.Sprintf("no answer within %v", time.Duration(d)) }

// requests are the questions to the server that wait for their answers. nats.go
// has a way of its own to ask, but lets what is under way run into its timeout
// when the connection is lost; a context for each that ends then too, its
// channels and its random inbox cost more than the question.
type requests struct {
	nc    *nats.Conn
	inbox string // where answers go, before the number of the question
	// again has an answered question's number given to another: an embedded server
	// keeps the way to a subject that it has met, and finding one for each answer
	// cost a third of a publish. It answers once; the servers of a cluster may both,
	// when the lead of a stream goes from one to the other.
	again bool

	mu      sync.Mutex
	cut     bool // the connection is lost
	last    uint64
	waiting map[uint64]*question
	spare   []*question // the last that was done with is the first to be used
	limit   *time.Timer // of all: it goes off when the first of them may be over
	due     time.Time   // when that is; zero: it does not run
}

// question waits for one answer.
type question struct {
	number uint64
	reply  string        // where its answer goes; empty: the number is not to be used again
	answer chan reply    // holds one; written with requests.mu held
	wait   time.Duration // how long it is waited for; zero: as long as the context allows
	due    time.Time     // when that is over
}

type reply struct {
	msg *nats.Msg
	err error
}

// listen makes ready for answers on a connection.
func (r *requests) listen(nc *nats.Conn) error {
	r.nc, r.inbox = nc, nc.NewInbox()+"."
	r.again = nc.Opts.InProcessServer != nil
	_, err := nc.Subscribe(r.inbox+"*", r.answered)
	return err
}

// request publishes m and waits for the answer, for timeout at most; zero: as long
// as ctx allows. It fails at once when the connection is lost, now or meanwhile.
func (r *requests) request(ctx context.Context, m *nats.Msg, timeout time.Duration) (*nats.Msg, error) {
	q, err := r.number(timeout)
	if err != nil {
		return nil, err
	}
	m.Reply = q.reply
	err = r.nc.PublishMsg(m)
	m.Reply = "" // the next time it may be published without a question
	if err != nil {
		r.forget(q, false)
		return nil, err
	}
	var a reply
	if over := ctx.Done(); over == nil {
		a = <-q.answer
	} else {
		select {
		case a = <-q.answer:
		case <-over:
			a.err = ctx.Err()
		}
	}
	r.forget(q, a.msg != nil)
	return a.msg, a.err
}

// number makes a question.
func (r *requests) number(timeout time.Duration) (*question, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut {
		return nil, errDisconnected
	}
	var q *question
	if n := len(r.spare); n > 0 {
		q, r.spare = r.spare[n-1], r.spare[:n-1]
	} else {
		q = &question{answer: make(chan reply, 1)}
	}
	if q.reply == "" {
		r.last++
		q.number, q.reply = r.last, r.inbox+strconv.FormatUint(r.last, 36)
	}
	r.waiting[q.number] = q
	q.wait, q.due = timeout, time.Time{}
	if timeout > 0 {
		q.due = time.Now().Add(timeout)
		r.wake(q.due)
	}
	return q, nil
}

// wake has expire called at that time or before. r.mu is held.
func (r *requests) wake(at time.Time) {
	switch {
	case !r.due.IsZero() && !at.Before(r.due):
		return
	case r.limit == nil:
		r.limit = time.AfterFunc(time.Until(at), r.expire)
	default:
		r.limit.Reset(time.Until(at))
	}
	r.due = at
}

// expire ends the questions whose time is over.
func (r *requests) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due = time.Time{}
	now := time.Now()
	var next time.Time
	for n, q := range r.waiting {
		switch {
		case q.due.IsZero():
		case !q.due.After(now):
			delete(r.waiting, n)
			q.answer <- reply{err: noAnswer(q.wait)}
		case next.IsZero() || q.due.Before(next):
			next = q.due
		}
	}
	if !next.IsZero() {
		r.wake(next)
	}
}

// forget makes q ready for another question. answered says that nothing can come
// any more for the one that it was.
func (r *requests) forget(q *question, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, q.number) // from here on nobody answers it
	if !answered || !r.again {
		q.reply = ""
	}
	select {
	case <-q.answer: // too late
		q.reply = "" // also where it is that of expire: the server's is on its way
	default:
	}
	r.spare = append(r.spare, q)
}

// answered hands an answer to who waits for it.
func (r *requests) answered(m *nats.Msg) {
	n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, r.inbox), 36, 64)
	if err != nil {
		return // nobody asked that
	}
	a := reply{msg: m}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" { // ADR-4
		a = reply{err: nats.ErrNoResponders}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.waiting[n]; q != nil {
		delete(r.waiting, n)
		q.answer <- a
	}
}

// lost tells everyone who waits that no answer will come, and whoever asks
// before back.
func (r *requests) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = true
	if r.limit != nil {
		r.limit.Stop()
		r.due = time.Time{}
	}
	r.failAll(errDisconnected)
}

// fail tells everyone who waits that no answer will come.
func (r *requests) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failAll(err)
}

// failAll is fail with r.mu held.
func (r *requests) failAll(err error) {
	for n, q := range r.waiting {
		delete(r.waiting, n)
		q.answer <- reply{err: err}
	}
}

func (r *requests) back() {
	r.lost() // what was asked on the old connection
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = false
}
