package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// hooks are webhooks that do nothing but note what was asked of them.
type hooks struct {
	asked []string
	err   error
}

func (h *hooks) Webhooks(context.Context) (*Webhook, []Webhook, error) {
	return nil, []Webhook{{Name: "crm", State: "idle", Sent: 7}}, h.err
}

func (h *hooks) Retry(_ context.Context, name string) (Webhook, error) {
	h.asked = append(h.asked, "retry "+name)
	return Webhook{Name: name}, h.err
}

func (h *hooks) Replay(_ context.Context, name string, since, until time.Time) (Webhook, error) {
	h.asked = append(h.asked, strings.Join([]string{"replay", name, since.UTC().Format(time.TimeOnly), until.UTC().Format(time.TimeOnly)}, " "))
	return Webhook{Name: name}, h.err
}

// TestWebhooks: what is asked for reaches the webhooks, and what makes no sense does not.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	checkProblem(t, f.ask("GET", "/v1/webhooks", "", nil), http.StatusNotImplemented, "no events")
	h := new(hooks)
	f.o.Webhooks = h
	var list WebhookList
	if w := f.ask("GET", "/v1/webhooks", "", nil); json.Unmarshal(w.Body.Bytes(), &list) != nil || len(list.Webhooks) != 1 || list.Webhooks[0].Sent != 7 || list.Stream != nil {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	for path, want := range map[string]string{
		"/v1/webhooks/crm:retry":        "retry crm",
		"/v1/webhooks/event.%3E:replay": "replay event.> 00:00:00 00:00:00",
		"/v1/webhooks/a.b-c:replay?since=2026-11-28T08:00:00Z&until=2026-11-28T10:00:00%2B01:00": "replay a.b-c 08:00:00 09:00:00",
	} {
		h.asked = nil
		if w := f.ask("POST", path, "", nil); w.Code != http.StatusOK || len(h.asked) != 1 || h.asked[0] != want {
			t.Errorf("%s: %d, asked %q, want %q", path, w.Code, h.asked, want)
		}
	}
	if log := f.log.String(); strings.Count(log, `"message":"audit"`) != 3 || !strings.Contains(log, `"webhook":"crm"`) {
		t.Errorf("log %s", log)
	}
	h.asked = nil
	for path, detail := range map[string]string{
		"/v1/webhooks/crm:retry?since=x":                                                "knows no parameters",
		"/v1/webhooks/crm:replay?since=yesterday":                                       "since: one time",
		"/v1/webhooks/crm:replay?from=2026-11-28T08:00:00Z":                             "but since, until",
		"/v1/webhooks/crm:replay?since=2026-11-28T08:00:00Z&until=2026-11-28T08:00:00Z": "not later",
	} {
		checkProblem(t, f.ask("POST", path, "", nil), http.StatusBadRequest, detail)
	}
	checkProblem(t, f.ask("POST", "/v1/webhooks/crm", "", nil), http.StatusNotFound, "NAME:retry")
	checkProblem(t, f.ask("POST", "/v1/webhooks/crm:drop", "", nil), http.StatusNotFound, ":replay")
	checkProblem(t, f.ask("GET", "/v1/webhooks/crm:retry", "", nil), http.StatusMethodNotAllowed, "POST")
	if len(h.asked) > 0 {
		t.Errorf("asked %q", h.asked)
	}
	for err, want := range map[error]int{ErrNoWebhook: http.StatusNotFound, ErrNoSender: http.StatusServiceUnavailable, errors.New("disk"): http.StatusServiceUnavailable} {
		h.err = err
		if w := f.ask("POST", "/v1/webhooks/crm:retry", "", nil); w.Code != want || strings.Contains(w.Body.String(), "disk") {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
	stranger := func(r *http.Request) { r.RemoteAddr = "192.0.2.7:4711" }
	if w := f.ask("POST", "/v1/webhooks/crm:retry", "", stranger); w.Code != http.StatusUnauthorized {
		t.Errorf("a stranger without a token: %d", w.Code)
	}
}
