package admin

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mcmt2xmpp/gateway/admin/openapitest"
)

// contract is the document of a server, which every answer of the tests is held to.
var contract = sync.OnceValues(func() (*openapitest.Document, error) {
	s := New(Options{Version: "1.2.3"})
	defer s.Close()
	text, err := json.Marshal(s.document)
	if err != nil {
		return nil, err
	}
	return openapitest.Parse(text)
})

// TestDocument: the document is OpenAPI 3.1, and has the routes that the server has
// and no others.
func TestDocument(t *testing.T) {
	t.Parallel()
	if _, err := contract(); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	w := f.ask("GET", "/v1/openapi.json", "", nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v", w.Code, err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	described := 0
	for path, item := range doc.Paths {
		at := strings.NewReplacer("{jid}", "a@localhost", "{id}", "q1", "{domain}", "a.example").Replace(path)
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			w := f.ask(method, at, "", nil)
			_, ok := item[strings.ToLower(method)]
			if ok {
				described++
			}
			if ok != (w.Code != http.StatusMethodNotAllowed) || strings.Contains(w.Body.String(), "nothing at this path") {
				t.Errorf("%s %s: %d, while the document has it: %v", method, path, w.Code, ok)
			}
		}
	}
	for _, rt := range f.routes() {
		path := strings.ReplaceAll(rt.path, "{$}", "")
		var op struct {
			OperationID string `json:"operationId"`
			Role        string `json:"x-role"`
		}
		err := json.Unmarshal(doc.Paths[path][strings.ToLower(rt.method)], &op)
		if err != nil || op.OperationID != rt.id || op.Role != rt.needs().String() {
			t.Errorf("%s %s: the document has %+v, %v", rt.method, rt.path, op, err)
		}
	}
	if n := len(f.routes()); described != n {
		t.Errorf("%d operations of %d routes", described, n)
	}
}

// TestOneTable: no path is served but those of the table and the answer to all others.
func TestOneTable(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "mux."+"Handle"); n > 0 {
			found = append(found, slices.Repeat([]string{name}, n)...)
		}
	}
	if !slices.Equal(found, []string{"admin.go", "route.go"}) {
		t.Errorf("paths are given to the mux in %v", found)
	}
}
