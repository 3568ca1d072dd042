package config

import (
	"fmt"
	"strings"
)

// Position is a place in a configuration file. The zero Position is nowhere.
type Position struct {
	File   string // as it was given or found by include
	Line   int    // from 1; 0: the file as a whole
	Column int    // from 1, in characters; 0: the line as a whole
}

// String returns file:line:col, file:line where no column is known, or the file
// alone.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Severity says how bad a diagnostic is.
type Severity uint8

// Severities. An error keeps the configuration from loading; a warning is worth
// a log line at each start; a note is only for whoever asks (check).
const (
	SeverityError Severity = iota
	SeverityWarning
	SeverityNote
)

// Diagnostic is one finding about a configuration.
type Diagnostic struct {
	Pos      Position
	Severity Severity
	Message  string // one lower-case clause
	Line     string // the line of Pos as it is written, secrets masked; may be empty
	Caret    int    // column of Line the finding is about, from 1, in characters; 0 for none
	Hint     string // what to do about it; may be empty

	later bool // it warns of what has no effect before a later version
}

// String returns the finding as a person reads it: "file:line:col: message", the
// line, a caret and the hint, each on its own line, without a final newline.
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.Pos.File != "" {
		b.WriteString(d.Pos.String() + ": ")
	}
	switch d.Severity {
	case SeverityWarning:
		b.WriteString("warning: ")
	case SeverityNote:
		b.WriteString("note: ")
	}
	b.WriteString(d.Message)
	if d.Line != "" {
		b.WriteString("\n    " + d.Line)
	}
	if d.Line != "" && d.Caret > 0 {
		b.WriteString("\n    " + caretLine(d.Line, d.Caret))
	}
	if d.Hint != "" {
		b.WriteString("\nhint: " + d.Hint)
	}
	return b.String()
}

// caretLine returns a line with a caret under column col of line. Tabs are
// kept, so that the caret stands right whatever a tab is worth.
func caretLine(line string, col int) string {
	var b strings.Builder
	n := 1
	for _, r := range line {
		if n == col {
			break
		}
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
		n++
	}
	b.WriteByte('^')
	return b.String()
}

// Diagnostics are all errors of a configuration. It is the error of Load.
type Diagnostics []Diagnostic

// Error returns all of them, one after the other.
func (ds Diagnostics) Error() string {
	parts := make([]string, len(ds))
	for i, d := range ds {
		parts[i] = d.String()
	}
	return strings.Join(parts, "\n")
}
