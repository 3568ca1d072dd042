package config

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// loader makes a tree of files.
type loader struct {
	*report
	tree   *tree
	getenv func(string) (string, bool)
	files  []string // absolute paths, in the order they were read
	stack  []string // of files that include each other now
}

//go:embed default.conf
var defaultText string

// defaultName stands for the file in positions of the embedded default.
const defaultName = "default.conf (built in)"

// Load reads a file and all that it includes. The error is Diagnostics, every
// one of them.
func Load(path string) (*Config, error) {
	l := newLoader()
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, Diagnostics{{Pos: Position{File: path}, Message: err.Error()}}
	}
	text, err := os.ReadFile(abs)
	if err != nil {
		return nil, Diagnostics{{Pos: Position{File: path}, Message: reason(err)}}
	}
	return l.load(path, abs, string(text))
}

// LoadBytes reads text as though it were the file name, which need not exist:
// relative paths start from its folder.
func LoadBytes(name string, text []byte) (*Config, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, Diagnostics{{Pos: Position{File: name}, Message: err.Error()}}
	}
	return newLoader().load(name, abs, string(text))
}

// Default returns the configuration that holds without a file.
func Default() (*Config, error) {
	l := newLoader()
	l.source(newSource(defaultName, "", defaultText), l.tree.root)
	return l.result()
}

func newLoader() *loader {
	r := newReport()
	root := &node{scope: scopes[0], settings: make(map[string]*setting)}
	return &loader{report: r, tree: &tree{root: root, report: r, domains: make(map[string][]*node)}, getenv: os.LookupEnv}
}

func (l *loader) load(name, abs, text string) (*Config, error) {
	l.files, l.stack = []string{abs}, []string{abs}
	l.tree.root.dir = filepath.Dir(abs)
	l.source(newSource(name, filepath.Dir(abs), text), l.tree.root)
	return l.result()
}

// result checks the tree as a whole and builds the configuration from it.
func (l *loader) result() (*Config, error) {
	l.tree.check()
	c := l.tree.build()
	errs, rest := l.split()
	if len(errs) > 0 {
		return nil, errs
	}
	c.Files, c.Warnings = l.files, rest
	return c, nil
}

// source reads the entries of one file into a scope.
func (l *loader) source(src *source, into *node) {
	l.addSource(src)
	for _, e := range l.parseSource(src) {
		l.entry(src, into, e)
	}
}

// entry reads one entry into a scope.
func (l *loader) entry(src *source, into *node, e *entry) {
	switch {
	case l.full():
		return
	case e.Include != nil:
		l.include(src, into, e.Include)
		return
	}
	pos := src.position(e.Name.Pos)
	name := strings.ToLower(e.Name.Value)
	if e.Value != nil {
		l.set(src, into, e, name, pos)
	} else {
		l.open(src, into, e, name, pos)
	}
}

// set reads a setting.
func (l *loader) set(src *source, into *node, e *entry, name string, pos Position) {
	o := findOption(name, into)
	if o == nil {
		l.unknownOption(into, name, pos)
		return
	}
	if first, ok := into.settings[name]; ok {
		l.errorf(pos, "", "%s is set twice in this scope, first at %s", name, first.pos)
		return
	}
	r := l.raw(src, e.Value)
	s := &setting{option: o, pos: pos, valuePos: r.pos}
	if r.shape == shapeDictionary && len(r.pairs) > 0 {
		s.valuePos = r.pairs[0].value.pos
	}
	into.settings[name] = s
	if r.bad {
		s.bad = true
		return
	}
	s.value, s.text = l.value(o, r, src.dir)
	s.bad = s.value == nil
}

func (l *loader) unknownOption(into *node, name string, pos Position) {
	switch {
	case byName[name] != nil:
		l.errorf(pos, "valid in "+validScopes(name), "option %s is not valid in %s", name, into.kindName())
	case scopeByName(name) != nil:
		l.errorf(pos, fmt.Sprintf("write %s { … }", usage(scopeByName(name))), "%s is a scope, not an option", name)
	default:
		hint := didYouMean(name, optionNames(func(o *option) bool { return o.validIn(into) }))
		if hint == "" {
			hint = didYouMean(name, optionNames(func(*option) bool { return true }))
		}
		l.errorf(pos, hint, "unknown option %s", name)
	}
}

// kindName names the kind of scope, and the listener where that matters.
func (n *node) kindName() string {
	switch {
	case n.scope.bit == inGlobal:
		return "the global scope"
	case n.scope.bit&(inListen|inPeer) != 0:
		return n.scope.name + " of " + n.listener().scope.name
	default:
		return n.scope.name
	}
}

func optionNames(keep func(*option) bool) []string {
	var names []string
	for _, o := range table {
		if keep(o) {
			names = append(names, o.name)
		}
	}
	return names
}

// usage is how a scope is opened.
func usage(s *scope) string {
	if s.label == labelRequired {
		return s.name + ` "…"`
	}
	return s.name
}

// open reads a scope.
func (l *loader) open(src *source, into *node, e *entry, name string, pos Position) {
	s := scopeByName(name)
	n := &node{scope: s, pos: pos, labelPos: pos, dir: src.dir, parent: into, settings: make(map[string]*setting)}
	switch {
	case s == nil && byName[name] != nil:
		l.errorf(pos, fmt.Sprintf("write %s = …", name), "%s is an option, not a scope", name)
		return
	case s == nil:
		l.errorf(pos, didYouMean(name, everywhere.names()[1:]), "unknown scope %s", name)
		return
	case s.parents&into.scope.bit == 0:
		l.errorf(pos, "valid in "+s.parents.String(), "scope %s is not valid in %s", name, into.kindName())
		n.bad = true
	}
	l.label(src, n, e)
	if !n.bad {
		l.once(into, n)
		into.children = append(into.children, n)
	}
	for _, inner := range e.Block.Entries {
		l.entry(src, n, inner)
	}
}

// label reads the label of a scope.
func (l *loader) label(src *source, n *node, e *entry) {
	switch {
	case e.Label == nil && n.scope.label == labelRequired:
		l.errorf(n.pos, "the label is "+n.scope.means, "%s has no label", n.scope.name)
		n.bad = true
	case e.Label != nil && n.scope.label == labelNone:
		l.errorf(src.position(e.Label.Token.Pos), fmt.Sprintf("write %s { … }", n.scope.name), "%s takes no label", n.scope.name)
		n.bad = true
	case e.Label != nil:
		s, ok := l.scalar(src, e.Label.Token)
		n.label, n.labelPos, n.bad = s.text, s.pos, n.bad || !ok
		if s.text == "" && ok {
			l.errorf(s.pos, "the label is "+n.scope.means, "label is empty")
			n.bad = true
		}
	}
}

// once refuses a second scope of the same name. Listeners without one may
// repeat; domains and peers can be written in several ways, and are compared
// when all of them are read.
func (l *loader) once(into, n *node) {
	if n.scope.bit&inListeners != 0 && n.label == "" || n.scope.bit&(inDomain|inPeer) != 0 {
		return
	}
	for _, c := range into.children {
		if c.scope == n.scope && (n.scope.once || strings.EqualFold(c.label, n.label) && n.label != "") {
			l.errorf(n.labelPos, "put both into one", "%s is there already, at %s", n, c.pos)
			n.bad = true
			return
		}
	}
}
