package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/app"
)

// TestAnswerTooLong: an answer that is cut off is not taken for a damaged one.
func TestAnswerTooLong(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		block := bytes.Repeat([]byte(" "), 1<<20)
		for range maxAnswer>>20 + 1 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	defer srv.Close()
	var answer any
	err := newAdminClient(app.Admin{URL: srv.URL}).call(t.Context(), http.MethodGet, "/v1/queue", nil, &answer)
	if err == nil || !strings.Contains(err.Error(), "ask for less") {
		t.Errorf("got %v", err)
	}
}

// TestImportTooFast: an import that a gateway finds too fast goes on when it is told to,
// and one that is to wait for longer, as after wrong tokens, ends.
func TestImportTooFast(t *testing.T) {
	t.Parallel()
	again, asked := "1", 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 1 {
			w.Header().Set("Retry-After", again)
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	c := newAdminClient(app.Admin{URL: srv.URL})
	r := rosterRecord{owner: "alice@localhost", record: []byte(`{"bob@localhost":{}}`)}
	if n, err := c.importPatiently(t.Context(), r); n != 1 || err != nil || asked != 2 {
		t.Errorf("%d contacts after %d requests: %v", n, asked, err)
	}
	again, asked = "3600", 0
	if _, err := c.importPatiently(t.Context(), r); err == nil || !strings.Contains(err.Error(), "429") || asked != 1 {
		t.Errorf("%d requests: %v", asked, err)
	}
}
