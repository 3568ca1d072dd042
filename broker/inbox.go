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
	prefix string

	mu   sync.Mutex
	n    uint64
	open map[string]func(tail string, m *nats.Msg)
}

func newInbox(nc *nats.Conn) (*inbox, error) {
	in := &inbox{prefix: nc.NewInbox() + ".", open: make(map[string]func(string, *nats.Msg))}
	sub, err := nc.Subscribe(in.prefix+">", in.dispatch)
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	// What may wait here is bounded by what is asked: see window and reads.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	return in, nil
}

// expect returns a subject for answers. take gets those to it and to subjects
// below it, one at a time, with what follows it; never after forget.
func (in *inbox) expect(take func(tail string, m *nats.Msg)) (reply string, forget func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.n++
	key := strconv.FormatUint(in.n, 36)
	in.open[key] = take
	return in.prefix + key, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		delete(in.open, key)
	}
}

func (in *inbox) dispatch(m *nats.Msg) {
	key, tail, _ := strings.Cut(m.Subject[len(in.prefix):], ".")
	in.mu.Lock()
	defer in.mu.Unlock()
	if take := in.open[key]; take != nil {
		take(tail, m)
	}
}

// exchange sends what is to be answered to the subject reply, and gives take the
// answers until it says that it has the last, for timeout at most. It fails at
// once when the connection is lost, now or meanwhile.
func (l *link) exchange(ctx context.Context, timeout time.Duration, send func(reply string) error, take func(tail string, m *nats.Msg) (last bool)) error {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	if up.Err() != nil {
		return context.Cause(up)
	}
	over := false
	done := make(chan struct{})
	reply, forget := l.in.expect(func(tail string, m *nats.Msg) {
		if !over && take(tail, m) {
			over = true
			close(done)
		}
	})
	defer forget()
	if err := send(reply); err != nil {
		return err
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-up.Done():
		return context.Cause(up)
	case <-t.C:
		return nats.ErrTimeout
	}
}

// requestAll publishes msgs in order and waits for the answer to each, for
// timeout at most. Answers that have not come are nil, with the error that says
// why.
func (l *link) requestAll(ctx context.Context, msgs []*nats.Msg, timeout time.Duration) ([]*nats.Msg, error) {
	answers := make([]*nats.Msg, len(msgs))
	left := len(msgs)
	err := l.exchange(ctx, timeout,
		func(reply string) error {
			for i, m := range msgs {
				m.Reply = reply + "." + strconv.Itoa(i)
				if err := l.nc.PublishMsg(m); err != nil {
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
	return answers, err
}
