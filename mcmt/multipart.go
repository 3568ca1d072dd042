package mcmt

import (
	"bytes"
	"strconv"
)

// split divides the content of a multipart at its boundary lines (RFC 2046
// §5.1.1). closed is false where the final boundary is missing. It returns at
// most limit+1 parts, so that the caller sees that there were too many.
//
// go-message's multipart reader is not used: it reads a part's header without
// a bound, gives up where CRLF and LF are mixed, and copies what is in memory.
func split(body []byte, boundary string, limit int) (parts [][]byte, closed bool) {
	delim := []byte("--" + boundary)
	parts = make([][]byte, 0, 4)
	start := -1 // of the open part
	for pos := 0; pos < len(body); {
		i := bytes.Index(body[pos:], delim)
		if i < 0 {
			break
		}
		i += pos
		end, final, ok := delimiterLine(body, i, len(delim))
		if !ok {
			pos = i + 1
			continue
		}
		if start >= 0 {
			parts = append(parts, body[start:max(start, beforeBreak(body, i))])
			if len(parts) > limit {
				return parts, false
			}
		}
		if final {
			return parts, true
		}
		start, pos = end, end
	}
	if start >= 0 {
		parts = append(parts, body[start:])
	}
	return parts, false
}

// delimiterLine reports whether the n bytes at i are the delimiter of a whole
// line, and where that line ends.
func delimiterLine(body []byte, i, n int) (end int, final, ok bool) {
	if i > 0 && body[i-1] != '\n' {
		return 0, false, false
	}
	rest := body[i+n:]
	if bytes.HasPrefix(rest, []byte("--")) {
		final, rest = true, rest[2:]
	}
	for len(rest) > 0 && isBlank(rest[0]) { // transport padding
		rest = rest[1:]
	}
	if k := leadingBreak(rest); k > 0 {
		rest = rest[k:]
	} else if len(rest) > 0 {
		return 0, false, false
	}
	return len(body) - len(rest), final, true
}

// beforeBreak is the end of the content before a boundary line at i: the line
// break before it belongs to the boundary.
func beforeBreak(body []byte, i int) int {
	if i > 0 && body[i-1] == '\n' {
		i--
		if i > 0 && body[i-1] == '\r' {
			i--
		}
	}
	return i
}

var partNames = [...]string{"part 1", "part 2", "part 3", "part 4"}

// partName is the place of the i-th part, from zero, of what is at where.
func partName(where string, i int) string {
	switch {
	case where != "":
		return where + "." + strconv.Itoa(i+1)
	case i < len(partNames):
		return partNames[i]
	}
	return "part " + strconv.Itoa(i+1)
}

// children returns the parts of the multipart e. Their number and depth count
// against the limits.
func (p *parser) children(e *entity, depth int) ([]*entity, error) {
	if depth > p.lim.Depth {
		return nil, refuse(e.where, "multiparts are nested deeper than %d", p.lim.Depth)
	}
	boundary := e.params["boundary"]
	if boundary == "" {
		return nil, nil
	}
	raw, closed := split(e.body, boundary, p.lim.Parts-p.parts)
	p.parts += len(raw)
	if p.parts > p.lim.Parts {
		return nil, refuse(e.where, "more than %d parts", p.lim.Parts)
	}
	if !closed && len(raw) > 0 {
		p.warn(e.where, "final boundary is missing")
	}
	out := make([]*entity, 0, len(raw))
	all := make([]entity, len(raw))
	for i, b := range raw {
		where := partName(e.where, i)
		c := &all[i]
		if err := p.read(c, b, where); err != nil {
			if cutOff := !closed && i == len(raw)-1 && i > 0; !cutOff {
				return nil, err
			}
			p.warn(where, "message ends inside the header, part ignored")
			break
		}
		if e.kind == "multipart/digest" && c.header.Get("Content-Type") == "" {
			c.kind = "message/rfc822" // RFC 2046 §5.1.5
		}
		out = append(out, c)
	}
	return out, nil
}
