package filters_test

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mcmt2xmpp/filters"
)

const (
	receipt = `<received xmlns='urn:xmpp:receipts' id='1'/>`
	marker  = `<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>`
)

func build(t testing.TB, specs ...filters.Spec) *filters.Chain {
	t.Helper()
	c, err := filters.Build(specs)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTypes: what each type of filter and each of its options does.
func TestTypes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		spec      filters.Spec
		direction filters.Direction
		inside    string
		want      filters.Action
		reason    string // of the last filter that was asked
		left      string // "" where nothing changes
	}{
		{"pass lets states through", filters.Spec{Type: "chat_state", Action: "pass"}, filters.In, composing, filters.Pass, "chat state composing, nothing else", ""},
		{"pass makes no mail of states", filters.Spec{Type: "chat_state", Action: "pass"}, filters.Out, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"direction in leaves mail to mail-content", filters.Spec{Type: "chat_state", Direction: "in"}, filters.Out, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"direction out does not concern the way in", filters.Spec{Type: "chat_state", Direction: "out"}, filters.In, composing, filters.Pass, "", ""},
		{"both is not between", filters.Spec{Type: "chat_state", Direction: "both"}, filters.Between, composing, filters.Pass, "", ""},
		{"between", filters.Spec{Type: "chat_state", Direction: "between"}, filters.Between, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"between does not concern the way in", filters.Spec{Type: "chat_state", Direction: "between"}, filters.In, composing, filters.Pass, "", ""},
		{"all, between", filters.Spec{Type: "chat_state", Direction: "all"}, filters.Between, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"all, in", filters.Spec{Type: "chat_state", Direction: "all"}, filters.In, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"shadow does nothing", filters.Spec{Type: "chat_state", Mode: "shadow"}, filters.In, composing, filters.Pass, "chat state composing, nothing else", ""},
		{"shadow makes no mail of states", filters.Spec{Type: "chat_state", Mode: "shadow"}, filters.Out, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"domain of the recipient", filters.Spec{Type: "chat_state", Domains: []string{"Capulet.lit"}}, filters.In, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"domain of the sender", filters.Spec{Type: "chat_state", Domains: []string{"a.example", "montague.lit"}}, filters.In, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"domain of the sender's mail address", filters.Spec{Type: "chat_state", Domains: []string{"corp.example"}}, filters.In, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"subdomains of that domain", filters.Spec{Type: "chat_state", Domains: []string{".example"}}, filters.In, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"subdomains with an asterisk", filters.Spec{Type: "chat_state", Domains: []string{"*.example"}}, filters.In, composing, filters.Drop, "chat state composing, nothing else", ""},
		{"another domain", filters.Spec{Type: "chat_state", Domains: []string{"example", "let.lit"}}, filters.In, composing, filters.Pass, "", ""},

		{"empty_body, empty", filters.Spec{Type: "empty_body"}, filters.In, receipt, filters.Drop, "nothing to write: no body, only delivery receipt (XEP-0184)", ""},
		{"empty_body, body", filters.Spec{Type: "empty_body"}, filters.In, `<body>Hi</body>`, filters.Pass, "has a body", ""},
		{"empty_body, media", filters.Spec{Type: "empty_body"}, filters.In, oob, filters.Pass, "has media", ""},
		{"empty_body, defer", filters.Spec{Type: "empty_body", Action: "defer"}, filters.In, receipt, filters.Defer, "nothing to write: no body, only delivery receipt (XEP-0184)", ""},
		{"empty_body, pass", filters.Spec{Type: "empty_body", Action: "pass"}, filters.In, receipt, filters.Pass, "nothing to write: no body, only delivery receipt (XEP-0184)", ""},

		{"receipts alone", filters.Spec{Type: "receipts"}, filters.In, receipt, filters.Drop, "delivery receipt", ""},
		{"receipts beside a body", filters.Spec{Type: "receipts"}, filters.In, `<body>Hi</body><request xmlns='urn:xmpp:receipts'/>`, filters.Strip, "delivery receipt beside a body", `<body>Hi</body>`},
		{"receipts, strip", filters.Spec{Type: "receipts", Action: "strip"}, filters.In, receipt + marker, filters.Strip, "delivery receipt", marker},
		{"receipts, pass", filters.Spec{Type: "receipts", Action: "pass"}, filters.In, receipt, filters.Pass, "delivery receipt", ""},
		{"no receipts", filters.Spec{Type: "receipts"}, filters.In, marker, filters.Pass, "no delivery receipt", ""},
		{"markers alone", filters.Spec{Type: "markers"}, filters.In, marker, filters.Drop, "chat marker", ""},
		{"markers beside a body", filters.Spec{Type: "markers"}, filters.In, `<body>Hi</body><markable xmlns='urn:xmpp:chat-markers:0'/>`, filters.Strip, "chat marker beside a body", `<body>Hi</body>`},

		{"element by name", filters.Spec{Type: "element", Namespace: "u", Element: "x"}, filters.In, `<body>Hi</body><x xmlns='u'/>`, filters.Drop, "carries x of u", ""},
		{"element of another name", filters.Spec{Type: "element", Namespace: "u", Element: "x"}, filters.In, `<y xmlns='u'/>`, filters.Pass, "does not carry the element", ""},
		{"element by namespace", filters.Spec{Type: "element", Namespace: "u"}, filters.In, `<y xmlns='u'/>`, filters.Drop, "carries y of u", ""},
		{"element, strip by name", filters.Spec{Type: "element", Namespace: "u", Element: "x", Action: "strip"}, filters.In, `<x xmlns='u'/><y xmlns='u'/><x xmlns='u'/>`, filters.Strip, "carries x of u", `<y xmlns='u'/>`},
		{"element, defer", filters.Spec{Type: "element", Namespace: "u", Action: "defer"}, filters.In, `<x xmlns='u'/>`, filters.Defer, "carries x of u", ""},

		{"size, too large", filters.Spec{Type: "size", Max: 200}, filters.In, `<body>` + strings.Repeat("x", 200) + `</body>`, filters.Drop, "stanza is too large", ""},
		{"size, small", filters.Spec{Type: "size", Max: 200}, filters.In, `<body>x</body>`, filters.Pass, "stanza is not too large", ""},
		{"size, defer", filters.Spec{Type: "size", Max: 10, Action: "defer"}, filters.In, `<body>x</body>`, filters.Defer, "stanza is too large", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			it := &filters.Item{Stanza: parse(t, message("", test.inside)), Direction: test.direction, Sender: "news@Corp.Example"}
			out := build(t, test.spec).Apply(t.Context(), it)
			reason := ""
			if n := len(out.Verdicts); n > 0 {
				reason = out.Verdicts[n-1].Reason
			}
			if out.Action != test.want || reason != test.reason {
				t.Errorf("got %s: %s, want %s: %s", out.Action, reason, test.want, test.reason)
			}
			if test.left == "" {
				test.left = test.inside
			}
			if got, want := it.Stanza.String(), parse(t, message("", test.left)).String(); got != want {
				t.Errorf("left\n got %s\nwant %s", got, want)
			}
		})
	}
}

