package smtpd

import (
	"bytes"
	"net/netip"
	"strings"
	"time"
)

// maxReceived is the number of Received fields above which a message is in a
// loop. RFC 5321 §6.3 would rather see 100; here every hop is custody of its own,
// and no honest way has 50.
const maxReceived = 50

// received returns the trace field that goes before the message (RFC 5321
// §4.4). The id is not in it: the sink gives it later.
func (s *session) received(now time.Time) string {
	var b strings.Builder
	b.WriteString("Received: from ")
	b.WriteString(clean(s.hello))
	b.WriteString(" (")
	if s.peer.Port() == 0 {
		b.WriteString("local socket")
	} else {
		b.WriteString(literal(s.peer.Addr()))
	}
	b.WriteString(")\r\n\tby ")
	b.WriteString(clean(s.srv.opt.Hostname))
	b.WriteString(" with ")
	b.WriteString(s.protocol())
	if len(s.tx.env.To) == 1 && isASCII(s.tx.env.To[0].Address) {
		// Only for a single recipient: the field must not tell one of the
		// others (RFC 5321 §7.2).
		b.WriteString("\r\n\tfor <" + s.tx.env.To[0].Address + ">")
	}
	b.WriteString(";\r\n\t")
	b.WriteString(now.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	b.WriteString("\r\n")
	return b.String()
}

// protocol is the name of the protocol used: RFC 3848, and RFC 6531 §4.3 for
// SMTPUTF8.
func (s *session) protocol() string {
	name := "SMTP"
	switch {
	case s.tx.env.SMTPUTF8:
		name = "UTF8SMTP"
	case s.extended:
		name = "ESMTP"
	default:
		return name
	}
	if s.tls != nil {
		name += "S"
	}
	if s.user != "" {
		name += "A"
	}
	return name
}

// clean makes a name that a peer chose harmless in a header field: no comment,
// folding or control character can come out of it.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && isAlnum(byte(r)) || strings.ContainsRune(".-_:[]", r) {
			return r
		}
		return '?'
	}, name)
}

// hops counts the Received fields of a message's header section, which ends at
// the first empty line.
func hops(raw []byte) int {
	n := 0
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte{'\n'})
		if len(bytes.TrimRight(line, "\r")) == 0 {
			break
		}
		const field = "received:"
		if len(line) >= len(field) && strings.EqualFold(string(line[:len(field)]), field) {
			n++
		}
		raw = rest
	}
	return n
}

// literal is an address as RFC 5321 §4.1.3 writes it.
func literal(a netip.Addr) string {
	if a.Is4() {
		return "[" + a.String() + "]"
	}
	return "[IPv6:" + a.WithZone("").String() + "]"
}
