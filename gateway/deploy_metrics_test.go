package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promSelector is a metric with its matchers, as an expression names it.
type promSelector struct {
	metric   string
	matchers [][3]string // label, operator, value
}

// promExpression is what of an expression has to be there: metrics, labels.
type promExpression struct {
	selectors []promSelector
	labels    []string // that it groups by
}

var (
	promString   = `"(?:[^"\\]|\\.)*"`
	promName     = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	promNumber   = regexp.MustCompile(`^[0-9][0-9.a-z]*`)
	promRange    = regexp.MustCompile(`^\[[^\]]*\]`)
	promMatchers = regexp.MustCompile(`^\{[^}]*\}`)
	promMatcher  = regexp.MustCompile(`^\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*(` + promString + `)\s*(,|$)`)
	promLabels   = regexp.MustCompile(`^\s*\(([^)]*)\)`)
	promOperator = regexp.MustCompile(`^(==|!=|<=|>=|[-+*/%^<>(),])`)
	// promFunctions are the functions that the files of deploy/ use.
	promFunctions = []string{"changes", "count", "histogram_quantile", "increase", "max", "min", "rate", "sum"}
)

// parseProm takes an expression of PromQL apart, as far as the files of deploy/ use the
// language: anything else is an error, so that nothing goes unseen.
func parseProm(text string) (e promExpression, err error) {
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		if token := promOperator.FindString(rest); token != "" {
			rest = rest[len(token):]
			continue
		}
		if token := promNumber.FindString(rest); token != "" {
			rest = rest[len(token):]
			continue
		}
		name := promName.FindString(rest)
		rest = rest[len(name):]
		switch {
		case name == "":
			return e, fmt.Errorf("at %.20q: not understood", rest)
		case name == "by":
			group := promLabels.FindStringSubmatch(rest)
			if group == nil {
				return e, errors.New("by without labels")
			}
			for label := range strings.SplitSeq(group[1], ",") {
				e.labels = append(e.labels, strings.TrimSpace(label))
			}
			rest = rest[len(group[0]):]
		case slices.Contains(promFunctions, name):
			if after := strings.TrimSpace(rest); !strings.HasPrefix(after, "(") && !strings.HasPrefix(after, "by") {
				return e, fmt.Errorf("%s is not called", name)
			}
		case strings.HasPrefix(strings.TrimSpace(rest), "("):
			return e, fmt.Errorf("function %s is none that this test knows", name)
		default:
			s := promSelector{metric: name}
			if s.matchers, rest, err = parseMatchers(rest); err != nil {
				return e, err
			}
			rest = strings.TrimPrefix(rest, promRange.FindString(rest))
			e.selectors = append(e.selectors, s)
		}
	}
	if len(e.selectors) == 0 {
		return e, errors.New("no metric")
	}
	return e, nil
}

// parseMatchers reads { … }, if it is there.
func parseMatchers(text string) (all [][3]string, rest string, err error) {
	block := promMatchers.FindString(text)
	for in := strings.Trim(block, "{}"); strings.TrimSpace(in) != ""; {
		m := promMatcher.FindStringSubmatch(in)
		if m == nil {
			return nil, "", fmt.Errorf("matchers %q: not understood", in)
		}
		all = append(all, [3]string{m[1], m[2], strings.Trim(m[3], `"`)})
		in = in[len(m[0]):]
	}
	return all, text[len(block):], nil
}

// scrapeLabels are those that Prometheus itself adds.
var scrapeLabels = []string{"instance", "job"}

// missing says what of an expression a gateway does not expose. Values that a matcher
// wants have to be there, too; those with a $ are variables of a dashboard.
func (e promExpression) missing(exposed map[string]map[string][]string) (all []string) {
	known := slices.Clone(scrapeLabels)
	for _, s := range e.selectors {
		labels, ok := exposed[s.metric]
		if !ok {
			all = append(all, "metric "+s.metric)
			continue
		}
		known = slices.AppendSeq(known, maps.Keys(labels))
		for _, m := range s.matchers {
			if slices.Contains(scrapeLabels, m[0]) {
				continue
			}
			for value := range strings.SplitSeq(m[2], "|") {
				if !slices.Contains(labels[m[0]], value) {
					all = append(all, fmt.Sprintf("%s{%s=%q}", s.metric, m[0], value))
				}
			}
		}
	}
	for _, label := range e.labels {
		if !slices.Contains(known, label) {
			all = append(all, "label "+label)
		}
	}
	return all
}

// exposedBy are the metrics of a gateway: by name, the values of each label.
func exposedBy(t *testing.T, g *gateway) map[string]map[string][]string {
	t.Helper()
	all := map[string]map[string][]string{"up": {}} // Prometheus's own
	for sample := range metricsOf(t, g) {
		name, labels, _ := strings.Cut(sample, "{")
		if all[name] == nil {
			all[name] = make(map[string][]string)
		}
		for _, pair := range labelPair.FindAllStringSubmatch(labels, -1) {
			all[name][pair[1]] = append(all[name][pair[1]], pair[2])
		}
	}
	return all
}

