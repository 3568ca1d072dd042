package mcmt

import (
	"bytes"
	"fmt"
	"strings"
)

// maxWarnings bounds what a message can make its reader hold and print.
const maxWarnings = 50

// parser holds what is counted over one whole message.
type parser struct {
	lim      Limits
	parts    int
	fields   int
	warnings []string
	room     []field // for those of the next headers
}

func newParser(lim Limits) *parser { return &parser{lim: lim.withDefaults()} }

// warn records something that was tolerated. where is the place, empty for the
// message itself.
func (p *parser) warn(where, format string, args ...any) {
	if len(p.warnings) >= maxWarnings {
		return
	}
	w := fmt.Sprintf(format, args...)
	if where != "" {
		w = where + ": " + w
	}
	p.warnings = append(p.warnings, w)
}

// entity is a header block and the content behind it, transfer encoding still
// on (RFC 2045 §2.4).
type entity struct {
	where  string // "part 2", or "" for the message itself
	header Header
	kind   string // media type in lower case
	params map[string]string
	body   []byte

	decoded bool // content was called; ok and plain are what it returned
	ok      bool
	plain   []byte
}

// entity parses the header block of b and finds its content.
func (p *parser) entity(b []byte, where string) (*entity, error) {
	e := new(entity)
	return e, p.read(e, b, where)
}

// read is entity into e, which is new.
func (p *parser) read(e *entity, b []byte, where string) (err error) {
	e.where = where
	if e.header, e.body, err = p.header(b, where); err == nil {
		e.kind, e.params = p.contentType(e.header, where)
	}
	return err
}

// contentType returns the media type of h with the default of RFC 2045 §5.2.
func (p *parser) contentType(h Header, where string) (string, map[string]string) {
	v := h.Get("Content-Type")
	if v == "" {
		return "text/plain", nil
	}
	kind, params := parseParams(v)
	if !isMediaType(kind) {
		p.warn(where, "Content-Type %.40q is not a media type, taken as text/plain", v)
		return "text/plain", params
	}
	return kind, params
}

// isMediaType reports whether s is two tokens and a slash (RFC 2045 §5.1).
func isMediaType(s string) bool {
	slash := strings.IndexByte(s, '/')
	if slash <= 0 || slash == len(s)-1 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; i != slash && (c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0) {
			return false
		}
	}
	return true
}

// dropMboxLine removes the "From " line that mail stores put before a message.
func (p *parser) dropMboxLine(b []byte) []byte {
	if !bytes.HasPrefix(b, []byte("From ")) && !bytes.HasPrefix(b, []byte(">From ")) {
		return b
	}
	_, rest, _ := bytes.Cut(b, []byte("\n"))
	p.warn("", "mbox line before the header ignored")
	return rest
}

// header parses the header block with which b begins and returns what follows
// its blank line. Without a blank line all of b is header.
func (p *parser) header(b []byte, where string) (Header, []byte, error) {
	head, body, ok := cutHeader(b, p.lim.HeaderBytes)
	if !ok {
		return Header{}, nil, refuse(where+" header", "header is larger than %d bytes", p.lim.HeaderBytes)
	}
	if len(head) == 0 {
		return Header{}, body, nil
	}
	h, err := p.readFields(head, where)
	return h, body, err
}

// readFields takes a header block apart, which must not be empty.
func (p *parser) readFields(head []byte, where string) (Header, error) {
	n := bytes.Count(head, []byte("\n"))
	if head[len(head)-1] != '\n' {
		n++
	}
	fields := p.take(n)
	line, start := 0, 0 // of the value of the last field
	for end := 0; end < len(head); {
		l := head[end:]
		if i := bytes.IndexByte(l, '\n'); i >= 0 {
			l = l[:i+1]
		}
		end += len(l)
		line++
		if isBlank(l[0]) && line > 1 {
			fields[len(fields)-1].value = head[start:end]
			continue
		}
		p.fields++
		if p.fields > p.lim.Fields {
			return Header{}, refuse(where+" header", "more than %d header fields", p.lim.Fields)
		}
		name := fieldName(l)
		if name == nil {
			return Header{}, refuse(fmt.Sprintf("%s header line %d", where, line),
				"%.40q is not a header field", bytes.TrimRight(l, "\r\n"))
		}
		start = end - len(l) + bytes.IndexByte(l, ':') + 1
		fields = append(fields, field{name, head[start:end]})
	}
	return Header{fields}, nil
}

// fieldsAtOnce is about what a message for several channels has in all its headers.
const fieldsAtOnce = 12

// take returns an empty slice with room for n fields, or for fieldsAtOnce if that
// is fewer.
func (p *parser) take(n int) []field {
	n = min(n, fieldsAtOnce)
	if n > len(p.room) {
		p.room = make([]field, fieldsAtOnce)
	}
	fields := p.room[:0:n]
	p.room = p.room[n:]
	return fields
}

// cutHeader divides b at its first blank line. It reports false where the block
// before it is larger than limit.
func cutHeader(b []byte, limit int) (head, body []byte, ok bool) {
	if n := leadingBreak(b); n > 0 {
		return nil, b[n:], true
	}
	window := b[:min(len(b), limit+3)]
	for i := 0; ; {
		n := bytes.IndexByte(window[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
		if k := leadingBreak(window[i:]); k > 0 {
			return b[:i], b[i+k:], i <= limit
		}
	}
	return b, nil, len(b) <= limit
}

// leadingBreak is the length of the line break with which b begins.
func leadingBreak(b []byte) int {
	switch {
	case len(b) > 0 && b[0] == '\n':
		return 1
	case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
		return 2
	}
	return 0
}

// fieldName returns the name of the header field that line is, or nil. White
// space before the colon is obsolete but seen (RFC 5322 §4.5).
func fieldName(line []byte) []byte {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || isBlank(line[0]) {
		return nil
	}
	name := bytes.TrimRight(line[:i], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return nil
		}
	}
	return name
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