// TestOrder: filters are asked in their order until one decides; what one strips
// the next no longer sees.
func TestOrder(t *testing.T) {
	t.Parallel()
	chain := build(t,
		filters.Spec{Name: "first", Type: "element", Namespace: "a", Action: "strip"},
		filters.Spec{Name: "watch", Type: "element", Namespace: "b", Mode: "shadow"},
		filters.Spec{Name: "second", Type: "element", Namespace: "a"},
		filters.Spec{Name: "friend", Type: "element", Namespace: "c", Action: "pass"},
		filters.Spec{Name: "third", Type: "element", Namespace: "b"},
	)
	for _, test := range []struct {
		name, inside string
		want         string
	}{
		{"stripped is gone for the next", `<x xmlns='a'/>`, "strip: chat-states=continue first=strip watch=continue(shadow) second=continue friend=continue third=continue"},
		{"pass ends the chain", `<x xmlns='c'/><x xmlns='b'/>`, "pass: chat-states=continue first=continue watch=drop(shadow) second=continue friend=pass"},
		{"pass after strip is still strip", `<x xmlns='a'/><x xmlns='c'/>`, "strip: chat-states=continue first=strip watch=continue(shadow) second=continue friend=pass"},
		{"drop after strip is drop", `<x xmlns='a'/><x xmlns='b'/>`, "drop: chat-states=continue first=strip watch=drop(shadow) second=continue friend=continue third=drop"},
		{"the default filter comes first", composing, "drop: chat-states=drop"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out := chain.Apply(t.Context(), &filters.Item{Stanza: parse(t, message("", test.inside)), Direction: filters.In})
			got := out.Action.String() + ":"
			for _, v := range out.Verdicts {
				got += " " + v.Filter + "=" + v.Action.String()
				if v.Shadow {
					got += "(shadow)"
				}
			}
			if got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestErrorsDoNotBecomeMail: also where no chat-state filter sees them.
func TestErrorsDoNotBecomeMail(t *testing.T) {
	t.Parallel()
	chain := build(t, filters.Spec{Type: "chat_state", Direction: "in"})
	s := parse(t, message("type='error'", `<body>Hi</body><error type='cancel'/>`))
	if out := chain.Apply(t.Context(), &filters.Item{Stanza: s, Direction: filters.Out}); out.Action != filters.Drop {
		t.Errorf("%+v", out)
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		spec   filters.Spec
		option string
		text   string // a part of it
	}{
		{"no type", filters.Spec{}, "type", "one of body_regex, chat_state, element, empty_body, markers, rate, receipts, size"},
		{"unknown type", filters.Spec{Type: "chatstate"}, "type", `unknown type "chatstate"`},
		{"unknown action", filters.Spec{Type: "chat_state", Action: "bounce"}, "action", "one of drop, pass, throttle"},
		{"action of another type", filters.Spec{Type: "empty_body", Action: "throttle"}, "action", "one of drop, pass, defer"},
		{"unknown direction", filters.Spec{Type: "chat_state", Direction: "up"}, "direction", "one of in, out, both, between, all"},
		{"unknown mode", filters.Spec{Type: "chat_state", Mode: "dry"}, "mode", "one of enforce, shadow"},
		{"interval without throttle", filters.Spec{Type: "chat_state", Interval: time.Second}, "interval", "only with action throttle"},
		{"interval of nothing", filters.Spec{Type: "chat_state", Action: "throttle", Interval: -1}, "interval", "more than nothing"},
		{"interval of another type", filters.Spec{Type: "size", Max: 1, Interval: time.Second}, "interval", "not an option of type size"},
		{"strip of another type", filters.Spec{Type: "markers", Strip: true}, "strip", "not an option of type markers"},
		{"element without a namespace", filters.Spec{Type: "element", Element: "x"}, "namespace", "must be set"},
		{"element of another type", filters.Spec{Type: "receipts", Element: "x"}, "element", "not an option of type receipts"},
		{"size without max", filters.Spec{Type: "size"}, "max", "must be set"},
		{"size below nothing", filters.Spec{Type: "size", Max: -1}, "max", "must be set"},
		{"no domain", filters.Spec{Type: "chat_state", Domains: []string{"*."}}, "domains", `"*." is not a domain`},
		{"address for a domain", filters.Spec{Type: "chat_state", Domains: []string{"a@b"}}, "domains", `"a@b" is not a domain`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.spec.Name = "f"
			chain, err := filters.Build([]filters.Spec{test.spec})
			var bad *filters.OptionError
			if !errors.As(err, &bad) || chain != nil {
				t.Fatalf("got %v, %v, want an *OptionError", chain, err)
			}
			if bad.Filter != "f" || bad.Option != test.option || !strings.Contains(bad.Text, test.text) {
				t.Errorf("got %v, want option %s: … %s", bad, test.option, test.text)
			}
		})
	}
}

// TestBuildReportsAll: each mistake of each filter, in one go.
func TestBuildReportsAll(t *testing.T) {
	t.Parallel()
	_, err := filters.Build([]filters.Spec{
		{Name: "a", Type: "chat_state", Action: "x", Mode: "y"},
		{Name: "b", Type: "chat_state"},
		{Name: "b", Type: "size"},
		{Name: "mail-content", Type: "receipts"},
	})
	const want = `filter "a": action: "x" is not an action of type chat_state: one of drop, pass, throttle
filter "a": mode: unknown mode "y": one of enforce, shadow
filter "b": filter: two filters of this name
filter "b": max: must be set for type size, in bytes and more than 0
filter "mail-content": filter: a filter of this name stands at the end of every chain`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestThrottle: a state gets through at most once per interval and
// conversation, and only on change.
func TestThrottle(t *testing.T) {
	t.Parallel()
	state := func(s string) string { return `<` + s + ` xmlns='http://jabber.org/protocol/chatstates'/>` }
	const unchanged, early = "chat state unchanged, nothing else", "chat state before the interval is over, nothing else"
	synctest.Test(t, func(t *testing.T) {
		chain := build(t, filters.Spec{Type: "chat_state", Action: "throttle", Interval: 10 * time.Second})
		for i, step := range []struct {
			wait         time.Duration
			from, inside string
			want         filters.Action
			reason       string
		}{
			{0, "romeo@montague.lit/a", state("composing"), filters.Pass, "chat state changed"},
			{0, "romeo@montague.lit/a", state("composing"), filters.Drop, unchanged},
			{9 * time.Second, "romeo@montague.lit/a", state("paused"), filters.Drop, early},
			{0, "mercutio@montague.lit/a", state("paused"), filters.Pass, "chat state changed"}, // another conversation
			{time.Second, "romeo@montague.lit/b", state("composing"), filters.Drop, unchanged},  // another device, the same conversation
			{0, "romeo@montague.lit/b", state("paused"), filters.Pass, "chat state changed"},
			{time.Hour, "romeo@montague.lit/a", state("paused"), filters.Drop, unchanged},
			{0, "romeo@montague.lit/a", `<body>Hi</body>`, filters.Pass, "has a body"}, // says active: the next state is a change
			{0, "romeo@montague.lit/a", state("paused"), filters.Pass, "chat state changed"},
			{0, "romeo@montague.lit/a", `<body>Hi</body>`, filters.Pass, "has a body"},
			{0, "romeo@montague.lit/a", state("composing"), filters.Drop, early}, // but the interval goes on
		} {
			time.Sleep(step.wait)
			text := strings.Replace(message("", step.inside), "romeo@montague.lit/orchard", step.from, 1)
			out := chain.Apply(t.Context(), &filters.Item{Stanza: parse(t, text), Direction: filters.In})
			if out.Action != step.want || out.Verdicts[0].Reason != step.reason {
				t.Errorf("step %d: %s: %s, want %s: %s", i, out.Action, out.Verdicts[0].Reason, step.want, step.reason)
			}
		}
		out := chain.Apply(t.Context(), &filters.Item{Stanza: parse(t, message("", composing)), Direction: filters.Out})
		if out.Action != filters.Drop {
			t.Errorf("a state became mail: %+v", out)
		}
	})
}

// TestShadow: what would be done is counted and sampled, and the samples tell
// nothing of what people write.
func TestShadow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		chain := build(t, filters.Spec{Name: "watch", Type: "element", Namespace: "u", Mode: "shadow"}, filters.Spec{Type: "chat_state", Action: "pass"})
		it := &filters.Item{Direction: filters.In}
		const drops = 40
		for range drops {
			it.Stanza = parse(t, message("", `<body>secret</body><x xmlns='u'>`+"\n"+`<y>also secret</y></x>`))
			if out := chain.Apply(t.Context(), it); out.Action != filters.Pass {
				t.Fatalf("%+v", out)
			}
			it.Stanza = parse(t, message("", `<body>not concerned</body>`))
			chain.Apply(t.Context(), it)
			time.Sleep(500 * time.Millisecond) // so that every second one is sampled
		}
		s := chain.Report().Filters[0]
		if s.Filter != "watch" || s.Type != "element" || s.Mode != "shadow" || s.Verdicts["drop"] != drops || s.Verdicts["continue"] != drops {
			t.Errorf("%+v", s)
		}
		if len(s.Samples) != 16 {
			t.Fatalf("%d samples", len(s.Samples))
		}
		for i, sample := range s.Samples {
			const want = `<message xmlns='jabber:client' to='juliet@capulet.lit' from='romeo@montague.lit/orchard' type='chat'>` +
				`<body>xxxxxx</body><x xmlns='u'>` + "\n" + `<y>xxxx xxxxxx</y></x></message>`
			if sample.Stanza != want || sample.Action != filters.Drop || sample.Direction != filters.In {
				t.Errorf("sample %+v", sample)
			}
			if i > 0 && !sample.Time.After(s.Samples[i-1].Time) {
				t.Errorf("sample %d is not later than the one before", i)
			}
		}
	})
}

