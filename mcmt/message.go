// Package mcmt reads and writes Multi-Channel Message Type (MCMT) messages: one
// MIME message of type multipart/vnd.msys.mcmt that carries the same notice as
// e-mail, instant message, SMS, MMS or push, so that the gateways behind it can
// choose. It also holds what a listener and the store behind it agree on:
// Envelope, Sink and Refusal.
//
// Parse is tolerant where senders are known to be careless and says so in
// Message.Warnings; what it cannot understand it refuses with the place. It
// does no I/O and never panics on what it is given; memory is bounded by Limits.
//
// Specifications: RFC 5322 (message format), 2045, 2046 and 2047 (MIME), 2231
// (parameters), 2183 (disposition), 2387 (multipart/related), 2392 (cid), 3676
// (flowed text), 3GPP TS 23.038 (the alphabet of short messages) and TS 23.140
// (multimedia messages).
package mcmt

import (
	"cmp"
	"fmt"
	"strings"
)

// Type is the media type of an MCMT message.
const Type = "multipart/vnd.msys.mcmt"

// Limits bounds what Parse accepts. A zero field stands for its default.
type Limits struct {
	Size        int64 // bytes of the whole message; default 10 MiB
	Parts       int   // MIME parts on all levels together; default 100
	Depth       int   // levels of multipart inside multipart; default 20
	HeaderBytes int   // bytes of one header block; default 64 KiB
	Fields      int   // header fields of all blocks together; default 2000
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Size:        cmp.Or(l.Size, 10<<20),
		Parts:       cmp.Or(l.Parts, 100),
		Depth:       cmp.Or(l.Depth, 20),
		HeaderBytes: cmp.Or(l.HeaderBytes, 64<<10),
		Fields:      cmp.Or(l.Fields, 2000),
	}
}

// Message is one parsed message. It shares memory with the bytes it was parsed
// from, which must not be changed while it is in use.
type Message struct {
	Header Header
	MCMT   bool   // false: an ordinary mail, which Email then is
	Email  *Email // never nil
	XMPP   []byte // content of the first part of a type in XMPPTypes, in UTF-8; nil for none
	SMS    *Text  // nil for none
	MM7    *MM7   // nil for none
	// Parts are the direct parts of a multipart message, in order; empty for
	// a message of one part.
	Parts    []Part
	Warnings []string // what was tolerated, each with its place; at most 50
	Raw      []byte   // the message as it came
}

// Part is one direct part of a message.
type Part struct {
	Header Header
	Type   string            // media type in lower case
	Params map[string]string // parameters of Content-Type, names in lower case
	Name   string            // file name of Content-Disposition, or name of Content-Type; base name only
	// Inner is the header block with which the content of a
	// message/vnd.msys.* part may begin; empty for none.
	Inner Header
	// Body is the content with the transfer encoding undone, after Inner. It
	// is nil where the transfer encoding is not known.
	Body []byte
}

// Text is the content of a text part.
type Text struct {
	Text    string // UTF-8, line breaks as "\n"
	Charset string // the one it was decoded from, in lower case
}

// XMPPTypes are the media types of an XMPP part that Parse knows: that of MCMT,
// and RFC 3923's.
var XMPPTypes = []string{"message/vnd.msys.xmpp", "application/xmpp+xml"}

// Parse takes raw apart. The error is a *Refusal with its place: 552 5.3.4 where
// raw is larger than lim allows, else 554 5.6.0, as for an MCMT message without
// its e-mail part.
func Parse(raw []byte, lim Limits) (*Message, error) {
	return parse(raw, lim, true)
}

// ParseMail takes raw apart as though MCMT were unknown: MCMT is false, Email is
// the whole message, and its text is found as in any multipart. Errors are
// those of Parse.
func ParseMail(raw []byte, lim Limits) (*Message, error) {
	return parse(raw, lim, false)
}

func parse(raw []byte, lim Limits, known bool) (*Message, error) {
	p := newParser(lim)
	if int64(len(raw)) > p.lim.Size {
		return nil, &Refusal{Code: 552, Enhanced: [3]int{5, 3, 4}, Status: 413,
			Text: fmt.Sprintf("message is larger than %d bytes", p.lim.Size)}
	}
	if len(raw) == 0 {
		return nil, refuse("", "message is empty")
	}
	e, err := p.entity(p.dropMboxLine(raw), "")
	if err != nil {
		return nil, err
	}
	m := &Message{Header: e.header, Raw: raw, MCMT: known && e.kind == Type}
	if m.MCMT {
		err = p.mcmt(m, e)
	} else {
		m.Email, m.Parts, err = p.email(e, raw)
	}
	if err != nil {
		return nil, err
	}
	m.Warnings = p.warnings
	return m, nil
}

// XMPPPart returns the content, in UTF-8, of the first part whose type is one of
// types (lower case); nil for none.
func (m *Message) XMPPPart(types []string) []byte {
	for i := range m.Parts {
		for _, t := range types {
			if m.Parts[i].Type == t && m.Parts[i].Body != nil {
				return xmlText(&m.Parts[i])
			}
		}
	}
	return nil
}

// refuse makes the answer for a message that is not understood. Text goes to
// the peer: quote what came from the message with %.40q.
func refuse(where, format string, args ...any) *Refusal {
	return &Refusal{Code: 554, Enhanced: [3]int{5, 6, 0}, Status: 422,
		Text: fmt.Sprintf(format, args...), Where: strings.TrimSpace(where)}
}
