package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"time"
)

// view is what holds in a scope: its own settings and, behind them, those of the
// scopes it falls back on.
type view struct {
	in    scopeSet // the kind of the innermost scope
	chain []*node  // innermost first
}

// view returns the view of a scope: what it sets itself, then the pathway it
// takes in, then the same for the scope around it, and global last.
func (t *tree) view(n *node) view {
	v := view{in: n.scope.bit}
	for ; n != nil; n = n.parent {
		switch n.scope.bit {
		case inDomain:
			v.chain = append(v.chain, t.domainNodes(n)...)
		case inPathway:
			v.chain = append(v.chain, t.pathwayNodes(n.label)...)
			n = t.root.child() // its group is among them
		case inPathwayGroup:
			v.chain = append(v.chain, n)
		default:
			v.chain = append(v.chain, n)
			v.chain = append(v.chain, t.taken(n)...)
		}
	}
	return v
}

// child returns a scope whose parent is n, so that a walk outwards goes on at n.
func (n *node) child() *node { return &node{parent: n} }

// taken returns the scopes of the pathway that n takes in.
func (t *tree) taken(n *node) []*node {
	s := n.settings["pathway"]
	if s == nil || s.bad {
		return nil
	}
	return t.pathwayNodes(s.value.(string))
}

// pathwayNodes returns the scopes that make up a pathway, in their precedence:
// the pathway in a group, the pathway alone, the group.
func (t *tree) pathwayNodes(name string) []*node {
	var inGroup, alone, group []*node
	for _, g := range t.root.of(inPathwayGroup) {
		for _, p := range g.of(inPathway) {
			if strings.EqualFold(p.label, name) {
				inGroup, group = append(inGroup, p), append(group, g)
			}
		}
	}
	for _, p := range t.root.of(inPathway) {
		if strings.EqualFold(p.label, name) {
			alone = append(alone, p)
		}
	}
	return append(append(inGroup, alone...), group...)
}

// domainNodes returns the scopes of n's domain: what is said for its protocol
// wins over what is said for all.
func (t *tree) domainNodes(n *node) []*node {
	nodes := []*node{n}
	for _, d := range t.domains[n.domain] {
		if n.protocol != "" && d.protocol == "" {
			nodes = append(nodes, d)
		}
	}
	return nodes
}

// row returns the table's row for name in the view, or nil. It is a bug of ours
// to ask for an option that is not in the table.
func (v view) row(name string) *option {
	for _, o := range byName[name] {
		if o.scopes&v.in != 0 {
			return o
		}
	}
	panic(fmt.Sprintf("config: option %s is not in the table for %s", name, v.in))
}

// find returns the setting of o that holds in the view, or nil for the default.
func (v view) find(o *option) (*setting, *node) {
	for _, n := range v.chain {
		if s := n.settings[o.name]; s != nil && s.option == o && !s.bad {
			return s, n
		}
	}
	return nil, nil
}

// set returns the setting of name that holds in the view, or nil.
func (v view) set(name string) *setting {
	s, _ := v.find(v.row(name))
	return s
}

// get returns the value of name in the view: nil where it is unset and has no
// default.
func (v view) get(name string) any {
	o := v.row(name)
	if s, _ := v.find(o); s != nil {
		return s.value
	}
	return defaults[o]
}

// pos returns where name is set, or where the view's own scope begins.
func (v view) pos(name string) Position {
	if s := v.set(name); s != nil {
		return s.pos
	}
	return v.chain[0].pos
}

func as[T any](v view, name string) T {
	value, _ := v.get(name).(T)
	return value
}

func (v view) text(name string) string            { return as[string](v, name) }
func (v view) flag(name string) bool              { return as[bool](v, name) }
func (v view) number(name string) int             { return as[int](v, name) }
func (v view) size(name string) int64             { return as[int64](v, name) }
func (v view) duration(name string) time.Duration { return as[time.Duration](v, name) }
func (v view) mode(name string) fs.FileMode       { return as[fs.FileMode](v, name) }
func (v view) words(name string) []string         { return typed[string](v.get(name)) }
func (v view) cidrs(name string) []netip.Prefix   { return typed[netip.Prefix](v.get(name)) }

// defaults are the values of the options that have one.
var defaults = func() map[*option]any {
	m := make(map[*option]any)
	for _, o := range table {
		if o.def == "" {
			continue
		}
		l := newLoader()
		src := newSource("table", "", o.name+" = "+o.def)
		v, _ := l.value(o, l.raw(src, l.parseSource(src)[0].Value), "")
		if v == nil {
			panic("config: default of " + o.name + ": " + l.found[0].String())
		}
		m[o] = v
	}
	return m
}()
