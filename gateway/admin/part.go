package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// part is what some of the paths are about: the accounts, the queue.
type part struct {
	name    string      // in the log
	present func() bool // whether this gateway has it
	absent  string      // what is answered where it has not
	failing string      // what is answered when it cannot do its work now
	// refusal is the answer to an error of the part's own; status zero: the error
	// is not one of those, so its text is not for the operator.
	refusal func(error) (status int, detail string)
}

// action handles one method of a path. Its error is answered by refuse.
type action func(w http.ResponseWriter, r *http.Request) error

// serve answers a path of p by the method of the request. Whoever may GET may
// HEAD (RFC 9110 §9.1).
func (s *Server) serve(p part, actions map[string]action) http.Handler {
	if get := actions[http.MethodGet]; get != nil {
		actions[http.MethodHead] = get
	}
	allowed := strings.Join(slices.Sorted(maps.Keys(actions)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		do := actions[r.Method]
		switch {
		case do == nil:
			methodNotAllowed(w, allowed)
			return
		case !p.present():
			problem(w, http.StatusNotImplemented, p.absent)
			return
		}
		if err := do(w, r); err != nil {
			s.refuse(w, r, p, err)
		}
	})
}

// refuse answers an error, and logs it where it is not the operator's.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, p part, err error) {
	var bad badRequest
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", large.Limit))
		return
	case errors.As(err, &bad):
		problem(w, http.StatusBadRequest, bad.Error())
		return
	case errors.Is(err, errNotJSON):
		problem(w, http.StatusUnsupportedMediaType, err.Error())
		return
	}
	status, detail := p.refusal(err)
	if status == 0 {
		status, detail = http.StatusServiceUnavailable, p.failing
	}
	if status >= http.StatusInternalServerError && !gone(r, err) {
		s.o.Log.Error().Err(err).Msg(p.name)
	}
	problem(w, status, detail)
}

// gone reports whether err says only that the peer does not wait any more.
func gone(r *http.Request, err error) bool {
	return r.Context().Err() != nil && errors.Is(err, context.Canceled)
}
