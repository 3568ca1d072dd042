package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Migration is what becomes of a configuration file of the system that this product
// replaces.
type Migration struct {
	// Text is the new file. It loads: what check would refuse is left out of it. Secrets
	// of the old file stand in it.
	Text []byte
	// Kept is how many settings and scopes of the old file are in the new one.
	Kept int
	// Found is what was not simply kept, in the order of the old files.
	Found []MigrationFinding
}

// MigrationFinding is something that is different in the new file, or that a person has
// to look at.
type MigrationFinding struct {
	Kind   MigrationKind
	Pos    Position // in the old file, or in a script
	What   string   // the option or scope; never a value
	Reason string
	Hint   string // what to do about it; may be empty
}

// MigrationKind says how bad a finding is.
type MigrationKind uint8

// Kinds of findings. NoEffect is what is in the new file and does nothing in this version.
const (
	LeftOut MigrationKind = iota
	NoEffect
	Changed
	LookAt
)

// String returns the kind as it is printed.
func (k MigrationKind) String() string {
	return [...]string{"left out", "no effect", "changed", "look at"}[k]
}

// String returns the finding as a person reads it.
func (f MigrationFinding) String() string {
	s := fmt.Sprintf("%s: %s: %s: %s", f.Pos, f.Kind, f.What, f.Reason)
	if f.Hint != "" {
		s += "\nhint: " + f.Hint
	}
	return s
}

// Lost is how many findings are of something that the old file had and the new one, or
// this version, has not.
func (m *Migration) Lost() (n int) {
	for _, f := range m.Found {
		if f.Kind == LeftOut || f.Kind == NoEffect {
			n++
		}
	}
	return n
}

// findings collects what a migration finds, up to a bound.
type findings struct{ all []MigrationFinding }

func (f *findings) full() bool { return len(f.all) >= maxErrors }

func (f *findings) add(kind MigrationKind, pos Position, what, reason, hint string) {
	finding := MigrationFinding{kind, pos, what, reason, hint}
	if !f.full() && !slices.Contains(f.all, finding) {
		f.all = append(f.all, finding)
	}
}

// ScriptCheck says what is wrong with the scripts of a configuration: the error is
// Diagnostics, of what keeps one from running.
type ScriptCheck func(*Config) (Diagnostics, error)

// Migrate reads an old file and all that it includes. Relative paths hold from its
// folder, where the new file has to stand. scripts may be nil.
func Migrate(path string, scripts ScriptCheck) (*Migration, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return MigrateBytes(path, text, scripts)
}

