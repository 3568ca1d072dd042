package config

import "fmt"

var closers = map[string]string{"{": "}", "(": ")", "[": "]"}

// checkNesting refuses brackets that nest deeper than any scope does: the grammar
// recurses, and participle has no bound on how deep.
func (p *parser) checkNesting() bool {
	depth := 0
	for i, t := range p.tokens {
		switch {
		case p.is(i, "{") || p.is(i, "(") || p.is(i, "["):
			depth++
		case depth > 0 && (p.is(i, "}") || p.is(i, ")") || p.is(i, "]")):
			depth--
		}
		if depth > maxNesting {
			p.errorAt(t, "", "brackets are nested deeper than %d", maxNesting)
			return false
		}
	}
	return true
}

// checkBrackets finds the first bracket without its partner. It knows better
// than the grammar where the mistake was made, so that this is the one that is
// reported.
func (p *parser) checkBrackets() {
	var open []int
	for i, t := range p.tokens {
		if t.Type != tokPunct {
			continue
		}
		switch t.Value {
		case "{", "(", "[":
			open = append(open, i)
		case "}", ")", "]":
			if len(open) == 0 {
				p.errorAt(t, "", "%q closes nothing", t.Value)
				p.broken = i
				return
			}
			last := p.tokens[open[len(open)-1]]
			if want := closers[last.Value]; want != t.Value {
				p.errorAt(t, fmt.Sprintf("%q of line %d is still open", last.Value, last.Pos.Line), "%q where %q is expected", t.Value, want)
				p.broken = open[0]
				return
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t := p.tokens[open[len(open)-1]]
		p.errorAt(t, "", "%q is not closed", t.Value)
		p.broken = open[0]
	}
}
