package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is one method of a path: who may use it, what goes in and what comes out.
// The server and the document of the API (openapi.go) are both made from these.
type route struct {
	method, path string // as http.ServeMux has them; who may GET may HEAD (RFC 9110 §9.1)
	id           string // name of the operation, for generated clients
	summary      string // one clause
	about        string // whole sentences; may be empty
	role         Role   // that it takes; Nobody, the zero value: Operate
	open         bool   // it takes none: anybody is answered, from everywhere
	door         bool   // a browser that has no token is asked for one
	old          bool   // there is another path for it now
	part         *part  // nil: it is about the server itself

	query  []field // parameters; any other is refused, unless anyQuery
	body   any     // a value of the type of the JSON body; nil: there is none
	status int     // of success; zero: 200
	answer any     // a value of the type of the JSON answer; nil: there is none
	media  string  // of an answer that is not JSON
	refuse []int   // statuses of refusals, beside those that all routes have
	bare   []int   // statuses of answers without a body, beside that of success

	anyQuery bool // its parameters are its own affair
	do       action
}

// field is a parameter of a query.
type field struct {
	name, doc string
	of        any // a value of its type
}

// action answers a request. Its error is answered by refuse.
type action func(x *exchange, r *http.Request) error

// exchange is one request that was let in, and the answer to it.
type exchange struct {
	http.ResponseWriter
	who     caller
	status  int               // of the answer
	refusal string            // why it was not done
	notes   map[string]string // what it is about, for the audit
}

// WriteHeader remembers the status.
func (x *exchange) WriteHeader(status int) {
	x.status = status
	x.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// handled is the action of a handler that answers everything itself.
func handled(h http.HandlerFunc) action {
	return func(x *exchange, r *http.Request) error {
		h(x, r)
		return nil
	}
}

// routes are all there are, in the order of the document.
func (s *Server) routes() []route {
	return slices.Concat(s.ownRoutes(), s.pageRoutes(), s.liveRoutes(), s.auditRoutes(), s.reloadRoutes(), s.userRoutes(), s.rosterRoutes(), s.queueRoutes(), s.historyRoutes(), s.serverRoutes(), s.filterRoutes(), s.webhookRoutes())
}

// ownRoutes are those about the server itself.
func (s *Server) ownRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/healthz", id: "alive", summary: "Whether the process can answer at all",
			open: true, anyQuery: true, media: "text/plain", do: handled(s.healthz)},
		{method: http.MethodGet, path: "/readyz", id: "ready", summary: "Whether the gateway can take and deliver messages; else the reasons",
			open: true, anyQuery: true, media: "text/plain", refuse: []int{http.StatusServiceUnavailable}, do: handled(s.readyz)},
		{method: http.MethodGet, path: "/metrics", id: "metrics", summary: "The numbers, for Prometheus",
			role: Read, anyQuery: true, media: "text/plain", do: handled(s.metrics())},
		{method: http.MethodGet, path: "/v1/openapi.json", id: "document", summary: "This document",
			role: Read, answer: object{}, do: s.sendDocument},
	}
}

// part is what some of the paths are about: the accounts, the queue.
type part struct {
	name    string      // in the log and the document
	present func() bool // whether this gateway has it
	absent  string      // what is answered where it has not
	failing string      // what is answered when it cannot do its work now; empty: it always can
	// refusal is the answer to an error of the part's own; status zero: the error
	// is not one of those, so its text is not for the operator.
	refusal func(error) (status int, detail string)
}

// mount adds the routes to mux, those of one path together.
func (s *Server) mount(mux *http.ServeMux, routes []route) {
	paths := make(map[string]map[string]route)
	for _, rt := range routes {
		if paths[rt.path] == nil {
			paths[rt.path] = make(map[string]route)
		}
		paths[rt.path][rt.method] = rt
		if rt.method == http.MethodGet {
			paths[rt.path][http.MethodHead] = rt
		}
	}
	for path, methods := range paths {
		mux.Handle(path, s.serve(methods))
	}
}

// serve answers a path by the method of the request.
func (s *Server) serve(methods map[string]route) http.Handler {
	allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
	answer := func(w http.ResponseWriter, r *http.Request, who caller) {
		rt, ok := methods[r.Method]
		if !ok {
			methodNotAllowed(w, allowed)
			return
		}
		s.run(rt, &exchange{ResponseWriter: w, who: who, status: http.StatusOK}, r)
	}
	if methods[http.MethodGet].open {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r, caller{}) })
	}
	if methods[http.MethodGet].door {
		return s.door(s.guard(answer))
	}
	return s.guard(answer)
}

