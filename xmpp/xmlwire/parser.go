package xmlwire

import (
	"bytes"
	"fmt"
)

// event is what parser.next came to.
type event uint8

const (
	needMore event = iota // the input ended inside a token
	gotHeader
	gotElement
	gotEnd // </stream:stream>
)

// phase is where in a document or stream the parser stands.
type phase uint8

const (
	atStart  phase = iota // nothing read: byte order mark and declaration may come
	prolog                // before the opening tag
	inStream              // after the stream header
	closed                // after the stream's or the document's end
)

// parser turns bytes into elements. It works by tokens, a tag or a run of text:
// a token is looked for from where the last search ended, so that input may
// arrive in pieces of any size at linear cost, and is taken apart when it is
// there as a whole. The element in progress stays in buf, decoded in place
// (decoding only shortens), and its parts are offsets from its first byte, so
// that one string holds all of its text in the end.
type parser struct {
	lim    Limits
	stream bool // the outermost element is a stream header, not a whole document

	buf    []byte
	start  int   // first byte of the element in progress
	pos    int   // first byte of the token in progress
	seen   int   // bytes before it were searched for the token's end
	quote  byte  // the quotation mark the search is inside of, or 0
	base   int64 // stream offset of buf[0]
	phase  phase
	broken *Error
	quiet  int // reads in a row that a small buffer would have held

	root string // name of the stream header as it was written
	tree builder
}

// next takes tokens until something is complete.
func (p *parser) next() (event, error) {
	if p.broken != nil {
		return needMore, p.broken
	}
	for {
		ev, progress := p.token()
		switch {
		case p.broken != nil:
			return needMore, p.broken
		case ev != needMore:
			return ev, nil
		case !progress:
			if len(p.buf)-p.start >= p.lim.Bytes && p.start < len(p.buf) {
				p.fail(TooLarge, p.start+p.lim.Bytes, "more than %d bytes", p.lim.Bytes)
				return needMore, p.broken
			}
			return needMore, nil
		}
	}
}

// window is the part of the token in progress that is there and within the
// limit. What lies beyond is not looked at, so that the outcome does not depend
// on how much arrived at once.
func (p *parser) window() []byte {
	return p.buf[p.pos:min(len(p.buf), p.start+p.lim.Bytes)]
}

// token takes one token. It reports progress when it took one and nothing is
// complete yet.
func (p *parser) token() (ev event, progress bool) {
	if p.phase == atStart && !p.byteOrderMark() {
		return needMore, false
	}
	inside := len(p.tree.open) > 0
	if !inside {
		p.skipSpace()
	}
	w := p.window()
	if len(w) == 0 {
		return needMore, false
	}
	if w[0] != '<' {
		if !inside {
			p.fail(NotWellFormed, p.pos, "text outside of an element")
			return needMore, false
		}
		return needMore, p.text(w)
	}
	if len(w) < 2 {
		return needMore, false
	}
	switch w[1] {
	case '!':
		return needMore, p.bang(w)
	case '?':
		return needMore, p.declaration(w)
	}
	if p.phase == closed {
		p.fail(NotWellFormed, p.pos, "a second outermost element")
		return needMore, false
	}
	n := p.tagEnd(w)
	if n == 0 {
		return needMore, false
	}
	if w[1] == '/' {
		return p.endTag(w[:n]), true
	}
	return p.startTag(w[:n]), true
}

// advance moves past a token of n bytes.
func (p *parser) advance(n int) {
	p.pos += n
	p.seen, p.quote = p.pos, 0
}

// skipSpace drops white space between elements: it belongs to no element and
// counts against no limit (RFC 6120 §4.6.1, whitespace keepalive).
func (p *parser) skipSpace() {
	for p.pos < len(p.buf) && isSpace(p.buf[p.pos]) {
		p.pos++
	}
	if p.pos > p.start && p.phase == atStart {
		p.phase = prolog // a declaration comes first or not at all
	}
	p.start, p.seen = p.pos, max(p.seen, p.pos)
}

// byteOrderMark drops one UTF-8 byte order mark at the very start and refuses
// the other encodings that can be told there (XML 1.0 appendix F). It reports
// whether enough was there to tell.
func (p *parser) byteOrderMark() bool {
	const mark = "\xEF\xBB\xBF"
	b := p.buf[p.pos:]
	if len(b) == 0 || p.base+int64(p.pos) != 0 {
		return len(b) > 0
	}
	switch b[0] {
	case 0xFE, 0xFF, 0x00:
		p.fail(BadEncoding, p.pos, "not UTF-8")
		return false
	}
	if n := min(len(b), len(mark)); string(b[:n]) == mark[:n] {
		if n < len(mark) {
			return false
		}
		p.advance(n)
		p.start = p.pos
	}
	return true
}

// text takes the run of character data that w begins with.
func (p *parser) text(w []byte) bool {
	from := p.seen - p.pos
	i := bytes.IndexByte(w[from:], '<')
	if i < 0 {
		p.seen = p.pos + len(w)
		return false
	}
	n := from + i
	kept, fault := decode(w[:n], inText)
	if fault != nil {
		p.fault(fault)
		return false
	}
	p.addText(p.pos, kept)
	p.advance(n)
	return true
}

// bang takes a CDATA section, the one construct of the kind that RFC 6120 §11.1
// does not forbid.
func (p *parser) bang(w []byte) bool {
	const begin, end = "<![CDATA[", "]]>"
	if n := min(len(w), len(begin)); string(w[:n]) != begin[:n] {
		p.fail(Restricted, p.pos, "comment or document type declaration")
		return false
	} else if n < len(begin) {
		return false
	}
	if len(p.tree.open) == 0 {
		p.fail(NotWellFormed, p.pos, "text outside of an element")
		return false
	}
	from := max(p.seen-p.pos, len(begin))
	i := bytes.Index(w[from:], []byte(end))
	if i < 0 {
		p.seen = p.pos + max(from, len(w)-len(end)+1)
		return false
	}
	kept, fault := decode(w[len(begin):from+i], inCDATA)
	if fault != nil {
		fault.at += len(begin)
		p.fault(fault)
		return false
	}
	p.addText(p.pos+len(begin), kept)
	p.advance(from + i + len(end))
	return true
}

// tagEnd returns the length of the tag that w begins with, 0 while its end is
// not there.
func (p *parser) tagEnd(w []byte) int {
	i := max(p.seen-p.pos, 1)
	for ; i < len(w); i++ {
		c := w[i]
		if class[c]&tagMark == 0 {
			continue
		}
		switch {
		case c == '<':
			p.fail(NotWellFormed, p.pos+i, "'<' inside a tag")
			return 0
		case p.quote != 0:
			if c == p.quote {
				p.quote = 0
			}
		case c == '"' || c == '\'':
			p.quote = c
		case c == '>':
			return i + 1
		}
	}
	p.seen = p.pos + i
	return 0
}

// fail records the error that ends parsing; at is an index into buf.
func (p *parser) fail(k Kind, at int, format string, args ...any) {
	if p.broken == nil {
		p.broken = &Error{Kind: k, Offset: p.base + int64(at), Text: fmt.Sprintf(format, args...)}
	}
}

// fault records an error that decode found in the token in progress.
func (p *parser) fault(f *fault) { p.fail(f.kind, p.pos+f.at, "%s", f.text) }
