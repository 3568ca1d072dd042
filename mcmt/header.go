package mcmt

import (
	"mime"
	"net/mail"
	"strings"

	"github.com/emersion/go-message/textproto"
)

// Header is a header block (RFC 5322 §2.2). The zero Header has no fields.
// Names are compared without regard to case.
type Header struct{ fields textproto.Header }

// Get returns the value of the first field of that name, unfolded and in UTF-8
// but with encoded words as they are; empty where there is none.
func (h Header) Get(name string) string {
	return guessUTF8(h.fields.Get(name))
}

// Values returns the value of each field of that name as Get does.
func (h Header) Values(name string) []string {
	vs := h.fields.Values(name)
	for i := range vs {
		vs[i] = guessUTF8(vs[i])
	}
	return vs
}

// Text returns Get with encoded words decoded (RFC 2047) and control characters
// replaced by spaces.
func (h Header) Text(name string) string {
	return cleanLine(decodeWords(h.Get(name)))
}

// Len is the number of fields.
func (h Header) Len() int { return h.fields.Len() }

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