// alertRules is what of Prometheus's rules the alerts use.
type alertRules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// dashboard is what of a dashboard the test looks at.
type dashboard struct {
	Title      string
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr, LegendFormat string }
	}
}

// TestDeployMetrics: what the alerts and the dashboard ask for is what a gateway exposes,
// metric by metric, label by label and value by value; and they ask for what an operator
// has to see.
func TestDeployMetrics(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `scriptlet "policy" { script "policy" { source = "policy.lua" } }
domain "down.example" { xmpp_role = "client" routes = ( "xmpp-server://127.0.0.1:1" ) }
xmpp_logger "stanzas" { logfile = "stanzas.ec" }
`+newHook(t).webhook("crm", ""))
	g.write("policy.lua", "local m = {}\nfunction m:core_ec_message_enqueue(msg) end\nmsys.registerModule('m', m)\n")
	g.start()
	g.addUser("alice@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	if err := inject(t.Context(), g, true, "alice@localhost", "to who is there"); err != nil {
		t.Fatal(err)
	}
	alice.want("to who is there")
	if err := inject(t.Context(), g, true, "somebody@down.example", "to a server that is down"); err != nil {
		t.Fatal(err)
	}
	g.eventually("the server is not reached", func() bool { return metricsOf(t, g)["mcmt2xmpp_s2s_waiting_domains"] == 1 })
	var exposed map[string]map[string][]string
	g.eventually("events are sent", func() bool {
		exposed = exposedBy(t, g)
		return exposed["mcmt2xmpp_events_behind"] != nil
	})

	asked := make(map[string]bool)
	check := func(where, text string) {
		e, err := parseProm(text)
		if err != nil {
			t.Errorf("%s: %v", where, err)
		}
		for _, what := range e.missing(exposed) {
			t.Errorf("%s: the gateway does not expose %s", where, what)
		}
		for _, s := range e.selectors {
			asked[s.metric] = true
		}
	}
	rules := documents(t, "prometheus/alerts.yml", func(string) any { return new(alertRules) })[0].(*alertRules)
	for _, r := range rules.Groups[0].Rules {
		check("alert "+r.Alert, r.Expr)
		if r.Labels["severity"] != "page" && r.Labels["severity"] != "ticket" {
			t.Errorf("alert %s: severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["runbook"] != "deploy/HANDBOOK.md#"+strings.ToLower(r.Alert) {
			t.Errorf("alert %s: annotations %v", r.Alert, r.Annotations)
		}
	}
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
		}
	}
	for _, what := range []string{"stage_total", "age_seconds_bucket", "custody_waiting", "custody_oldest_seconds", "custody_slices_owned", "filter_verdicts_total", "xmpp_sessions", "xmpp_failed_logins_total",
		"s2s_streams", "xmpp_limits_total", "custody_led", "store_bytes", "delivery_total", "relay_attempts_total", "reports_total", "receipts_total", "mail_receipts_total", "admin_refused_total", "xmpp_logger_lines_total", "xmpp_logger_errors_total",
		"events_sent_total", "events_failed_total", "events_passed_over_total", "events_missed_total", "events_behind", "events_oldest_seconds", "events_failing_seconds", "events_given_up"} {
		if !asked["mcmt2xmpp_"+what] {
			t.Errorf("neither an alert nor a panel shows %s", what)
		}
	}
}

// readDashboard reads the dashboard, whose panels must not lie on each other.
func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(deployed(t, "grafana/mcmt2xmpp.json")), &d); err != nil {
		t.Fatal(err)
	}
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d %q, %d targets", p.ID, p.Title, len(p.Targets))
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %s lies on %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	return d
}

// The reader of expressions sees what is wrong with one.
func TestPromExpressions(t *testing.T) {
	t.Parallel()
	exposed := map[string]map[string][]string{"a": {"stage": {"in", "dlv"}}, "b": {}}
	for text, want := range map[string]string{
		`sum by (stage) (rate(a{stage=~"in|dlv"}[5m])) > 2 * 60`: "[]",
		`a / b`:                        "[]",
		`a{stage="im"}`:                `[a{stage="im"}]`,
		`max(c)`:                       "[metric c]",
		`sum by (stage) (b)`:           "[label stage]",
		`a{instance=~"$instance"} > 1`: "[]",
		`a{satge!="in"}`:               `[a{satge="in"}]`,
		`avg(a)`:                       "function avg is none that this test knows",
		`a{stage=in}`:                  `matchers "stage=in": not understood`,
		`1 + 2`:                        "no metric",
	} {
		e, err := parseProm(text)
		got := fmt.Sprint(e.missing(exposed))
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
