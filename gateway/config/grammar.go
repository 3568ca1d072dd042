package config

import (
	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// language splits a file into tokens. It has no states: what a token is does
// not depend on where it stands. Between them the rules take every byte, so
// that a file always lexes and mistakes are reported together (syntax.go).
var language = lexer.MustSimple([]lexer.SimpleRule{
	{Name: "Comment", Pattern: `#[^\n]*`},
	{Name: "Blank", Pattern: `\s+`},
	{Name: "String", Pattern: `"(?:\\.|[^"\\\n])*"`},
	{Name: "Quoted", Pattern: `'[^'\n]*'`},
	{Name: "Unclosed", Pattern: `["'][^\n]*`},
	{Name: "Punct", Pattern: `[={}()\[\],]`},
	{Name: "Slashed", Pattern: `[^\s#"'={}\[\](),/]*/[^\s#"'={}\[\](),]*`},
	{Name: "Word", Pattern: `[^\s#"'={}\[\](),/]+`},
})

// Token types of language, by name.
var (
	tokComment  = language.Symbols()["Comment"]
	tokBlank    = language.Symbols()["Blank"]
	tokString   = language.Symbols()["String"]
	tokQuoted   = language.Symbols()["Quoted"]
	tokUnclosed = language.Symbols()["Unclosed"]
	tokSlashed  = language.Symbols()["Slashed"]
	tokPunct    = language.Symbols()["Punct"]
	tokWord     = language.Symbols()["Word"]
)

// entry is one include, setting or scope.
type entry struct {
	Include *text       `parser:"( 'include' @@"`
	Name    lexer.Token `parser:"| @Word"`
	Value   *value      `parser:"  ( '=' @@"`
	Label   *text       `parser:"  | @@"`
	Block   *block      `parser:"    @@ | @@ ) )"`
}

// block is what a scope holds.
type block struct {
	Open    lexer.Token `parser:"@'{'"`
	Entries []*entry    `parser:"@@*"`
	Close   lexer.Token `parser:"@'}'"`
}

// value is what follows "=". A bare value may hold commas; within a list or a
// dictionary they separate.
type value struct {
	Pos    lexer.Position
	Scalar []*text     `parser:"  @@ ( ',' @@ )*"`
	List   *list       `parser:"| @@"`
	Dict   *dictionary `parser:"| @@"`
}

// text is a label, an item of a list or a value in a dictionary.
type text struct {
	Token lexer.Token `parser:"@(String|Quoted|Word|Unclosed|Slashed)"`
}

type list struct {
	Open  lexer.Token `parser:"@'('"`
	Items []*text     `parser:"( @@ ','? )*"`
	Close lexer.Token `parser:"@')'"`
}

type dictionary struct {
	Open  lexer.Token `parser:"@'['"`
	Pairs []*pair     `parser:"( @@ ','? )*"`
	Close lexer.Token `parser:"@']'"`
}

type pair struct {
	Key   lexer.Token `parser:"@Word '='"`
	Value *text       `parser:"@@"`
}

// entryParser parses one entry and leaves the rest of the tokens alone.
var entryParser = participle.MustBuild[entry](
	participle.Lexer(language),
	participle.Elide("Comment", "Blank"),
	participle.CaseInsensitive("Word"),
	participle.UseLookahead(0), // one token tells every branch, and an error is where it was made
)
