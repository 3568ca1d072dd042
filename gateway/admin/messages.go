package admin

import (
	"context"
	"net/http"
	"time"
)

// History is what became of messages.
type History interface {
	// Message returns the outcomes of the messages that id names, one for each
	// recipient, the oldest message first: a queue id, a Message-ID without its
	// angle brackets, a stanza id, or the bare JID of a recipient. None is no error.
	Message(ctx context.Context, id string) ([]Outcome, error)
}

// Outcome is what became of one message for one recipient.
type Outcome struct {
	ID        string    `json:"id"`
	StanzaID  string    `json:"stanza_id,omitempty"`
	MessageID string    `json:"message_id,omitempty"` // without its angle brackets
	From      string    `json:"from,omitempty"`       // reverse-path; empty: no bounces
	To        string    `json:"to"`                   // recipient as given
	JID       string    `json:"jid,omitempty"`
	Outcome   string    `json:"outcome"`            // delivered, filtered, relayed, failed, expired, dropped; or not yet: deferred, waiting
	Proof     string    `json:"proof,omitempty"`    // how a delivery was proven
	Reason    string    `json:"reason,omitempty"`   // why it was not
	Part      string    `json:"part,omitempty"`     // what the stanza was made from
	Listener  string    `json:"listener,omitempty"` // where it came in
	Node      string    `json:"node,omitempty"`     // where it ended
	Accepted  time.Time `json:"accepted,omitzero"`
	Ended     time.Time `json:"ended,omitzero"` // zero: it is on its way
	Attempts  int       `json:"attempts"`
	Next      time.Time `json:"next,omitzero"` // attempt, of one that is deferred; zero: none is planned
}

// Outcomes is the answer of GET /v1/messages/{id}.
type Outcomes struct {
	Outcomes []Outcome `json:"outcomes"`
}

// historyRoutes are those of messages.
func (s *Server) historyRoutes() []route {
	p := &part{
		name:    "messages",
		present: func() bool { return s.o.History != nil },
		absent:  "this gateway does not keep what became of messages",
		failing: "what became of messages cannot be read now",
		refusal: func(error) (int, string) { return 0, "" },
	}
	return []route{{method: http.MethodGet, path: "/v1/messages/{id}", id: "traceMessage", summary: "What became of a message, for each recipient",
		role: Read, part: p, answer: Outcomes{}, refuse: []int{http.StatusNotFound}, do: s.message}}
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
	writeJSON(x, Outcomes{all})
	return nil
}
