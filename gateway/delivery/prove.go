package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stream"
)

// proofTime is the longest that delivery waits for a client to prove that it
// lives. A session ends itself before; one that does not is ended, or it would
// get the same messages for ever.
const proofTime = 2 * time.Minute

// answers are the proofs of the sessions that got messages of one run. Each
// session is asked once, as a proof covers all that went before, and all at the
// same time: one that is half dead must not hold up another.
type answers struct {
	cancel context.CancelCauseFunc
	slow   *time.Timer // of press; nil: nobody waits behind
	asking sync.WaitGroup
	come   chan answer
	known  map[router.Session]answer
}

type answer struct {
	session router.Session
	proof   router.Proof
	err     error
}

// A client that has proven nothing for slowTime is waited for no longer while
// more than maxBacklog messages wait behind: they take room that others need.
const (
	slowTime   = 5 * time.Second
	maxBacklog = 1024
)

// errNotProven ends the waiting for a client that took too long.
var errNotProven = errors.New("nothing was proven")

// ask begins to ask. backlog tells how many messages wait behind those that were
// sent; nil: none does. The answers need an end.
func ask(ctx context.Context, sent []outgoing, backlog func() int) *answers {
	a := &answers{known: make(map[router.Session]answer, 1)}
	ctx, a.cancel = context.WithCancelCause(ctx)
	ctx, expire := context.WithTimeoutCause(ctx, proofTime, errNotProven)
	context.AfterFunc(ctx, expire) // its timer goes with a.cancel
	if backlog != nil {
		made := make(chan struct{})
		a.slow = time.AfterFunc(slowTime, func() {
			<-made
			a.press(ctx, backlog)
		})
		close(made)
	}
	asked := make(map[router.Session]bool, 1)
	for _, out := range sent {
		for _, s := range out.sessions {
			asked[s] = true
		}
	}
	a.come = make(chan answer, len(asked))
	for s := range asked {
		a.asking.Go(func() { a.come <- prove(ctx, s) })
	}
	return a
}

// press gives up on who has not answered when too much waits, and looks again
// otherwise.
func (a *answers) press(ctx context.Context, backlog func() int) {
	switch {
	case ctx.Err() != nil: // it is over
	case backlog() > maxBacklog:
		a.cancel(errNotProven)
	default:
		a.slow.Reset(slowTime / 5)
	}
}

// prove asks one session.
func prove(ctx context.Context, s router.Session) answer {
	proof, err := s.Prove(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errNotProven) {
		s.Close(&stream.Error{Condition: stream.ConnectionTimeout, Text: "nothing was proven"})
	}
	return answer{s, proof, err}
}

// about returns the proof when one of the sessions is known to have received what it
// was sent, as soon as one is; otherwise why none is.
func (a *answers) about(sessions []router.Session) (router.Proof, error) {
	for {
		var errs []error
		for _, s := range sessions {
			switch known, ok := a.known[s]; {
			case ok && known.err == nil:
				return known.proof, nil
			case ok:
				errs = append(errs, known.err)
			}
		}
		if len(errs) == len(sessions) {
			return "", errors.Join(errs...)
		}
		next := <-a.come // everyone asked answers, at the latest when ctx ends
		a.known[next.session] = next
	}
}

// end stops asking and waits for those who were.
func (a *answers) end() {
	a.cancel(nil)
	if a.slow != nil {
		a.slow.Stop()
	}
	a.asking.Wait()
}
