package policy

import "errors"

// Lua's patterns (Lua 5.1 reference manual §5.4.1). The library's own matcher
// backtracks for as long as it takes, without asking anybody; this one counts.

const (
	maxCaptures = 32
	// maxMatchDepth is how deep the matcher descends: into captures, and into
	// what follows a repetition.
	maxMatchDepth = 200
)

// Errors of a pattern. A script sees their text.
var (
	errPatternEnd      = errors.New("malformed pattern (ends with '%')")
	errPatternSet      = errors.New("malformed pattern (missing ']')")
	errPatternBalance  = errors.New("missing arguments to '%b'")
	errPatternFrontier = errors.New("missing '[' after '%f' in pattern")
	errPatternCapture  = errors.New("invalid pattern capture")
	errPatternIndex    = errors.New("invalid capture index")
	errPatternMany     = errors.New("too many captures")
	errPatternDeep     = errors.New("pattern too complex")
)

// What the length of a capture may be instead of one.
const (
	captureOpen     = -1
	capturePosition = -2
)

type capture struct{ start, length int }

// matcher matches one pattern against one text.
type matcher struct {
	text, pattern string
	captures      [maxCaptures]capture
	level         int // captures that are there
	depth         int
	// step is called for each step and ends the match with its error.
	step func() error
	err  error
}

// fail ends the whole match.
func (m *matcher) fail(err error) int {
	if m.err == nil {
		m.err = err
	}
	return -1
}

// at matches the whole pattern at one place of the text and returns where the match
// ends, negative for none.
func (m *matcher) at(text, pattern int) (end int, err error) {
	m.level, m.depth, m.err = 0, 0, nil
	end = m.match(text, pattern)
	return end, m.err
}

// match matches the pattern from p on at s.
func (m *matcher) match(s, p int) int {
	if m.depth++; m.depth > maxMatchDepth {
		return m.fail(errPatternDeep)
	}
	defer func() { m.depth-- }()
	for {
		if m.err != nil {
			return -1
		}
		if err := m.step(); err != nil {
			return m.fail(err)
		}
		if p == len(m.pattern) {
			return s
		}
		switch c := m.pattern[p]; {
		case c == '(':
			if p+1 < len(m.pattern) && m.pattern[p+1] == ')' {
				return m.open(s, p+2, capturePosition)
			}
			return m.open(s, p+1, captureOpen)
		case c == ')':
			return m.close(s, p+1)
		case c == '$' && p+1 == len(m.pattern):
			if s == len(m.text) {
				return s
			}
			return -1
		case c == '%' && p+1 < len(m.pattern):
			next, rest, done := m.special(s, p)
			if done {
				return next
			}
			if rest > 0 {
				s, p = next, rest
				continue
			}
		}
		next, rest, done := m.item(s, p)
		if done {
			return next
		}
		s, p = next, rest
	}
}

// special matches %b, %f and %1 to %9. rest is where the pattern goes on, 0 where
// it is none of these.
func (m *matcher) special(s, p int) (next, rest int, done bool) {
	switch c := m.pattern[p+1]; {
	case c == 'b':
		if next = m.balance(s, p+2); next < 0 {
			return -1, 0, true
		}
		return next, p + 4, false
	case c == 'f':
		if p+2 >= len(m.pattern) || m.pattern[p+2] != '[' {
			return m.fail(errPatternFrontier), 0, true
		}
		end := m.classEnd(p + 2)
		if end < 0 {
			return -1, 0, true
		}
		var before, here byte
		if s > 0 {
			before = m.text[s-1]
		}
		if s < len(m.text) {
			here = m.text[s]
		}
		if m.inSet(before, p+2, end-1) || !m.inSet(here, p+2, end-1) {
			return -1, 0, true
		}
		return s, end, false
	case c >= '0' && c <= '9':
		i := int(c - '1')
		if i < 0 || i >= m.level || m.captures[i].length < 0 {
			return m.fail(errPatternIndex), 0, true
		}
		again := m.text[m.captures[i].start:][:m.captures[i].length]
		if len(m.text)-s < len(again) || m.text[s:s+len(again)] != again {
			return -1, 0, true
		}
		return s + len(again), p + 2, false
	}
	return 0, 0, false
}

// item matches one class with what says how often.
func (m *matcher) item(s, p int) (next, rest int, done bool) {
	end := m.classEnd(p)
	if end < 0 {
		return -1, 0, true
	}
	var how byte
	if end < len(m.pattern) {
		how = m.pattern[end]
	}
	switch how {
	case '?':
		if m.single(s, p, end) {
			if next = m.match(s+1, end+1); next >= 0 {
				return next, 0, true
			}
		}
		return s, end + 1, false
	case '*':
		return m.longest(s, s, p, end), 0, true
	case '+':
		if !m.single(s, p, end) {
			return -1, 0, true
		}
		return m.longest(s, s+1, p, end), 0, true
	case '-':
		return m.shortest(s, p, end), 0, true
	}
	if !m.single(s, p, end) {
		return -1, 0, true
	}
	return s + 1, end, false
}

