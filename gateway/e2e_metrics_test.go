package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// samples are the values of /metrics by name and labels, as they are written.
type samples map[string]float64

func metricsOf(t testing.TB, g *gateway) samples {
	t.Helper()
	resp, err := http.Get(g.admin() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %s, %v\n%s", resp.Status, err, text)
	}
	all := make(samples)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			t.Errorf("/metrics: %q: %v", line, err)
		}
		all[line[:i]] = v
	}
	return all
}

// value is one of the samples, which must be there.
func (s samples) value(t testing.TB, name string) float64 {
	t.Helper()
	v, ok := s[name]
	if !ok {
		t.Errorf("no sample %s", name)
	}
	return v
}

// closed are the values that each label may have; no label has an open set.
var closed = map[string]*regexp.Regexp{
	"stage":     regexp.MustCompile(`^(accepted|stored|converted|filtered|deferred|diverted|delivered|relayed|failed|expired|dropped|in|dlv|park|mail|dead)$`),
	"outcome":   regexp.MustCompile(`^(stored|repeated|accepted|denied|refused|try_later|aborted|converted|filtered|failed|delivered|deferred|expired|dropped|kept|blocked|succeeded|resumed|proven|invalid|passed|diverted|relayed|sent|reported|again|not_asked|attached|not_fetched|written)$`),
	"filter":    regexp.MustCompile(`^[a-z-]+$`), // named in the configuration
	"request":   regexp.MustCompile(`^(send|prove|register|unregister|prompt|subscribe)$`),
	"verdict":   regexp.MustCompile(`^(continue|pass|drop|strip|defer|error|would_[a-z]+)$`),
	"why":       regexp.MustCompile(`^(lost|dns|unreachable|prohibited|unwelcome|tls|login|protocol|busy|not_allowed|address|content|loop|store|no_token|wrong_token|failed_logins|rate|role|other_site|connections)$`),
	"of":        regexp.MustCompile(`^(mails|messages)$`),
	"action":    regexp.MustCompile(`^(failed|delivered|relayed|delayed|told)$`),
	"state":     regexp.MustCompile(`^(busy|idle)$`),
	"limit":     regexp.MustCompile(`^[a-z_]+$`),
	"command":   regexp.MustCompile(`^(mail|rcpt)$`),
	"direction": regexp.MustCompile(`^(in|out|both|unproven)$`),
	"step":      regexp.MustCompile(`^(policy|dns|tcp|tls|certificate|stream|sasl|dialback|use)$`),
	"change":    regexp.MustCompile(`^(taken_over|given_up|lost)$`),
	"result":    regexp.MustCompile(`^(verified|refused|absent)$`),
	"listener":  regexp.MustCompile(`^(xmpp|esmtp|http|control)_listener 127\.0\.0\.1:\d+$`), // ours, from the configuration
	"script":    regexp.MustCompile(`^[a-z-]+$`),                                             // named in the configuration
	"logger":    regexp.MustCompile(`^[a-z_]+$`),                                             // named in the configuration
	"pool":      regexp.MustCompile(`^xmpp_listener 127\.0\.0\.1:0$`),
	"le":        regexp.MustCompile(`^(\+Inf|[0-9.e+-]+)$`),
	"quantile":  regexp.MustCompile(`^[0-9.]+$`),
	"version":   regexp.MustCompile(`^(go)?\d+\.\d+`), // of the program and of Go
}

