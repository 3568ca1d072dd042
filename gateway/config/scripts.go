package config

import "unicode/utf8"

// Script is one policy script of a scriptlet that is switched on.
type Script struct {
	Name  string // as written
	Path  string // absolute
	Text  string // of the file, as it was when the configuration was loaded
	Level *LogLevel
	Pos   Position // of its source
}

// scriptOptions hold for policy scripts.
var scriptOptions = []*option{
	{name: "source", kind: kindPath, scopes: inScript,
		doc: "the Lua file; it has to be set. The scripts of all scriptlets are called in the order they are written"},
}

// buildScripts reads the files, so that one configuration is one set of scripts
// whatever happens to the files later.
func (t *tree) buildScripts(c *Config) {
	for _, set := range t.root.of(inScriptlet) {
		v := t.view(set)
		if !v.flag("enabled") {
			continue
		}
		for _, n := range set.of(inScript) {
			s := n.settings["source"]
			if s == nil {
				t.report.errorf(n.pos, "", "script %s has no source", n.label)
				continue
			}
			text, ok := t.readScript(s)
			if !ok {
				continue
			}
			script := Script{Name: n.label, Path: s.value.(string), Text: text, Pos: s.valuePos}
			if v.set("debug_level") != nil {
				level := levels[v.text("debug_level")]
				script.Level = &level
			}
			t.checkScript(c, n, script)
			c.Scripts = append(c.Scripts, script)
		}
	}
}

// readScript reads the file that source names.
func (t *tree) readScript(s *setting) (string, bool) {
	if s.bad {
		return "", false
	}
	text, err := readSome(s.value.(string))
	if err != nil {
		t.report.errorf(s.valuePos, "", "source: %s: %s", s.value, reason(err))
		return "", false
	}
	if !utf8.Valid(text) {
		t.report.errorf(s.valuePos, "", "source: %s is not UTF-8", s.value)
		return "", false
	}
	return string(text), true
}

// checkScript refuses a name that is taken: counts and log lines go by it.
func (t *tree) checkScript(c *Config, n *node, s Script) {
	for _, other := range c.Scripts {
		if other.Name == s.Name {
			t.report.errorf(n.labelPos, "", "script %s is there already, at %s", s.Name, other.Pos)
		}
	}
}

// InScript is a finding about a script: message is about its line and column, either
// of which may be 0 for the file or the line as a whole.
func (s Script) InScript(severity Severity, line, column int, message string) Diagnostic {
	src := newSource(s.Path, "", s.Text)
	d := Diagnostic{Pos: Position{File: s.Path, Line: line, Column: column}, Severity: severity, Message: message}
	d.Line, d.Caret = src.excerpt(d.Pos)
	if column == 0 {
		d.Caret = 0
	}
	return d
}
