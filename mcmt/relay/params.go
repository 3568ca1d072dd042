package relay

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// check refuses what could not be said to any host.
func (m *Message) check() error {
	if m.From != "" && !wellFormed(m.From) {
		return refuse(553, 1, 7, "sender", "not an address")
	}
	if !wellFormed(m.To.Address) {
		return refuse(553, 1, 3, "recipient", "not an address")
	}
	return nil
}

// wellFormed says whether an address can stand between angle brackets and be nothing
// else: there is a domain, and no control character, nor a blank or bracket outside
// of quotes.
func wellFormed(addr string) bool {
	at := strings.LastIndexByte(addr, '@')
	if at <= 0 || at == len(addr)-1 {
		return false
	}
	quoted := false
	for i := 0; i < len(addr); i++ {
		switch b := addr[i]; {
		case b < ' ' || b == 0x7f:
			return false
		case b == '\\' && quoted:
			i++ // RFC 5321 §4.1.2: quoted-pairSMTP
			if i == len(addr) || addr[i] < ' ' || addr[i] >= 0x7f {
				return false
			}
		case b == '"':
			quoted = !quoted
		case (b == ' ' || b == '<' || b == '>') && !quoted:
			return false
		}
	}
	return !quoted
}

// mailCommand is MAIL with what the host offers of the parameters. What a message
// needs and the host has not is a refusal of ours, for good.
func (c *conn) mailCommand(m Message) (string, error) {
	line := "MAIL FROM:<" + m.From + ">"
	size, _ := writeData(io.Discard, m.Raw) // which does not fail
	eight := !plain(m.Raw)
	switch {
	case m.needsUTF8() && !c.offers("SMTPUTF8"):
		return "", refuse(550, 6, 7, "host "+c.host, "the host does not take addresses and headers in UTF-8 (SMTPUTF8)")
	case m.needsUTF8():
		line += " SMTPUTF8"
	}
	switch {
	case eight && !c.offers("8BITMIME"):
		// RFC 6152 §3: such content must not be sent there under any circumstances.
		return "", refuse(554, 6, 3, "host "+c.host, "the host takes text of 7 bits only (no 8BITMIME)")
	case eight:
		line += " BODY=8BITMIME"
	}
	if limit, ok := c.ext["SIZE"]; ok {
		// RFC 1870 §4: 0, or nothing, is no limit that the host would name.
		if most, err := strconv.ParseInt(limit, 10, 64); err == nil && most > 0 && size > most {
			return "", refuse(552, 3, 4, "host "+c.host, "the message has %d bytes, the host takes %d", size, most)
		}
		line += " SIZE=" + strconv.FormatInt(size, 10)
	}
	if c.offers("DSN") {
		if m.Return == "FULL" || m.Return == "HDRS" {
			line += " RET=" + m.Return
		}
		if m.EnvelopeID != "" {
			line += " ENVID=" + xtext(m.EnvelopeID)
		}
	}
	return line, nil
}

// needsUTF8 says whether the message can go only where SMTPUTF8 is (RFC 6531 §3.4).
// What came with it may not need it.
func (m *Message) needsUTF8() bool {
	if !plain(m.From) || !plain(m.To.Address) {
		return true
	}
	return m.UTF8 && !plain(header(m.Raw))
}

// header is the part of a message before the first empty line.
func header(raw []byte) []byte {
	for rest := raw; len(rest) > 0; {
		var line []byte
		if line, rest = cutLine(rest); len(line) == 0 {
			return raw[:len(raw)-len(rest)]
		}
	}
	return raw
}

// rcptCommand is RCPT, with the recipient's DSN parameters where the host has them
// (RFC 3461 §5.2.1).
func (c *conn) rcptCommand(m Message) string {
	line := "RCPT TO:<" + m.To.Address + ">"
	if !c.offers("DSN") {
		return line
	}
	if notify := m.notify(); notify != "" {
		line += " NOTIFY=" + notify
	}
	if kind, addr, ok := strings.Cut(m.To.ORCPT, ";"); ok && addr != "" && !strings.ContainsFunc(kind, notAtom) {
		line += " ORCPT=" + kind + ";" + xtext(unitext(addr))
	}
	return line
}

// notify is the value of NOTIFY (RFC 3461 §4.1): NEVER stands alone.
func (m *Message) notify() string {
	if slices.Contains(m.To.Notify, "NEVER") {
		return "NEVER"
	}
	var words []string
	for _, w := range []string{"SUCCESS", "FAILURE", "DELAY"} {
		if slices.Contains(m.To.Notify, w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, ",")
}

func notAtom(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
}

// xtext is RFC 3461 §4: everything but printable ASCII without "+" and "=" is
// written as "+" and two digits.
func xtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '+' || s[i] == '=' {
			fmt.Fprintf(&b, "+%02X", s[i])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unitext writes characters beyond ASCII as "\x{…}" (RFC 6533 §3), which hosts
// without SMTPUTF8 take too.
func unitext(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r >= 0x80 || r == '\\' {
			fmt.Fprintf(&b, `\x{%X}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plain says whether there is nothing but ASCII.
func plain[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
