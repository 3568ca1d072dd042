package mcmt

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"

	"github.com/emersion/go-message/textproto"
)

// maxWarnings bounds what a message can make its reader hold and print.
const maxWarnings = 50

// parser holds what is counted over one whole message.
type parser struct {
	lim      Limits
	parts    int
	fields   int
	warnings []string
	src      bytes.Reader
	buf      *bufio.Reader // over src, reset for each header block
}

func newParser(lim Limits) *parser {
	p := &parser{lim: lim.withDefaults()}
	p.buf = bufio.NewReaderSize(&p.src, 1024)
	return p
}

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
	h, body, err := p.header(b, where)
	if err != nil {
		return nil, err
	}
	e := &entity{where: where, header: h, body: body}
	e.kind, e.params = p.contentType(h, where)
	return e, nil
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
	major, minor, _ := strings.Cut(s, "/")
	notToken := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?=`, r) }
	return major != "" && minor != "" && !strings.ContainsFunc(major, notToken) && !strings.ContainsFunc(minor, notToken)
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
	if err := p.checkFields(head, where); err != nil {
		return Header{}, nil, err
	}
	h, err := p.readHeader(head)
	if err != nil {
		r := refuse(where+" header", "header is malformed")
		r.Err = err
		return Header{}, nil, r
	}
	return h, body, nil
}

// readHeader gives a block that was bounded before to the library, which has
// no bounds of its own.
func (p *parser) readHeader(head []byte) (Header, error) {
	p.src.Reset(head)
	p.buf.Reset(&p.src)
	h, err := textproto.ReadHeader(p.buf)
	return Header{fields: h}, err
}

// checkFields counts the fields of a block and finds the line that is none.
// Counting comes first: the library spends 400 bytes of memory on a field of
// three.
func (p *parser) checkFields(head []byte, where string) error {
	line := 0
	for l := range bytes.Lines(head) {
		line++
		if isBlank(l[0]) && line > 1 {
			continue
		}
		p.fields++
		if p.fields > p.lim.Fields {
			return refuse(where+" header", "more than %d header fields", p.lim.Fields)
		}
		if fieldName(l) == "" {
			return refuse(fmt.Sprintf("%s header line %d", where, line),
				"%.40q is not a header field", bytes.TrimRight(l, "\r\n"))
		}
	}
	return nil
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

// fieldName returns the name of the header field that line is, or "". White
// space before the colon is obsolete but seen (RFC 5322 §4.5).
func fieldName(line []byte) string {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || isBlank(line[0]) {
		return ""
	}
	name := bytes.TrimRight(line[:i], " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return string(name)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