// MigrateBytes is Migrate for a text that is read already. The error says that the text is
// something else than a configuration.
func MigrateBytes(name string, text []byte, scripts ScriptCheck) (*Migration, error) {
	m := &migrator{name: name, scripts: scripts, root: new(oldEntry)}
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	reader := &oldReader{found: &m.findings, stack: []string{abs}}
	reader.read(name, filepath.Dir(abs), string(text), m.root)
	m.decide(m.root, &node{scope: scopes[0]})
	if err := m.settle(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(m.all, func(a, b MigrationFinding) int {
		return cmp.Or(reader.order(a.Pos.File)-reader.order(b.Pos.File), a.Pos.Line-b.Pos.Line, a.Pos.Column-b.Pos.Column)
	})
	return &Migration{Text: m.text, Kept: m.kept, Found: m.all}, nil
}

// migrator goes from the old file to the new one.
type migrator struct {
	findings
	name    string
	scripts ScriptCheck
	root    *oldEntry

	// The new file as it was written last.
	text  []byte
	lines []*oldEntry // where each line comes from; nil for those that are ours
	kept  int
}

// leaveOut leaves an entry out, and says so.
func (m *migrator) leaveOut(e *oldEntry, reason, hint string) {
	m.add(LeftOut, e.pos, e.what(), reason, hint)
	e.out = reason
	if restrictions[e.name] {
		e.parent.restrict()
	}
}

// restrictions are the options and scopes whose loss would let somebody in who was kept
// out.
var restrictions = map[string]bool{
	"always_deny": true, "peer": true, "relay_hosts": true, "pathway": true, "tls_client_ca": true, "tls_verify_mode": true, "allow_external": true,
}

// restrict closes the listen scopes that e holds for: those who connect might be let in
// by what was left out of e.
func (e *oldEntry) restrict() {
	for at := e; at != nil; at = at.parent {
		switch {
		case at.name == "listen" || strings.HasSuffix(at.name, "_listener"):
			at.closed = true
			return
		case at.parent == nil: // the file itself, or a pathway in it
			for _, c := range at.within {
				c.closed = c.closed || strings.HasSuffix(c.name, "_listener")
			}
		}
	}
}

// errTooMuch is the error of a file that is no configuration.
var errTooMuch = fmt.Errorf("%d things would be left out: this is no configuration file of that system", maxErrors)

// settle writes the new file and leaves out what check has against it, until it has
// nothing.
func (m *migrator) settle() error {
	for {
		if m.full() {
			return errTooMuch
		}
		m.write()
		cfg, err := LoadBytes(m.name, m.text)
		var warnings Diagnostics
		if err == nil && m.scripts != nil {
			warnings, err = m.scripts(cfg)
		}
		if err == nil {
			m.warn(append(warnings, cfg.Warnings...), cfg)
			return nil
		}
		var found Diagnostics
		if !errors.As(err, &found) || !m.obey(found, cfg) {
			return err
		}
	}
}

// obey leaves out what errors are about. It reports whether that was anything.
func (m *migrator) obey(errs Diagnostics, cfg *Config) (some bool) {
	for _, d := range errs {
		e := m.from(d, cfg)
		if e == nil || e.out != "" {
			continue
		}
		if e.name == "source" && !e.scope {
			e = e.parent // a script is nothing without it
		}
		m.leaveOut(e, strings.TrimPrefix(d.Message, e.name+": "), d.Hint)
		some = true
	}
	return some
}

// from finds the old entry that a diagnostic of the new file, or of a script that it
// names, is about.
func (m *migrator) from(d Diagnostic, cfg *Config) *oldEntry {
	pos := d.Pos
	if pos.File != m.name && cfg != nil {
		for _, s := range cfg.Scripts {
			if s.Path == pos.File {
				pos = s.Pos
			}
		}
	}
	if pos.Line < 1 || pos.Line > len(m.lines) {
		return nil
	}
	return m.lines[pos.Line-1]
}

// warn passes on what check says about a file that it accepts.
func (m *migrator) warn(warnings []Diagnostic, cfg *Config) {
	for _, d := range warnings {
		if d.Severity == SeverityNote {
			continue
		}
		kind := LookAt
		if d.later {
			kind = NoEffect
		}
		e := m.from(d, cfg)
		switch {
		case d.Pos.File != m.name: // a place in a script
			m.add(kind, d.Pos, "script", d.Message, d.Hint)
		case e != nil:
			m.add(kind, e.pos, e.what(), d.Message, d.Hint)
		default:
			m.add(kind, Position{File: m.name}, "file", d.Message, d.Hint)
		}
	}
	m.eachClosed(m.root, func(e *oldEntry) {
		m.add(Changed, e.pos, e.what(), "is written with enable = false: something that restricts who is let in is left out of it, or is not understood", "read what is left out, and enable it again")
	})
}

func (m *migrator) eachClosed(e *oldEntry, do func(*oldEntry)) {
	for _, c := range e.within {
		if c.out != "" {
			continue
		}
		if c.closed {
			do(c)
		}
		m.eachClosed(c, do)
	}
}

// decide leaves out what is not of this gateway, and changes what is called otherwise.
func (m *migrator) decide(e *oldEntry, n *node) {
	for _, c := range e.within {
		switch {
		case m.full():
			return // settle says that it is too much
		case c.scope:
			m.decideScope(c, n)
		default:
			m.decideSetting(c, n)
		}
	}
}

func (m *migrator) decideScope(e *oldEntry, into *node) {
	s := scopeByName(e.name)
	switch {
	case s == nil:
		reason, hint := oldScope(e.name)
		m.leaveOut(e, reason, hint)
		return
	case s.parents&into.scope.bit == 0:
		m.leaveOut(e, "is not valid in "+into.kindName(), "valid in "+s.parents.String())
		return
	case len(e.labels) > 1:
		m.leaveOut(e, "has more than one label", "")
		return
	}
	if note := scopeNotes[e.name]; note != "" {
		m.add(LookAt, e.pos, e.what(), note, "")
	}
	n := &node{scope: s, parent: into, settings: make(map[string]*setting)}
	if len(e.labels) == 1 {
		n.label = e.labels[0]
	}
	m.decide(e, n)
}

func (m *migrator) decideSetting(e *oldEntry, in *node) {
	switch {
	case e.nested:
		m.leaveOut(e, "lists and dictionaries do not nest here", "")
	case in.scope.bit == inGlobal && e.name == "gateway" && m.relays():
		m.leaveOut(e, "relay { … } is there and says where mail goes", "")
	case in.scope.bit == inGlobal && e.name == "gateway":
		e.elsewhere = true
		m.add(Changed, e.pos, e.what(), "stands in relay { … }", "what goes to Jabber is sent where the DNS or a domain scope says")
	case in.scope.bit == inDomain && (e.name == "gateway" || e.name == "routes") && !e.parent.speaksXMPP():
		m.leaveOut(e, "is a way for mail, and the domain has no xmpp_role", "relay { gateway = … } is the way of all mail")
	case findOption(e.name, in) != nil:
		m.adapt(e, in)
	case oldOptions[e.name].reason != "":
		m.leaveOut(e, oldOptions[e.name].reason, oldOptions[e.name].hint)
	case byName[e.name] != nil:
		m.leaveOut(e, "is not valid in "+in.kindName(), "valid in "+validScopes(e.name))
	default:
		m.leaveOut(e, "there is no such option here", "")
	}
}

// speaksXMPP reports whether a domain scope is one of XMPP.
func (e *oldEntry) speaksXMPP() bool {
	if len(e.labels) == 1 && strings.HasPrefix(strings.ToLower(e.labels[0]), "#xmpp#") {
		return true
	}
	return slices.ContainsFunc(e.within, func(c *oldEntry) bool { return c.name == "xmpp_role" })
}

// adapt changes words that have another name here, and says where an option has become
// two.
func (m *migrator) adapt(e *oldEntry, in *node) {
	if word, ok := oldWords[e.name][strings.ToLower(strings.Trim(e.value, `"`))]; ok {
		m.add(Changed, e.pos, e.what(), "is called "+word+" here", "")
		e.value = word
	}
	if in.scope.bit == inGlobal && alsoRelay[e.name] && !m.relays() {
		m.add(Changed, e.pos, e.what(), "stands in relay { … } too: outside it holds for Jabber alone", "")
	}
}

// relays reports whether the file has a relay scope already, as one that was migrated.
func (m *migrator) relays() bool {
	return slices.ContainsFunc(m.root.within, func(e *oldEntry) bool { return e.scope && e.name == "relay" })
}

// write writes the new file with what is left, each line with where it comes from.
func (m *migrator) write() {
	w := &migrationWriter{}
	w.line(nil, "# Made from %s by mcmt2xmpp migrate. What was left out stands in comments.", filepath.Base(m.name))
	w.line(nil, "")
	if !slices.ContainsFunc(m.root.within, func(e *oldEntry) bool { return e.name == "data_dir" && e.out == "" }) {
		w.line(nil, "data_dir = %q", "/var/lib/mcmt2xmpp")
	}
	w.entries(m.root, "", false)
	if !m.relays() {
		w.relay(m.root)
	}
	m.text, m.lines, m.kept = []byte(w.b.String()), w.lines, w.kept
}

// migrationWriter writes the new file.
type migrationWriter struct {
	b     strings.Builder
	lines []*oldEntry
	kept  int
}

func (w *migrationWriter) line(e *oldEntry, format string, args ...any) {
	fmt.Fprintf(&w.b, format+"\n", args...)
	w.lines = append(w.lines, e)
}

// entries writes what a scope holds; closed is whether it is not to be opened whatever it
// says itself.
func (w *migrationWriter) entries(of *oldEntry, indent string, closed bool) {
	for _, e := range of.within {
		switch {
		case e.out != "":
			w.line(nil, "%s# %s", indent, comment(fmt.Sprintf("%s, %s: left out: %s", e.pos, e.what(), e.out)))
		case e.scope:
			w.scope(e, indent, closed)
		case e.elsewhere || closed && e.name == "enable":
		default:
			w.kept++
			w.line(e, "%s%s = %s", indent, e.name, e.value)
		}
	}
}

func (w *migrationWriter) scope(e *oldEntry, indent string, closed bool) {
	w.kept++
	head := e.name
	for _, l := range e.labels {
		head += " " + quoted(l)
	}
	if len(e.within) == 0 && !e.closed {
		w.line(e, "%s%s {}", indent, head)
		return
	}
	w.line(e, "%s%s {", indent, head)
	if e.closed {
		w.line(e, "%s  enable = false", indent)
	}
	w.entries(e, indent+"  ", closed || e.closed)
	w.line(e, "%s}", indent)
}

// relay writes what the old file says for all mail outside of scopes.
func (w *migrationWriter) relay(root *oldEntry) {
	var all []*oldEntry
	for _, e := range root.within {
		if e.out == "" && (e.elsewhere || alsoRelay[e.name] && !e.scope) {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		return
	}
	w.line(nil, "relay {")
	for _, e := range all {
		if e.elsewhere {
			w.kept++
		}
		w.line(e, "  %s = %s", e.name, e.value)
	}
	w.line(nil, "}")
}

// comment keeps a text on its line.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}
