package filters

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Spec is one filter scope of the configuration: filter "name" { … }. A zero
// field is an option that was not written.
type Spec struct {
	Name      string        // label of the scope; "" means the type
	Type      string        // chat_state, empty_body, receipts, markers, element, body_regex, size, rate
	Action    string        // drop (the default), pass, strip, defer, throttle; the type says which
	Direction string        // both (the default: in and out), in, out, between, all
	Mode      string        // enforce (the default), shadow
	Domains   []string      // only from or to these; ".example.com" takes in subdomains; none: all
	Interval  time.Duration // chat_state with action throttle
	Strip     bool          // chat_state: remove a chat state beside a body
	Namespace string        // element: of what namespace
	Element   string        // element: its name; "" means all of the namespace
	Max       int64         // size: bytes that still pass
	Pattern   string        // body_regex: what to look for anywhere in a body (RE2)
	Count     int           // rate: messages of one sender
	Per       time.Duration // rate: in this time
}

// OptionError is a Spec that cannot be built.
type OptionError struct {
	Filter string // name of the filter
	Option string // name of the option as the configuration writes it
	Text   string // what is wrong with it, and what would be right
}

// Error returns filter, option and what is wrong.
func (e *OptionError) Error() string {
	return fmt.Sprintf("filter %q: %s: %s", e.Filter, e.Option, e.Text)
}

// Temporary reports false: the same option is wrong the next time too.
func (e *OptionError) Temporary() bool { return false }

// kind is a type of filter: the actions it may have, the default first, the
// options of its own, and its constructor.
type kind struct {
	actions []string
	options []string
	build   func(s *Spec, a Action) Filter
}

// kinds are the types of filter there are.
var kinds = map[string]kind{
	"chat_state": {[]string{"drop", "pass", "throttle"}, []string{"interval", "strip"}, func(s *Spec, a Action) Filter {
		return NewChatState(ChatStateOptions{Name: s.Name, Action: a, Throttle: s.Action == "throttle", Interval: s.Interval, Strip: s.Strip})
	}},
	"empty_body": {[]string{"drop", "pass", "defer"}, nil, func(s *Spec, a Action) Filter {
		return &emptyBody{s.Name, a}
	}},
	"receipts": {[]string{"drop", "pass", "strip"}, nil, func(s *Spec, a Action) Filter {
		return &signal{s.Name, "delivery receipt", nsReceipts, Receipt, a}
	}},
	"markers": {[]string{"drop", "pass", "strip"}, nil, func(s *Spec, a Action) Filter {
		return &signal{s.Name, "chat marker", nsMarkers, Marker, a}
	}},
	"element": {[]string{"drop", "pass", "strip", "defer"}, []string{"namespace", "element"}, func(s *Spec, a Action) Filter {
		return &element{s.Name, Name{Space: s.Namespace, Local: s.Element}, a}
	}},
	"size": {[]string{"drop", "pass", "defer"}, []string{"max"}, func(s *Spec, a Action) Filter {
		return &size{s.Name, s.Max, a}
	}},
	"body_regex": {[]string{"drop", "pass", "defer"}, []string{"pattern"}, func(s *Spec, a Action) Filter {
		return &bodyRegex{s.Name, regexp.MustCompile(s.Pattern), a}
	}},
	"rate": {[]string{"drop", "defer"}, []string{"rate"}, func(s *Spec, a Action) Filter {
		return newRate(s.Name, s.Count, s.Per, a)
	}},
}

