package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/admin/openapitest"
)

// curl asks the admin HTTP as an operator does, and holds the answers to the document
// that it serves.
type curl struct {
	g       *gateway
	program string
	token   string
	doc     *openapitest.Document
}

func newCurl(g *gateway, token string) *curl {
	g.t.Helper()
	c := &curl{g: g, program: peer(g.t.(*testing.T), "curl", "curl"), token: token}
	resp := c.get("/v1/openapi.json")
	doc, err := openapitest.Parse([]byte(resp.body))
	if err != nil {
		g.t.Fatal(err)
	}
	c.doc = doc
	return c
}

// with is the same with another token.
func (c *curl) with(token string) *curl {
	other := *c
	other.token = token
	return &other
}

func (c *curl) get(path string, args ...string) curled { return c.ask("GET", path, args...) }

// post sends a JSON body.
func (c *curl) post(path, body string, args ...string) curled {
	return c.ask("POST", path, append([]string{"-H", "Content-Type: application/json", "--data-binary", body}, args...)...)
}

type curled struct {
	status int
	header http.Header
	body   string
}

func (c *curl) ask(method, path string, args ...string) curled {
	c.g.t.Helper()
	url := c.g.admin() + path
	args = append([]string{"-sS", "-i", "--raw", "-g", "-X", method, "--max-time", fmt.Sprint(int(patience.Seconds()))}, args...)
	if c.token != "" {
		args = append(args, "-H", "Authorization: Bearer "+c.token)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(c.program, append(args, url)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		c.g.t.Fatalf("curl %s %s: %v: %s", method, path, err, &errs)
	}
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		c.g.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(&out), req)
	if err != nil {
		c.g.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.g.t.Fatal(err)
	}
	if c.doc != nil {
		c.doc.CheckAnswer(c.g.t, req, resp.StatusCode, resp.Header, body)
	}
	return curled{resp.StatusCode, resp.Header, string(body)}
}

// is checks the status, and what the answer holds.
func (a curled) is(t testing.TB, status int, parts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("%d %s, want %d", a.status, a.body, status)
	}
	for _, part := range parts {
		if !strings.Contains(a.body, part) {
			t.Errorf("%d %s lacks %q", a.status, a.body, part)
		}
	}
}

