package custody

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"mcmt2xmpp/mcmt"
)

// encode writes r as encoding/json does. It is done by hand, as is reading,
// because two records are written and two are read for each message, and that
// took encoding/json longer than two parses of the message.
func (r *Record) encode() (string, error) {
	out := rooms.Get().(*[]byte)
	c := coder{next: '{', out: (*out)[:0]}
	r.fields(&c)
	*out = append(c.out, '}')
	defer rooms.Put(out)
	return string(*out), c.err
}

// rooms are to write in; what was written is copied out, at its size.
var rooms = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// decode reads what encode writes. Anything else, be it a member that is not
// known or an escape in a text, is left to encoding/json.
func (r *Record) decode(data string) error {
	c := coder{reading: true, next: '{', in: data}
	r.fields(&c)
	if c.in == "}" && c.next == ',' {
		return nil
	}
	return r.unmarshal(data)
}

// unmarshal is decode for the rest, apart from it so that a record that is read
// by hand stays off the heap.
func (r *Record) unmarshal(data string) error {
	var other Record
	err := json.Unmarshal([]byte(data), &other)
	*r = other
	return err
}

// fields names the members of a record, in the order of its fields.
func (r *Record) fields(c *coder) {
	c.text("id", (*string)(&r.ID), required)
	c.text("from", &r.From, required)
	c.recipient("to", &r.To)
	reception := uint64(r.Reception)
	c.number("reception", &reception, math.MaxUint8)
	r.Reception = mcmt.Reception(reception) //nolint:gosec // at most that
	c.text("listener", &r.Listener, optional)
	c.text("peer", &r.Peer, optional)
	c.text("user", &r.User, optional)
	c.flag("trusted", &r.Trusted)
	c.flag("part_from", &r.PartFrom)
	c.text("envid", &r.EnvelopeID, optional)
	c.text("ret", &r.Return, optional)
	c.time("accepted", &r.Accepted, required)
	c.text("same", &r.Same, optional)
	c.time("sent", &r.Sent, optional)
	c.text("mid", &r.MessageID, optional)
	c.text("sid", &r.StanzaID, optional)
	c.text("part", &r.Part, optional)
	c.time("parked", &r.Parked, optional)
	c.flag("deferred", &r.Deferred)
	c.time("revived", &r.Revived, optional)
	c.number("src", &r.Source, math.MaxUint64)
	c.text("reason", &r.Reason, optional)
	stanza := uint64(max(0, r.Stanza)) //nolint:gosec // at least that
	c.number("stanza", &stanza, math.MaxInt32)
	r.Stanza = int(stanza) //nolint:gosec // at most that
	c.text("author", &r.Author, optional)
	c.text("origin", &r.Origin, optional)
	rerouted := uint64(max(0, r.Rerouted)) //nolint:gosec // at least that
	c.number("rerouted", &rerouted, math.MaxInt32)
	r.Rerouted = int(rerouted) //nolint:gosec // at most that
	of := uint64(max(0, r.Of)) //nolint:gosec // at least that
	c.number("of", &of, math.MaxInt32)
	r.Of = int(of) //nolint:gosec // at most that
	c.text("steps", (*string)(&r.Steps), optional)
}

// What becomes of a member that is zero: it is written, or left out.
const (
	required = true
	optional = false
)

// coder writes the members it is shown, or reads them in the same order.
type coder struct {
	next byte // what stands before the next member
	out  []byte
	err  error // of writing

	reading bool
	in      string // what is not read yet; empty where it is not as expected
}

// member writes the name of a member that has to be there, or reads it if it is
// next. It reports whether the value follows.
func (c *coder) member(name string, there bool) bool {
	switch {
	case !c.reading && there:
		c.out = append(append(append(c.out, c.next, '"'), name...), '"', ':')
	case c.reading && len(c.in) > len(name)+4 && c.in[0] == c.next && c.in[1] == '"' &&
		c.in[2:2+len(name)] == name && c.in[2+len(name):4+len(name)] == `":`:
		c.in = c.in[4+len(name):]
	default:
		return false
	}
	c.next = ','
	return true
}

func (c *coder) text(name string, v *string, must bool) {
	switch {
	case !c.member(name, must || *v != ""):
	case c.reading:
		*v = c.quoted()
	case plain(*v) == len(*v):
		c.out = append(append(append(c.out, '"'), *v...), '"')
	default:
		c.marshal(*v)
	}
}

func (c *coder) flag(name string, v *bool) {
	switch {
	case !c.member(name, *v):
	case c.reading:
		*v = c.cut("true")
	default:
		c.out = append(c.out, "true"...)
	}
}

func (c *coder) number(name string, v *uint64, most uint64) {
	if !c.member(name, *v != 0) {
		return
	}
	if !c.reading {
		c.out = strconv.AppendUint(c.out, *v, 10)
		return
	}
	n := strings.IndexAny(c.in, ",}")
	got, err := strconv.ParseUint(c.in[:max(n, 0)], 10, 64)
	if err != nil || got > most || n > 1 && c.in[0] == '0' {
		c.in = ""
		return
	}
	*v, c.in = got, c.in[n:]
}

func (c *coder) time(name string, v *time.Time, must bool) {
	if !c.member(name, must || !v.IsZero()) {
		return
	}
	if !c.reading {
		var err error
		if c.out, err = v.AppendText(append(c.out, '"')); err != nil && c.err == nil {
			c.err = err
		}
		c.out = append(c.out, '"')
		return
	}
	if err := v.UnmarshalText([]byte(c.quoted())); err != nil {
		c.in = ""
	}
}

// recipient reads only one without parameters by itself.
func (c *coder) recipient(name string, v *mcmt.Recipient) {
	const before, after = `{"Address":`, `,"Notify":null,"ORCPT":""}`
	switch {
	case !c.member(name, required):
	case c.reading:
		if c.cut(before) {
			v.Address = c.quoted()
			c.cut(after)
		}
	case v.Notify == nil && v.ORCPT == "" && plain(v.Address) == len(v.Address):
		c.out = append(append(append(append(c.out, before+`"`...), v.Address...), '"'), after...)
	default:
		c.marshal(*v)
	}
}

// marshal writes a value with encoding/json.
func (c *coder) marshal(v any) {
	data, err := json.Marshal(v)
	if err != nil && c.err == nil {
		c.err = err
	}
	c.out = append(c.out, data...)
}

// cut reads s, and reports whether it was next.
func (c *coder) cut(s string) (ok bool) {
	if c.in, ok = strings.CutPrefix(c.in, s); !ok {
		c.in = ""
	}
	return ok
}

// quoted reads a text without escapes.
func (c *coder) quoted() string {
	if !c.cut(`"`) {
		return ""
	}
	n := plain(c.in)
	s := c.in[:n]
	c.in = c.in[n:]
	c.cut(`"`)
	return s
}

// plain is the length of the beginning of s that stands in JSON as it is, with
// what encoding/json escapes for the sake of HTML left out.
func plain(s string) int {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return i
		}
	}
	return len(s)
}
