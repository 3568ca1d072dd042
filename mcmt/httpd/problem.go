package httpd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"mcmt2xmpp/mcmt"
)

// problem is an answer that refuses (RFC 9457). It is an error, so that each
// step can return it; its text is for the peer and holds no internals.
type problem struct {
	Type       string      `json:"type"` // names the kind of problem for programs; the values do not change
	Title      string      `json:"title"`
	Status     int         `json:"status"`
	Detail     string      `json:"detail,omitempty"`
	Where      string      `json:"where,omitempty"`  // "header Content-Type", "field to[2]", "part 2"
	Errors     []fault     `json:"errors,omitempty"` // where there are several
	Recipients []recipient `json:"recipients,omitempty"`

	header http.Header // further header fields of the answer
	cause  error       // for the log
	delay  time.Duration
}

// fault is one of several mistakes.
type fault struct {
	Where  string `json:"where,omitempty"`
	Detail string `json:"detail"`
}

// Error returns the text as a log shows it.
func (p *problem) Error() string {
	s := fmt.Sprintf("%d %s", p.Status, p.Detail)
	if p.Where != "" {
		s += " (" + p.Where + ")"
	}
	if p.cause != nil {
		s += ": " + p.cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (p *problem) Unwrap() error { return p.cause }

// typePrefix begins the type of every problem; the status's own name follows,
// or a narrower one.
const typePrefix = "urn:mcmt2xmpp:problem:"

// kinds are the types and titles by status.
var kinds = map[int][2]string{
	http.StatusBadRequest:            {"malformed", "The request is malformed"},
	http.StatusUnauthorized:          {"unauthenticated", "Credentials are needed"},
	http.StatusForbidden:             {"forbidden", "The request is not allowed"},
	http.StatusNotFound:              {"not-found", "There is nothing at this path"},
	http.StatusMethodNotAllowed:      {"method", "The method is not allowed"},
	http.StatusRequestTimeout:        {"timeout", "The request took too long"},
	http.StatusRequestEntityTooLarge: {"too-large", "The message is too large"},
	http.StatusUnsupportedMediaType:  {"media-type", "The content type is not supported"},
	http.StatusUnprocessableEntity:   {"refused", "The message is refused"},
	http.StatusTooManyRequests:       {"too-many", "Too many requests"},
	http.StatusServiceUnavailable:    {"unavailable", "The message cannot be stored now"},
}

// newProblem makes a problem of a status in kinds.
func newProblem(status int, where, format string, args ...any) *problem {
	kind := kinds[status]
	return &problem{Type: typePrefix + kind[0], Title: kind[1], Status: status, Where: where, Detail: fmt.Sprintf(format, args...)}
}

// with adds a header field to the answer.
func (p *problem) with(name, value string) *problem {
	if p.header == nil {
		p.header = make(http.Header)
	}
	p.header.Add(name, value)
	return p
}

// because keeps the cause for the log.
func (p *problem) because(err error) *problem {
	p.cause = err
	return p
}

// after has the answer wait.
func (p *problem) after(d time.Duration) *problem {
	p.delay = d
	return p
}

// asProblem says what a failed step means for the peer. A *mcmt.Refusal shows
// its text; anything else of the sink's or the system's counts as temporary, and
// its text stays here.
func asProblem(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var r *mcmt.Refusal
	if !errors.As(err, &r) {
		return newProblem(http.StatusServiceUnavailable, "", "try again later").because(err)
	}
	status := r.Status
	if _, ok := kinds[status]; !ok || r.Temporary() != temporary(status) {
		status = http.StatusUnprocessableEntity
		if r.Temporary() {
			status = http.StatusServiceUnavailable
		}
	}
	return newProblem(status, r.Where, "%s", r.Text).because(r.Err)
}

// temporary reports whether the same request may succeed later.
func temporary(status int) bool {
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// write sends the problem.
func (p *problem) write(w http.ResponseWriter, retryAfter time.Duration) {
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	if temporary(p.Status) && h.Get("Retry-After") == "" {
		h.Set("Retry-After", seconds(retryAfter))
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// seconds writes a duration for Retry-After, rounded up (RFC 9110 §10.2.3).
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// writeJSON sends v. An error means that the peer is gone; there is nobody left
// to tell.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types of strings and numbers
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
