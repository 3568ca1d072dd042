package mcmt

import (
	"bytes"
	"slices"
	"strings"
)

const smsType = "message/vnd.msys.smpp"

// mcmt takes the parts of e, which is of Type, into m. Of several parts for one
// use the first wins.
func (p *parser) mcmt(m *Message, e *entity) error {
	if e.params["boundary"] == "" {
		return refuse("header Content-Type", "MCMT message has no boundary")
	}
	children, err := p.children(e, 1)
	if err != nil {
		return err
	}
	if len(children) == 0 {
		return refuse("body", "MCMT message has no parts")
	}
	for _, c := range children {
		part := p.part(c)
		if err := p.use(m, c, &part); err != nil {
			return err
		}
		m.Parts = append(m.Parts, part)
	}
	if m.Email == nil {
		return refuse("body", "MCMT message has no e-mail part (message/rfc822)")
	}
	m.XMPP = m.XMPPPart(XMPPTypes)
	return nil
}

// use gives one part its place in m.
func (p *parser) use(m *Message, c *entity, part *Part) error {
	switch {
	case isMessage(c.kind):
		return p.useEmail(m, c, part)
	case slices.Contains(XMPPTypes, c.kind):
		if slices.ContainsFunc(m.Parts, func(q Part) bool { return slices.Contains(XMPPTypes, q.Type) }) {
			p.warn(c.where, "second XMPP part not used")
		}
	case c.kind == smsType:
		if m.SMS != nil {
			p.warn(c.where, "second SMS part not used")
		} else {
			m.SMS = p.sms(c, part)
		}
	case c.kind == mm7Multi || c.kind == mm7Whole:
		if m.MM7 != nil {
			p.warn(c.where, "second MM7 part not used")
			return nil
		}
		var err error
		m.MM7, err = p.mm7(c, part)
		return err
	case c.kind == Type:
		p.warn(c.where, "MCMT inside MCMT not used")
	case !strings.Contains(c.kind, "/vnd.msys."):
		p.warn(c.where, "%.60q is no part of MCMT, not used", c.kind)
	}
	return nil
}

func (p *parser) useEmail(m *Message, c *entity, part *Part) error {
	if m.Email != nil {
		p.warn(c.where, "second e-mail part not used")
		return nil
	}
	if part.Body == nil {
		return refuse(c.where, "transfer encoding of the e-mail part is not known")
	}
	mail, err := p.entity(part.Body, c.where)
	if err != nil {
		return err
	}
	if mail.header.Len() == 0 {
		p.warn(c.where, "e-mail part has no header")
	}
	m.Email, _, err = p.email(mail, part.Body)
	return err
}

// part undoes the transfer encoding of c and, in a message/vnd.msys.* part,
// takes off the header block of the content.
func (p *parser) part(c *entity) Part {
	part := Part{Header: c.header, Type: c.kind, Params: c.params, Name: fileName(c)}
	if isMultipart(c.kind) {
		part.Body = c.body // RFC 2045 §6.4: no encoding but of its parts
	} else if b, ok := p.content(c); ok {
		part.Body = b
	}
	if hasInner(c.kind, c.params) {
		p.takeInner(c, &part)
	}
	return part
}

// hasInner reports whether content of such a part may begin with a header block.
// In a charset of two or four octets no byte is a line break by itself: Gurmukhi
// begins with 0x0A.
func hasInner(kind string, params map[string]string) bool {
	charset := canonCharset(params["charset"])
	return strings.HasPrefix(kind, "message/vnd.msys.") && !strings.HasPrefix(charset, "ucs") &&
		!strings.HasPrefix(charset, "utf-16") && !strings.HasPrefix(charset, "utf16") &&
		!strings.HasPrefix(charset, "utf-32") && !strings.HasPrefix(charset, "iso-10646-ucs")
}

