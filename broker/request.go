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

	mu      sync.Mutex
	cut     bool // the connection is lost
	last    uint64
	waiting map[uint64]*question
	spare   sync.Pool // of *question
}

// question waits for one answer.
type question struct {
	number uint64
	answer chan reply // holds one; written with requests.mu held
	timer  *time.Timer
}

type reply struct {
	msg *nats.Msg
	err error
}

// listen makes ready for answers on a connection.
func (r *requests) listen(nc *nats.Conn) error {
	r.nc, r.inbox = nc, nc.NewInbox()+"."
	_, err := nc.Subscribe(r.inbox+"*", r.answered)
	return err
}

// request publishes m and waits for the answer, for timeout at most; zero: as long
// as ctx allows. It fails
// at once when the connection is lost, now or meanwhile.
func (r *requests) request(ctx context.Context, m *nats.Msg, timeout time.Duration) (*nats.Msg, error) {
	q, err := r.number()
	if err != nil {
		return nil, err
	}
	defer r.forget(q)
	m.Reply = r.inbox + strconv.FormatUint(q.number, 36)
	err = r.nc.PublishMsg(m)
	m.Reply = "" // the next time it may be published without a question
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		q.timer.Reset(timeout)
	}
	select {
	case a := <-q.answer:
		return a.msg, a.err
	case <-q.timer.C:
		return nil, noAnswer(timeout)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// number makes a question.
func (r *requests) number() (*question, error) {
	q, ok := r.spare.Get().(*question)
	if !ok {
		q = &question{answer: make(chan reply, 1), timer: time.NewTimer(time.Hour)}
		q.timer.Stop()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut {
		return nil, errDisconnected
	}
	r.last++
	q.number = r.last
	r.waiting[q.number] = q
	return q, nil
}

// forget makes q ready for another question.
func (r *requests) forget(q *question) {
	r.mu.Lock()
	delete(r.waiting, q.number) // from here on nobody answers it
	r.mu.Unlock()
	select {
	case <-q.answer: // too late
	default:
	}
	q.timer.Stop()
	r.spare.Put(q)
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
