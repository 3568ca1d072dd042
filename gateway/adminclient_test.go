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
