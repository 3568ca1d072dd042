package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/admin"
)

// TestLive: what happens in the gateway comes as events, until it stops.
func TestLive(t *testing.T) {
	t.Parallel()
	g := newQueue(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.admin()+"/v1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (v admin.Live) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &v); err != nil {
					t.Fatal(err)
				}
				return v
			}
		}
		t.Fatalf("the events ended: %v", lines.Err())
		return v
	}
	until := func(holds func(admin.Live) bool) {
		t.Helper()
		for !holds(next()) {
		}
	}
	total := func(v admin.Live, stage string) (n uint64) {
		for _, f := range v.Flow {
			if string(f.Stage) == stage {
				n = f.Total
			}
		}
		return n
	}
	until(func(v admin.Live) bool {
		return len(v.NotReady) == 0 && len(v.Queue.Domains) == 0 && len(v.Filters.Filters) > 0
	})
	send(t, g, away, "1", "2")
	until(func(v admin.Live) bool {
		return v.Queue.Deferred == 2 && v.Queue.Domains[0].Domain == "localhost" && v.Queue.Domains[0].Routes[0].Route == away && !v.Queue.Oldest.IsZero() &&
			total(v, "stored") == 2 && total(v, "converted") == 2
	})
	operate(t, g, "", "queue", "hold", away)
	until(func(v admin.Live) bool { return v.Queue.Held == 2 && v.Queue.Deferred == 0 })
	operate(t, g, "", "queue", "release", away)
	alice := meet(t, g.xmpp(), away)
	until(func(v admin.Live) bool {
		return v.Queue.Deferred == 0 && total(v, "delivered") == 2 && v.Sessions.Sessions == 1
	})
	alice.leave()
	until(func(v admin.Live) bool { return v.Sessions.Sessions == 0 && v.Sessions.Logins == 1 })
	g.stop()
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("broken off: %v", err)
	}
}
