package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// sendDocument answers with the document of the API.
func (s *Server) sendDocument(x *exchange, _ *http.Request) error {
	writeJSON(x, s.document)
	return nil
}

// document describes routes by OpenAPI 3.1.
func document(version string, routes []route) object {
	types := schemas{make(map[string]object)}
	paths := object{}
	for _, rt := range routes {
		path := strings.ReplaceAll(rt.path, "{$}", "")
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			if names := pathParameters(path); len(names) > 0 {
				item["parameters"] = names
			}
			paths[path] = item
		}
		item[strings.ToLower(rt.method)] = rt.operation(types)
	}
	problemSchema := types.of(reflect.TypeFor[Problem]())
	return object{
		"openapi": "3.1.1",
		"info": object{
			"title":       "mcmt2xmpp admin API",
			"version":     version,
			"description": documentText,
		},
		"servers":  []any{object{"url": "/"}},
		"paths":    paths,
		"security": []any{object{"token": []any{}}, object{}},
		"components": object{
			"schemas":         types.named,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "description": "a token of the configuration; none is needed on loopback unless local_role says so"}},
			"responses": object{"problem": object{
				"description": "Why it was not done (RFC 9457)",
				"content":     object{"application/problem+json": object{"schema": problemSchema}},
			}},
		},
	}
}

const documentText = `What an operator asks of one gateway process, and tells it.
Who has the role read may look, who has the role operate may also change: x-role is what an operation takes.
Refusals are problem documents (RFC 9457); what is changed is in the audit log.
Unknown parameters and unknown members of bodies are refused, answers may have further members in later versions.`

// pathParameters are those of a path.
func pathParameters(path string) (all []any) {
	for _, m := range pathParameter.FindAllStringSubmatch(path, -1) {
		all = append(all, object{
			"name": m[1], "in": "path", "required": true, "description": pathDocs[m[1]], "schema": object{"type": "string"},
		})
	}
	return all
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// pathDocs describes the parameters of paths.
var pathDocs = map[string]string{
	"jid":    "bare JID of an account, user@domain",
	"id":     "queue id, Message-ID, stanza id, or bare JID of a recipient",
	"domain": "domain of a server",
	"call":   "NAME:retry or NAME:replay, where NAME is that of a webhook",
}

// operation describes one route.
func (rt route) operation(types schemas) object {
	op := object{
		"operationId": rt.id, "summary": rt.summary, "x-role": rt.needs().String(),
		"responses": rt.responses(types),
	}
	if rt.about != "" {
		op["description"] = rt.about
	}
	if rt.open {
		op["security"] = []any{}
	}
	if rt.old {
		op["deprecated"] = true
	}
	if rt.part != nil {
		op["tags"] = []string{rt.part.name}
	}
	var parameters []any
	for _, f := range rt.query {
		parameters = append(parameters, object{
			"name": f.name, "in": "query", "description": f.doc, "schema": types.of(reflect.TypeOf(f.of)),
		})
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	if rt.body != nil {
		op["requestBody"] = object{"required": true, "content": object{
			"application/json": object{"schema": types.body(reflect.TypeOf(rt.body))},
		}}
	}
	return op
}

// responses are what a route may answer.
func (rt route) responses(types schemas) object {
	success := object{"description": "Done"}
	switch {
	case rt.media != "":
		success["content"] = object{rt.media: object{"schema": object{"type": "string"}}}
	case rt.answer != nil:
		success["content"] = object{"application/json": object{"schema": types.of(reflect.TypeOf(rt.answer))}}
	}
	all := object{strconv.Itoa(cmp.Or(rt.status, http.StatusOK)): success}
	for _, status := range rt.refusals() {
		if rt.media == "text/plain" && rt.open {
			all[strconv.Itoa(status)] = object{"description": http.StatusText(status), "content": success["content"]}
			continue
		}
		all[strconv.Itoa(status)] = object{"$ref": "#/components/responses/problem"}
	}
	if rt.door {
		all[strconv.Itoa(http.StatusUnauthorized)] = object{"description": "A token is asked for", "content": object{
			rt.media: success["content"].(object)[rt.media], "application/problem+json": object{"schema": types.of(reflect.TypeFor[Problem]())},
		}}
	}
	for _, status := range rt.bare {
		all[strconv.Itoa(status)] = object{"description": http.StatusText(status)}
	}
	return all
}

// refusals are the statuses of a route's problems.
func (rt route) refusals() []int {
	all := rt.refuse
	if rt.open {
		return all
	}
	all = append([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests}, all...)
	if !rt.anyQuery {
		all = append(all, http.StatusBadRequest)
	}
	if rt.method != http.MethodGet {
		all = append(all, http.StatusUnsupportedMediaType)
	}
	if rt.body != nil {
		all = append(all, http.StatusRequestEntityTooLarge)
	}
	if rt.part != nil {
		all = append(all, http.StatusNotImplemented)
		if rt.part.failing != "" {
			all = append(all, http.StatusServiceUnavailable)
		}
	}
	return all
}

// checkRoutes panics where the table is wrong, which is a bug of ours.
func checkRoutes(routes []route) {
	ids := make(map[string]bool)
	for _, rt := range routes {
		if ids[rt.id] || rt.id == "" || rt.do == nil || rt.summary == "" {
			panic(fmt.Sprintf("admin: route %s %s", rt.method, rt.path))
		}
		ids[rt.id] = true
	}
}
