package router

import (
	"context"
	"errors"

	"mcmt2xmpp/xmpp/jid"
)

// A client may come to another process than the one that has its session, to resume it
// (XEP-0198 §5). The session is lent to that one, which takes it over or does not:
//
//	Router.Borrow ── Borrower ──> Lender.Lend: the session waits
//	Loan.Take     ── Borrower ──> Lent.Give:   it is over there, and bound here
//	Loan.Return   ── Borrower ──> Lent.Keep:   it goes on there

// Borrower is a Registry that several processes share who lend each other sessions.
type Borrower interface {
	// Borrow finds the session of an account whose SM-ID was previd in another process: h
	// is how many of its stanzas the client has received. No loan and no error: no process
	// has it. The error may be ErrHere, or a *stream.AckError where h is too high.
	Borrow(ctx context.Context, bare jid.JID, previd string, h uint32) (Loan, error)
}

// Loan is a session that another process lends this one. Take or Return is called, once.
type Loan interface {
	// Node is the process that lends it.
	Node() string
	// State is what Lent.State has returned there.
	State() []byte
	// Take binds s, which was made of State, in place of the session, and ends that one. rest
	// is what Lent.Give has returned. After an error s is not bound; with ErrInDoubt it is not
	// known whether the other process has let go.
	Take(ctx context.Context, s Session) (rest []byte, err error)
	// Return has the session go on where it was. It does not wait.
	Return()
}

// Lender is a session here that another process may borrow.
type Lender interface {
	Session
	// Lend suspends the session, if its SM-ID is previd, until the loan is decided. No loan
	// and no error: it is not that session, or it is over. The error is a *stream.AckError
	// where h is too high.
	Lend(ctx context.Context, previd string, h uint32) (Lent, error)
}

// Lent is a session here that is lent to another process. Give or Keep is called before
// long, and Keep after a Give that was refused.
type Lent interface {
	// State is what the other process has to know of the session.
	State() []byte
	// Give ends the session without a word to anybody, since the node to has it. move has
	// whoever looks for it find that one, and may refuse. rest is what came meanwhile.
	Give(to string, move func() bool) (rest []byte, ok bool)
	// Keep has the session wait for its client here again.
	Keep()
}

// Errors of loans.
var (
	// ErrHere means that the session to be borrowed has become one of this process.
	ErrHere = errors.New("session is here")
	// ErrInDoubt means that who lends a session does not answer any more.
	ErrInDoubt = errors.New("not known who has the session")
)

// Borrow is that of the registry, where it is a Borrower; else nobody has anything to lend.
func (r *Router) Borrow(ctx context.Context, bare jid.JID, previd string, h uint32) (Loan, error) {
	if b, ok := r.o.Registry.(Borrower); ok {
		return b.Borrow(ctx, bare, previd, h)
	}
	return nil, nil
}
