package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"mcmt2xmpp/filters"
)

// Live is what happens in this process and what waits in the queue: the data of an event
// of GET /v1/live.
type Live struct {
	Time     time.Time       `json:"time"`
	NotReady []string        `json:"not_ready,omitempty"` // the reasons
	Flow     []StageFlow     `json:"flow"`
	Backlog  []StageBacklog  `json:"backlog,omitempty"`
	Queue    *LiveQueue      `json:"queue,omitempty"`
	Filters  *filters.Report `json:"filters,omitempty"`
	Sessions *SessionCounts  `json:"sessions,omitempty"`
	Servers  []ServerStream  `json:"servers,omitempty"` // those in trouble first
	// MoreServers is how many are left out of Servers.
	MoreServers int `json:"more_servers,omitempty"`
}

// Overview is what Live tells and no other path has.
type Overview interface {
	// Backlog are the stages of custody.
	Backlog() []StageBacklog
	// Waiting are the routes that messages wait for, and those that are held.
	Waiting(ctx context.Context) ([]QueueRoute, error)
	Sessions() SessionCounts
}

// StageBacklog is what lies in a stage of custody.
type StageBacklog struct {
	Stage    string    `json:"stage"`    // what is done next: convert, deliver, park, mail
	Messages uint64    `json:"messages"` // waiting or worked on
	Oldest   time.Time `json:"oldest,omitzero"`
}

// SessionCounts are the clients, of this process where nothing else is said.
type SessionCounts struct {
	Connections  int64  `json:"connections"`
	Sessions     int64  `json:"sessions"`
	Suspended    int64  `json:"suspended"` // of Sessions, those that wait for their client to resume them
	Remote       int    `json:"remote"`    // sessions on other nodes
	Logins       uint64 `json:"logins"`
	FailedLogins uint64 `json:"failed_logins"`
	Limits       uint64 `json:"limits"` // times that a client hit one
	Received     uint64 `json:"received"`
	Sent         uint64 `json:"sent"` // stanzas, like Received
}

const (
	livePeriod  = time.Second
	maxWatchers = 32               // of one listener
	maxWatch    = 15 * time.Minute // then a watcher asks again, with a token that still holds
)

// view is what one computation has found, for all who watch.
type view struct {
	Live
	Version string
	Rows    []row // all numbers
	asJSON  func() []byte
	asPage  func() []byte // a JSON string, which holds no line break: that would end the data of an event
}

// live computes a view at most once in livePeriod. Make it with newLive.
type live struct {
	turn  chan struct{} // holds one while somebody computes or reads
	last  *view
	queue liveQueue

	watchers atomic.Int64
	ended    chan struct{}
	end      func() // ends all watching
}

func newLive() *live {
	l := &live{turn: make(chan struct{}, 1), ended: make(chan struct{})}
	l.end = sync.OnceFunc(func() { close(l.ended) })
	return l
}

// view returns what is known now. Whoever comes while it is computed gets the same.
func (s *Server) view(ctx context.Context) (*view, error) {
	l := s.live
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.last != nil && time.Since(l.last.Time) < livePeriod {
		return l.last, nil
	}
	v := s.compute(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err // and what it could not read is not for the others
	}
	l.last = v
	return v, nil
}

// compute asks all parts.
func (s *Server) compute(ctx context.Context) *view {
	v := &view{Live: Live{Time: time.Now(), NotReady: s.missing(), Flow: s.flow.report()}, Version: s.o.Version, Rows: rows(s.o.Metrics())}
	if o := s.o.Overview; o != nil {
		counts := o.Sessions()
		v.Sessions, v.Backlog, v.Queue = &counts, o.Backlog(), s.waiting(ctx, v.Time)
	}
	if s.o.Filters != nil {
		report := s.o.Filters.Report()
		v.Filters = &report
	}
	if s.o.Servers != nil {
		v.Servers, v.MoreServers = worstServers(s.o.Servers.Streams())
	}
	v.asJSON = sync.OnceValue(func() []byte { return encoded(v.Live) })
	v.asPage = sync.OnceValue(func() []byte {
		var text bytes.Buffer
		if err := pages.ExecuteTemplate(&text, "live", v); err != nil {
			s.o.Log.Error().Err(err).Msg("dashboard")
		}
		return encoded(text.String())
	})
	return v
}

// encoded is v as JSON. What a page or a view holds always has such a form.
func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// liveRoutes are those of the events.
func (s *Server) liveRoutes() []route {
	return []route{{method: http.MethodGet, path: "/v1/live", id: "watch", summary: "What happens, once a second, as server-sent events",
		about: "The data of an event are a Live, as JSON; with view=page the live part of the page at /, as a JSON string. It ends after a quarter of an hour.",
		role:  Read, query: []field{{"view", "page: as a part of the page at /", ""}}, media: "text/event-stream", refuse: []int{http.StatusServiceUnavailable}, do: s.watch}}
}

// watch sends a view a second as server-sent events, until the client goes, the server
// ends or maxWatch is over. With view=page their data is the live part of the page at /,
// as a JSON string.
func (s *Server) watch(w *exchange, r *http.Request) error {
	form := func(v *view) []byte { return v.asJSON() }
	switch fields, err := query(r); {
	case err != nil:
		return err
	case len(fields) == 1 && fields["view"] == "page":
		form = func(v *view) []byte { return v.asPage() }
	case len(fields) > 0:
		return badRequest("there is one query parameter here, view=page")
	}
	if s.live.watchers.Add(1) > maxWatchers {
		s.live.watchers.Add(-1)
		w.Header().Set("Retry-After", "10")
		problem(w, http.StatusServiceUnavailable, fmt.Sprintf("%d watch already", maxWatchers))
		return nil
	}
	defer s.live.watchers.Add(-1)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform") // a proxy that compresses would keep events back
	h.Set("X-Accel-Buffering", "no")                 // and so would one that buffers
	if r.Method == http.MethodHead {
		return nil
	}
	over := time.NewTimer(maxWatch)
	defer over.Stop()
	s.send(w, r, form, over.C)
	return nil
}

// send sends views until there is a reason to end.
func (s *Server) send(w http.ResponseWriter, r *http.Request, form func(*view) []byte, over <-chan time.Time) {
	for {
		v, err := s.view(r.Context())
		if err != nil {
			return // the client has gone
		}
		begin(w)
		if _, err := fmt.Fprintf(w, "data: %s\n\n", form(v)); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		// All wait for the same moment, and then for the first of them.
		next := time.NewTimer(time.Until(v.Time.Add(livePeriod)))
		select {
		case <-next.C:
			continue
		case <-r.Context().Done():
		case <-s.live.ended:
		case <-over:
		}
		next.Stop()
		return
	}
}
