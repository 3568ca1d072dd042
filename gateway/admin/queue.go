package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Queue is what waits for its recipients and what is dead, for an operator to
// look at and to act on.
type Queue interface {
	// Routes returns the waiting messages that f selects by route, and the dead
	// ones by route and reason. A route that is held is among them even where no
	// message waits for it.
	Routes(ctx context.Context, f QueueFilter) ([]QueueRoute, error)
	// Messages returns the messages that f selects, those accepted first before
	// the others, at most limit.
	Messages(ctx context.Context, f QueueFilter, limit int) ([]QueueMessage, error)
	// Do acts on what f selects; the zero filter selects everything. n is how many
	// messages (Retry, Drop) or routes (Hold, Release) it was, beside an error how
	// many before that. A hold is of f's recipient or domain, which counts as one,
	// also where it was held before or has no messages; of the zero filter it is one
	// of each route that has messages. A release ends the holds that f selects, with
	// a domain also those of its recipients.
	Do(ctx context.Context, a QueueAction, f QueueFilter) (n int, err error)
}

// QueueAction is what an operator does to the queue.
type QueueAction string

// The actions.
const (
	Retry   QueueAction = "retry"   // waiting messages are tried at once, dead ones go back on their way
	Hold    QueueAction = "hold"    // nothing is tried for the recipient or domain until the release
	Release QueueAction = "release" // ends a hold, and tries at once
	Drop    QueueAction = "drop"    // messages are deleted, and nobody is told
)

// onRoutes reports whether the action is on routes, whatever messages they have
// now or later, and not on messages.
func (a QueueAction) onRoutes() bool { return a == Hold || a == Release }

// QueueState is why a message is in the queue.
type QueueState string

// The states.
const (
	Deferred QueueState = "deferred" // waits for its next attempt
	Held     QueueState = "held"     // waits for an operator's release
	Dead     QueueState = "dead"     // given up
)

func (QueueState) values() []string { return []string{string(Deferred), string(Held), string(Dead)} }

// QueueFilter selects messages or routes: those that all its fields that are
// not empty hold for.
type QueueFilter struct {
	ID        string // queue id, Message-ID without its angle brackets, or stanza id
	Recipient string // bare JID of a user, prepared
	Domain    string // of the recipient, prepared
	State     QueueState
	Reason    string // text that the reason holds
}

// QueueRoute is what waits for one route, or is dead for one route and reason.
type QueueRoute struct {
	Route        string     `json:"route" doc:"recipient's bare JID or domain"`
	Domain       string     `json:"domain"`
	State        QueueState `json:"state"`
	Messages     int        `json:"messages"`
	Oldest       time.Time  `json:"oldest,omitzero" doc:"acceptance of the oldest message"`
	Attempts     int        `json:"attempts"`
	Next         time.Time  `json:"next,omitzero" doc:"attempt; zero: none is planned"`
	FirstFailure time.Time  `json:"first_failure,omitzero"`
	Reason       string     `json:"reason,omitempty"`
}

// QueueMessage is one message for one recipient.
type QueueMessage struct {
	ID       string     `json:"id"`
	StanzaID string     `json:"stanza_id,omitempty"`
	From     string     `json:"from,omitempty" doc:"reverse-path; empty: no bounces"`
	To       string     `json:"to" doc:"recipient as given"`
	JID      string     `json:"jid,omitempty"`
	State    QueueState `json:"state"`
	Reason   string     `json:"reason,omitempty"`
	Accepted time.Time  `json:"accepted,omitzero"`
	Since    time.Time  `json:"since,omitzero" doc:"when it came to be in this state"`
	Attempts int        `json:"attempts"`
	Next     time.Time  `json:"next,omitzero" doc:"attempt; zero: none is planned"`
	Size     int        `json:"size" doc:"bytes"`
	Stage    string     `json:"stage,omitempty"`
}

// QueueRoutes is the answer of GET /v1/queue, the route with the oldest message
// first.
type QueueRoutes struct {
	Routes []QueueRoute `json:"routes"`
}

// QueueMessages is the answer of GET /v1/queue/messages.
type QueueMessages struct {
	Messages []QueueMessage `json:"messages"`
	More     bool           `json:"more" doc:"there are more than the limit"`
}