// TestCounts counts from several goroutines.
func TestCounts(t *testing.T) {
	t.Parallel()
	chain := filters.Default()
	noise, body := parse(t, message("", composing)), parse(t, message("", `<body>Hi</body>`))
	const workers, each = 4, 250
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				chain.Apply(t.Context(), &filters.Item{Stanza: noise, Direction: filters.In})
				chain.Apply(t.Context(), &filters.Item{Stanza: body, Direction: filters.Out})
			}
		})
	}
	wg.Wait()
	counts := func(passed, dropped uint64) map[string]uint64 {
		return map[string]uint64{"continue": passed, "pass": 0, "drop": dropped, "strip": 0, "defer": 0}
	}
	want := map[string]map[string]uint64{
		"chat-states":    counts(workers*each, workers*each),
		"mail-content":   counts(workers*each, 0),
		"offline-states": counts(0, 0),
	}
	got := make(map[string]map[string]uint64)
	r := chain.Report()
	for _, f := range r.Filters {
		got[f.Filter] = f.Verdicts
	}
	if diff := cmp.Diff(want, got); diff != "" || r.Suppressed.Messages != workers*each {
		t.Errorf("%d suppressed; -want +got\n%s", r.Suppressed.Messages, diff)
	}
}

// TestZero: a forgotten chain or verdict drops nothing.
func TestZero(t *testing.T) {
	t.Parallel()
	var chain filters.Chain
	if out := chain.Apply(t.Context(), &filters.Item{Stanza: parse(t, message("", composing))}); out.Action != filters.Pass {
		t.Errorf("%+v", out)
	}
	if (filters.Verdict{}).Action != filters.Continue {
		t.Error("the zero verdict decides something")
	}
}

// TestJSON: a verdict as a program reads it.
func TestJSON(t *testing.T) {
	t.Parallel()
	out := filters.Default().Apply(t.Context(), &filters.Item{Stanza: parse(t, message("", composing)), Direction: filters.In})
	b, err := json.Marshal(out.Verdicts)
	if want := `[{"filter":"chat-states","action":"drop","reason":"chat state composing, nothing else"}]`; err != nil || string(b) != want {
		t.Errorf("%s, %v, want %s", b, err, want)
	}
}
