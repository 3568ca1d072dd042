package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Webhooks are the receivers of events, wherever in the cluster events are sent.
type Webhooks interface {
	// Webhooks returns how they fare, in the order of the configuration, and the stream
	// of events in NATS, nil where there is none.
	Webhooks(ctx context.Context) (stream *Webhook, all []Webhook, err error)
	// Retry has one tried now, also one that was given up.
	Retry(ctx context.Context, name string) (Webhook, error)
	// Replay has events that were recorded between two times sent once more. Zero times:
	// from the beginning, until now.
	Replay(ctx context.Context, name string, since, until time.Time) (Webhook, error)
}

// ErrNoWebhook is the error of Retry and Replay for a name that nobody has.
var ErrNoWebhook = errors.New("no webhook has that name")

// ErrNoSender is the error of all of them while no process sends events.
var ErrNoSender = errors.New("no process sends events now")

// Webhook is how a receiver of events fares. What it counts it counts since it is known.
type Webhook struct {
	Name    string    `json:"name"`
	URL     string    `json:"url,omitempty"` // where it is, without the path
	State   string    `json:"state"`         // idle, sending, retrying, given up, starting
	Node    string    `json:"node"`          // the process that sends
	Sent    uint64    `json:"sent"`          // events taken
	Failed  uint64    `json:"failed"`        // not taken by an attempt
	Passed  uint64    `json:"passed_over"`   // given up for their age
	Missed  uint64    `json:"missed"`        // entries of the journal that were gone before they were read
	Behind  uint64    `json:"behind"`        // entries of the journal that are not sent, each of one or more events
	Oldest  time.Time `json:"oldest,omitzero"`
	Answer  string    `json:"answer,omitempty"` // to the last attempt
	Tried   time.Time `json:"tried,omitzero"`   // the last attempt
	Took    time.Time `json:"taken,omitzero"`   // the last time that events were taken
	Next    time.Time `json:"next,omitzero"`    // attempt, where the last has failed
	Failing time.Time `json:"failing_since,omitzero"`
	Tries   int       `json:"attempts"` // since then
	GivenUp string    `json:"given_up,omitempty"`
	Replay  uint64    `json:"replay"` // entries of the journal that are to be sent once more
}

// WebhookList is the answer of GET /v1/webhooks.
type WebhookList struct {
	Stream   *Webhook  `json:"stream,omitempty"` // that of NATS
	Webhooks []Webhook `json:"webhooks"`
}

// webhookRoutes are those of webhooks.
func (s *Server) webhookRoutes() []route {
	p := &part{
		name:    "webhooks",
		present: func() bool { return s.o.Webhooks != nil },
		absent:  "this gateway sends no events",
		failing: "webhooks cannot be read or changed now",
		refusal: webhookRefusal,
	}
	return []route{
		{method: http.MethodGet, path: "/v1/webhooks", id: "listWebhooks", summary: "How the receivers of events fare",
			role: Read, part: p, answer: WebhookList{}, do: s.listWebhooks},
		{method: http.MethodPost, path: "/v1/webhooks/{call}", id: "callWebhook", summary: "Have a webhook tried now, or events sent to it once more",
			about: "NAME:retry also ends that one was given up. NAME:replay sends what was recorded from since until until, without them everything.",
			part:  p, query: replayQuery, answer: Webhook{}, refuse: []int{http.StatusNotFound, http.StatusServiceUnavailable}, do: s.callWebhook},
	}
}

// replayQuery are the parameters of NAME:replay.
var replayQuery = []field{
	{"since", "the first time that is meant (RFC 3339)", time.Time{}},
	{"until", "the first time that is not (RFC 3339)", time.Time{}},
}

func webhookRefusal(err error) (int, string) {
	switch {
	case errors.Is(err, ErrNoWebhook):
		return http.StatusNotFound, "no webhook has that name"
	case errors.Is(err, ErrNoSender):
		return http.StatusServiceUnavailable, "no process sends events now: one is about to take over, or is not reached"
	}
	return 0, ""
}

func (s *Server) listWebhooks(x *exchange, r *http.Request) error {
	stream, all, err := s.o.Webhooks.Webhooks(r.Context())
	if err != nil {
		return err
	}
	writeJSON(x, WebhookList{stream, append([]Webhook{}, all...)})
	return nil
}

// callWebhook does what stands behind the colon with the webhook before it.
func (s *Server) callWebhook(x *exchange, r *http.Request) error {
	call := r.PathValue("call")
	i := strings.LastIndexByte(call, ':')
	if i < 0 {
		problem(x, http.StatusNotFound, "write NAME:retry or NAME:replay")
		return nil
	}
	name, do := call[:i], call[i+1:]
	var hook Webhook
	var err error
	switch do {
	case "retry":
		if r.URL.RawQuery != "" {
			return badRequest("a retry knows no parameters")
		}
		hook, err = s.o.Webhooks.Retry(r.Context(), name)
	case "replay":
		hook, err = s.replayWebhook(r, name)
	default:
		problem(x, http.StatusNotFound, "a webhook knows :retry and :replay")
		return nil
	}
	if err != nil {
		return err
	}
	x.note("webhook", name)
	writeJSON(x, hook)
	return nil
}

func (s *Server) replayWebhook(r *http.Request, name string) (Webhook, error) {
	var since, until time.Time
	for key, values := range r.URL.Query() {
		into := map[string]*time.Time{"since": &since, "until": &until}[key]
		at, err := time.Parse(time.RFC3339, values[0])
		if err != nil || len(values) > 1 {
			return Webhook{}, badRequest(key + ": one time as 2026-11-28T08:00:00Z (RFC 3339)")
		}
		*into = at
	}
	if !until.IsZero() && !since.Before(until) {
		return Webhook{}, badRequest("until is not later than since")
	}
	return s.o.Webhooks.Replay(r.Context(), name, since, until)
}