// QueueSelection is the body of POST /v1/queue:ACTION. What is written must not be
// empty, and all what is written must hold.
type QueueSelection struct {
	All       bool       `json:"all,omitempty" doc:"everything is meant, where nothing else is written"`
	ID        string     `json:"id,omitempty" doc:"queue id, Message-ID or stanza id"`
	Recipient string     `json:"recipient,omitempty" doc:"bare JID"`
	Domain    string     `json:"domain,omitempty" doc:"of the recipient"`
	State     QueueState `json:"state,omitempty"`
	Reason    string     `json:"reason,omitempty" doc:"text that the reason holds"`
}

// QueueAffected is the answer of POST /v1/queue:ACTION.
type QueueAffected struct {
	Affected int `json:"affected"`
}

// queueRoutes are those of the queue.
func (s *Server) queueRoutes() []route {
	p := &part{
		name:    "queue",
		present: func() bool { return s.o.Queue != nil },
		absent:  "this gateway delivers nothing, so it has no queue",
		failing: "the queue cannot be read or changed now",
		refusal: queueRefusal,
	}
	change := func(a QueueAction, summary string) route {
		return route{method: http.MethodPost, path: "/v1/queue:" + string(a), id: string(a) + "Queue", summary: summary,
			about: "An empty body selects nothing: all: true says that everything is meant.",
			part:  p, body: QueueSelection{}, answer: QueueAffected{},
			do: func(x *exchange, r *http.Request) error { return s.changeQueue(x, r, a) }}
	}
	return []route{
		{method: http.MethodGet, path: "/v1/queue", id: "listQueue", summary: "What waits and what is dead, by recipient or domain, the oldest first",
			role: Read, part: p, query: queueQuery, answer: QueueRoutes{}, do: s.listRoutes},
		{method: http.MethodGet, path: "/v1/queue/messages", id: "listQueueMessages", summary: "The messages that wait or are dead, those accepted first before the others",
			role: Read, part: p, query: append(slices.Clip(queueQuery), limitField), answer: QueueMessages{}, do: s.listMessages},
		change(Retry, "Try waiting messages at once, and dead ones again where id or state name them"),
		change(Hold, "Try nothing for a recipient or domain until the release"),
		change(Release, "End holds, and try at once"),
		change(Drop, "Delete messages; nobody is told"),
	}
}

func (s *Server) listRoutes(x *exchange, r *http.Request) error {
	f, _, err := readQuery(r, 0)
	if err != nil {
		return err
	}
	all, err := s.o.Queue.Routes(r.Context(), f)
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, byAge)
	writeJSON(x, QueueRoutes{append([]QueueRoute{}, all...)})
	return nil
}

// byAge puts the oldest first and what has no messages last.
func byAge(a, b QueueRoute) int {
	if a.Oldest.IsZero() != b.Oldest.IsZero() {
		return b.Oldest.Compare(a.Oldest)
	}
	return cmp.Or(a.Oldest.Compare(b.Oldest), cmp.Compare(a.Route, b.Route), cmp.Compare(a.State, b.State), cmp.Compare(a.Reason, b.Reason))
}

// defaultLimit is how many messages are listed where the query does not say.
const defaultLimit = 100

func (s *Server) listMessages(x *exchange, r *http.Request) error {
	f, limit, err := readQuery(r, defaultLimit)
	if err != nil {
		return err
	}
	all, err := s.o.Queue.Messages(r.Context(), f, limit+1) // one more tells whether there are more
	if err != nil {
		return err
	}
	n := min(len(all), limit)
	writeJSON(x, QueueMessages{append([]QueueMessage{}, all[:n]...), len(all) > n})
	return nil
}

// changeQueue does a to what the body selects.
func (s *Server) changeQueue(x *exchange, r *http.Request, a QueueAction) error {
	f, err := readSelection(x, r, a)
	if err != nil {
		return err
	}
	for _, field := range f.fields() {
		x.note(field.name, field.value)
	}
	n, err := s.o.Queue.Do(r.Context(), a, f)
	x.noteCount("affected", n)
	if err != nil {
		return &brokenOff{a, n, err}
	}
	writeJSON(x, QueueAffected{n})
	return nil
}

// brokenOff is the error of an action that was not done, or not to all.
type brokenOff struct {
	action QueueAction
	n      int // done before
	err    error
}

func (b *brokenOff) Error() string { return fmt.Sprintf("%s, after %d: %v", b.action, b.n, b.err) }

func (b *brokenOff) Unwrap() error { return b.err }

func queueRefusal(err error) (int, string) {
	var b *brokenOff
	if errors.As(err, &b) && b.n > 0 {
		return http.StatusServiceUnavailable, fmt.Sprintf("broken off after %d: the queue cannot be changed now", b.n)
	}
	return 0, ""
}
