package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// Limits of one file. They are far beyond what a person writes, and keep a file
// that is something else from costing time.
const (
	maxFileSize   = 1 << 20
	maxLineLength = 10_000
	maxNesting    = 16
)

// parser goes through the tokens of one file.
type parser struct {
	src    *source
	report *report
	tokens []lexer.Token // without comments and white space, the end of the file last
	broken int           // index of a bracket that has no partner, or len(tokens)
	wrong  map[int]bool  // lines with a token that is wrong by itself: reported once
}

// parseSource returns the entries of a file, those that parse, and reports all
// that is wrong with its text.
func (r *report) parseSource(src *source) []*entry {
	p := &parser{src: src, report: r, wrong: make(map[int]bool)}
	before := r.errors
	defer func() { r.syntax = r.syntax || r.errors > before }()
	if !p.checkText() {
		return nil
	}
	p.lex()
	p.checkTokens()
	p.hideSecrets()
	if !p.checkNesting() {
		return nil
	}
	p.checkBrackets()
	return p.entries()
}

// entries parses one entry after the other, and goes on behind those that do
// not parse.
func (p *parser) entries() []*entry {
	stream, err := lexer.Upgrade(&tokenLexer{p.tokens})
	if err != nil {
		panic(err)
	}
	var entries []*entry
	for !stream.Peek().EOF() && !p.report.full() {
		start, checkpoint := stream.Cursor(), stream.MakeCheckpoint()
		e, err := entryParser.ParseFromLexer(stream, participle.AllowTrailing(true))
		if err == nil {
			entries = append(entries, e)
			continue
		}
		at := len(p.tokens) - 1
		var unexpected *participle.UnexpectedTokenError
		if errors.As(err, &unexpected) {
			at = p.index(unexpected.Unexpected, start)
		}
		if at < p.broken || p.broken < start {
			p.explain(at)
			if p.nameTaken(at) && at == start {
				entries = entries[:len(entries)-1]
			}
		} else {
			at = start // the mistake is the bracket; the next entry may be within what it seems to hold
		}
		stream.LoadCheckpoint(checkpoint)
		for next := p.resume(start, at); stream.Cursor() < next; {
			stream.Next()
		}
	}
	return entries
}

// index finds a token of the parser's error again.
func (p *parser) index(t lexer.Token, from int) int {
	for i := from; i < len(p.tokens); i++ {
		if p.tokens[i].Pos.Offset >= t.Pos.Offset {
			return i
		}
	}
	return len(p.tokens) - 1
}

// resume returns where to go on after an entry that begins at token start and
// went wrong at token at: the next line that begins with a word no further to
// the right than the entry.
func (p *parser) resume(start, at int) int {
	column := p.tokens[start].Pos.Column
	for i := max(at, start+1); i < len(p.tokens); i++ {
		t := p.tokens[i]
		if t.EOF() || t.Type == tokWord && t.Pos.Line > p.tokens[i-1].Pos.Line && t.Pos.Column <= column {
			return i
		}
	}
	return len(p.tokens) - 1
}

// explain reports token i, which stands where it cannot, unless its line is
// known to be wrong.
func (p *parser) explain(i int) {
	t := p.tokens[i]
	if p.wrong[t.Pos.Line] {
		return
	}
	what := fmt.Sprintf("unexpected %q", t.Value)
	switch {
	case t.EOF():
		what = "unexpected end of the file"
	case t.Type != tokPunct:
		what = "unexpected text" // it may be a secret
	}
	hint := `a setting is name = value, a scope is name "label" { … }`
	switch {
	case i > 0 && strings.EqualFold(p.tokens[i-1].Value, "include"):
		hint = `write include "file"`
	case p.is(i-1, "="):
		what, hint = "value is missing", ""
	case t.Value == "=" && p.nameTaken(i):
		t, what, hint = p.tokens[i-2], "value is missing", ""
	case t.Value == "=":
		hint = "one name stands before =; an option has no label"
	case t.Value == ",":
		hint = "commas separate the items of ( ) and [ ] only"
	case t.Value == "(" || t.Value == "[":
		hint = "lists and dictionaries follow =, and do not nest"
	case p.within(i) == "[":
		hint = "a dictionary is [ key = value … ]"
	case i > 0 && p.tokens[i-1].Type == tokWord && !p.is(i-2, "="):
		t, what = p.tokens[i-1], "neither = nor { … } follows"
	}
	p.errorAt(t, hint, "%s", what)
}

// nameTaken reports whether the "=" at token i has no name because the setting
// on the line above has no value, and took it.
func (p *parser) nameTaken(i int) bool {
	return p.is(i, "=") && p.is(i-2, "=") && p.tokens[i-2].Pos.Line < p.tokens[i-1].Pos.Line
}

// within returns the innermost bracket that is open at token i, or "".
func (p *parser) within(i int) string {
	depth := 0
	for i--; i >= 0; i-- {
		switch {
		case p.is(i, "}") || p.is(i, ")") || p.is(i, "]"):
			depth++
		case p.is(i, "{") || p.is(i, "(") || p.is(i, "["):
			if depth == 0 {
				return p.tokens[i].Value
			}
			depth--
		}
	}
	return ""
}

// is reports whether token i is the punctuation mark s.
func (p *parser) is(i int, s string) bool {
	return i >= 0 && i < len(p.tokens) && p.tokens[i].Type == tokPunct && p.tokens[i].Value == s
}

func (p *parser) errorAt(t lexer.Token, hint, format string, args ...any) {
	p.report.errorf(p.src.position(t.Pos), hint, format, args...)
}

// tokenLexer hands out tokens that are there already.
type tokenLexer struct{ rest []lexer.Token }

// Next returns the next token.
func (l *tokenLexer) Next() (lexer.Token, error) {
	t := l.rest[0]
	l.rest = l.rest[1:]
	return t, nil
}
