package mcmt

import (
	"net/mail"
	"strings"
	"time"
)

// Email is a mail with the parts that conversion uses. What a field of the
// header does not say is empty.
type Email struct {
	Header     Header
	Subject    string    // decoded, one line
	Text       string    // first text/plain that is no attachment, UTF-8, "\n", flowed text unwrapped (RFC 3676)
	HTML       string    // first text/html that is no attachment, UTF-8, "\n"
	Date       time.Time // zero where there is none that can be read
	MessageID  string    // without angle brackets
	References []string  // oldest first, without angle brackets
	InReplyTo  string    // the first, without angle brackets
	Raw        []byte    // the whole mail, header and body, as it came
}

// newEmail takes the fields of e's header.
func (p *parser) newEmail(e *entity, raw []byte) *Email {
	h := e.header
	m := &Email{Header: h, Raw: raw,
		Subject:    h.Text("Subject"),
		References: messageIDs(h.Get("References")),
	}
	m.MessageID = first(messageIDs(h.Get("Message-ID")))
	m.InReplyTo = first(messageIDs(h.Get("In-Reply-To")))
	if v := h.Get("Date"); v != "" {
		var err error
		if m.Date, err = parseDate(v); err != nil {
			p.warn(e.where, "Date %.40q is not a date", v)
		}
	}
	return m
}

// parseDate reads a Date (RFC 5322 §3.3). The form that nearly all have goes
// first: net/mail tries sixteen, with an error made for each that fails.
func parseDate(v string) (time.Time, error) {
	if t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", v); err == nil {
		return t, nil
	}
	return mail.ParseDate(v)
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// email parses the mail e and finds its texts. The second result is its direct
// parts.
func (p *parser) email(e *entity, raw []byte) (*Email, []Part, error) {
	m := p.newEmail(e, raw)
	s := &search{p: p}
	parts, err := s.top(e)
	if err != nil {
		return nil, nil, err
	}
	// A mail that is nothing but another one (a forwarded one, or MCMT not
	// taken apart) shows that one's text; once, not all the way down.
	if s.text == "" && s.html == "" && s.attached != nil {
		if err := s.open(s.attached); err != nil {
			return nil, nil, err
		}
	}
	m.Text, m.HTML = s.text, s.html
	return m, parts, nil
}

// search looks for the texts of a mail.
type search struct {
	p        *parser
	text     string
	html     string
	attached *entity // first message/rfc822
	depth    int     // of attached
}

// top searches e and returns its direct parts.
func (s *search) top(e *entity) ([]Part, error) {
	if !isMultipart(e.kind) {
		return nil, s.walk(e, 1)
	}
	children, err := s.p.children(e, 1)
	if err != nil {
		return nil, err
	}
	if len(children) == 0 {
		if e.params["boundary"] == "" {
			return nil, refuse(e.where+" header Content-Type", "%.60q has no boundary", e.kind)
		}
		return nil, refuse(e.where, "multipart has no parts")
	}
	parts := make([]Part, len(children))
	for i, c := range children {
		parts[i] = s.p.part(c)
		if err := s.walk(c, 2); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// open searches the mail attached as e.
func (s *search) open(e *entity) error {
	b, ok := s.p.content(e)
	if !ok {
		return nil
	}
	inner, err := s.p.entity(b, e.where)
	if err != nil {
		return err
	}
	return s.walk(inner, s.depth+1)
}

// walk searches e, which is at depth.
func (s *search) walk(e *entity, depth int) error {
	switch {
	case isMultipart(e.kind):
		children, err := s.p.children(e, depth)
		if err != nil {
			return err
		}
		if len(children) == 0 {
			s.p.warn(e.where, "multipart without parts")
		}
		for _, c := range children {
			if err := s.walk(c, depth+1); err != nil {
				return err
			}
		}
	case isMessage(e.kind):
		if s.attached == nil {
			s.attached, s.depth = e, depth
		}
	case isAttachment(e.header):
	case e.kind == "text/plain" && s.text == "":
		s.text = s.p.plain(e)
	case e.kind == "text/html" && s.html == "":
		s.html = s.p.text(e).Text
	}
	return nil
}

// plain is the text of a text/plain part, unwrapped where it is flowed (RFC 3676).
func (p *parser) plain(e *entity) string {
	text := p.text(e).Text
	if strings.EqualFold(e.params["format"], "flowed") {
		text = unflow(text, strings.EqualFold(e.params["delsp"], "yes"))
	}
	return text
}

// text decodes a text part: transfer encoding, charset, line breaks.
func (p *parser) text(e *entity) Text {
	b, ok := p.content(e)
	if !ok {
		return Text{}
	}
	return p.decodeText(b, e.params["charset"], e.where)
}

func (p *parser) decodeText(b []byte, charset, where string) Text {
	text, warning := decodeCharset(charset, b)
	if warning != "" {
		p.warn(where, "%s", warning)
	}
	return Text{Text: unixLines(text), Charset: canonCharset(charset)}
}

// content undoes the transfer encoding of e; false where it is not known.
func (p *parser) content(e *entity) ([]byte, bool) {
	if e.decoded {
		return e.plain, e.ok
	}
	e.decoded = true
	var warning string
	e.plain, warning, e.ok = decodeTransfer(e.header.Get("Content-Transfer-Encoding"), e.body)
	if !e.ok {
		warning = "transfer encoding not known"
	}
	if warning != "" {
		p.warn(e.where, "%s", warning)
	}
	return e.plain, e.ok
}

// unixLines writes line breaks as "\n".
func unixLines(s string) string {
	if strings.IndexByte(s, '\r') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for {
		line, rest, more := strings.Cut(s, "\r")
		b.WriteString(line)
		if !more {
			return b.String()
		}
		b.WriteByte('\n')
		s = strings.TrimPrefix(rest, "\n")
	}
}

func isMultipart(kind string) bool { return strings.HasPrefix(kind, "multipart/") }

// isMessage accepts the name that some senders derive from RFC 2822, and that
// of RFC 6532.
func isMessage(kind string) bool {
	return kind == "message/rfc822" || kind == "message/rfc2822" || kind == "message/global"
}

func isAttachment(h Header) bool {
	v := h.Get("Content-Disposition")
	if v == "" {
		return false
	}
	d, _ := parseParams(v)
	return d == "attachment"
}
