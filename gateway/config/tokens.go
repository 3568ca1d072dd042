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

// lex splits the text. It cannot fail: the rules take every character. It does so line by
// line, as nothing but white space goes on in the next: at each token an expression clears
// memory for all that is left of the text, up to 32 KiB each time.
func (p *parser) lex() {
	offset, left := 0, p.src.text
	for line, more := 0, true; more; line++ {
		var text string
		text, left, more = strings.Cut(left, "\n")
		for _, t := range consume(text) {
			if t.Type == tokComment || t.Type == tokBlank || t.EOF() && more {
				continue
			}
			t.Pos.Line += line
			t.Pos.Offset += offset
			p.tokens = append(p.tokens, t)
		}
		offset += len(text) + 1
	}
	p.broken = len(p.tokens)
}

// consume takes a text apart.
func consume(text string) []lexer.Token {
	lex, err := language.LexString("", text)
	if err != nil {
		panic(err)
	}
	all, err := lexer.ConsumeAll(lex)
	if err != nil {
		panic(err)
	}
	return all
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
