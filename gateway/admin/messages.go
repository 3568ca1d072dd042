package admin

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// History is what became of messages.
type History interface {
	// Message returns the outcomes of the messages that id names, one for each
	// recipient, the oldest message first: a queue id, a Message-ID without its
	// angle brackets, a stanza id, or the JID or address of a recipient. None is no error.
	Message(ctx context.Context, id string) ([]Outcome, error)
	// Messages returns at most limit of the messages that f selects: those that have
	// ended in the order of their end, and then those that are under way. It goes on
	// behind after, which is the next of an earlier call; ErrAfter: it is none. next is
	// empty when there is nothing more; else there may be, also where none was found:
	// one call looks at no more than some hundred thousand messages.
	Messages(ctx context.Context, f MessageFilter, limit int, after string) (found []Outcome, next string, err error)
}

// ErrAfter is the error for an after that was no answer's next.
var ErrAfter = errors.New("after is not the next of an earlier answer")

// OutcomeKind is what has become of a message: an end, or, as long as it is under way,
// waiting, deferred or held.
type OutcomeKind string

func (OutcomeKind) values() []string {
	return []string{"delivered", "filtered", "relayed", "failed", "expired", "dropped", "waiting", "deferred", "held"}
}

// Outcome is what became of one message for one recipient.
type Outcome struct {
	ID        string      `json:"id" doc:"queue id"`
	StanzaID  string      `json:"stanza_id,omitempty"`
	MessageID string      `json:"message_id,omitempty" doc:"without its angle brackets"`
	From      string      `json:"from,omitempty" doc:"reverse-path; left out: no bounces"`
	Author    string      `json:"author,omitempty" doc:"JID of the Jabber user who wrote it, where it goes out as mail"`
	To        string      `json:"to" doc:"recipient as given"`
	JID       string      `json:"jid,omitempty" doc:"of the recipient; or mailto: and an address"`
	Outcome   OutcomeKind `json:"outcome" doc:"how it ended; or not yet: waiting, deferred, held"`
	Proof     string      `json:"proof,omitempty" doc:"how a delivery is known, or the host that took the mail and its answer"`
	Reason    string      `json:"reason,omitempty" doc:"why there was none"`
	Part      string      `json:"part,omitempty" doc:"what the stanza was made from: xmpp, smpp, mm7, email, report"`
	Listener  string      `json:"listener,omitempty" doc:"where it came in"`
	Peer      string      `json:"peer,omitempty" doc:"address and port of who handed it in"`
	User      string      `json:"user,omitempty" doc:"name by which that had logged in"`
	Node      string      `json:"node,omitempty" doc:"process where it ended"`
	Accepted  time.Time   `json:"accepted,omitzero"`
	Ended     time.Time   `json:"ended,omitzero" doc:"left out: it is on its way"`
	Attempts  int         `json:"attempts"`
	Stage     string      `json:"stage,omitempty" enum:"in dlv mail park" doc:"where it lies while it is on its way: to be converted, to be delivered, to be sent as mail; park: waits for its next attempt"`
	Next      time.Time   `json:"next,omitzero" doc:"attempt, of one that is deferred; left out: none is planned"`
	Steps     []Step      `json:"steps,omitempty" doc:"its life so far, the end included, in order"`
}

// Step is one step in the life of a message for one recipient. Which fields are there
// depends on the step: see stepText.
type Step struct {
	At      time.Time `json:"at"`
	Step    string    `json:"step"`
	Node    string    `json:"node,omitempty" doc:"process that it was in"`
	Name    string    `json:"name,omitempty"`
	Peer    string    `json:"peer,omitempty"`
	Verdict string    `json:"verdict,omitempty"`
	Shadow  bool      `json:"shadow,omitempty" doc:"the verdict did not count"`
	Route   string    `json:"route,omitempty" doc:"full JIDs of sessions, a bare JID, or mailto: and an address"`
	Answer  string    `json:"answer,omitempty"`
	Count   int       `json:"count,omitempty" doc:"left out: one"`
	Until   time.Time `json:"until,omitzero" doc:"the last of them"`
}

// stepText tells in the document what the steps are.
const stepText = `The steps of a message, and what each has:

- accepted: name is the listener, peer who handed it in; answer, of a report: on what
- stored: custody began
- converted: it became a stanza; name is the part
- filter: name of the filter, verdict (pass, drop, strip, defer), shadow, answer is the reason
- attempt: it was sent and did not arrive; route, answer; count and until where several had that answer
- deferred: it waits without having been sent; answer is why
- rerouted: name is the script, route the other recipient
- diverted: its e-mail goes out instead; answer is why
- reported: its author is told; verdict is of which end, route whom, name the id of the report, answer how
- revived: an operator has sent it on its way once more
- omitted: count steps were too many to be kept
- delivered, filtered, relayed, failed, expired, dropped: the end, as in outcome; route and answer`

// Outcomes is the answer of GET /v1/messages and /v1/messages/{id}.
type Outcomes struct {
	Outcomes []Outcome `json:"outcomes"`
	Next     string    `json:"next,omitempty" doc:"of a search: the parameter after of the request that goes on; left out: there is no more"`
}

// historyRoutes are those of messages.
func (s *Server) historyRoutes() []route {
	p := &part{
		name:    "messages",
		present: func() bool { return s.o.History != nil },
		absent:  "this gateway does not keep what became of messages",
		failing: "what became of messages cannot be read now",
		refusal: historyRefusal,
	}
	return []route{
		{method: http.MethodGet, path: "/v1/messages", id: "findMessages", summary: "The messages that were under way in a window in time, those that have ended in the order of their end and then the others",
			about: "Next may be there though fewer than the limit were found, or none: one answer looks at some hundred thousand messages at most. What is left out does not matter.",
			role:  Read, part: p, query: searchQuery, answer: Outcomes{}, do: s.messages},
		{method: http.MethodGet, path: "/v1/messages/{id}", id: "traceMessage", summary: "What became of a message, for each recipient, step by step",
			about: stepText,
			role:  Read, part: p, answer: Outcomes{}, refuse: []int{http.StatusNotFound}, do: s.message},
	}
}

func historyRefusal(err error) (int, string) {
	if errors.Is(err, ErrAfter) {
		return http.StatusBadRequest, ErrAfter.Error()
	}
	return 0, ""
}

func (s *Server) message(x *exchange, r *http.Request) error {
	id, err := messageID("id", r.PathValue("id"))
	if err != nil {
		return err
	}
	all, err := s.o.History.Message(r.Context(), id)
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		problem(x, http.StatusNotFound, "no message is known by this id, and none for a recipient of this address")
		return nil
	}
	writeJSON(x, Outcomes{Outcomes: all})
	return nil
}

func (s *Server) messages(x *exchange, r *http.Request) error {
	f, limit, after, err := readSearch(r, time.Now())
	if err != nil {
		return err
	}
	all, next, err := s.o.History.Messages(r.Context(), f, limit, after)
	if err != nil {
		return err
	}
	writeJSON(x, Outcomes{append([]Outcome{}, all...), next})
	return nil
}
