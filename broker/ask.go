package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// answering is how many requests to one subject are worked on at a time. Further
// ones wait in the order in which they came, up to 64 MiB of them; the server
// drops what exceeds that, and who asked learns of it by the end of its patience.
const answering = 4096

// stopTime bounds the wait for the server to learn that an Answer has ended.
const stopTime = time.Second

// headerFailed marks an answer that is none, and says why.
const (
	headerFailed  = "Ask-Failed"
	failedPanic   = "panic"
	failedStopped = "stopped" // before it was begun
)

// ErrNobody means that no process answers to a subject: the one that did is
// gone, or cut off. It is temporary.
var ErrNobody error = &refusal{"nobody answers", true}

// errFailed is what Ask makes of failedPanic.
var errFailed = errors.New("the other side failed to answer")

// reunion tells when all connections are there again after some were lost.
type reunion struct {
	mu    sync.Mutex
	again chan struct{}
}

// Reconnected returns a channel that closes when a connection has been lost and
// all are there again: what happened in between was missed.
func (b *Broker) Reconnected() <-chan struct{} {
	b.reunion.mu.Lock()
	defer b.reunion.mu.Unlock()
	if b.reunion.again == nil {
		b.reunion.again = make(chan struct{})
	}
	return b.reunion.again
}

// linkReturned is called when a connection is back.
func (b *Broker) linkReturned() {
	for _, l := range []*link{b.pub, b.work, b.admin} {
		if !l.isUp() {
			return // and will call
		}
	}
	b.reunion.mu.Lock()
	defer b.reunion.mu.Unlock()
	if b.reunion.again != nil {
		close(b.reunion.again)
		b.reunion.again = nil
	}
}

// Ask sends a request to whoever answers to subject, over core NATS, and waits
// for the answer until ctx ends. It fails at once when there is nobody (ErrNobody)
// and when the connection is lost or the broker closed (ErrUnavailable). After any
// other error than ErrNobody the request may have been carried out.
func (b *Broker) Ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: ask: %w", err)
	}
	defer b.calls.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.done, cancel)()
	resp, err := b.pub.ask(ctx, &nats.Msg{Subject: subject, Data: data})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		err = refuse(ErrNobody, err)
	case err != nil:
		err = requestRefusal(err)
	case resp.Header.Get(headerFailed) == failedStopped:
		err = ErrNobody
	case resp.Header.Get(headerFailed) != "":
		err = errFailed
	default:
		return resp.Data, nil
	}
	return nil, fmt.Errorf("broker: ask: %w", err)
}

// Answer answers the requests to subject with f, each in a goroutine of its own
// and 4096 at a time; what one of them waits for must not depend on another one
// being begun. ctx ends with stop and when the broker is closed; both wait until
// every f has returned, and what comes meanwhile finds nobody. The loss of the
// connection ends nothing: requests come again when it is back.
func (b *Broker) Answer(subject string, f func(ctx context.Context, data []byte) []byte) (stop func(), err error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: answer: %w", err)
	}
	a := &answerer{b: b, f: f, free: make(chan struct{}, answering), closed: make(chan struct{})}
	a.ctx, a.end = context.WithCancel(b.done)
	stop = sync.OnceFunc(func() {
		defer b.calls.Done()
		a.stop()
	})
	a.sub, err = b.work.nc.Subscribe(subject, a.take)
	if err == nil {
		a.sub.SetClosedHandler(func(string) { close(a.closed) })
		// Known to the server before anybody is told to ask.
		err = b.work.nc.FlushTimeout(b.o.StoreTimeout)
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("broker: answer: %w", requestRefusal(err))
	}
	context.AfterFunc(b.done, stop)
	return stop, nil
}

// answerer is one Answer.
type answerer struct {
	b      *Broker
	f      func(ctx context.Context, data []byte) []byte
	sub    *nats.Subscription // nil: it failed
	closed chan struct{}      // closed when nothing comes from sub any more
	free   chan struct{}      // holds one for each f that runs
	ctx    context.Context
	end    context.CancelFunc

	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup // Add with mu held, and not when stopped
}

// take begins to answer m, when there is room.
func (a *answerer) take(m *nats.Msg) {
	select {
	case a.free <- struct{}{}:
	case <-a.ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		a.respond(m, failed(failedStopped))
		return
	}
	a.running.Go(func() {
		defer func() { <-a.free }()
		a.respond(m, a.answer(m))
	})
}

func (a *answerer) respond(m, resp *nats.Msg) {
	if err := m.RespondMsg(resp); err != nil {
		// Who asked finds the connection lost, or loses patience.
		a.b.log.Debug().Err(err).Str("subject", m.Subject).Msg("answer not sent")
	}
}

// answer calls f. A panic is a bug of ours that one request brought out; it must
// not take the process with it, nor leave who asked waiting.
func (a *answerer) answer(m *nats.Msg) (resp *nats.Msg) {
	defer func() {
		if p := recover(); p != nil {
			a.b.log.Error().Interface("panic", p).Str("subject", m.Subject).Bytes("stack", debug.Stack()).Msg("answering panicked")
			resp = failed(failedPanic)
		}
	}()
	return &nats.Msg{Data: a.f(a.ctx, m.Data)}
}

// stop ends the subscription and what runs. What the server has sent before it
// knows is refused: dropped, it would keep who asked waiting.
func (a *answerer) stop() {
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	a.end()
	if a.sub != nil {
		if a.sub.Drain() == nil && a.b.work.nc.IsConnected() {
			select {
			case <-a.closed:
			case <-time.After(stopTime):
			}
		}
		_ = a.sub.Unsubscribe() // fails only where it has ended anyway
	}
	a.running.Wait()
}

func failed(how string) *nats.Msg { return &nats.Msg{Header: nats.Header{headerFailed: {how}}} }
