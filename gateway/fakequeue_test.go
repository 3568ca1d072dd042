package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/jid"
)

// fakeQueue is the queue of a gateway that delivers nothing by itself.
type fakeQueue struct {
	mu       sync.Mutex
	messages []fakeMessage
	held     map[string]bool // recipients and domains
}

// fakeMessage is a line of a queue in a file. A line with hold alone is a hold.
type fakeMessage struct {
	admin.QueueMessage
	MessageID string `json:"message_id"`
	Age       string `json:"age"` // since acceptance; times are relative, so that a script knows what is printed
	In        string `json:"in"`  // until the next attempt
	Hold      string `json:"hold"`
}

// readFakeQueue reads a queue, one message per line.
func readFakeQueue(file string, now time.Time) (*fakeQueue, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	q := &fakeQueue{held: make(map[string]bool)}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var m fakeMessage
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return nil, fmt.Errorf("%s: %w", lines.Text(), err)
		}
		if m.Hold != "" {
			q.held[m.Hold] = true
			continue
		}
		age, err := time.ParseDuration(m.Age)
		if err != nil {
			return nil, err
		}
		m.Accepted, m.Since, m.To = now.Add(-age), now.Add(-age), cmp.Or(m.To, m.JID)
		if m.In != "" {
			in, err := time.ParseDuration(m.In)
			if err != nil {
				return nil, err
			}
			m.Next = now.Add(in)
		}
		q.messages = append(q.messages, m)
	}
	return q, nil
}

func domainOfJID(s string) string { return jid.MustParse(s).Domain() }

// selects reports whether f holds for m.
func selects(f admin.QueueFilter, m fakeMessage) bool {
	return (f.ID == "" || f.ID == m.ID || f.ID == m.MessageID || f.ID == m.StanzaID) &&
		(f.Recipient == "" || f.Recipient == m.JID) && (f.Domain == "" || f.Domain == domainOfJID(m.JID)) &&
		(f.State == "" || f.State == m.State) && strings.Contains(m.Reason, f.Reason)
}

func (q *fakeQueue) Routes(_ context.Context, f admin.QueueFilter) ([]admin.QueueRoute, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	byRoute := make(map[string]*admin.QueueRoute)
	for _, m := range q.messages {
		if !selects(f, m) {
			continue
		}
		key := m.JID + " " + string(m.State)
		if m.State == admin.Dead {
			key += " " + m.Reason
		}
		r := byRoute[key]
		if r == nil {
			r = &admin.QueueRoute{Route: m.JID, Domain: domainOfJID(m.JID), State: m.State, Attempts: m.Attempts, Next: m.Next, Reason: m.Reason, Oldest: m.Accepted}
			byRoute[key] = r
		}
		r.Messages++
		if m.Accepted.Before(r.Oldest) {
			r.Oldest = m.Accepted
		}
	}
	var all []admin.QueueRoute
	waits := make(map[string]bool)
	for _, r := range byRoute {
		all = append(all, *r)
		waits[r.Route] = waits[r.Route] || r.State == admin.Held
	}
	for route := range q.held {
		m := fakeMessage{QueueMessage: admin.QueueMessage{JID: route, State: admin.Held}}
		if !waits[route] && selects(f, m) {
			all = append(all, admin.QueueRoute{Route: route, Domain: domainOfJID(route), State: admin.Held})
		}
	}
	return all, nil
}

func (q *fakeQueue) Messages(_ context.Context, f admin.QueueFilter, limit int) (found []admin.QueueMessage, _ error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		if selects(f, m) {
			found = append(found, m.QueueMessage)
		}
	}
	slices.SortStableFunc(found, func(a, b admin.QueueMessage) int { return a.Accepted.Compare(b.Accepted) })
	return found[:min(len(found), limit)], nil
}

func (q *fakeQueue) Do(_ context.Context, a admin.QueueAction, f admin.QueueFilter) (n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch a {
	case admin.Hold:
		name := cmp.Or(f.Recipient, f.Domain)
		q.held[name] = true
		q.become(f, admin.Deferred, admin.Held)
		return 1, nil
	case admin.Release:
		for name := range q.held {
			if f == (admin.QueueFilter{}) || name == f.Recipient || domainOfJID(name) == f.Domain {
				delete(q.held, name)
				n++
			}
		}
		q.become(f, admin.Held, admin.Deferred)
		return n, nil
	}
	before := len(q.messages)
	q.messages = slices.DeleteFunc(q.messages, func(m fakeMessage) bool {
		return selects(f, m) && (a == admin.Drop || m.State != admin.Held)
	})
	return before - len(q.messages), nil
}

// become changes the state of what f selects.
func (q *fakeQueue) become(f admin.QueueFilter, from, to admin.QueueState) {
	for i, m := range q.messages {
		if m.State == from && selects(f, m) {
			q.messages[i].State = to
		}
	}
}

// serveAdmin serves an admin HTTP until the function returned is called, and
// returns its URL.
func serveAdmin(o admin.Options) (url string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := admin.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), func() error {
		cancel()
		defer srv.Close()
		return <-done
	}, nil
}

// fakeHistory is what became of the messages of such a gateway.
type fakeHistory []admin.Outcome

func (h fakeHistory) Message(_ context.Context, id string) (found []admin.Outcome, _ error) {
	for _, o := range h {
		if slices.Contains([]string{o.ID, o.StanzaID, o.MessageID, o.JID}, id) {
			found = append(found, o)
		}
	}
	return found, nil
}

// Messages finds by outcome, one at a time.
func (h fakeHistory) Messages(_ context.Context, f admin.MessageFilter, limit int, after string) (found []admin.Outcome, next string, err error) {
	n, _ := strconv.Atoi(after)
	for ; n < len(h) && len(found) < min(limit, 1); n++ {
		if f.Outcome == "" || h[n].Outcome == f.Outcome {
			found = append(found, h[n])
		}
	}
	if n < len(h) {
		next = strconv.Itoa(n)
	}
	return found, next, nil
}

func scriptOperated(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: operated FILE [OUTCOMES]")
	}
	q, err := readFakeQueue(ts.MkAbs(args[0]), time.Now())
	ts.Check(err)
	o := admin.Options{Queue: q}
	if len(args) == 2 {
		var h fakeHistory
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &h))
		o.History = h
	}
	url, stop, err := serveAdmin(o)
	ts.Check(err)
	ts.Defer(func() {
		if err := stop(); err != nil {
			ts.Value("t").(testing.TB).Error(err)
		}
	})
	ts.Setenv("ADMIN", url)
}
