package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/gateway/trace"
)

// dashboard is the page at / and what it is made of. The page says everything without a
// script; the script puts the live part of a later page in the place of an earlier one.
//
//go:embed dashboard
var dashboard embed.FS

var pages = template.Must(template.New("page").Funcs(template.FuncMap{
	"ago": ago, "until": until, "grouped": grouped, "rate": ratePerSecond, "shown": shown, "buttons": buttonsOf, "recipients": recipients,
	"ends": ends, "points": points, "backlog": backlog, "stamp": stamp,
}).ParseFS(dashboard, "dashboard/*.html"))

// assets are the files that the page asks for, by name.
var assets = map[string]string{
	"style.css": "text/css; charset=utf-8",
	"script.js": "text/javascript; charset=utf-8",
	"icon.svg":  "image/svg+xml",
}

// pageRoutes are those of the page. Its files hold nothing of this gateway and cannot
// be asked for with a token.
func (s *Server) pageRoutes() []route {
	all := []route{{method: http.MethodGet, path: "/{$}", id: "dashboard", summary: "What happens, for a person",
		about: "A browser that has no token is asked for one. id is a message to tell of, show=dead adds what is dead.",
		role:  Read, door: true, anyQuery: true, media: "text/html", refuse: []int{http.StatusBadRequest}, do: handled(s.index)}}
	for _, name := range slices.Sorted(maps.Keys(assets)) {
		media, _, _ := strings.Cut(assets[name], ";")
		kind, _, _ := strings.Cut(name, ".")
		all = append(all, route{method: http.MethodGet, path: "/dashboard/" + name, id: "dashboard_" + kind, summary: "A file of that page",
			open: true, anyQuery: true, media: media, bare: []int{http.StatusNotModified}, do: handled(asset)})
	}
	return all
}

// door has a person at a browser asked for a token where a guard misses one: a browser
// does not send it with the first request.
func (s *Server) door(guarded http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || !strings.Contains(r.Header.Get("Accept"), "text/html") {
			guarded.ServeHTTP(w, r)
			return
		}
		answer := &withoutRefusal{ResponseWriter: w}
		guarded.ServeHTTP(answer, r)
		if answer.refused {
			s.show(w, http.StatusUnauthorized, "signin", nil)
		}
	})
}

// withoutRefusal keeps back an answer that a token is missing. Its header is of use for
// the one that is given instead.
type withoutRefusal struct {
	http.ResponseWriter
	refused bool
}

func (w *withoutRefusal) WriteHeader(status int) {
	if w.refused = status == http.StatusUnauthorized; !w.refused {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *withoutRefusal) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *withoutRefusal) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// index answers with the page, which has the message that id is about, and what is dead
// with show=dead.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	fields, err := query(r)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	v, err := s.view(r.Context())
	if err != nil {
		return // the client has gone
	}
	p := struct {
		*view
		Found found
		Dead  dead
	}{view: v}
	if id := fields["id"]; id != "" {
		p.Found = s.find(r, id)
	}
	if fields["show"] == "dead" {
		p.Dead = s.dead(r)
	}
	s.show(w, http.StatusOK, "page", p)
}

// found is the answer to a search.
type found struct {
	ID      string // empty: nothing was looked for
	Problem string
	Stories []story
	More    int // stories that are left out
}

// maxStories is how many a page tells.
const maxStories = 50

func (s *Server) find(r *http.Request, written string) (f found) {
	f.ID = written
	if s.o.History == nil {
		f.Problem = "This gateway does not keep what became of messages."
		return f
	}
	id, err := messageID("id", written)
	if err != nil {
		f.Problem = err.Error()
		return f
	}
	outcomes, err := s.o.History.Message(r.Context(), id)
	switch {
	case err != nil:
		f.Problem = "What became of messages cannot be read now."
		s.o.Log.Error().Err(err).Msg("messages")
	case len(outcomes) == 0:
		f.Problem = "No message is known by this id, and none for a recipient of this address."
	}
	f.More = max(0, len(outcomes)-maxStories)
	f.Stories = storiesOf(outcomes[f.More:])
	return f
}

// dead is what is kept of what could not be delivered.
type dead struct {
	Shown   bool
	Problem string
	Routes  []deadRoute
	More    int // routes that are left out
}

// maxDeadRoutes is how many a page shows.
const maxDeadRoutes = 100

func (s *Server) dead(r *http.Request) (d dead) {
	d.Shown = true
	if s.o.Queue == nil {
		d.Problem = "This gateway delivers nothing, so it has no queue."
		return d
	}
	routes, err := s.o.Queue.Routes(r.Context(), QueueFilter{State: Dead})
	if err != nil {
		d.Problem = "The queue cannot be read now."
		s.o.Log.Error().Err(err).Msg("queue")
	}
	slices.SortStableFunc(routes, byAge)
	d.More = max(0, len(routes)-maxDeadRoutes)
	for _, route := range routes[:len(routes)-d.More] {
		d.Routes = append(d.Routes, deadRoute{route})
	}
	return d
}

// policy lets a page have nothing but its own files, and nobody else have the page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// show answers with a page.
func (s *Server) show(w http.ResponseWriter, status int, name string, data any) {
	var text bytes.Buffer
	if err := pages.ExecuteTemplate(&text, name, data); err != nil {
		s.o.Log.Error().Err(err).Msg("dashboard")
		problem(w, http.StatusInternalServerError, "the page cannot be shown")
		return
	}
	begin(w)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the address may hold that of a recipient
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept, Authorization")
	w.WriteHeader(status)
	_, _ = text.WriteTo(w) // the peer is gone when this fails
}

// asset answers with a file of the page. The browser asks each time whether it has changed.
func asset(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	text, err := dashboard.ReadFile("dashboard/" + name)
	if err != nil {
		problem(w, http.StatusInternalServerError, err.Error())
		return
	}
	sum := sha256.Sum256(text)
	h := w.Header()
	h.Set("Content-Type", assets[name])
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(text))
}

// ends are the stages of the flow from the first in which a message may end.
func ends(all []StageFlow) []StageFlow {
	first := slices.IndexFunc(all, func(f StageFlow) bool { return f.Stage == trace.Delivered })
	return all[max(first, 0):]
}

// points are the numbers of a line, for the script that draws it.
func points(recent []uint32) string {
	words := make([]string, len(recent))
	for i, n := range recent {
		words[i] = strconv.FormatUint(uint64(n), 10)
	}
	return strings.Join(words, ",")
}

// backlog is what lies in a stage of custody, nil for nothing.
func backlog(all []StageBacklog, stage string) *StageBacklog {
	i := slices.IndexFunc(all, func(b StageBacklog) bool { return b.Stage == stage && b.Messages > 0 })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// stamp is a moment on the clock of this machine.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }

// row is one number of the page.
type row struct{ Name, Help, Labels, Value string }

// rows are the parts' own numbers, in the order in which they are listed.
func rows(metrics []Metric) []row {
	var all []row
	for _, m := range metrics {
		m.Collect(func(value float64, labels ...string) {
			all = append(all, row{strings.ReplaceAll(m.Name, "_", " "), m.Help, strings.Join(labels, ", "),
				strconv.FormatFloat(value, 'f', -1, 64)})
		})
	}
	return all
}
