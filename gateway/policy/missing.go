package policy

import (
	"regexp"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

var (
	// notCode is what of a script cannot call anything: comments and strings.
	notCode = regexp.MustCompile(`(?s)--\[\[.*?\]\]|--[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'`)
	// modulePath is something of a module of ours.
	modulePath = regexp.MustCompile(`(^|[^\w.:])((?:msys|xmpp|xml)(?:\s*[.:]\s*[A-Za-z_]\w*)+)`)
	// ownModule is a local of the script that hides one of them.
	ownModule = regexp.MustCompile(`\blocal\s+(msys|xmpp|xml)\s*(?:=\s*([\w.]+))?`)
)

// missing finds what a script takes from the modules msys, xmpp and xml that is not there:
// what scripts of the other system use and this one has not is seen before it is called.
// The state is one that has run the script, so that what it has put there itself counts.
func (s *state) missing(text string, warn func(line int, format string, args ...any)) {
	text = notCode.ReplaceAllStringFunc(text, func(part string) string {
		return " " + strings.Repeat("\n", strings.Count(part, "\n"))
	})
	hidden := make(map[string]bool)
	for _, m := range ownModule.FindAllStringSubmatch(text, -1) {
		hidden[m[1]] = m[2] != "require"
	}
	seen := make(map[string]bool)
	for _, m := range modulePath.FindAllStringSubmatchIndex(text, -1) {
		path := pathWords(text[m[4]:m[5]])
		absent := s.absent(path)
		if absent == "" || hidden[path[0]] || seen[absent] {
			continue
		}
		seen[absent] = true
		warn(1+strings.Count(text[:m[4]], "\n"), "%.60s is not here: where it is called the script fails", absent)
	}
}

// pathWords splits msys.core.name or xmpp:name.
func pathWords(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune(".: \t\r\n", r) })
}

// absent returns the part of a path that leads nowhere, empty where all of it is there.
func (s *state) absent(path []string) string {
	at := s.L.GetGlobal(path[0])
	for i, word := range path[1:] {
		table, ok := at.(*lua.LTable)
		if !ok {
			return ""
		}
		if at = table.RawGetString(word); at == lua.LNil {
			return strings.Join(path[:i+2], ".")
		}
	}
	return ""
}
