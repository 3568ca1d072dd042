package xmpplog

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Format is how a record becomes a line: literal text with macros in it.
type Format struct {
	text  string // as it was written
	parts []part
	whole bool // message text is in the line
}

// part is a macro, or where append is nil literal text.
type part struct {
	literal string
	append  func(b []byte, r *Record) []byte
	stays   *bytesThatStay // of what append appends
}

// kindSet is a set of kinds.
type kindSet uint16

const (
	passing  = kindSet(1<<Delivery | 1<<Reception)
	outcomes = kindSet(1<<Filtered | 1<<Failed | 1<<Deferred | 1<<Relayed | 1<<Expired)
	all      = kindSet(1<<kinds - 1)
)

// macros is every macro with the kinds that have something to say by it: those of the
// chapter, then ours, which all begin with x.
var macros = []struct {
	name   string
	in     kindSet
	append func(b []byte, r *Record) []byte
}{
	{"t", all, func(b []byte, r *Record) []byte { return strconv.AppendInt(b, r.Time.Unix(), 10) }},
	{"st", passing | outcomes, func(b []byte, r *Record) []byte { return append(b, r.Stanza...) }},
	{"so", passing, func(b []byte, r *Record) []byte { return r.obfuscated(b) }},
	{"sr", passing, func(b []byte, r *Record) []byte { return r.whole(b) }},
	{"af", passing | outcomes, func(b []byte, r *Record) []byte { return append(b, r.From...) }},
	{"at", passing | outcomes, func(b []byte, r *Record) []byte { return append(b, r.To...) }},
	{"ai", passing | outcomes, func(b []byte, r *Record) []byte { return append(b, r.ID...) }},
	{"ay", passing | outcomes, func(b []byte, r *Record) []byte { return append(b, r.Type...) }},
	{"H", passing | outcomes, appendRemote},
	{"xi", outcomes, func(b []byte, r *Record) []byte { return append(b, r.Message...) }},
	{"xf", kindSet(1 << Filtered), func(b []byte, r *Record) []byte { return append(b, r.Filter...) }},
	{"xr", outcomes, func(b []byte, r *Record) []byte { return append(b, r.Reason...) }},
	{"xn", outcomes, func(b []byte, r *Record) []byte {
		if r.Attempt == 0 {
			return b
		}
		return strconv.AppendInt(b, int64(r.Attempt), 10)
	}},
}

// Macros lists the macros of a kind, for hints.
func Macros(k Kind) string {
	var names []string
	for _, m := range macros {
		if m.in&(1<<k) != 0 {
			names = append(names, "%"+m.name)
		}
	}
	return strings.Join(append(names, "%%"), " ")
}

// ParseFormat reads the format of a kind of record.
func ParseFormat(k Kind, text string) (*Format, error) {
	if text == "" {
		return nil, errors.New("is empty")
	}
	f := &Format{text: text}
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "%")
		if err := f.literal(literal); err != nil {
			return nil, err
		}
		if !found {
			break
		}
		var err error
		if rest, err = f.macro(k, after); err != nil {
			return nil, err
		}
	}
	f.divide()
	return f, nil
}

// divide has what divides the values of a line escaped in them. At the end of a line there
// is nothing to be told from: a whole stanza or a reason stays readable there.
func (f *Format) divide() {
	stays := staysBut(f.between())
	for i := range f.parts {
		f.parts[i].stays = stays
	}
	if n := len(f.parts); f.parts[n-1].append != nil {
		f.parts[n-1].stays = staysBut(nil)
	}
}

func (f *Format) literal(text string) error {
	if i := strings.IndexFunc(text, control); i >= 0 {
		return fmt.Errorf("holds %q: a record is one line", text[i:i+1])
	}
	if text != "" {
		f.parts = append(f.parts, part{literal: text})
	}
	return nil
}

// macro reads the macro that text begins with, without its percent sign. It returns what
// follows it.
func (f *Format) macro(k Kind, text string) (rest string, err error) {
	if rest, ok := strings.CutPrefix(text, "%"); ok {
		f.parts = append(f.parts, part{literal: "%"})
		return rest, nil
	}
	for _, m := range macros {
		rest, ok := strings.CutPrefix(text, m.name)
		switch {
		case !ok:
			continue
		case m.in&(1<<k) == 0:
			return "", fmt.Errorf("%%%s says nothing in these lines", m.name)
		}
		f.whole = f.whole || m.name == "sr"
		f.parts = append(f.parts, part{append: m.append})
		return rest, nil
	}
	return "", fmt.Errorf("unknown macro %%%s", nameIn(text))
}

// nameIn is the name that somebody meant for a macro at the beginning of text: as long
// as names are.
func nameIn(text string) string {
	n := 0
	for n < len(text) && n < 2 && (text[n]|0x20) >= 'a' && (text[n]|0x20) <= 'z' {
		n++
	}
	return text[:n]
}

// between is the punctuation that stands right before and behind the macros.
func (f *Format) between() []byte {
	var all []byte
	for i, p := range f.parts {
		if p.append == nil {
			continue
		}
		if i > 0 && f.parts[i-1].append == nil {
			text := f.parts[i-1].literal
			all = append(all, text[len(text)-1])
		}
		if i+1 < len(f.parts) && f.parts[i+1].append == nil {
			all = append(all, f.parts[i+1].literal[0])
		}
	}
	return slices.DeleteFunc(all, func(c byte) bool {
		return c >= utf8.RuneSelf || c >= '0' && c <= '9' || (c|0x20) >= 'a' && (c|0x20) <= 'z'
	})
}

// String returns the format as it was written.
func (f *Format) String() string { return f.text }

// Whole says whether the lines hold the text of messages.
func (f *Format) Whole() bool { return f.whole }

// Append appends the line of a record, with its end.
func (f *Format) Append(b []byte, r *Record) []byte {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	for i := range f.parts {
		p := &f.parts[i]
		if p.append == nil {
			b = append(b, p.literal...)
			continue
		}
		start := len(b)
		b = p.append(b, r)
		b = escapeFrom(b, start, p.stays)
	}
	return append(b, '\n')
}

func appendRemote(b []byte, r *Record) []byte {
	switch addr := r.Remote.(type) {
	case nil:
		return b
	case *net.TCPAddr:
		ap := addr.AddrPort()
		if ip := ap.Addr().Unmap(); ip.Is4() {
			b = append(ip.AppendTo(b), ':')
			return strconv.AppendUint(b, uint64(ap.Port()), 10)
		}
		return ap.AppendTo(b)
	default:
		return append(b, addr.String()...)
	}
}
