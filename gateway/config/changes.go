package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is a setting or a scope in which one configuration differs from another.
type Change struct {
	Scope  string // such as "xmpp_listener listen *:5222"
	Option string // empty: the scope itself, which is new or gone
	// Was and Is are the values as check --effective shows them, *** for a secret and
	// empty where it was or is not set. Of a scope Is is "new" or "gone".
	Was, Is string
	// Pos is where it is set or, where it is not any more, was.
	Pos Position
	// Restart is what of it takes effect only after a restart; empty: nothing.
	Restart string
}

// WholeRestart is the Restart of a change that has no effect before it.
const WholeRestart = "all"

// What a scope's Is says.
const (
	isNew  = "new"
	isGone = "gone"
)

// Changes are what differs from old in c, in the order in which it is written: as the
// files have it, and what the files that they name hold, but for certificates.
func (c *Config) Changes(old *Config) []Change {
	var all []Change
	before, after := old.tree.root.byKey(), c.tree.root.byKey()
	c.tree.root.walk(func(n *node) {
		was := before.scopes[after.keys[n]]
		switch {
		case n.bad:
		case was != nil:
			all = append(all, changesOf(was, n)...)
		case before.scopes[after.keys[n.parent]] != nil:
			all = append(all, Change{Scope: n.String(), Is: isNew, Pos: n.pos, Restart: n.restart()})
		}
	})
	old.tree.root.walk(func(n *node) {
		if !n.bad && after.scopes[before.keys[n]] == nil && after.scopes[before.keys[n.parent]] != nil {
			all = append(all, Change{Scope: n.String(), Is: isGone, Pos: n.pos, Restart: n.restart()})
		}
	})
	all = append(all, orders(old, c)...)
	return append(all, c.contents(old)...)
}

// keyed finds scopes by what tells them apart in a file, and the reverse.
type keyed struct {
	scopes map[string]*node
	keys   map[*node]string
}

// byKey lists n and the scopes in it.
func (n *node) byKey() keyed {
	all := keyed{make(map[string]*node), make(map[*node]string)}
	n.walk(func(n *node) {
		// Of those that have no label there may be several, with scopes of the same
		// label in them.
		own := n.scope.name + " " + n.label
		key := all.keys[n.parent] + " " + own
		for i := 2; all.scopes[key] != nil; i++ {
			key = fmt.Sprintf("%s %s %d", all.keys[n.parent], own, i)
		}
		all.scopes[key], all.keys[n] = n, key
	})
	return all
}

// changesOf are those of the settings of one scope.
func changesOf(was, is *node) (all []Change) {
	names := make(map[string]bool)
	for name := range was.settings {
		names[name] = true
	}
	for name := range is.settings {
		names[name] = true
	}
	for name := range names {
		a, b := was.settings[name], is.settings[name]
		c := Change{Scope: is.String(), Option: name}
		switch {
		case a == nil:
			c.Is, c.Pos, c.Restart = b.text, b.pos, b.option.restart(is)
		case b == nil:
			c.Was, c.Pos, c.Restart = a.text, a.pos, a.option.restart(is)
		case reflect.DeepEqual(a.value, b.value):
			continue
		default:
			c.Was, c.Is, c.Pos, c.Restart = a.text, b.text, b.pos, b.option.restart(is)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column), cmp.Compare(a.Option, b.Option))
	})
	return all
}

// restart is what of a change of o in a scope takes effect only after a restart.
func (o *option) restart(n *node) string {
	switch {
	case n.scope.fixed:
		return WholeRestart
	case o.fixed&n.scope.bit == 0:
		return ""
	}
	return cmp.Or(o.fixedDoc, WholeRestart)
}

// restart is what of a scope that is new or gone takes effect only after a restart:
// sockets are opened at the start.
func (n *node) restart() string {
	if n.scope.fixed || n.scope.bit == inListen || len(n.of(inListen)) > 0 {
		return WholeRestart
	}
	var parts []string
	for name, s := range n.settings {
		if part := s.option.restart(n); part != "" && n.scope.bit&inListeners == 0 {
			if part == WholeRestart {
				part = name
			}
			parts = append(parts, part)
		}
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), "; ")
}

// inOrder are the scopes whose order means something.
const inOrder = inFilter | inRecipientMap | inLink | inScriptlet | inScript

// orders are the changes of the order of scopes that both have.
func orders(old, c *Config) (all []Change) {
	for _, s := range scopes {
		if s.bit&inOrder == 0 {
			continue
		}
		was, is := old.tree.sequence(s), c.tree.sequence(s)
		keep := func(of []string) func(string) bool {
			return func(name string) bool { return !slices.Contains(of, name) }
		}
		a, b := slices.DeleteFunc(slices.Clone(was), keep(is)), slices.DeleteFunc(slices.Clone(is), keep(was))
		if !slices.Equal(a, b) {
			all = append(all, Change{Scope: "global", Option: "order of " + s.name, Was: strings.Join(was, ", "), Is: strings.Join(is, ", "), Pos: c.tree.root.pos})
		}
	}
	return all
}

// sequence are the labels of the scopes of a kind, in their order.
func (t *tree) sequence(s *scope) (all []string) {
	t.root.walk(func(n *node) {
		if n.scope == s && n.label != "" {
			all = append(all, n.label)
		}
	})
	return all
}

// contents are the files that have changed though their names have not.
func (c *Config) contents(old *Config) (all []Change) {
	for _, o := range c.Operators {
		i := slices.IndexFunc(old.Operators, func(other Operator) bool { return other.Name == o.Name })
		if i >= 0 && o.File != "" && old.Operators[i].File == o.File && old.Operators[i].Token != o.Token {
			all = append(all, Change{Scope: "operator " + o.Name, Option: "token_file", Was: mask, Is: mask, Pos: o.Pos})
		}
	}
	for _, s := range c.Scripts {
		i := slices.IndexFunc(old.Scripts, func(other Script) bool { return other.Name == s.Name && other.Path == s.Path })
		if i >= 0 && old.Scripts[i].Text != s.Text {
			all = append(all, Change{Scope: "scriptlet script " + s.Name, Option: "source", Was: "its text", Is: "another text", Pos: s.Pos})
		}
	}
	return all
}
