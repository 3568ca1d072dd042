package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
)

// excerptWidth is the longest piece of a line that a diagnostic shows.
const excerptWidth = 120

// maxErrors is where reading stops: a file with so many errors is not a
// configuration.
const maxErrors = 500

// source is one file's text, kept for the excerpts of diagnostics.
type source struct {
	name  string // as positions show it
	dir   string // what relative paths and includes start from
	text  string
	lines []string
	masks map[int][]span // by line: the columns that hold secrets
}

// span is a range of columns of one line, from 1, to exclusive.
type span struct{ from, to int }

func newSource(name, dir, text string) *source {
	text = strings.TrimPrefix(text, "\uFEFF")
	return &source{name: name, dir: dir, text: text, lines: strings.Split(text, "\n"), masks: make(map[int][]span)}
}

// position converts a token's place.
func (s *source) position(p lexer.Position) Position {
	return Position{File: s.name, Line: p.Line, Column: p.Column}
}

// hide masks a token in excerpts. Tokens never span lines.
func (s *source) hide(t lexer.Token) {
	s.hideColumns(t.Pos.Line, t.Pos.Column, t.Pos.Column+utf8.RuneCountInString(t.Value))
}

func (s *source) hideColumns(line, from, to int) {
	s.masks[line] = append(s.masks[line], span{from, to})
}

// excerpt returns the line of p with secrets masked and the caret's column in it.
func (s *source) excerpt(p Position) (line string, caret int) {
	if p.Line < 1 || p.Line > len(s.lines) {
		return "", 0
	}
	runes := []rune(strings.TrimSuffix(s.lines[p.Line-1], "\r"))
	caret = min(p.Column, len(runes)+1)
	masks := slices.SortedFunc(slices.Values(s.masks[p.Line]), func(a, b span) int { return b.from - a.from })
	for _, m := range masks { // from the right, so that columns to the left stay
		from, to := min(m.from-1, len(runes)), min(m.to-1, len(runes))
		runes = slices.Replace(runes, from, to, []rune(mask)...)
		switch {
		case caret-1 >= to:
			caret += len(mask) - (to - from)
		case caret-1 > from:
			caret = from + 1
		}
	}
	return clip(runes, caret)
}

// clip cuts a long line to the part around the caret, and characters that would
// upset a terminal to spaces.
func clip(runes []rune, caret int) (string, int) {
	for i, r := range runes {
		if r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError {
			runes[i] = ' '
		}
	}
	if len(runes) <= excerptWidth {
		return string(runes), caret
	}
	from := max(0, min(caret-1-excerptWidth/2, len(runes)-excerptWidth))
	to := from + excerptWidth
	line := string(runes[from:to])
	caret -= from
	if from > 0 {
		line, caret = "…"+line, caret+1
	}
	if to < len(runes) {
		line += "…"
	}
	return line, caret
}

// report collects what is found in all files.
type report struct {
	sources map[string]*source
	order   map[string]int // files in the order they were read
	found   []Diagnostic
	seen    map[Diagnostic]bool
	errors  int
	syntax  bool // a file did not parse: what is missing may be there
}

func newReport() *report {
	return &report{sources: make(map[string]*source), order: make(map[string]int), seen: make(map[Diagnostic]bool)}
}

func (r *report) addSource(s *source) {
	r.sources[s.name] = s
	if _, ok := r.order[s.name]; !ok {
		r.order[s.name] = len(r.order)
	}
}

func (r *report) errorf(p Position, hint, format string, args ...any) {
	r.add(SeverityError, p, hint, fmt.Sprintf(format, args...))
}

func (r *report) warnf(p Position, hint, format string, args ...any) {
	r.add(SeverityWarning, p, hint, fmt.Sprintf(format, args...))
}

// later warns of something that has no effect before a later version.
func (r *report) later(p Position, what string) {
	r.put(Diagnostic{Pos: p, Severity: SeverityWarning, Message: what + " is not yet in effect in this version", later: true})
}

func (r *report) notef(p Position, hint, format string, args ...any) {
	r.add(SeverityNote, p, hint, fmt.Sprintf(format, args...))
}

func (r *report) add(sev Severity, p Position, hint, message string) {
	r.put(Diagnostic{Pos: p, Severity: sev, Message: message, Hint: hint})
}

// put records a finding once, with the line that it is about: an option that holds in
// many scopes is checked in each of them.
func (r *report) put(d Diagnostic) {
	if r.full() {
		return
	}
	if s := r.sources[d.Pos.File]; s != nil {
		d.Line, d.Caret = s.excerpt(d.Pos)
	}
	if r.seen[d] {
		return
	}
	r.seen[d] = true
	r.found = append(r.found, d)
	if d.Severity == SeverityError {
		r.errors++
	}
}

// full reports whether there are more errors than anybody reads.
func (r *report) full() bool { return r.errors >= maxErrors }

// split returns the errors and the rest, each in the order of the files.
func (r *report) split() (errs Diagnostics, rest []Diagnostic) {
	slices.SortStableFunc(r.found, func(a, b Diagnostic) int {
		if d := r.order[a.Pos.File] - r.order[b.Pos.File]; d != 0 {
			return d
		}
		if d := a.Pos.Line - b.Pos.Line; d != 0 {
			return d
		}
		return a.Pos.Column - b.Pos.Column
	})
	for _, d := range r.found {
		if d.Severity == SeverityError {
			errs = append(errs, d)
		} else {
			rest = append(rest, d)
		}
	}
	return errs, rest
}
