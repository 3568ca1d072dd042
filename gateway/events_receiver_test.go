package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The keys of the receivers of these tests: the one in use, and the one before it.
const (
	hookKey    = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	oldHookKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// hookEvent is an event as a receiver reads it.
type hookEvent struct {
	ID, Type  string
	Version   int
	Timestamp time.Time
	Data      struct {
		ID, From, To, JID, Outcome, Proof, Reason string
		Accepted, Ended, Next                     time.Time
	}
}

// hookServer receives events, and can be taken down and up again at its address.
type hookServer struct {
	t    *testing.T
	addr string

	mu     sync.Mutex
	srv    *http.Server
	events []hookEvent    // taken, in the order of arrival
	agents map[string]int // requests by User-Agent
	times  int            // requests
	answer func(w http.ResponseWriter, r *http.Request, n int) (taken bool)
}

func newHook(t *testing.T) *hookServer {
	t.Helper()
	h := &hookServer{t: t, addr: "127.0.0.1:0", agents: make(map[string]int)}
	h.up()
	t.Cleanup(h.down)
	return h
}

func (h *hookServer) up() {
	h.t.Helper()
	l, err := net.Listen("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addr = l.Addr().String()
	h.srv = &http.Server{Handler: h}
	go h.srv.Serve(l)
}

func (h *hookServer) down() {
	h.mu.Lock()
	srv := h.srv
	h.mu.Unlock()
	_ = srv.Close()
}

// answers has it answer so from now on, by the number of the request from zero; nil: it
// takes what is signed.
func (h *hookServer) answers(f func(w http.ResponseWriter, r *http.Request, n int) (taken bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer, h.times = f, 0
}

// ServeHTTP checks the signature by Standard Webhooks 1.0.0 and notes the events.
func (h *hookServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it was killed
	}
	if why := unsigned(r.Header, body, hookKey, time.Now()); why != "" {
		h.t.Errorf("not signed: %s: %s", why, body)
		http.Error(w, why, http.StatusUnauthorized)
		return
	}
	var one hookEvent
	many := struct {
		Type string
		Data []hookEvent
	}{}
	err = json.Unmarshal(body, &one)
	if one.Type == "messages" || err != nil {
		err = json.Unmarshal(body, &many)
	} else {
		many.Data = []hookEvent{one}
	}
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || len(many.Data) == 0 {
		h.t.Errorf("%s %s: %v: %s", r.Method, r.Header.Get("Content-Type"), err, body)
	}
	if one.Type != "messages" && one.ID != r.Header.Get("webhook-id") {
		h.t.Errorf("the id of %s is %s", body, r.Header.Get("webhook-id"))
	}
	h.mu.Lock()
	answer, n := h.answer, h.times
	h.times++
	h.mu.Unlock()
	if answer != nil && !answer(w, r, n) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.agents[r.RemoteAddr]++
	h.events = append(h.events, many.Data...)
}

// unsigned says what is wrong with the signature of a request; empty: nothing.
func unsigned(header http.Header, body []byte, secret string, now time.Time) string {
	id, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return "webhook-timestamp " + stamp
	}
	if id == "" || strings.Contains(id, ".") {
		return "webhook-id " + id
	}
	key, err := base64.StdEncoding.DecodeString(secret[len("whsec_"):])
	if err != nil {
		return err.Error()
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	for _, signature := range strings.Fields(header.Get("webhook-signature")) {
		version, encoded, _ := strings.Cut(signature, ",")
		sum, err := base64.StdEncoding.DecodeString(encoded)
		if version == "v1" && err == nil && hmac.Equal(sum, mac.Sum(nil)) {
			return ""
		}
	}
	return "webhook-signature " + header.Get("webhook-signature")
}

// all are the events that were taken, in the order of arrival.
func (h *hookServer) all() []hookEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]hookEvent(nil), h.events...)
}

// requests is how many there were since answers.
func (h *hookServer) requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.times
}

// of are the events of a recipient, without repetitions.
func (h *hookServer) of(recipient string) (found []hookEvent) {
	seen := make(map[string]bool)
	for _, e := range h.all() {
		if !seen[e.ID] && strings.HasPrefix(e.Data.JID, recipient) {
			seen[e.ID] = true
			found = append(found, e)
		}
	}
	return found
}

// webhook is a scope with its address, and more options.
func (h *hookServer) webhook(name, options string) string {
	return fmt.Sprintf("webhook %q { url = \"http://%s/hooks/x?y=z\" secret = ( %q %q ) retry_interval = 1 max_retry_interval = 1 %s }\n",
		name, h.addr, oldHookKey, hookKey, options)
}
