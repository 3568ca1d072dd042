package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
)

// checkText refuses what is not a text file of a reasonable size.
func (p *parser) checkText() bool {
	if len(p.src.text) > maxFileSize {
		p.report.errorf(Position{File: p.src.name}, "", "file is larger than %d bytes", maxFileSize)
		return false
	}
	for i, line := range p.src.lines {
		if len(line) > maxLineLength {
			p.report.errorf(Position{p.src.name, i + 1, 1}, "", "line is longer than %d bytes", maxLineLength)
			return false
		}
		column := 0
		for at, c := range line {
			column++
			if c == utf8.RuneError && !strings.HasPrefix(line[at:], "\uFFFD") {
				p.report.errorf(Position{p.src.name, i + 1, column}, "save the file as UTF-8", "byte %#02x is not UTF-8", line[at])
				return false
			}
			if unicode.IsControl(c) && c != '\t' && (c != '\r' || at != len(line)-1) {
				p.report.errorf(Position{p.src.name, i + 1, column}, "", "control character U+%04X", c)
				return false
			}
		}
	}
	return true
}

// lex splits the text. It cannot fail: the rules take every character.
func (p *parser) lex() {
	pos := lexer.Position{Line: 1, Column: 1}
	for rest := p.src.text; rest != ""; {
		kind, n := scan(rest)
		value := rest[:n]
		if kind != tokComment && kind != tokBlank {
			p.tokens = append(p.tokens, lexer.Token{Type: kind, Value: value, Pos: pos})
		}
		pos.Advance(value)
		rest = rest[n:]
	}
	p.tokens = append(p.tokens, lexer.EOFToken(pos))
	p.broken = len(p.tokens)
}

// scan returns what the rules of language find at the beginning of a text, and its length.
// It stands beside them as they are expressions, which are tried one after the other and
// clear memory, up to 32 KiB, each time.
func scan(text string) (kind lexer.TokenType, n int) {
	const blank, stop = " \t\n\f\r", " \t\n\f\r#\"'={}[](),"
	first := text[:1]
	switch {
	case first == "#":
		return tokComment, lineOf(text)
	case strings.Contains(blank, first):
		return tokBlank, len(text) - len(strings.TrimLeft(text, blank))
	case first == `"`:
		if n := stringOf(text); n > 0 {
			return tokString, n
		}
		return tokUnclosed, lineOf(text)
	case first == "'":
		if n := 1 + strings.IndexAny(text[1:], "'\n"); n > 0 && text[n] == '\'' {
			return tokQuoted, n + 1
		}
		return tokUnclosed, lineOf(text)
	case strings.Contains(stop, first):
		return tokPunct, 1
	}
	if n = strings.IndexAny(text, stop); n < 0 {
		n = len(text)
	}
	if slash := strings.IndexByte(text[:n], '/'); slash >= 0 {
		return tokSlashed, n
	}
	return tokWord, n
}

// lineOf is the length of the first line.
func lineOf(text string) int {
	if n := strings.IndexByte(text, '\n'); n >= 0 {
		return n
	}
	return len(text)
}

// stringOf is the length of the string that a text begins with; zero: it is not closed on
// its line.
func stringOf(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return i + 1
		case '\n':
			return 0
		case '\\':
			if i++; i < len(text) && text[i] == '\n' {
				return 0
			}
		}
	}
	return 0
}

// checkTokens reports tokens that are in no file that is right.
func (p *parser) checkTokens() {
	for i, t := range p.tokens {
		switch t.Type {
		case tokUnclosed:
			p.errorAt(t, "a string ends on the line it begins on", "quote is not closed")
			p.wrong[t.Pos.Line] = true
		case tokSlashed:
			hint := fmt.Sprintf("write %q", t.Value)
			if strings.HasPrefix(t.Value, "//") {
				hint = "a comment begins with #"
			}
			p.errorAt(t, hint, `"/" outside quotes`)
			p.wrong[t.Pos.Line] = true
		case tokWord:
			at := strings.IndexFunc(t.Value, func(c rune) bool { return unicode.IsSpace(c) || strings.ContainsRune("“”„‘’«»", c) })
			if at < 0 {
				continue
			}
			c, _ := utf8.DecodeRuneInString(t.Value[at:])
			p.tokens[i].Type = tokSlashed // whatever it was to be, it has been reported
			p.wrong[t.Pos.Line] = true
			t.Pos.Column += utf8.RuneCountInString(t.Value[:at])
			p.errorAt(t, `quotes are ", white space is blanks and tabs`, "character U+%04X outside quotes", c)
		}
	}
}

// hideSecrets masks the values of options that hold secrets, those of names that
// look like them, and passwords within URIs.
func (p *parser) hideSecrets() {
	secret := make(map[string]bool) // words repeat
	for i, t := range p.tokens {
		if t.Type == tokWord {
			looks, known := secret[t.Value]
			if !known {
				looks = looksSecret(strings.ToLower(t.Value))
				secret[t.Value] = looks
			}
			if looks {
				p.hideValue(i + 1)
			}
		}
		before, rest, uri := strings.Cut(t.Value, "://")
		if user, _, ok := strings.Cut(rest, "@"); uri && ok && t.Type != tokPunct {
			from := t.Pos.Column + utf8.RuneCountInString(before) + len("://")
			p.src.hideColumns(t.Pos.Line, from, from+utf8.RuneCountInString(user))
		}
	}
}

// hideValue masks what follows the name of a secret: a string, all words up to
// the end of the line (somebody may have left out the quotes), or a list. The
// "=" may be missing too.
func (p *parser) hideValue(i int) {
	if p.is(i, "=") {
		i++
	}
	first := p.tokens[i]
	switch {
	case p.is(i, "(") || p.is(i, "["):
		for i++; !p.tokens[i].EOF() && (p.tokens[i].Type != tokPunct || p.is(i, ",")); i++ {
			if !p.is(i, ",") {
				p.src.hide(p.tokens[i])
			}
		}
	case first.Type == tokString || first.Type == tokQuoted:
		p.src.hide(first)
	default:
		for ; !p.tokens[i].EOF() && p.tokens[i].Type != tokPunct && p.tokens[i].Pos.Line == first.Pos.Line; i++ {
			p.src.hide(p.tokens[i])
		}
	}
}

// secretNames are the options that hold secrets.
var secretNames = optionNames(func(o *option) bool { return o.secret })

// looksSecret reports whether name is an option that holds a secret, or what a
// person might have mistyped for one.
func looksSecret(name string) bool {
	for _, known := range secretNames {
		if d := len(known) - len(name); -2 <= d && d <= 2 && distance(known, name) <= 2 {
			return true
		}
	}
	return strings.Contains(name, "secret") || strings.Contains(name, "passw") || strings.Contains(name, "token")
}
