package filters

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Name is a namespace and the name of an element in it.
type Name = xmlwire.Name

// Chain asks its filters one after the other until one has decided. It is safe
// for use by several goroutines. The zero Chain lets everything pass.
type Chain struct {
	links []*link
}

// link is a filter with where it applies and what it has done.
type link struct {
	filter     Filter
	kind       string // the type option
	directions [3]bool
	domains    []string // lower case; a leading dot takes in subdomains; none: all
	shadow     *samples // not nil: the verdict is counted and sampled, not obeyed
	verdicts   [actions]atomic.Uint64
	errors     atomic.Uint64
}

// Applied is the verdict of one filter that was asked.
type Applied struct {
	Filter string `json:"filter"`
	Verdict
	Shadow bool  `json:"shadow,omitempty"` // it did not count
	Err    error `json:"-"`                // the filter failed, and the verdict is Continue
}

// Outcome is what a chain came to.
type Outcome struct {
	// Action is Pass, Strip (pass, but in the changed form that is now the
	// item's), Drop or Defer.
	Action Action
	// Verdicts are those of the filters that were asked, in their order.
	Verdicts []Applied
}

// Apply asks the filters about it. Where one strips something it.Stanza becomes
// a copy without that; the stanza that was given is not changed.
func (c *Chain) Apply(ctx context.Context, it *Item) Outcome {
	out := Outcome{Action: Pass}
	if len(c.links) > 0 {
		out.Verdicts = make([]Applied, 0, len(c.links))
	}
	for _, l := range c.links {
		if !l.selects(it) {
			continue
		}
		v, err := l.filter.Apply(ctx, it)
		if err != nil {
			l.errors.Add(1)
			v = Verdict{Reason: "the filter failed"}
		}
		if int(v.Action) < len(l.verdicts) {
			l.verdicts[v.Action].Add(1)
		}
		out.Verdicts = append(out.Verdicts, Applied{l.filter.Name(), v, l.shadow != nil, err})
		if l.shadow != nil {
			if v.Action != Continue {
				l.shadow.take(it, v)
			}
			continue
		}
		switch v.Action {
		case Pass:
			return out
		case Drop, Defer:
			out.Action = v.Action
			return out
		case Strip:
			out.Action = Strip
			it.Stanza = without(it.Stanza, v.Remove)
		}
	}
	return out
}

// selects reports whether the link's filter has to do with it.
func (l *link) selects(it *Item) bool {
	if int(it.Direction) >= len(l.directions) || !l.directions[it.Direction] {
		return false
	}
	return len(l.domains) == 0 || l.hasDomain(it.Domain) ||
		l.hasDomain(it.Stanza.To.Domain()) || l.hasDomain(it.Stanza.From.Domain())
}

func (l *link) hasDomain(domain string) bool {
	if domain == "" {
		return false
	}
	domain = strings.ToLower(domain)
	return slices.ContainsFunc(l.domains, func(d string) bool {
		return d == domain || d[0] == '.' && (strings.HasSuffix(domain, d) || domain == d[1:])
	})
}

// without returns a copy of s that lacks the child elements named n.
func without(s *stanza.Stanza, n Name) *stanza.Stanza {
	e := *s.Element
	e.Children = make([]xmlwire.Node, 0, len(s.Element.Children))
	for _, c := range s.Element.Children {
		if c.Element == nil || !matches(c.Element.Name, n) {
			e.Children = append(e.Children, c)
		}
	}
	out := *s
	out.Element = &e
	return &out
}

// matches reports whether name is n, or in its namespace where n has no local
// name.
func matches(name, n Name) bool {
	return name.Space == n.Space && (n.Local == "" || name.Local == n.Local)
}

// Stats is what one filter of a chain has done since the chain was built.
type Stats struct {
	Filter   string
	Type     string
	Shadow   bool
	Verdicts map[string]uint64 // by the action's name, all of them
	Errors   uint64
	Samples  []Sample // the latest verdicts of a filter in shadow mode
}

// Stats returns what the filters have done, in their order.
func (c *Chain) Stats() []Stats {
	all := make([]Stats, 0, len(c.links))
	for _, l := range c.links {
		s := Stats{Filter: l.filter.Name(), Type: l.kind, Shadow: l.shadow != nil, Errors: l.errors.Load()}
		s.Verdicts = make(map[string]uint64, len(l.verdicts))
		for a := range l.verdicts {
			s.Verdicts[Action(a).String()] = l.verdicts[a].Load()
		}
		if l.shadow != nil {
			s.Samples = l.shadow.list()
		}
		all = append(all, s)
	}
	return all
}
