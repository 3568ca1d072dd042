package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// statement is one step of an old file: the end of a scope, an include, a setting or the
// beginning of a scope. Files are read by steps and not by entries, so that what is not
// understood costs its own line, and not the scope around it.
type statement struct {
	Close   bool        `parser:"@'}'"`
	Include *oldText    `parser:"| ('include' | 'readonly_include') @@"`
	Name    lexer.Token `parser:"| @(Word|Slashed|String|Quoted)"`
	Value   *oldValue   `parser:"  ( '=' @@"`
	Labels  []*oldText  `parser:"  | @@*"`
	Open    bool        `parser:"    @'{' )"`
}

// oldText is a label or a value; a quote that is not closed is none.
type oldText struct {
	Token lexer.Token `parser:"@(String|Quoted|Word|Slashed)"`
}

// oldValue is a value of an old file. Lists and dictionaries may hold others there.
type oldValue struct {
	Items []*oldText  `parser:"  @@ ( ',' @@ )*"`
	Group *oldBracket `parser:"| @@"`
}

// oldBracket is a list or a dictionary, whatever is in it.
type oldBracket struct {
	Open   lexer.Token   `parser:"@('(' | '[')"`
	Within []*oldElement `parser:"@@*"`
	Close  lexer.Token   `parser:"@(')' | ']')"`
}

type oldElement struct {
	Token lexer.Token `parser:"  @(String|Quoted|Word|Slashed|'='|',')"`
	Group *oldBracket `parser:"| @@"`
}

// nested reports whether a bracket holds another one, which the language of this gateway
// has not.
func (b *oldBracket) nested() bool {
	return slices.ContainsFunc(b.Within, func(e *oldElement) bool { return e.Group != nil })
}

var statementParser = participle.MustBuild[statement](
	participle.Lexer(language),
	participle.Elide("Comment", "Blank"),
	participle.CaseInsensitive("Word"),
	participle.UseLookahead(4), // include may be the name of a setting
)

// oldEntry is a setting or a scope of an old file.
type oldEntry struct {
	pos       Position
	name      string // lower case
	labels    []string
	value     string // as the new file writes it
	nested    bool   // the value has brackets in brackets
	scope     bool
	parent    *oldEntry
	within    []*oldEntry
	out       string // why it is left out; empty: it is kept
	closed    bool   // a listener or listen scope that has lost a restriction, and is not opened
	elsewhere bool   // a setting that stands in relay { … } in the new file
}

// oldReader reads old files into a tree of entries.
type oldReader struct {
	found *findings
	files int
	stack []string // that include each other now
	names []string // of all files, as positions have them, in the order in which they were read
}

// order is the place of a file among those that were read; others come behind them.
func (r *oldReader) order(file string) int {
	if i := slices.Index(r.names, file); i >= 0 {
		return i
	}
	return len(r.names)
}

// read reads one file into the entries of root.
func (r *oldReader) read(name, dir, text string, root *oldEntry) {
	src := newSource(name, dir, text)
	r.names = append(r.names, name)
	p := &parser{src: src, report: newReport(), wrong: make(map[int]bool)}
	if !p.checkText() {
		r.notRead(p.report)
		return
	}
	p.lex()
	if !p.checkNesting() {
		r.notRead(p.report)
		return
	}
	r.statements(p, root)
}

// notRead passes on what the reader of configurations has against a whole file.
func (r *oldReader) notRead(rep *report) {
	for _, d := range rep.found {
		r.found.add(LeftOut, d.Pos, "file", d.Message, d.Hint)
	}
}

// statements reads the tokens of one file. Every round of the loop goes on by one token
// at least.
func (r *oldReader) statements(p *parser, root *oldEntry) {
	stream, err := lexer.Upgrade(&tokenLexer{p.tokens})
	if err != nil {
		panic(err)
	}
	open := []*oldEntry{root}
	for !stream.Peek().EOF() && !r.found.full() {
		start, checkpoint := stream.Cursor(), stream.MakeCheckpoint()
		s, err := statementParser.ParseFromLexer(stream, participle.AllowTrailing(true))
		if err == nil {
			open = r.take(p.src, open, s, p.tokens[start])
			continue
		}
		next := p.endOfMistake(start, err)
		r.found.add(LeftOut, p.src.position(p.tokens[start].Pos), "line", "is not understood", `a setting is name = value, a scope is name "label" { … }`)
		if into := open[len(open)-1]; into != root || restrictions[strings.ToLower(plainText(p.tokens[start]))] {
			into.restrict()
		}
		open = p.braces(open, start, next)
		for stream.LoadCheckpoint(checkpoint); stream.Cursor() < next; {
			stream.Next()
		}
	}
	for _, e := range open[1:] {
		if e.name != "" {
			r.found.add(LookAt, e.pos, e.what(), "the scope is not closed in its file", "")
		}
	}
}

