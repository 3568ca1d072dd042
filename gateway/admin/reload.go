package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Reloaded is the answer of POST /v1/reload: what differs from the configuration
// before.
type Reloaded struct {
	Changes      []ConfigChange     `json:"changes" doc:"since the last time that it was read"`
	Pending      []ConfigChange     `json:"pending" doc:"what waits for a restart: all such changes since the start"`
	Warnings     []Finding          `json:"warnings"`
	Certificates []CertificateState `json:"certificates"`
}

// ConfigChange is a setting or a scope that differs.
type ConfigChange struct {
	Scope   string `json:"scope" doc:"such as xmpp_listener listen *:5222"`
	Option  string `json:"option,omitempty" doc:"left out: the scope itself"`
	Was     string `json:"was" doc:"as it would be written, *** for a secret; empty: it was not set"`
	Is      string `json:"is" doc:"likewise; of a scope: new or gone"`
	At      string `json:"at" doc:"file:line:column where it is set or, where it is not any more, was"`
	Restart string `json:"restart,omitempty" doc:"what of it takes effect only after a restart; left out: it is in effect"`
}

// CertificateState is what came of reading a certificate again.
type CertificateState struct {
	File     string    `json:"file"`
	Expires  time.Time `json:"expires"`
	Replaced bool      `json:"replaced" doc:"the file holds another one than before"`
	Error    string    `json:"error,omitempty" doc:"why it was not read; the one before stays in force"`
}

// Finding is something about a configuration.
type Finding struct {
	At      string `json:"at,omitempty" doc:"file:line:column"`
	Message string `json:"message"`
	Line    string `json:"line,omitempty" doc:"as it is written, secrets as ***"`
	Hint    string `json:"hint,omitempty" doc:"what to do about it"`
}

// Invalid is the error of a configuration that is refused: the one before stays.
type Invalid struct{ Mistakes []Finding }

func (e *Invalid) Error() string {
	first := e.Mistakes[0]
	text := first.Message
	if first.At != "" {
		text = first.At + ": " + text
	}
	if n := len(e.Mistakes) - 1; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	return text
}

// Later is the error of what cannot be done yet.
type Later struct{ Detail string }

func (e *Later) Error() string { return e.Detail }

// reloadRoutes are those of the configuration.
func (s *Server) reloadRoutes() []route {
	p := &part{
		name:    "reload",
		present: func() bool { return s.o.Reload != nil },
		absent:  "this gateway has no configuration that can be read again",
		failing: "the configuration cannot be read again now",
		refusal: reloadRefusal,
	}
	return []route{{method: http.MethodPost, path: "/v1/reload", id: "reload", summary: "Read the configuration and the certificates again, as SIGHUP does",
		about: "A configuration with mistakes is refused, with all of them, and the one before stays. No session ends. The answer says what has changed, and what of it needs a restart.",
		part:  p, answer: Reloaded{}, refuse: []int{http.StatusUnprocessableEntity}, do: s.reload}}
}

// reload is done to its end, whoever waits for it.
func (s *Server) reload(x *exchange, r *http.Request) error {
	done, err := s.o.Reload(context.WithoutCancel(r.Context()))
	if err != nil {
		return err
	}
	x.noteCount("changes", len(done.Changes))
	x.noteCount("pending", len(done.Pending))
	writeJSON(x, done)
	return nil
}

func reloadRefusal(err error) (int, string) {
	if invalid, ok := errors.AsType[*Invalid](err); ok {
		return http.StatusUnprocessableEntity, "the configuration is refused, the one before stays: " + invalid.Error()
	}
	if later, ok := errors.AsType[*Later](err); ok {
		return http.StatusServiceUnavailable, later.Detail
	}
	return 0, ""
}
