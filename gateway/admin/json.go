package admin

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
)

// maxBody bounds a request: an address has at most 3071 bytes (RFC 7622 §3.1)
// and a password is not a text.
const maxBody = 16 << 10

// isJSON reports whether a request says that its body is JSON.
func isJSON(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/json"
}

// readJSON reads the body, one JSON value without unknown fields, into v.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil && dec.More() {
		err = errors.New("something follows the object")
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return err
	case err != nil:
		return badRequest("body: " + err.Error())
	}
	return nil
}

// writeJSON answers with v, which no cache may take for the state of later.
func writeJSON(w http.ResponseWriter, v any) {
	begin(w)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // the peer is gone when this fails
}