// endOfMistake returns the token to go on with: the first of a line behind the mistake
// that begins at token start.
func (p *parser) endOfMistake(start int, err error) int {
	at := start
	var unexpected *participle.UnexpectedTokenError
	if errors.As(err, &unexpected) {
		at = max(start, p.index(unexpected.Unexpected, start))
	}
	for i := start + 1; i < len(p.tokens); i++ {
		if t := p.tokens[i]; t.EOF() || t.Pos.Line > p.tokens[at].Pos.Line {
			return i
		}
	}
	return len(p.tokens) - 1
}

// braces opens and closes the scopes that tokens which are not understood open and close.
// What such a scope holds goes nowhere.
func (p *parser) braces(open []*oldEntry, from, to int) []*oldEntry {
	for i := from; i < to; i++ {
		switch {
		case p.is(i, "{"):
			open = append(open, new(oldEntry))
		case p.is(i, "}") && len(open) > 1:
			open = open[:len(open)-1]
		}
	}
	return open
}

// take puts a statement into the tree, and returns the scopes that are open behind it.
func (r *oldReader) take(src *source, open []*oldEntry, s *statement, at lexer.Token) []*oldEntry {
	pos := src.position(at.Pos)
	into := open[len(open)-1]
	switch {
	case s.Close && len(open) == 1:
		r.found.add(LeftOut, pos, "}", "closes no scope", "")
	case s.Close:
		return open[:len(open)-1]
	case s.Include != nil:
		r.include(src, into, plainText(s.Include.Token), pos)
	default:
		e := &oldEntry{pos: pos, name: strings.ToLower(plainText(s.Name)), scope: s.Open, parent: into}
		for _, l := range s.Labels {
			e.labels = append(e.labels, plainText(l.Token))
		}
		if s.Value != nil {
			e.value, e.nested = s.Value.written()
		}
		into.within = append(into.within, e)
		if s.Open {
			return append(open, e)
		}
	}
	return open
}

// what names an entry in a finding: never its value, which may be a secret.
func (e *oldEntry) what() string {
	return strings.Join(append([]string{e.name}, e.labels...), " ")
}

// plainText is a token without its quotes.
func plainText(t lexer.Token) string {
	switch t.Type {
	case tokString:
		return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(t.Value[1 : len(t.Value)-1])
	case tokQuoted:
		return t.Value[1 : len(t.Value)-1]
	}
	return t.Value
}

// quoted writes a text as a string of the language.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$${").Replace(s) + `"`
}

// written is a value as the new file has it. There a path needs quotes, and ${NAME} is
// the environment's.
func (v *oldValue) written() (text string, nested bool) {
	if v.Group != nil {
		return v.Group.written(), v.Group.nested()
	}
	if len(v.Items) == 1 {
		return writtenToken(v.Items[0].Token), false
	}
	var words []string
	for _, t := range v.Items {
		words = append(words, writtenToken(t.Token))
	}
	return "( " + strings.Join(words, " ") + " )", false
}

func (b *oldBracket) written() string {
	words := []string{b.Open.Value}
	for _, e := range b.Within {
		switch {
		case e.Group != nil:
			words = append(words, e.Group.written())
		case e.Token.Type == tokPunct && e.Token.Value == ",":
		default:
			words = append(words, writtenToken(e.Token))
		}
	}
	return strings.Join(append(words, b.Close.Value), " ")
}

func writtenToken(t lexer.Token) string {
	if t.Type == tokPunct || t.Type == tokWord {
		return t.Value
	}
	return quoted(plainText(t))
}

// include reads the files of an include into the scope it stands in.
func (r *oldReader) include(src *source, into *oldEntry, name string, pos Position) {
	path := absolute(name, src.dir)
	files := []string{path}
	if strings.ContainsAny(name, "*?[") {
		files, _ = filepath.Glob(path) // a malformed pattern matches nothing, and the next line says so
	}
	if len(files) == 0 {
		r.found.add(LookAt, pos, "include "+name, "matches no file", "")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		switch {
		case err != nil:
			r.found.add(LeftOut, pos, "include "+name, reason(err), "copy the file here, or give the folder that the old system has it in")
		case slices.Contains(r.stack, file):
			r.found.add(LeftOut, pos, "include "+name, "the file includes itself", "")
		case len(r.stack) >= maxIncludeDepth || r.files >= maxFiles:
			r.found.add(LeftOut, pos, "include "+name, fmt.Sprintf("more than %d files, or deeper in each other than %d", maxFiles, maxIncludeDepth), "")
		default:
			r.files++
			r.stack = append(r.stack, file)
			r.read(shown(src, file), filepath.Dir(file), string(text), into)
			r.stack = r.stack[:len(r.stack)-1]
		}
	}
}
