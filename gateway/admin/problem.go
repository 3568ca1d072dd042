package admin

import (
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Problem says why something was not done (RFC 9457).
type Problem struct {
	Type   string `json:"type" doc:"about:blank: status says what kind of problem it is"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail" doc:"what is wrong, for a person"`
	// Mistakes are all those of a configuration that is refused.
	Mistakes []Finding `json:"mistakes,omitempty" doc:"all those of a configuration that is refused"`
}

// problem answers in the form of RFC 9457.
func problem(w http.ResponseWriter, status int, detail string) {
	writeProblem(w, Problem{Status: status, Detail: detail})
}

// writeProblem fills in what the status says.
func writeProblem(w http.ResponseWriter, p Problem) {
	begin(w)
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the peer is gone when this fails
}

// begin gives the peer writeTimeout from now on to take the answer, however long
// the work before it took.
func begin(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // its error: there is none to set
}

// badRequest is an error whose text is for the operator.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// errNotJSON is the error of a body that says it is something else.
var errNotJSON = errors.New("the body must be application/json")

func methodNotAllowed(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed) // RFC 9110 §15.5.6
	problem(w, http.StatusMethodNotAllowed, "methods here: "+allowed)
}

// httpLog takes what net/http has to say, which is mostly about peers.
func httpLog(l zerolog.Logger) *log.Logger { return log.New(lines{l}, "", 0) }

type lines struct{ log zerolog.Logger }

func (l lines) Write(p []byte) (int, error) {
	l.log.Debug().Str("part", "admin").Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}

// promLog takes what promhttp has to say: numbers that could not be read.
type promLog struct{ log zerolog.Logger }

func (p promLog) Println(v ...any) {
	p.log.Error().Str("part", "admin").Interface("error", v).Msg("metrics")
}
