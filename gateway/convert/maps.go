package convert

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"mcmt2xmpp/xmpp/jid"
)

// addressMap is a RecipientMap with its template taken apart.
type addressMap struct {
	name   string
	match  *regexp.Regexp
	pieces []piece
	at     bool           // the template itself divides local part and domain
	back   *regexp.Regexp // finds the groups of the template in a JID
}

// piece of a template: literal text, or what a group found.
type piece struct {
	text  string
	group int  // 0: literal
	local bool // stands before the @ of the template
}

// newAddressMap checks that the groups of the template exist.
func newAddressMap(m RecipientMap) (addressMap, error) {
	if m.Match == nil {
		return addressMap{}, errors.New("match is missing")
	}
	am := addressMap{name: m.Name, match: m.Match}
	at := strings.LastIndexByte(m.JID, '@')
	am.at = at >= 0
	for rest, pos := m.JID, 0; rest != ""; {
		p, n, err := cutPiece(rest, m.Match)
		if err != nil {
			return addressMap{}, fmt.Errorf("jid %q: %w", m.JID, err)
		}
		p.local = pos < at
		am.pieces = append(am.pieces, p)
		rest, pos = rest[n:], pos+n
	}
	if len(am.pieces) == 0 {
		return addressMap{}, errors.New("jid is missing")
	}
	var err error
	am.back, err = backwards(am.pieces)
	return am, err
}

// cutPiece reads the piece with which s begins and its length. The forms are
// those of regexp.Expand: $1, $name, ${name}, and $$ for a dollar sign; the name
// is as long as can be.
func cutPiece(s string, match *regexp.Regexp) (piece, int, error) {
	i := strings.IndexByte(s, '$')
	switch {
	case i < 0:
		i = len(s)
		fallthrough
	case i > 0:
		return piece{text: s[:i]}, i, nil
	case strings.HasPrefix(s, "$$"):
		return piece{text: "$"}, 2, nil
	}
	name, n := s[1:], len(s)
	if strings.HasPrefix(name, "{") {
		end := strings.IndexByte(name, '}')
		if end < 0 {
			return piece{}, 0, errors.New("closing brace is missing")
		}
		name, n = name[1:end], end+2
	} else if end := strings.IndexFunc(name, notWord); end >= 0 {
		name, n = name[:end], end+1
	}
	for g, known := range match.SubexpNames() {
		if g > 0 && (known == name && name != "" || fmt.Sprint(g) == name) {
			return piece{group: g}, n, nil
		}
	}
	return piece{}, 0, fmt.Errorf("match has no group %q", name)
}

func notWord(r rune) bool {
	return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// apply returns the JID for name if the map matches it. What a group found is
// escaped where it becomes part of the localpart (XEP-0106); in the domain it
// must not bring an @ or a resource of its own.
func (m *addressMap) apply(name string) (jid.JID, bool, error) {
	found := m.match.FindStringSubmatch(name)
	if found == nil {
		return jid.JID{}, false, nil
	}
	var b strings.Builder
	for _, p := range m.pieces {
		switch {
		case p.group == 0:
			b.WriteString(p.text)
		case p.local:
			b.WriteString(jid.Escape(found[p.group]))
		case m.at && strings.ContainsAny(found[p.group], "@/"):
			return jid.JID{}, false, fmt.Errorf("recipient_map %q: %.40q cannot stand in a domain", m.name, found[p.group])
		default:
			b.WriteString(found[p.group])
		}
	}
	j, err := m.parse(b.String())
	if err != nil {
		return jid.JID{}, false, fmt.Errorf("recipient_map %q: %w", m.name, err)
	}
	return j, true, nil
}

// parse reads the expanded template. One without an @ of its own, such as $1,
// gives a mail address, whose local part is still to be escaped.
func (m *addressMap) parse(s string) (jid.JID, error) {
	if i := strings.LastIndexByte(s, '@'); !m.at && i >= 0 {
		return jid.New(sameLocal(s[:i]), s[i+1:], "")
	}
	return jid.Parse(s)
}
