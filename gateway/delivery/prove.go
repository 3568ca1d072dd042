package delivery

import (
	"context"
	"errors"
	"slices"
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
	ctx     context.Context
	cancel  context.CancelCauseFunc
	since   time.Time
	backlog func() int  // nil: nobody waits behind
	limit   *time.Timer // of press
	asking  sync.WaitGroup
	come    chan answer // nil: there is only one to ask, who is asked when it matters
	known   []answer
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
	a := &answers{since: time.Now(), backlog: backlog}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	var sessions []router.Session
	for _, out := range sent {
		for _, s := range out.sessions {
			if !slices.Contains(sessions, s) {
				sessions = append(sessions, s)
			}
		}
	}
	made := make(chan struct{})
	first := proofTime
	if backlog != nil {
		first = slowTime
	}
	a.limit = time.AfterFunc(first, func() {
		<-made
		a.press()
	})
	close(made)
	if len(sessions) > 1 {
		a.come = make(chan answer, len(sessions))
		for _, s := range sessions {
			a.asking.Go(func() { a.come <- prove(a.ctx, s) })
		}
	}
	return a
}

// press gives up on who has not answered in time, or when too much waits, and
// looks again otherwise.
func (a *answers) press() {
	left := proofTime - time.Since(a.since)
	switch {
	case a.ctx.Err() != nil: // it is over
	case left <= 0, a.backlog != nil && a.backlog() > maxBacklog:
		a.cancel(errNotProven)
	case a.backlog == nil:
		a.limit.Reset(left)
	default:
		a.limit.Reset(min(left, slowTime/5))
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
		for _, k := range a.known {
			switch {
			case !slices.Contains(sessions, k.session):
			case k.err == nil:
				return k.proof, nil
			default:
				errs = append(errs, k.err)
			}
		}
		switch {
		case len(errs) == len(sessions):
			return "", errors.Join(errs...)
		case a.come == nil:
			a.known = append(a.known, prove(a.ctx, sessions[0]))
		default:
			a.known = append(a.known, <-a.come) // everyone asked answers, at the latest when ctx ends
		}
	}
}

// end stops asking and waits for those who were.
func (a *answers) end() {
	a.cancel(nil)
	a.limit.Stop()
	a.asking.Wait()
}
