package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// remote is a session of another process. It is a router.Session.
type remote struct {
	r       *Sessions
	peer    *peer
	key     string
	full    jid.JID
	binding binding
	state   atomic.Pointer[shown] // changed with Sessions.mu held

	// Guarded by Sessions.mu.
	rev   uint64 // of the entry
	ahead bool   // the session was handed over by this node, and the bucket does not say so yet
}

var (
	errSessionGone = errors.New("session is over")
	errNodeGone    = errors.New("node is gone")
)

// counts says whether m is a session at all: its node lives, and nobody has bound
// its JID here, which the other side may not know yet. r.mu is held.
func (r *Sessions) counts(m *remote) bool {
	c := r.claims[m.key]
	return m.peer.live && (c == nil || c.session == nil)
}

// shown is what is known of m, nothing where it does not count. r.mu is held.
func (r *Sessions) shown(m *remote) shown {
	if !r.counts(m) {
		return nothing
	}
	return *m.state.Load()
}

// JID is the full JID.
func (m *remote) JID() jid.JID { return m.full }

// Priority is that of the last presence that is known here.
func (m *remote) Priority() (p int8, available bool) {
	n := m.state.Load().rank
	if n == away {
		return 0, false
	}
	return int8(n), true
}

// Present says whether others see the resource as available: while it is suspended, too.
func (m *remote) Present() bool { return m.state.Load().present }

// Carbons says whether its client wants copies of its account's messages (XEP-0280).
func (m *remote) Carbons() bool { return m.state.Load().carbons }

// Handled asks the session's node how many stanzas of its client it has handled, if it
// is suspended under that SM-ID (XEP-0198 §5).
func (m *remote) Handled(ctx context.Context, previd string) (h uint32, ok bool) {
	a, err := m.ask(ctx, opHandled, []byte(previd))
	if err != nil || len(a.data) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(a.data), true
}

// Show sends the session's presence to somebody, and again what it has become meanwhile,
// since that may have been overtaken. It does not wait. The node that has the session is
// asked for the presence, not to send it: it may not know yet of who is to see it.
func (m *remote) Show(_ context.Context, to jid.JID) {
	m.r.later(func(ctx context.Context) {
		sent := ""
		for range 4 {
			a, err := m.ask(ctx, opShow, nil)
			if err != nil || string(a.data) == sent {
				return // where the node is not there, it has no presence
			}
			sent = string(a.data)
			st := stanza.NewPresence(to, m.full, "unavailable")
			if len(a.data) > 0 {
				if st, err = parseStanza(a.data); err != nil {
					return
				}
				st.To = to
			}
			m.r.o.Forward(ctx, st)
		}
	})
}

// Send has the session's node queue a stanza and waits for its answer. An error
// means that the message is not known to be queued: to be on the safe side it
// counts as not taken.
func (m *remote) Send(ctx context.Context, st *stanza.Stanza) error {
	_, err := m.send(ctx, opSend, st)
	return err
}

// SendKept is Send for a message in custody.
func (m *remote) SendKept(ctx context.Context, st *stanza.Stanza) (had bool, err error) {
	a, err := m.send(ctx, opKept, st)
	return a.status == statusHad, err
}

func (m *remote) send(ctx context.Context, op operation, st *stanza.Stanza) (reply, error) {
	a, err := m.ask(ctx, op, stanzaData(st))
	m.r.stats.sends.count(err)
	return a, err
}

// Prove has the session's node ask for a proof. The node answers after a while in
// any case, and is asked again: so neither is a lost answer waited for, nor does
// a slow client keep a request open.
func (m *remote) Prove(ctx context.Context) (router.Proof, error) {
	proof, err := m.prove(ctx, []byte(rand.Text()))
	m.r.stats.proofs.count(err)
	return proof, err
}

func (m *remote) prove(ctx context.Context, id []byte) (router.Proof, error) {
	for {
		switch a, err := m.ask(ctx, opProve, id); {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case errors.Is(err, context.DeadlineExceeded), err == nil && a.status == statusWaiting:
			continue // lost, or not there yet
		case err != nil:
			return "", err
		default:
			return router.Proof(a.data), nil
		}
	}
}

// Close has the session's node end it. It does not wait.
func (m *remote) Close(reason *stream.Error) {
	m.r.start(func(ctx context.Context) {
		// A node that is not there has no session to end.
		_, _ = m.ask(ctx, opClose, closeData(reason))
	})
}

// Retire has the session say that it is gone, for good, to whoever knows its
// presence. It waits until that is done, or for as long as its node is waited for.
func (m *remote) Retire(ctx context.Context) {
	_, _ = m.ask(ctx, opRetire, nil) // where the node is not there, nobody is left to say it
}

// introduce has the session sent its presence to another resource of the account.
func (m *remote) introduce(ctx context.Context, to jid.JID) {
	_, _ = m.ask(ctx, opIntroduce, []byte(to.String()))
}

// ask sends a request to the session's node. It ends at once when the node dies.
func (m *remote) ask(ctx context.Context, op operation, data []byte) (reply, error) {
	m.r.mu.RLock()
	life := m.peer.life
	m.r.mu.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, m.r.o.times.ask)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	subject := askSubject(m.peer.node)
	if op == opProve {
		subject = proveSubject(m.peer.node)
	}
	until, _ := ctx.Deadline()
	// What was not done when we stop waiting must not be done afterwards.
	wait := time.Until(until) * 9 / 10
	answer, err := m.r.o.Broker.Ask(ctx, subject, request{op, m.binding.number, wait, data}.append(nil))
	switch {
	case err != nil && life.Err() != nil:
		return reply{}, errNodeGone
	case err != nil:
		return reply{}, fmt.Errorf("node %s: %w", m.peer.node, err)
	}
	a, err := parseReply(answer)
	switch {
	case err != nil:
		return reply{}, fmt.Errorf("node %s: %w", m.peer.node, err)
	case a.status == statusGone:
		return reply{}, errSessionGone
	case a.status == statusFailed:
		return reply{}, fmt.Errorf("node %s: %s", m.peer.node, a.data)
	}
	return a, nil
}
