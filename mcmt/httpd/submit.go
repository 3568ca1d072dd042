package httpd

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"mcmt2xmpp/mcmt"
)

// answer is the body of a 202.
type answer struct {
	ID         string      `json:"id"`
	Recipients []recipient `json:"recipients"`
}

// recipient is what became of one.
type recipient struct {
	To     string `json:"to"`
	Status string `json:"status"`           // "accepted" or "refused"
	ID     string `json:"id,omitempty"`     // of the message, where accepted
	Reason string `json:"reason,omitempty"` // where refused
	// Temporary is true where the recipient may be accepted later.
	Temporary bool `json:"temporary,omitempty"`
}

// result is what became of a message: an answer, or a problem.
type result struct {
	answer  answer
	problem *problem
}

// refused is the number of recipients that were.
func (r result) refused() (n int) {
	for _, rcpt := range r.answer.Recipients {
		if rcpt.Status == refused {
			n++
		}
	}
	return n
}

const (
	accepted = "accepted"
	refused  = "refused"
)

// submit hands the message to the sink. What has been begun is finished even
// where the client leaves: it will ask again, and must not find half of it.
func (s *Server) submit(x *exchange, m *message) result {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), s.opt.SinkTimeout)
	defer cancel()
	env := mcmt.Envelope{
		From:           m.from,
		Reception:      mcmt.Allow,
		Listener:       s.opt.Listener,
		Peer:           x.peer,
		User:           x.user,
		Trusted:        x.opt.Trusted || x.user != "",
		SMTPUTF8:       !ascii(m.from) || !ascii(strings.Join(m.to, "")),
		Received:       time.Now(),
		IdempotencyKey: m.key,
		Parsed:         m.parsed,
	}
	if err := s.opt.Sink.Sender(ctx, env); err != nil {
		return result{problem: about("sender", err)}
	}
	list, taken, problem := s.recipients(ctx, env, m.to)
	if problem != nil {
		return result{answer{Recipients: list}, problem}
	}
	env.To = taken
	id, err := s.opt.Sink.Put(ctx, env, m.raw)
	if err != nil {
		return result{problem: asProblem(err)}
	}
	for i := range list {
		if list[i].Status == accepted {
			list[i].ID = string(id)
		}
	}
	return result{answer: answer{ID: string(id), Recipients: list}}
}

// recipients asks the sink about each. There is a problem when it takes none; it
// is temporary when that is so for one of them.
func (s *Server) recipients(ctx context.Context, env mcmt.Envelope, to []string) ([]recipient, []mcmt.Recipient, *problem) {
	list := make([]recipient, len(to))
	taken := make([]mcmt.Recipient, 0, len(to))
	status := http.StatusUnprocessableEntity
	var cause error
	for i, addr := range to {
		list[i] = recipient{To: addr, Status: accepted}
		err := s.opt.Sink.Recipient(ctx, env, addr)
		if err == nil {
			taken = append(taken, mcmt.Recipient{Address: addr})
			continue
		}
		p := asProblem(err)
		list[i].Status, list[i].Reason, list[i].Temporary = refused, p.Detail, temporary(p.Status)
		if list[i].Temporary {
			status = http.StatusServiceUnavailable
		}
		cause = errors.Join(cause, err)
	}
	if len(taken) > 0 {
		return list, taken, nil
	}
	p := newProblem(status, "recipients", "none is accepted; the first: %s", list[0].Reason).because(cause)
	p.Recipients = list
	return list, nil, p
}

// about says what an error of the sink's is about where it does not itself.
func about(where string, err error) *problem {
	p := asProblem(err)
	if p.Where == "" {
		p.Where = where
	}
	return p
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
