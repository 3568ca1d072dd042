package config

import "strings"

// tree is everything the files say: the global scope and what is in it.
type tree struct {
	root    *node
	report  *report
	domains map[string][]*node // the domain scopes of each name, filled by checkLabels
}

// node is one scope as it is written.
type node struct {
	scope    *scope
	label    string // as written, unquoted
	labelPos Position
	pos      Position
	dir      string // of the file
	parent   *node
	settings map[string]*setting
	children []*node
	bad      bool // its label or place is wrong: left out of the result

	protocol, domain string // of a domain scope: what its label says
}

// setting is one option as it is set.
type setting struct {
	option   *option
	pos      Position // of the name
	valuePos Position // of the value; in a dictionary, of the first key's
	value    any      // of the Go type of the option's kind; nil where it is bad
	text     string   // as check --effective shows it
	bad      bool     // reported already
}

// listener returns the listener that a listen or peer scope is in, or n itself.
func (n *node) listener() *node {
	for n.scope.bit&(inListen|inPeer) != 0 {
		n = n.parent
	}
	return n
}

// String names the scope as check --effective does: xmpp_listener listen *:5222.
func (n *node) String() string { return strings.Join(n.path(), " ") }

// path returns the words of String.
func (n *node) path() []string {
	var words []string
	if n.parent != nil && n.parent.scope.bit != inGlobal {
		words = n.parent.path()
	}
	words = append(words, n.scope.name)
	if n.label != "" {
		words = append(words, n.label)
	}
	return words
}

// of returns the children of the given kinds that are not bad.
func (n *node) of(kinds scopeSet) []*node {
	var found []*node
	for _, c := range n.children {
		if c.scope.bit&kinds != 0 && !c.bad {
			found = append(found, c)
		}
	}
	return found
}
