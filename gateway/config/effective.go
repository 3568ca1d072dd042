package config

import (
	"net/netip"
	"slices"
	"strings"
)

// EffectiveOption is what one option amounts to in one scope.
type EffectiveOption struct {
	Scope  string   // such as "xmpp_listener listen *:5222"
	Option string   // its name
	Value  string   // as it would be written; *** for a secret, empty for unset
	From   Position // where it is set; zero for the default
	Within string   // the scope that sets it, as Scope writes it; empty for the default
	// Note describes a default that no value can say, such as "the system's choice".
	Note string
	// Planned is whether the option has no effect yet.
	Planned bool
}

// Effective lists every option of the scopes that scope names, as they stand in
// the files: "global", "listen *:5222", "domain example.org", or the whole path
// "xmpp_listener listen *:5222 peer 192.0.2.0/24". An address after peer stands
// for the peer scope that it falls into. Empty names all scopes. The error is
// Diagnostics, for a name that no scope has.
func (c *Config) Effective(scope string) ([]EffectiveOption, error) {
	words := strings.Fields(scope)
	var found []*node
	var known []string
	c.tree.root.walk(func(n *node) {
		known = append(known, n.String())
		if n.matches(words) {
			found = append(found, n)
		}
	})
	if len(found) == 0 {
		hint := didYouMean(strings.ToLower(scope), known)
		if hint == "" {
			hint = "there are: " + strings.Join(known, "; ")
		}
		return nil, Diagnostics{{Message: "no scope is called " + scope, Hint: hint}}
	}
	var out []EffectiveOption
	for _, n := range found {
		out = append(out, c.tree.effective(n)...)
	}
	return out, nil
}

// Scopes are the names of all scopes, as Effective takes them, in the order of the files.
func (c *Config) Scopes() (all []string) {
	c.tree.root.walk(func(n *node) { all = append(all, n.String()) })
	return all
}

// walk visits n and all scopes in it.
func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, c := range n.children {
		c.walk(visit)
	}
}

// matches reports whether words are the end of the scope's path, compared
// without case. No words match every scope.
func (n *node) matches(words []string) bool {
	var path []string
	for _, w := range n.path() {
		path = append(path, strings.Fields(w)...)
	}
	if len(words) == 0 {
		return true
	}
	if len(words) > len(path) || !slices.EqualFunc(path[len(path)-len(words):], words, strings.EqualFold) {
		return n.holds(words)
	}
	return true
}

// holds reports whether words name an address within the peer scope n, and no
// peer scope beside it holds the address more closely.
func (n *node) holds(words []string) bool {
	if n.scope.bit != inPeer || len(words) < 2 || !strings.EqualFold(words[len(words)-2], "peer") {
		return false
	}
	addr, err := netip.ParseAddr(words[len(words)-1])
	mine, err2 := peerPrefix(n.label)
	if err != nil || err2 != nil || !mine.Contains(addr.Unmap()) {
		return false
	}
	for _, other := range n.parent.of(inPeer) {
		if p, err := peerPrefix(other.label); err == nil && p.Contains(addr.Unmap()) && p.Bits() > mine.Bits() {
			return false
		}
	}
	return n.matches(append(slices.Clone(words[:len(words)-1]), n.label))
}

// effective lists the options of one scope: those that may be set in it and
// those it gets from outside.
func (t *tree) effective(n *node) []EffectiveOption {
	v := t.view(n)
	if n.scope.bit == inPeer {
		// What depends on the peer is resolved within a listen scope; so is the
		// rest that may be set in peer.
		v.chain = t.peerChain(n)
	}
	var out []EffectiveOption
	for _, o := range table {
		if !o.validIn(n) {
			continue
		}
		e := EffectiveOption{Scope: n.String(), Option: o.name, Value: o.def, Planned: n.plannedHere(o)}
		if e.Value == "" {
			e.Note = o.defDoc
		}
		if s, at := v.find(o); s != nil {
			e.Value, e.From, e.Within, e.Note = s.text, s.pos, at.String(), ""
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b EffectiveOption) int { return strings.Compare(a.Option, b.Option) })
	return out
}

// plannedHere reports whether o, or a scope around n, has no effect yet.
func (n *node) plannedHere(o *option) bool {
	for at := n; at != nil; at = at.parent {
		if at.scope.planned {
			return true
		}
	}
	return o.planned&n.scope.bit != 0
}

// peerChain is the chain of a peer scope, with the listener's peer of the same
// range behind the listen scope's, as buildPeers has it.
func (t *tree) peerChain(n *node) []*node {
	prefix, err := peerPrefix(n.label)
	if err != nil || n.parent.scope.bit != inListen {
		return t.view(n).chain
	}
	return t.peerView(t.view(n.parent), n.parent.parent, n.parent, prefix).chain
}
