package mcmt

import (
	"bytes"
	"mime"
	"net/mail"
	"strings"
)

// Header is a header block (RFC 5322 §2.2). The zero Header has no fields.
// Names are compared without regard to case.
//
// A field is two slices of the message, unfolded when it is asked for. It is
// not go-message's header, which copies each field three times and sorts them
// into a map: that took more time than the rest of the parser, for the four
// fields of twenty that anybody reads.
type Header struct{ fields []field }

// field is one field: its name, and its value as it came, which begins behind
// the colon and ends with its last line break.
type field struct{ name, value []byte }

// Get returns the value of the first field of that name, unfolded and in UTF-8
// but with encoded words as they are; empty where there is none.
func (h Header) Get(name string) string {
	for _, f := range h.fields {
		if f.is(name) {
			return guessUTF8(f.unfold())
		}
	}
	return ""
}

// Values returns the value of each field of that name as Get does.
func (h Header) Values(name string) []string {
	var vs []string
	for _, f := range h.fields {
		if f.is(name) {
			vs = append(vs, guessUTF8(f.unfold()))
		}
	}
	return vs
}

// is compares the names. Both are ASCII.
func (f field) is(name string) bool {
	return len(f.name) == len(name) && strings.EqualFold(string(f.name), name)
}

// unfold joins the lines of the value, white space around them taken away, by
// one blank (RFC 5322 §2.2.3).
func (f field) unfold() string {
	switch i := bytes.IndexByte(f.value, '\n'); i {
	case -1:
		return string(trimLine(f.value, false))
	case len(f.value) - 1:
		return string(trimLine(f.value[:i], true))
	}
	var b strings.Builder
	b.Grow(len(f.value))
	for line := range bytes.Lines(f.value) {
		n := len(bytes.TrimSuffix(line, []byte("\n")))
		line = trimLine(line[:n], n < len(line))
		if b.Len() > 0 && len(line) > 0 {
			b.WriteByte(' ')
		}
		b.Write(line)
	}
	return b.String()
}

// trimLine takes blanks from both ends of a line and, where an LF ended it, the
// CR before that.
func trimLine(line []byte, ended bool) []byte {
	if ended {
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	return bytes.Trim(line, " \t")
}

// Text returns Get with encoded words decoded (RFC 2047) and control characters
// replaced by spaces.
func (h Header) Text(name string) string {
	return cleanLine(decodeWords(h.Get(name)))
}

// Len is the number of fields.
func (h Header) Len() int { return len(h.fields) }

// Address is one mailbox of an address field (RFC 5322 §3.4).
type Address struct {
	Name string // display name, decoded; may be empty
	Addr string // addr-spec, with the local part quoted where it must be
}

// Addresses returns the mailboxes of all fields of that name, of groups their
// members. What is not an address is left out.
func (h Header) Addresses(name string) []Address {
	var out []Address
	for _, v := range h.Values(name) {
		out = append(out, parseAddresses(v)...)
	}
	return out
}

// addressParser decodes encoded words after parsing, as RFC 2047 §6.2 wants:
// what they hold is text and must not become syntax.
var addressParser = mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: charsetReader}}

func parseAddresses(v string) []Address {
	list, err := addressParser.ParseList(v)
	if err != nil {
		return guessAddresses(v)
	}
	out := make([]Address, len(list))
	for i, a := range list {
		out[i] = Address{Name: cleanLine(a.Name), Addr: quoteAddress(a.Address)}
	}
	return out
}

// guessAddresses reads a list that does not parse: of each item the text in
// angle brackets, or else the word with an @.
func guessAddresses(v string) []Address {
	var out []Address
	for _, item := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ';' }) {
		name, addr := "", strings.TrimSpace(item)
		if i := strings.LastIndexByte(item, '<'); i >= 0 {
			name = strings.Trim(item[:i], " \t\"")
			addr, _, _ = strings.Cut(item[i+1:], ">")
		}
		if strings.Contains(addr, "@") && !strings.ContainsAny(addr, " \t<>") {
			out = append(out, Address{Name: cleanLine(decodeWords(name)), Addr: addr})
		}
	}
	return out
}

// quoteAddress puts back the quotes that net/mail took from a local part.
func quoteAddress(addr string) string {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return addr
	}
	local := addr[:i]
	if !strings.ContainsAny(local, " \t\"(),:;<>@[\\]") &&
		!strings.HasPrefix(local, ".") && !strings.HasSuffix(local, ".") &&
		!strings.Contains(local, "..") && local != "" {
		return addr
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"` + addr[i:]
}

// cleanLine makes s one line without control characters: an encoded word may
// hold a line break, with which a header could be forged further on.
func cleanLine(s string) string {
	clean := func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}
	return strings.TrimSpace(strings.Map(clean, s))
}

// messageIDs returns the msg-ids of a Message-ID, References or In-Reply-To
// field in order, without angle brackets (RFC 5322 §3.6.4).
func messageIDs(v string) []string {
	var ids []string
	for {
		_, rest, ok := strings.Cut(v, "<")
		if !ok {
			break
		}
		id, after, ok := strings.Cut(rest, ">")
		if !ok {
			break
		}
		if id = strings.TrimSpace(id); id != "" {
			ids = append(ids, id)
		}
		v = after
	}
	if ids == nil && strings.TrimSpace(v) != "" {
		return strings.Fields(v) // some senders leave the brackets out
	}
	return ids
}
