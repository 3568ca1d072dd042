package config

import (
	"errors"

	"mcmt2xmpp/filters"
)

// filterOptions hold in filter scopes. What each type makes of them is known to
// package filters alone.
var filterOptions = []*option{
	{name: "type", kind: kindEnum, words: filters.Types(), scopes: inFilter,
		doc: "what the filter looks at"},
	{name: "action", kind: kindEnum, words: []string{"drop", "pass", "strip", "defer", "throttle"}, def: "drop", scopes: inFilter,
		doc: "what becomes of a message that the filter matches; the type says which actions it has"},
	{name: "direction", kind: kindEnum, words: []string{"both", "in", "out", "between", "all"}, def: "both", scopes: inFilter,
		doc: "in: towards Jabber, out: towards mail and mobile, both of these, between two Jabber users, or all"},
	{name: "mode", kind: kindEnum, words: []string{"enforce", "shadow"}, def: "enforce", scopes: inFilter,
		doc: "shadow counts and samples what the filter would do without doing it"},
	{name: "domains", kind: kindString, list: true, defDoc: "all", scopes: inFilter | inWebhook,
		doc: "only messages from or to these domains; \".example.com\" takes in subdomains"},
	{name: "interval", kind: kindDuration, min: 1, defDoc: "30", scopes: inFilter,
		doc: "chat_state with action throttle: least time between two states of a conversation"},
	{name: "strip", kind: kindBoolean, def: "false", scopes: inFilter,
		doc: "chat_state: remove a chat state that stands beside a body"},
	{name: "namespace", kind: kindString, scopes: inFilter,
		doc: "element: the namespace to look for"},
	{name: "element", kind: kindString, defDoc: "all of the namespace", scopes: inFilter,
		doc: "element: the name to look for"},
	{name: "max", kind: kindSize, min: 1, scopes: inFilter,
		doc: "size: the largest stanza that passes"},
	{name: "pattern", kind: kindPattern, scopes: inFilter,
		doc: "body_regex: RE2 expression to be found anywhere in a body, in whatever language; (?i) ignores case, ^ and $ are the ends of the body"},
	{name: "rate", kind: kindRate, scopes: inFilter,
		doc: "rate: messages of one sender in some seconds, as \"60/3\"; all at once, and then evenly"},
}

// buildFilters makes the filters' specs, and lets package filters say what is
// wrong with them.
func (t *tree) buildFilters(c *Config) {
	nodes := make(map[string]*node)
	for _, n := range t.root.of(inFilter) {
		v := t.view(n)
		if n.settings["type"] == nil {
			t.report.errorf(n.pos, "", "filter %s has no type", n.label)
		}
		if v.set("type") == nil {
			continue
		}
		rate := v.rate("rate")
		nodes[n.label] = n
		c.Filters = append(c.Filters, filters.Spec{
			Name:      n.label,
			Type:      v.text("type"),
			Action:    written(v, "action"),
			Direction: written(v, "direction"),
			Mode:      written(v, "mode"),
			Domains:   v.words("domains"),
			Interval:  v.duration("interval"),
			Strip:     v.flag("strip"),
			Namespace: v.text("namespace"),
			Element:   v.text("element"),
			Max:       v.size("max"),
			Pattern:   v.text("pattern"),
			Count:     rate.N,
			Per:       rate.Per,
		})
	}
	if _, err := filters.Build(c.Filters); err != nil {
		t.filterErrors(err, nodes)
	}
}

// written returns the value of an option that package filters has the default
// of, and nothing where it is not set.
func written(v view, name string) string {
	if v.set(name) == nil {
		return ""
	}
	return v.text(name)
}

// filterErrors reports each mistake at the option that makes it.
func (t *tree) filterErrors(err error, nodes map[string]*node) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			t.filterErrors(e, nodes)
		}
		return
	}
	var oe *filters.OptionError
	if !errors.As(err, &oe) {
		t.report.errorf(t.root.pos, "", "filters: %s", err)
		return
	}
	n := nodes[oe.Filter]
	if n == nil {
		t.report.errorf(t.root.pos, "", "%s", oe)
		return
	}
	pos := n.pos
	if s := n.settings[oe.Option]; s != nil {
		if s.bad {
			return // it was said what is wrong with the value
		}
		pos = s.pos
	}
	t.report.errorf(pos, "", "%s: %s", oe.Option, oe.Text)
}