// afterTraffic are the numbers that the traffic of TestMetricsAndLog adds up to.
var afterTraffic = map[string]float64{
	`intake_total{outcome="stored"}`:                             4,
	`intake_total{outcome="refused"}`:                            1, // the others were refused before their data
	`parse_total{outcome="passed",stage="in"}`:                   4,
	`parse_total{outcome="again",stage="in"}`:                    0,
	`parse_total{outcome="passed",stage="dlv"}`:                  3,
	`conversion_total{outcome="converted"}`:                      3,
	`conversion_total{outcome="filtered"}`:                       1,
	`conversion_total{outcome="failed"}`:                         0,
	`delivery_total{outcome="delivered"}`:                        2,
	`delivery_total{outcome="deferred"}`:                         2,
	`delivery_total{outcome="failed"}`:                           0,
	`parked_messages`:                                            2,
	`parked_routes`:                                              1,
	`custody_stored_total{stage="in"}`:                           4,
	`custody_stored_total{stage="dlv"}`:                          4, // with the one between two Jabber users
	`custody_stored_total{stage="park"}`:                         2,
	`custody_waiting{stage="park"}`:                              2,
	`custody_waiting{stage="in"}`:                                0,
	`custody_dead_total{stage="in"}`:                             0,
	`custody_handled_total{stage="in"}`:                          4,
	`custody_settled_total{stage="in"}`:                          4,
	`custody_oldest_seconds{stage="in"}`:                         0,
	`custody_led{stage="park"}`:                                  1,
	`custody_replicas_behind{stage="park"}`:                      0,
	`ready`:                                                      1,
	`custody_slices{stage="dlv"}`:                                1,
	`custody_slices_owned{stage="dlv"}`:                          1,
	`custody_slices_orphaned{stage="dlv"}`:                       0,
	`stage_total{stage="delivered"}`:                             2,
	`stage_seconds_count{stage="converted"}`:                     4,
	`age_seconds_count{stage="delivered"}`:                       2,
	`filter_verdicts_total{filter="chat-states",verdict="drop"}`: 1,
	`router_stanzas_total{outcome="kept"}`:                       1,
	`http_messages_total{outcome="accepted"}`:                    3,
	`http_messages_total{outcome="refused"}`:                     1,
	`smtp_messages_total{outcome="accepted"}`:                    1,
	`smtp_messages_total{outcome="refused"}`:                     1,
	`smtp_refused_commands_total{command="rcpt"}`:                1,
	`xmpp_sessions`:                                              1,
	`xmpp_connections`:                                           2,
	`xmpp_logins_total`:                                          1,
	`xmpp_suspended_sessions`:                                    0,
	`xmpp_resumptions_total{outcome="resumed"}`:                  0,
	`xmpp_resumptions_total{outcome="failed"}`:                   0,
	`xmpp_resumptions_total{outcome="expired"}`:                  0,
	`xmpp_failed_logins_total`:                                   1,
	`xmpp_limits_total{limit="too_large"}`:                       0,
	`xmpp_limits_total{limit="rate"}`:                            0,
	`xmpp_limits_total{limit="failed_logins"}`:                   0,
	`xmpp_limits_total{limit="sessions"}`:                        0,
	`admin_refused_total{why="wrong_token"}`:                     0,
	`admin_refused_total{why="rate"}`:                            0,

	`custody_slice_changes_total{change="taken_over",stage="in"}`: 1,
}

// positive are numbers that are not zero after that traffic.
var positive = []string{
	"mcmt2xmpp_store_free_bytes", "mcmt2xmpp_store_bytes", `mcmt2xmpp_custody_oldest_seconds{stage="park"}`, `mcmt2xmpp_custody_max_bytes{stage="park"}`, `mcmt2xmpp_custody_bytes{stage="park"}`,
}