// Types returns the types of filter there are, sorted.
func Types() []string {
	var all []string
	for t := range kinds {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}

// actionOf are the actions that options write. Throttling decides anew each time.
var actionOf = map[string]Action{"drop": Drop, "pass": Pass, "strip": Strip, "defer": Defer, "throttle": Drop}

// directionsOf are the values of the direction option.
var directionsOf = map[string][]Direction{
	"": {In, Out}, "both": {In, Out}, "in": {In}, "out": {Out}, "between": {Between}, "all": {Between, In, Out},
	store: {Store},
}

// store is the direction that only a filter of ours has.
const store = "store"

// ours are the filters at the end of every chain, which hold whatever the others
// let pass: what has neither text nor media does not become mail, nor does an
// error; and a chat state does not wait for somebody to come.
var ours = []Spec{
	{Name: "mail-content", Type: "empty_body", Direction: "out"},
	{Name: "offline-states", Type: "chat_state", Direction: store},
}

// Default returns the chain without configuration: chat states are dropped on
// every path that begins or ends outside Jabber.
func Default() *Chain {
	c, err := Build(nil)
	if err != nil {
		panic("filters: default chain: " + err.Error())
	}
	return c
}

// Build makes a chain of the filters in their order. A chain without a filter of
// type chat_state gets the default one in front: to let chat states pass, one
// says so. At the end stand the filters mail-content, in the direction Out, and
// offline-states, in the direction Store: what has neither text nor media does not
// become mail, nor does an error, and no chat state is kept for later, whatever
// the others say. The error joins an *OptionError for each mistake.
func Build(specs []Spec) (*Chain, error) {
	if !slices.ContainsFunc(specs, func(s Spec) bool { return s.Type == "chat_state" }) {
		specs = append([]Spec{{Name: "chat-states", Type: "chat_state"}}, specs...)
	}
	c := new(Chain)
	var errs []error
	seen := make(map[string]bool)
	for _, s := range specs {
		if s.Name == "" {
			s.Name = s.Type
		}
		switch {
		case slices.ContainsFunc(ours, func(o Spec) bool { return o.Name == s.Name }):
			errs = append(errs, &OptionError{s.Name, "filter", "a filter of this name stands at the end of every chain"})
		case seen[s.Name]:
			errs = append(errs, &OptionError{s.Name, "filter", "two filters of this name"})
		}
		seen[s.Name] = true
		wrong := s.check()
		if len(wrong) > 0 {
			errs = append(errs, wrong...)
			continue
		}
		c.links = append(c.links, s.link())
	}
	for _, s := range ours {
		l := s.link()
		l.always = true
		c.links = append(c.links, l)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c.arrange()
	return c, nil
}

// link makes the chain's link of a checked Spec.
func (s Spec) link() *link {
	s = s.full()
	l := &link{spec: s, filter: kinds[s.Type].build(&s, actionOf[s.Action]), since: time.Now(), noise: newTally()}
	if s.Mode == "shadow" {
		l.shadow = new(samples)
	}
	return l
}

// full returns the Spec with the defaults written out, so that two of the same
// meaning are equal.
func (s Spec) full() Spec {
	s.Action = cmp.Or(s.Action, "drop")
	s.Direction = cmp.Or(s.Direction, "both")
	s.Mode = cmp.Or(s.Mode, "enforce")
	if s.Action == "throttle" {
		s.Interval = cmp.Or(s.Interval, DefaultInterval)
	}
	domains := s.Domains
	s.Domains = nil
	for _, d := range domains {
		s.Domains = append(s.Domains, strings.ToLower(strings.TrimPrefix(d, "*")))
	}
	return s
}

// check returns an *OptionError for each mistake.
func (s *Spec) check() (errs []error) {
	wrong := func(option, format string, args ...any) {
		errs = append(errs, &OptionError{s.Name, option, fmt.Sprintf(format, args...)})
	}
	k, ok := kinds[s.Type]
	if !ok {
		wrong("type", "unknown type %q: one of %s", s.Type, strings.Join(Types(), ", "))
		return errs
	}
	if s.Action != "" && !slices.Contains(k.actions, s.Action) {
		wrong("action", "%q is not an action of type %s: one of %s", s.Action, s.Type, strings.Join(k.actions, ", "))
	}
	if _, ok := directionsOf[s.Direction]; !ok || s.Direction == store {
		wrong("direction", "unknown direction %q: one of in, out, both, between, all", s.Direction)
	}
	if s.Mode != "" && s.Mode != "enforce" && s.Mode != "shadow" {
		wrong("mode", "unknown mode %q: one of enforce, shadow", s.Mode)
	}
	for _, d := range s.Domains {
		if strings.Trim(d, "*.") == "" || strings.ContainsAny(d, "@/ ") {
			wrong("domains", "%q is not a domain", d)
		}
	}
	for _, o := range s.options() {
		if o.written && !slices.Contains(k.options, o.name) {
			wrong(o.name, "not an option of type %s", s.Type)
		}
	}
	s.checkOptions(wrong)
	return errs
}

// written is an option of some types, and whether it is set.
type written struct {
	name    string
	written bool
}

// options are those that not all types have.
func (s *Spec) options() []written {
	return []written{
		{"interval", s.Interval != 0}, {"strip", s.Strip}, {"namespace", s.Namespace != ""}, {"element", s.Element != ""},
		{"max", s.Max != 0}, {"pattern", s.Pattern != ""}, {"rate", s.Count != 0 || s.Per != 0},
	}
}

// checkOptions tells wrong of the options of the type that are missing or have
// values that mean nothing.
func (s *Spec) checkOptions(wrong func(option, format string, args ...any)) {
	switch {
	case s.Interval != 0 && s.Type == "chat_state" && s.Action != "throttle":
		wrong("interval", "only with action throttle")
	case s.Interval < 0:
		wrong("interval", "must be more than nothing")
	}
	switch {
	case s.Type == "element" && s.Namespace == "":
		wrong("namespace", "must be set for type element")
	case s.Type == "size" && s.Max <= 0:
		wrong("max", "must be set for type size, in bytes and more than 0")
	case s.Type == "body_regex" && s.Pattern == "":
		wrong("pattern", "must be set for type body_regex")
	case s.Type == "rate" && (s.Count <= 0 || s.Per <= 0):
		wrong("rate", "must be set for type rate, such as \"60/3\": 60 messages of one sender in 3 seconds")
	}
	if _, err := regexp.Compile(s.Pattern); err != nil {
		wrong("pattern", "%s", err)
	}
}
