// Package openapitest holds requests and answers of an HTTP API to its OpenAPI 3.1
// document, in tests.
package openapitest

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// specification is the schema of OpenAPI 3.1 documents that the OpenAPI Initiative
// publishes, of 2022-10-07.
//
//go:embed openapi-3.1.json
var specification []byte

// Document is an OpenAPI document.
type Document struct {
	paths map[string]any

	mu       sync.Mutex // of the compiler, which is for one goroutine
	compiler *jsonschema.Compiler
}

// at is the URL under which the compiler knows the document.
const at = "api.json"

// Parse reads a document, which must be valid by the schema of OpenAPI 3.1, and whose
// schemas must be by that of JSON Schema.
func Parse(text []byte) (*Document, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	spec, err := jsonschema.UnmarshalJSON(bytes.NewReader(specification))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := errors.Join(c.AddResource("spec.json", spec), c.AddResource(at, doc)); err != nil {
		return nil, err
	}
	schema, err := c.Compile("spec.json")
	if err != nil {
		return nil, err
	}
	if err := schema.Validate(doc); err != nil {
		return nil, err
	}
	d := &Document{doc.(map[string]any)["paths"].(map[string]any), sync.Mutex{}, c}
	for name := range doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any) {
		if _, err := c.Compile(pointer("components", "schemas", name)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// CheckAnswer holds an answer to what the document says of its request: that the
// status is listed, and the body is as its schema says. A path or method that is not
// in the document is not looked at: those are answered 404 and 405.
func (d *Document) CheckAnswer(t testing.TB, r *http.Request, status int, header http.Header, body []byte) {
	t.Helper()
	if r.Method == http.MethodHead {
		return // its answer is that of GET without the body (RFC 9110 §9.3.2)
	}
	path, operation := d.operation(r)
	if operation == nil {
		if status != http.StatusNotFound && status != http.StatusMethodNotAllowed && status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("%s %s is not in the document, and answered %d", r.Method, r.URL, status)
		}
		return
	}
	where := []string{"paths", path, strings.ToLower(r.Method), "responses", strconv.Itoa(status)}
	response, ok := operation["responses"].(map[string]any)[strconv.Itoa(status)].(map[string]any)
	if !ok {
		t.Errorf("%s %s is answered %d, of which the document knows nothing", r.Method, r.URL, status)
		return
	}
	if ref, ok := response["$ref"].(string); ok {
		where = strings.Split(strings.TrimPrefix(ref, "#/"), "/")
		response = nil
	}
	if err := d.check(where, response, header.Get("Content-Type"), body); err != nil {
		t.Errorf("%s %s is answered %d, not as the document says: %v\n%s", r.Method, r.URL, status, err, body)
	}
}

// CheckRequest holds the body of a request that was done to the document.
func (d *Document) CheckRequest(t testing.TB, r *http.Request, body string) {
	t.Helper()
	path, operation := d.operation(r)
	if operation == nil || operation["requestBody"] == nil {
		return
	}
	where := []string{"paths", path, strings.ToLower(r.Method), "requestBody"}
	if err := d.check(where, nil, "application/json", []byte(body)); err != nil {
		t.Errorf("%s %s was done, though the document has it otherwise: %v\n%s", r.Method, r.URL, err, body)
	}
}

// operation finds that of a request, and the path that it is under.
func (d *Document) operation(r *http.Request) (path string, _ map[string]any) {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	found := -1
	for template, item := range d.paths {
		_, ok := item.(map[string]any)[strings.ToLower(r.Method)]
		if fixed := matches(strings.Split(template, "/"), segments); ok && fixed > found {
			found, path = fixed, template
		}
	}
	if found < 0 {
		return "", nil
	}
	return path, d.paths[path].(map[string]any)[strings.ToLower(r.Method)].(map[string]any)
}

// matches counts the segments that are as in the template; -1: it is another path.
func matches(template, segments []string) (fixed int) {
	if len(template) != len(segments) {
		return -1
	}
	for i, s := range template {
		switch {
		case s == segments[i]:
			fixed++
		case !strings.HasPrefix(s, "{"):
			return -1
		}
	}
	return fixed
}

// check holds a body to the content of what is at where; response, unless nil, may
// be without any.
func (d *Document) check(where []string, response map[string]any, contentType string, body []byte) error {
	if response != nil && response["content"] == nil {
		if len(body) > 0 {
			return fmt.Errorf("%d bytes where there is no body", len(body))
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("content type %q: %w", contentType, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	schema, err := d.compiler.Compile(pointer(append(where, "content", media, "schema")...))
	if err != nil {
		return err
	}
	if !strings.HasSuffix(media, "json") {
		return schema.Validate(string(body))
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// pointer is a place in the document (RFC 6901, in a fragment).
func pointer(path ...string) string {
	var b strings.Builder
	b.WriteString(at + "#")
	for _, s := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(s))
	}
	return b.String()
}