// longest takes as many as there are, and gives back down to least.
func (m *matcher) longest(s, least, p, end int) int {
	n := s
	for m.single(n, p, end) {
		if err := m.step(); err != nil {
			return m.fail(err)
		}
		n++
	}
	for ; n >= least; n-- {
		if r := m.match(n, end+1); r >= 0 || m.err != nil {
			return r
		}
	}
	return -1
}

// shortest takes as few as will do.
func (m *matcher) shortest(s, p, end int) int {
	for {
		if r := m.match(s, end+1); r >= 0 || m.err != nil {
			return r
		}
		if !m.single(s, p, end) {
			return -1
		}
		s++
	}
}

func (m *matcher) open(s, p, length int) int {
	if m.level >= maxCaptures {
		return m.fail(errPatternMany)
	}
	m.captures[m.level] = capture{s, length}
	m.level++
	r := m.match(s, p)
	if r < 0 {
		m.level--
	}
	return r
}

func (m *matcher) close(s, p int) int {
	for i := m.level - 1; i >= 0; i-- {
		if m.captures[i].length != captureOpen {
			continue
		}
		m.captures[i].length = s - m.captures[i].start
		r := m.match(s, p)
		if r < 0 {
			m.captures[i].length = captureOpen
		}
		return r
	}
	return m.fail(errPatternCapture)
}

func (m *matcher) balance(s, p int) int {
	if p+1 >= len(m.pattern) {
		return m.fail(errPatternBalance)
	}
	first, last := m.pattern[p], m.pattern[p+1]
	if s >= len(m.text) || m.text[s] != first {
		return -1
	}
	depth := 1
	for i := s + 1; i < len(m.text); i++ {
		if err := m.step(); err != nil {
			return m.fail(err)
		}
		switch m.text[i] {
		case last:
			if depth--; depth == 0 {
				return i + 1
			}
		case first:
			depth++
		}
	}
	return -1
}

// classEnd returns where the class at p ends.
func (m *matcher) classEnd(p int) int {
	c := m.pattern[p]
	p++
	switch c {
	case '%':
		if p == len(m.pattern) {
			return m.fail(errPatternEnd)
		}
		return p + 1
	case '[':
		if p < len(m.pattern) && m.pattern[p] == '^' {
			p++
		}
		for first := true; first || p < len(m.pattern) && m.pattern[p] != ']'; first = false {
			if p == len(m.pattern) {
				return m.fail(errPatternSet)
			}
			if m.pattern[p] == '%' {
				p++
			}
			p++
		}
		if p >= len(m.pattern) {
			return m.fail(errPatternSet)
		}
		return p + 1
	}
	return p
}

// single says whether the character at s is in the class from p to end.
func (m *matcher) single(s, p, end int) bool {
	if s >= len(m.text) {
		return false
	}
	c := m.text[s]
	switch m.pattern[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pattern[p+1])
	case '[':
		return m.inSet(c, p, end-1)
	}
	return c == m.pattern[p]
}

// inSet says whether c is in the set from the bracket at p to that at end.
func (m *matcher) inSet(c byte, p, end int) bool {
	in := true
	p++
	if m.pattern[p] == '^' {
		in = false
		p++
	}
	for ; p < end; p++ {
		switch {
		case m.pattern[p] == '%' && p+1 < end:
			p++
			if inClass(c, m.pattern[p]) {
				return in
			}
		case p+2 < end && m.pattern[p+1] == '-':
			if m.pattern[p] <= c && c <= m.pattern[p+2] {
				return in
			}
			p += 2
		case m.pattern[p] == c:
			return in
		}
	}
	return !in
}

// inClass says whether c is in %class, of ASCII whatever the locale; a capital
// letter means the others.
func inClass(c, class byte) bool {
	lower := c >= 'a' && c <= 'z'
	upper := c >= 'A' && c <= 'Z'
	digit := c >= '0' && c <= '9'
	var in bool
	switch class | 0x20 {
	case 'a':
		in = lower || upper
	case 'c':
		in = c < 0x20 || c == 0x7f
	case 'd':
		in = digit
	case 'l':
		in = lower
	case 'p':
		in = c > 0x20 && c < 0x7f && !lower && !upper && !digit
	case 's':
		in = c == ' ' || c >= '\t' && c <= '\r'
	case 'u':
		in = upper
	case 'w':
		in = lower || upper || digit
	case 'x':
		in = digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
	case 'z':
		in = c == 0
	default:
		return class == c
	}
	return in == (class >= 'a')
}