// run has a route answer, and records what changes something.
func (s *Server) run(rt route, x *exchange, r *http.Request) {
	err := rt.admit(x, r)
	if err == nil {
		err = rt.do(x, r)
	}
	if err != nil {
		if _, role := errors.AsType[*roleError](err); role {
			s.counts.forbidden.Add(1)
		}
		s.refuse(x, r, rt.part, err)
	}
	if rt.needs() == Operate {
		s.record(x, rt, r)
	}
}

// roleError is that of a caller who may not do what he asks for.
type roleError struct{ has, needs Role }

func (e *roleError) Error() string {
	return fmt.Sprintf("this takes the role %s, and you have %s", e.needs, e.has)
}

// errAbsent is the error of a route whose part this gateway does not have.
var errAbsent = errors.New("not here")

// admit says whether the route may do anything. Only JSON is taken where something
// changes: a form of a foreign page cannot send it without being asked for (CORS).
func (rt route) admit(x *exchange, r *http.Request) error {
	switch {
	case x.who.role < rt.needs():
		return &roleError{x.who.role, rt.needs()}
	case rt.part != nil && !rt.part.present():
		return errAbsent
	case rt.needs() == Operate && (rt.body != nil || r.Header.Get("Content-Type") != "") && !isJSON(r):
		return errNotJSON
	}
	return rt.checkQuery(r)
}

// checkQuery refuses parameters that the route does not have: whoever writes them
// believes that they matter.
func (rt route) checkQuery(r *http.Request) error {
	if rt.anyQuery {
		return nil
	}
	values, err := query(r)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.ContainsFunc(rt.query, func(f field) bool { return f.name == name }) {
			return badRequest(fmt.Sprintf("there is no %q here%s", name, rt.parameters()))
		}
	}
	return nil
}

// parameters says which there are.
func (rt route) parameters() string {
	if len(rt.query) == 0 {
		return ": there are no query parameters"
	}
	names := make([]string, len(rt.query))
	for i, f := range rt.query {
		names[i] = f.name
	}
	return ", but " + strings.Join(names, ", ")
}

// query reads the parameters of a request. A damaged one is an error: without
// it the query would select more.
func query(r *http.Request) (map[string]string, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("query: " + err.Error())
	}
	all := make(map[string]string, len(values))
	for name, v := range values {
		if len(v) > 1 {
			return nil, badRequest(name + " is given twice")
		}
		all[name] = v[0]
	}
	return all, nil
}

// refuse answers an error, and logs it where it is not the operator's.
func (s *Server) refuse(x *exchange, r *http.Request, p *part, err error) {
	if p == nil {
		p = &itself
	}
	status, detail := statusOf(p, err)
	if status == http.StatusServiceUnavailable && !gone(r, err) {
		s.o.Log.Error().Err(err).Msg(p.name)
	}
	x.refusal = detail
	answer := Problem{Status: status, Detail: detail}
	if invalid, ok := errors.AsType[*Invalid](err); ok {
		answer.Mistakes = invalid.Mistakes
	}
	writeProblem(x, answer)
}

// statusOf is the answer to an error.
func statusOf(p *part, err error) (status int, detail string) {
	var bad badRequest
	var large *http.MaxBytesError
	var role *roleError
	switch {
	case errors.As(err, &role):
		return http.StatusForbidden, role.Error()
	case errors.Is(err, errAbsent):
		return http.StatusNotImplemented, p.absent
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", large.Limit)
	case errors.As(err, &bad):
		return http.StatusBadRequest, bad.Error()
	case errors.Is(err, errNotJSON):
		return http.StatusUnsupportedMediaType, err.Error()
	}
	if status, detail = p.refusal(err); status != 0 {
		return status, detail
	}
	return http.StatusServiceUnavailable, p.failing
}

// itself is the part of routes that are about the server.
var itself = part{
	name:    "admin",
	failing: "that cannot be done now",
	refusal: func(error) (int, string) { return 0, "" },
}

// gone reports whether err says only that the peer does not wait any more.
func gone(r *http.Request, err error) bool {
	return r.Context().Err() != nil && errors.Is(err, context.Canceled)
}
