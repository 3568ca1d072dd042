package filters

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Name is a namespace and the name of an element in it.
type Name = xmlwire.Name

// Chain asks its filters one after the other until one has decided. It is safe
// for use by several goroutines. The zero Chain lets everything pass.
type Chain struct {
	links []*link
	ways  [directions][]*link // those of each direction
}

// link is a filter with where it applies and what it has done. Chains that follow
// each other on a reload share those that have not changed.
type link struct {
	spec     Spec // in full
	filter   Filter
	always   bool     // it is asked after a Pass too
	shadow   *samples // not nil: the verdict is counted and sampled, not obeyed
	since    time.Time
	verdicts [actions]atomic.Uint64
	errors   atomic.Uint64
	noise    *tally
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
	if it.Direction >= directions {
		return out
	}
	links := c.ways[it.Direction]
	if len(links) > 0 {
		out.Verdicts = make([]Applied, 0, len(links))
	}
	passed := false // by a filter, which ends the chain up to those that always hold
	for _, l := range links {
		if passed && !l.always || !l.selects(it) {
			continue
		}
		v, err := l.filter.Apply(ctx, it)
		if err != nil {
			l.errors.Add(1)
			v = Verdict{Reason: "the filter failed"}
		}
		l.count(it, v)
		out.Verdicts = append(out.Verdicts, Applied{l.filter.Name(), v, l.shadow != nil, err})
		if l.shadow != nil {
			if v.Action != Continue {
				l.shadow.take(it, v)
			}
			continue
		}
		switch v.Action {
		case Pass:
			passed = true
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

// count notes what the link's filter has decided about it.
func (l *link) count(it *Item, v Verdict) {
	if int(v.Action) < len(l.verdicts) {
		l.verdicts[v.Action].Add(1)
	}
	if v.Action == Drop {
		l.noise.add(it, v.Kind)
	}
}

// selects reports whether the link's filter has to do with the domains of it.
func (l *link) selects(it *Item) bool {
	return len(l.spec.Domains) == 0 || l.hasDomain(it.Stanza.To.Domain()) || l.hasDomain(it.Stanza.From.Domain()) ||
		l.hasDomain(domainOf(it.Recipient)) || l.hasDomain(domainOf(it.Sender))
}

// hasDomain reports whether the link's filter is for a domain in lower case.
func (l *link) hasDomain(domain string) bool {
	if domain == "" {
		return false
	}
	return slices.ContainsFunc(l.spec.Domains, func(d string) bool {
		return d == domain || d[0] == '.' && (strings.HasSuffix(domain, d) || domain == d[1:])
	})
}

// Inherit takes the filters from old that are the same in both, whatever their
// place, with what they have counted, sampled and remember. It is to be called
// before the chain is used; old may be in use.
func (c *Chain) Inherit(old *Chain) {
	for i, l := range c.links {
		for _, o := range old.links {
			if reflect.DeepEqual(l.spec, o.spec) {
				c.links[i] = o
			}
		}
	}
	c.arrange()
}

// arrange finds the links of each direction.
func (c *Chain) arrange() {
	for d := range c.ways {
		c.ways[d] = nil
		for _, l := range c.links {
			if slices.Contains(directionsOf[l.spec.Direction], Direction(d)) {
				c.ways[d] = append(c.ways[d], l)
			}
		}
	}
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
