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
	// angle brackets, a stanza id, or the bare JID of a recipient. None is no error.
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

// Outcome is what became of one message for one recipient.
type Outcome struct {
	ID        string    `json:"id"`
	StanzaID  string    `json:"stanza_id,omitempty"`
	MessageID string    `json:"message_id,omitempty"` // without its angle brackets
	From      string    `json:"from,omitempty"`       // reverse-path; empty: no bounces
	Author    string    `json:"author,omitempty"`     // JID of the Jabber user who wrote it, where it goes out as mail
	To        string    `json:"to"`                   // recipient as given
	JID       string    `json:"jid,omitempty"`        // of the recipient; or "mailto:" and an address
	Outcome   string    `json:"outcome"`              // delivered, filtered, relayed, failed, expired, dropped; or not yet: waiting, deferred, held
	Proof     string    `json:"proof,omitempty"`      // how a delivery was proven, or the host that took the mail and its answer
	Reason    string    `json:"reason,omitempty"`     // why it was not
	Part      string    `json:"part,omitempty"`       // what the stanza was made from: xmpp, smpp, mm7, email
	Listener  string    `json:"listener,omitempty"`   // where it came in
	Peer      string    `json:"peer,omitempty"`       // address and port of who handed it in
	User      string    `json:"user,omitempty"`       // name by which that had logged in
	Node      string    `json:"node,omitempty"`       // process where it ended
	Accepted  time.Time `json:"accepted,omitzero"`
	Ended     time.Time `json:"ended,omitzero"` // zero: it is on its way
	Attempts  int       `json:"attempts"`
	Stage     string    `json:"stage,omitempty"` // where it lies while it is on its way: in (to be converted), dlv (to be delivered), mail (to be sent as mail), park (waits for its next attempt)
	Next      time.Time `json:"next,omitzero"`   // attempt, of one that is deferred; zero: none is planned
	Steps     []Step    `json:"steps,omitempty"` // its life so far, the end included, in order
}

// Step is one step in the life of a message for one recipient. Which fields are there
// depends on the step:
//
//	accepted   name is the listener, peer who handed it in; answer, of a report: on what
//	stored     custody began
//	converted  it became a stanza: name is the part
//	filter     name of the filter, verdict (pass, drop, strip, defer), shadow, answer is the reason
//	attempt    it was sent and did not arrive: route, answer; count and until where several had that answer
//	deferred   it waits without having been sent: answer is why
//	rerouted   name is the script, route the other recipient
//	diverted   its e-mail goes out instead: answer is why
//	reported   its author is told: verdict is of which end, route whom, name the id of the report, answer how
//	revived    an operator has sent it on its way once more
//	omitted    count steps were too many to be kept
//	delivered, filtered, relayed, failed, expired, dropped: the end, as in Outcome; route and answer
type Step struct {
	At      time.Time `json:"at"`
	Step    string    `json:"step"`
	Node    string    `json:"node,omitempty"` // process that it was in
	Name    string    `json:"name,omitempty"`
	Peer    string    `json:"peer,omitempty"`
	Verdict string    `json:"verdict,omitempty"`
	Shadow  bool      `json:"shadow,omitempty"` // the verdict did not count
	Route   string    `json:"route,omitempty"`  // full JIDs of sessions, a bare JID, or "mailto:" and an address
	Answer  string    `json:"answer,omitempty"`
	Count   int       `json:"count,omitempty"` // absent: one
	Until   time.Time `json:"until,omitzero"`  // the last of them
}

// Outcomes is the answer of GET /v1/messages and /v1/messages/{id}.
type Outcomes struct {
	Outcomes []Outcome `json:"outcomes"`
	Next     string    `json:"next,omitempty"` // of a search: the parameter after of the request that goes on
}

// historyPaths adds the paths of messages.
func (s *Server) historyPaths(mux *http.ServeMux) {
	p := part{
		name:    "messages",
		present: func() bool { return s.o.History != nil },
		absent:  "this gateway does not keep what became of messages",
		failing: "what became of messages cannot be read now",
		refusal: func(err error) (int, string) {
			if errors.Is(err, ErrAfter) {
				return http.StatusBadRequest, ErrAfter.Error()
			}
			return 0, ""
		},
	}
	mux.Handle("/v1/messages", s.guard(s.serve(p, map[string]action{http.MethodGet: s.messages})))
	mux.Handle("/v1/messages/{id}", s.guard(s.serve(p, map[string]action{http.MethodGet: s.message})))
}

func (s *Server) message(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	id, err := messageID("id", r.PathValue("id"))
	if err != nil {
		return err
	}
	all, err := s.o.History.Message(r.Context(), id)
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		problem(w, http.StatusNotFound, "no message is known by this id, and none for a recipient of this address")
		return nil
	}
	writeJSON(w, Outcomes{Outcomes: all})
	return nil
}

func (s *Server) messages(w http.ResponseWriter, r *http.Request) error {
	f, limit, after, err := readSearch(r, time.Now())
	if err != nil {
		return err
	}
	all, next, err := s.o.History.Messages(r.Context(), f, limit, after)
	if err != nil {
		return err
	}
	writeJSON(w, Outcomes{append([]Outcome{}, all...), next})
	return nil
}