var labelPair = regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`)

// TestMetricsAndLog: after traffic of every kind the numbers add up, no label names
// a user, each outcome of a message is one line of the log, and no line, at debug
// level either, holds the text of a message or a password.
func TestMetricsAndLog(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `log_level = "debug"`)
	g.start()
	const password = "Correct-Horse-5"
	for _, u := range []string{"alice", "away"} {
		g.addUser(u+"@localhost", password)
	}
	aliceWire := dialWire(t, g.xmpp(), "")
	aliceWire.open()
	aliceWire.startTLS(nil)
	aliceWire.plain("alice", password)
	aliceWire.bind("w")

	const text = "Wombat4711"
	outcomes := make(map[string][]string) // by message: its lines at info level and above
	post := func(to, xmpp string, stages ...string) {
		t.Helper()
		a := g.post("/v1/messages", "application/json", fmt.Sprintf(`{"from":"%s@corp.example","to":[%q],"subject":"%s","text":"%s","xmpp":%q}`, "news", to, text, text, xmpp))
		if a.status != http.StatusAccepted {
			t.Fatal(a)
		}
		outcomes[a.result(t).ID] = stages
	}
	body := "<message><subject>" + text + "</subject><body>" + text + "</body></message>"
	post("alice@localhost", body, "stored", "delivered")
	aliceWire.message()
	post("alice@localhost", "<message><composing xmlns='http://jabber.org/protocol/chatstates'/></message>", "stored", "filtered")
	post("away@localhost", body, "stored", "deferred")
	if err := inject(t.Context(), g, true, "alice@localhost", text); err != nil {
		t.Fatal(err)
	}
	aliceWire.message()
	// What is refused: by HTTP, at RCPT, and with the data.
	if a := g.post("/v1/messages", "application/json", `{"from":"a@corp.example","to":["nobody@localhost"],"text":"`+text+`"}`); a.status != http.StatusUnprocessableEntity {
		t.Error(a)
	}
	if err := inject(t.Context(), g, true, "nobody@localhost", text); err == nil {
		t.Error("a message to nobody is taken")
	}
	if err := submitFrom(t, g.smtp(), "127.0.0.1", "alice@localhost", "Content-Type: multipart/vnd.msys.mcmt; boundary=X\r\n\r\n--X\r\nContent-Type: message/vnd.msys.smpp\r\n\r\n"+text+"\r\n--X--\r\n"); err == nil {
		t.Error("MCMT without a mail part is taken")
	}
	// One Jabber user to another: one is there, one is not.
	aliceWire.send("<message to='alice@localhost' id='m1'><body>" + text + "</body></message><message to='away@localhost' id='m2'><body>" + text + "</body></message>")
	for e := aliceWire.next(); e.Name.Local != "message"; e = aliceWire.next() {
	}
	bad := dialWire(t, g.xmpp(), "")
	bad.open()
	bad.startTLS(nil)
	bad.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAFdyb25nLUhvcnNlLTY=</auth>")
	if e := bad.next(); e.Name.Local != "failure" {
		t.Fatal(e)
	}
	g.eventually("two messages wait", func() bool { return metricsOf(t, g)["mcmt2xmpp_parked_messages"] == 2 })

	m := metricsOf(t, g)
	for name, want := range afterTraffic {
		if got, ok := m["mcmt2xmpp_"+name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
	for name, v := range m {
		if v < 0 || v == 0 && slices.Contains(positive, name) {
			t.Errorf("%s is %v", name, v)
		}
		if strings.ContainsAny(name, "@") || strings.Contains(name, "alice") || strings.Contains(name, text) {
			t.Errorf("%s names a user", name)
		}
		for _, pair := range labelPair.FindAllStringSubmatch(name, -1) {
			if set := closed[pair[1]]; set == nil || !set.MatchString(pair[2]) {
				t.Errorf("%s: the label %s is not one of a closed set", name, pair[0])
			}
		}
	}
	checkLog(t, g, func(id string) []string { return outcomes[id] }, len(outcomes))

	for _, secret := range []string{text, password, "Wrong-Horse-6", "AGFsaWNlAFdyb25nLUhvcnNlLTY="} {
		for line := range strings.Lines(g.logFrom(0)) {
			if strings.Contains(line, secret) {
				t.Errorf("the log holds %q: %s", secret, line)
			}
		}
	}
	if !strings.Contains(g.logFrom(0), `"level":"debug"`) || !strings.Contains(g.logFrom(0), `"message":"wire"`) {
		t.Error("there is no debug line: the test proves nothing")
	}
}

// checkLog checks that each message has one line for each of its outcomes, with
// what an operator looks for.
func checkLog(t *testing.T, g *gateway, stages func(id string) []string, messages int) {
	t.Helper()
	got := make(map[string][]string)
	for text := range strings.Lines(g.logFrom(0)) {
		var line struct{ Level, Message, ID, To, JID string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("the line %q is not JSON: %v", text, err)
			continue
		}
		if line.Level == "debug" || stages(line.ID) == nil || line.Message == "message" {
			continue // a step; not a message of ours; the answer to the client
		}
		if line.To == "" || line.JID == "" {
			t.Errorf("%s: without recipient", text)
		}
		got[line.ID] = append(got[line.ID], line.Message)
	}
	if len(got) != messages {
		t.Errorf("%d messages are in the log, want %d", len(got), messages)
	}
	for id, lines := range got {
		// The line that says stored may come after that of the next step, which
		// begins with the storing.
		want := slices.Sorted(slices.Values(stages(id)))
		if slices.Sort(lines); !slices.Equal(lines, want) {
			t.Errorf("%s has the lines %v, want %v", id, lines, want)
		}
	}
}

// TestMetricsAskOnce: a scrape asks the broker about each stream
// once, however many numbers are made of the answer.
func TestMetricsAskOnce(t *testing.T) {
	t.Parallel()
	n := newNATS(t)
	g := newGateway(t, fmt.Sprintf(`nats { urls = ( "nats://127.0.0.1:%d" ) events = false }`, n.o.Port))
	g.start()
	nc, err := nats.Connect(n.s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("$JS.API.STREAM.INFO.*")
	if err != nil {
		t.Fatal(err)
	}
	least := make(map[string]int) // what else asks now and then does not do so each time
	for range 5 {
		asked := make(map[string]int)
		metricsOf(t, g)
		// What was asked before the answer has passed the server before this.
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := sub.NextMsg(time.Nanosecond)
			if err != nil {
				break
			}
			asked[m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]]++
		}
		for stream, n := range asked {
			if before, ok := least[stream]; !ok || n < before {
				least[stream] = n
			}
		}
	}
	for _, stream := range []string{"INGEST", "DELIVER", "PARK", "MAIL", "DEAD", "BODY", "TRACE"} {
		if n := least[stream]; n != 1 {
			t.Errorf("%s was asked about %d times in a scrape", stream, n)
		}
	}
}