// TestAdminByCurl: who may look looks, who may operate changes things, pages of other
// sites do neither, and all that was tried is in the audit and in the log.
func TestAdminByCurl(t *testing.T) {
	t.Parallel()
	const looks, operates = "look-0123456789abcdef", "work-0123456789abcdef"
	g := newGateway(t, `operator "grafana" { role = "read" bearer_token = "`+looks+`" }
operator "anna" { role = "operate" token_file = "anna.token" }`)
	g.write("anna.token", operates+"\n")
	g.replace(`control_listener { Listen`, `control_listener { local_role = "read" failed_login_delay = 0 max_failed_logins_per_address = 3 request_rate = "40/3600" Listen`)
	g.start()
	local := newCurl(g, "")
	grafana, anna := local.with(looks), local.with(operates)

	const alice = `{"jid":"alice@localhost","password":"correct horse"}`
	for _, c := range []*curl{local, grafana} {
		c.get("/v1/users").is(t, 200, "[]")
		c.get("/v1/queue").is(t, 200, `"routes":[]`)
		c.get("/metrics").is(t, 200, "mcmt2xmpp_build_info")
		c.post("/v1/users", alice).is(t, 403, "this takes the role operate, and you have read")
		c.post("/v1/reload", "{}").is(t, 403, "operate")
		c.post("/v1/queue:drop", `{"all":true}`).is(t, 403, "operate")
	}
	anna.post("/v1/users", alice).is(t, 201)
	anna.get("/v1/users").is(t, 200, "alice@localhost")
	anna.post("/v1/users", alice).is(t, 409, "exists")
	anna.get("/v1/rosters/alice@localhost").is(t, 200, "{}")
	anna.post("/v1/queue:hold", `{"recipient":"alice@localhost"}`).is(t, 200, `"affected":1`)
	anna.get("/v1/queue").is(t, 200, `"state":"held"`)
	anna.get("/v1/queue?stat=held").is(t, 400, `there is no \"stat\" here`)
	anna.get("/v1/messages/nothing").is(t, 404)
	grafana.get("/v1/messages?since=1h&outcome=failed").is(t, 200, `{"outcomes":[]}`)
	anna.get("/v1/s2s").is(t, 200, "[]")
	anna.get("/v1/filters").is(t, 200, "chat-states")

	// A page of another site, by whatever way a browser lets it.
	anna.post("/v1/queue:drop", `{"all":true}`, "-H", "Origin: https://evil.example").is(t, 403, "another site")
	anna.post("/v1/queue:drop", `{"all":true}`, "-H", "Sec-Fetch-Site: cross-site").is(t, 403, "another site")
	anna.ask("POST", "/v1/queue:drop", "-d", "all=true").is(t, 415, "application/json")
	local.get("/v1/users", "-H", "Host: evil.example").is(t, 403, "Host header")

	// Everything that was tried, and by whom.
	var audit admin.AuditEntries
	if err := json.Unmarshal([]byte(anna.get("/v1/audit").body), &audit); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range audit.Entries {
		lines = append(lines, fmt.Sprint(e.Who, " ", e.Address, " ", e.Action, " ", e.On["jid"], e.On["recipient"], " ", e.Status))
	}
	want := []string{
		"anna 127.0.0.1 dropQueue  415",
		"anna 127.0.0.1 holdQueue alice@localhost 200",
		"anna 127.0.0.1 addUser alice@localhost 409",
		"anna 127.0.0.1 addUser alice@localhost 201",
		"grafana 127.0.0.1 dropQueue  403", "grafana 127.0.0.1 reload  403", "grafana 127.0.0.1 addUser  403",
		"local 127.0.0.1 dropQueue  403", "local 127.0.0.1 reload  403", "local 127.0.0.1 addUser  403",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	g.logged(0, `"message":"audit"`, `"who":"anna"`, `"action":"addUser"`, `"jid":"alice@localhost"`, `"status":201`)
	g.logged(0, `"message":"audit"`, `"who":"grafana"`, `"action":"dropQueue"`, `"status":403`)
	g.logged(0, `"message":"request of another site refused"`, `"origin":"https://evil.example"`, `"who":"anna"`)
	for _, secret := range []string{looks, operates, "correct horse"} {
		if strings.Contains(g.logFrom(0), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
	_, shown, _ := strings.Cut(g.config(), "operator")
	if out, stderr, _ := program(t, "", "check", "-c", g.conf, "--effective"); strings.Contains(out+stderr, looks) || !strings.Contains(shown, looks) || !strings.Contains(out, "operator grafana") {
		t.Error("check --effective prints a token, or no operator")
	}

	// An operator who is taken out by a reload is not let in any more.
	from := g.reload(strings.Replace(g.config(), `operator "grafana"`, `operator "nobody"`, 1))
	g.logged(from, `"scope":"operator grafana"`, `"is":"gone"`)
	g.write("anna.token", "new-0123456789abcdef\n")
	done := anna.post("/v1/reload", "{}")
	done.is(t, 200, `"scope":"operator anna","option":"token_file","was":"***","is":"***"`)
	anna.get("/v1/users").is(t, 401, "not a good one")
	anna = anna.with("new-0123456789abcdef")
	anna.get("/v1/users").is(t, 200)

	// One mistake is named with its place, and nothing changes.
	g.write("gateway.conf", strings.Replace(g.config(), "xmpp {}", "xmpp {}\nlog_levle = debug", 1))
	anna.post("/v1/reload", "{}").is(t, 422, `gateway.conf:4:1"`, "did you mean log_level", "the one before stays")

	// Too many requests of one operator, which leave others their own; then too many
	// wrong tokens from one address, with which a good one is not tried either.
	var last curled
	for range 60 {
		if last = grafana.with("new-0123456789abcdef").get("/v1/filters"); last.status == http.StatusTooManyRequests {
			break
		}
	}
	last.is(t, 429, "too many requests")
	if last.header.Get("Retry-After") == "" {
		t.Error("without Retry-After")
	}
	local.get("/v1/users").is(t, 200)
	for range 2 {
		anna.with("wrong").get("/v1/users").is(t, 401)
	}
	anna.get("/v1/users").is(t, 429, "too many wrong tokens")
	g.logged(0, `"message":"wrong token"`, `"peer":"127.0.0.1"`)
	local.get("/healthz").is(t, 200, "ok")
	m := metricsOf(t, g)
	for why, want := range map[string]float64{"rate": 1, "wrong_token": 3, "failed_logins": 1} {
		if got := m.value(t, `mcmt2xmpp_admin_refused_total{why="`+why+`"}`); got < want {
			t.Errorf("%v were refused for %s, want %v", got, why, want)
		}
	}
}
