package config

import (
	"regexp"
	"strings"

	"github.com/alecthomas/participle/v2/lexer"
)

// raw is a value as it is written, with strings unquoted and environment
// variables put in: a scalar, a list or a dictionary.
type raw struct {
	pos    Position
	shape  shape
	scalar scalar
	items  []scalar
	pairs  []rawPair
	bad    bool // a part was reported already: nothing more to say about it
}

// shape is the form of a raw value.
type shape uint8

const (
	shapeScalar shape = iota
	shapeList
	shapeDictionary
)

// String returns the name of the shape.
func (s shape) String() string { return [...]string{"single value", "list", "dictionary"}[s] }

// scalar is one string or word.
type scalar struct {
	pos  Position
	text string
}

// rawPair is one key of a dictionary with its value.
type rawPair struct{ key, value scalar }

// raw converts a value of the grammar.
func (l *loader) raw(src *source, v *value) raw {
	r := raw{pos: src.position(v.Pos)}
	switch {
	case v.List != nil:
		r.shape = shapeList
		for _, t := range v.List.Items {
			s, ok := l.scalar(src, t.Token)
			r.items, r.bad = append(r.items, s), r.bad || !ok
		}
	case v.Dict != nil:
		r.shape = shapeDictionary
		for _, p := range v.Dict.Pairs {
			s, ok := l.scalar(src, p.Value.Token)
			key := scalar{src.position(p.Key.Pos), strings.ToLower(p.Key.Value)}
			r.pairs, r.bad = append(r.pairs, rawPair{key, s}), r.bad || !ok
		}
	default:
		var ok bool
		r.scalar, ok = l.scalar(src, v.Scalar[0].Token)
		r.bad = !ok || !l.joined(src, v.Scalar)
		for _, t := range v.Scalar[1:] {
			r.scalar.text += "," + t.Token.Value
		}
	}
	return r
}

// joined reports whether a bare value with commas in it is written without
// white space; "a, b" is somebody's list without parentheses.
func (l *loader) joined(src *source, words []*text) bool {
	for i, w := range words[1:] {
		before := words[i].Token
		comma := before.Pos.Offset + len(before.Value)
		if before.Type != tokWord || w.Token.Type != tokWord || w.Token.Pos.Offset != comma+1 {
			l.errorf(src.position(w.Token.Pos), "write a list in parentheses: ( a b )", "comma outside a list")
			return false
		}
	}
	return true
}

// scalar unquotes a token. It reports whether there is nothing wrong with it.
func (l *loader) scalar(src *source, t lexer.Token) (scalar, bool) {
	s := scalar{pos: src.position(t.Pos), text: t.Value}
	switch t.Type {
	case tokUnclosed, tokSlashed:
		return s, false // reported with the tokens
	case tokQuoted:
		s.text = t.Value[1 : len(t.Value)-1]
	case tokString:
		var ok bool
		s.text, ok = l.unquote(t.Value[1:len(t.Value)-1], s.pos)
		return s, ok
	}
	return s, true
}

// stringPart is what is not itself in a string: \" and \\, $${ for a plain ${,
// and an environment variable. Any other backslash stays, so that regular
// expressions need no doubling, and ${1} stays for templates.
var stringPart = regexp.MustCompile(`\\["\\]|\$\$\{|\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

func (l *loader) unquote(s string, pos Position) (string, bool) {
	ok := true
	out := stringPart.ReplaceAllStringFunc(s, func(part string) string {
		switch {
		case part[0] == '\\':
			return part[1:]
		case part == "$${":
			return "${"
		}
		name := part[2 : len(part)-1]
		v, set := l.getenv(name)
		if !set {
			l.errorf(pos, "set it, or write $${ for a plain ${", "environment variable %s is not set", name)
			ok = false
		}
		return v
	})
	return out, ok
}
