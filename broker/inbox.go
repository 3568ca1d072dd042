package broker

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// inbox takes answers that do not fit the plain request: several to one
// question, or one each to many questions that are asked in one go. One
// subscription serves all of them, because making one costs as much as a dozen
// answers.
type inbox struct {
	nc     *nats.Conn
	prefix string

	mu    sync.Mutex
	n     uint64
	open  map[string]*exchange
	spare []string // keys that may be used again, see requests
}

// exchange waits for answers.
type exchange struct {
	take func(tail string, m *nats.Msg) (last bool)
	over bool          // guarded by inbox.mu, as done is closed
	done chan struct{} // closed with over
	err  error         // valid then
}

// newInbox returns one that is of use after listen.
func newInbox() *inbox { return &inbox{open: make(map[string]*exchange)} }

func (in *inbox) listen(nc *nats.Conn) error {
	in.nc, in.prefix = nc, nc.NewInbox()+"."
	sub, err := nc.Subscribe(in.prefix+">", in.dispatch)
	if err == nil {
		// What may wait here is bounded by what is asked: see window and maxReads.
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}

// exchange sends what is to be answered to the subject reply or to one below it,
// and gives take the answers, with what follows reply in their subject, one at a
// time until it says that it has the last. It waits for timeout at most, and
// fails at once when the connection is lost, now or meanwhile.
func (in *inbox) exchange(ctx context.Context, timeout time.Duration, send func(reply string) error, take func(tail string, m *nats.Msg) (last bool)) error {
	x := &exchange{take: take, done: make(chan struct{})}
	key := in.enter(x)
	defer in.forget(key)
	if err := send(in.prefix + key); err != nil {
		return err
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-x.done:
		return x.err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nats.ErrTimeout
	}
}

func (in *inbox) enter(x *exchange) (key string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if n := len(in.spare); n > 0 {
		key, in.spare = in.spare[n-1], in.spare[:n-1]
	} else {
		in.n++
		key = strconv.FormatUint(in.n, 36)
	}
	in.open[key] = x
	return key
}

// again has the key of an exchange given to another: all answers to it have come.
// See requests.again.
func (in *inbox) again(key string) {
	if in.nc.Opts.InProcessServer == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.spare = append(in.spare, key)
}

// forget ends an exchange: its take is not running and will not be called again.
func (in *inbox) forget(key string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.open, key)
}

func (in *inbox) dispatch(m *nats.Msg) {
	key, tail, _ := strings.Cut(m.Subject[len(in.prefix):], ".")
	in.mu.Lock()
	defer in.mu.Unlock()
	if x := in.open[key]; x != nil && !x.over && x.take(tail, m) {
		x.end(nil)
	}
}

// lost ends all exchanges: what was asked on a connection is answered on it or
// never.
func (in *inbox) lost() { in.fail(errDisconnected) }

// fail ends all exchanges with a reason.
func (in *inbox) fail(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, x := range in.open {
		x.end(err)
	}
}

func (x *exchange) end(err error) {
	if !x.over {
		x.over, x.err = true, err
		close(x.done)
	}
}

// requestAll publishes msgs in order and waits for the answer to each, for
// timeout at most. Answers that have not come are nil, with the error that says
// why.
func (in *inbox) requestAll(ctx context.Context, msgs []*nats.Msg, timeout time.Duration) ([]*nats.Msg, error) {
	answers := make([]*nats.Msg, len(msgs))
	left := len(msgs)
	key := ""
	err := in.exchange(ctx, timeout,
		func(reply string) error {
			key = reply[len(in.prefix):]
			for i, m := range msgs {
				m.Reply = reply + "." + strconv.Itoa(i)
				if err := in.nc.PublishMsg(m); err != nil {
					return err
				}
			}
			return nil
		},
		func(tail string, m *nats.Msg) bool {
			i, err := strconv.Atoi(tail)
			if err == nil && i >= 0 && i < len(answers) && answers[i] == nil {
				answers[i] = m
				left--
			}
			return left == 0
		})
	if err == nil {
		in.again(key)
	}
	return answers, err
}