// takeInner moves the header block with which the content begins, if it is one,
// from part.Body to part.Inner.
//
// A block is a header only if a blank line ends it, each of its lines is a field
// or continues one, each name is one that such blocks have (innerNames,
// Content-*, X-*), and at least one is not a name that people write before a
// colon themselves (MIME-Version, Content-*, X-*). So "Note: buy milk" and
// "From: Bob", blank line or not, are content. A blank line at once is an empty
// block: with it a sender can make sure that content stays content.
func (p *parser) takeInner(c *entity, part *Part) {
	if n := leadingBreak(part.Body); n > 0 {
		part.Body = part.Body[n:]
		return
	}
	head, body, ok := cutHeader(part.Body, p.lim.HeaderBytes)
	if !ok || len(head) == len(part.Body) || !isInner(head) {
		return
	}
	h, err := p.readFields(head, c.where)
	if err != nil {
		return // more fields than allowed: content
	}
	b, warning, ok := decodeTransfer(h.Get("Content-Transfer-Encoding"), body)
	if !ok {
		warning = "transfer encoding not known"
	}
	if warning != "" {
		p.warn(c.where, "%s", warning)
	}
	part.Inner, part.Body = h, b
}

// innerNames are fields of a header in content that alone do not make it one.
var innerNames = []string{"to", "from", "cc", "subject", "date", "message-id", "sender", "reply-to"}

func isInner(head []byte) bool {
	sure := false
	for l := range bytes.Lines(head) {
		if isBlank(l[0]) {
			continue
		}
		name := strings.ToLower(string(fieldName(l)))
		switch {
		case name == "mime-version", strings.HasPrefix(name, "content-"), strings.HasPrefix(name, "x-"):
			sure = true
		case !slices.Contains(innerNames, name):
			return false
		}
	}
	return sure && !isBlank(head[0])
}

// fileName is the name a part has, RFC 2183's before RFC 2045's.
func fileName(c *entity) string {
	if v := c.header.Get("Content-Disposition"); v != "" {
		if _, params := parseParams(v); params["filename"] != "" {
			return baseName(params["filename"])
		}
	}
	if n := c.params["name"]; n != "" {
		return baseName(n)
	}
	return ""
}

// sms decodes a short message; nil where it is not text.
func (p *parser) sms(c *entity, part *Part) *Text {
	if part.Body == nil {
		return nil
	}
	charset := c.params["charset"]
	if v := part.Inner.Get("Content-Type"); v != "" {
		kind, params := parseParams(v)
		if !strings.HasPrefix(kind, "text/") && kind != smsType {
			p.warn(c.where, "SMS of type %.40q is no text, not used", kind)
			return nil
		}
		// The inner one is nearer to the content and was written with it.
		if inner := params["charset"]; inner != "" {
			charset = inner
		}
	}
	t := p.decodeText(part.Body, charset, c.where)
	return &t
}

// xmlText returns the content of an XMPP part as UTF-8. A byte order mark
// outranks a charset parameter, and that the XML declaration (RFC 7303 §3), which
// then no longer says the truth and is removed, as is the mark.
func xmlText(part *Part) []byte {
	b := part.Body
	charset := markedCharset(b)
	if v := part.Inner.Get("Content-Type"); v != "" && charset == "" {
		_, params := parseParams(v)
		charset = canonCharset(params["charset"])
	}
	if charset == "" {
		charset = canonCharset(part.Params["charset"])
	}
	if charset == "" {
		charset = declaredCharset(b)
	}
	switch charset {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return trimBOM(b) // bytes that are not UTF-8 are the reader's to refuse
	}
	text, _ := decodeCharset(charset, b)
	if rest, ok := strings.CutPrefix(strings.TrimLeft(text, " \t\r\n"), "<?xml "); ok {
		if _, after, ok := strings.Cut(rest, "?>"); ok {
			text = after
		}
	}
	return []byte(text)
}

// markedCharset is the charset of a byte order mark; "" without one.
func markedCharset(b []byte) string {
	switch {
	case len(trimBOM(b)) < len(b):
		return "utf-8"
	case bytes.HasPrefix(b, []byte{0xFE, 0xFF}), bytes.HasPrefix(b, []byte{0xFF, 0xFE}):
		return "utf-16"
	}
	return ""
}

// declaredCharset is the encoding of an XML declaration; "" without one.
func declaredCharset(b []byte) string {
	if !bytes.HasPrefix(b, []byte("<?xml ")) {
		return ""
	}
	decl, _, _ := bytes.Cut(b, []byte("?>"))
	_, v, ok := bytes.Cut(decl, []byte("encoding"))
	v = bytes.TrimLeft(v, " \t\r\n=")
	if !ok || len(v) == 0 || v[0] != '"' && v[0] != '\'' {
		return ""
	}
	name, _, _ := bytes.Cut(v[1:], v[:1])
	return canonCharset(string(name))
}
