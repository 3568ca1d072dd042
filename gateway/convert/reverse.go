package convert

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strings"

	"golang.org/x/net/idna"

	"mcmt2xmpp/xmpp/jid"
)

// maxAddress is the longest mail address in bytes: a path of RFC 5321 §4.5.3.1.3 without
// its brackets.
const maxAddress = 254

// maxGuesses bounds the addresses that are tried for one JID and recipient_map.
const maxGuesses = 16

// AuthorAddress returns the address from which mail of a Jabber user comes: that which a
// recipient_map turns into his JID, so that he writes from the address that he is written
// to; else the JID itself, unescaped (XEP-0106 §4.3), its domain in A-labels. The error is
// an *AddressError.
func (c *Converter) AuthorAddress(j jid.JID) (string, error) {
	if addr, ok := c.reverse(j, func(a address) bool { return a.domain != "" }); ok {
		return addr, nil
	}
	if j.Local() == "" || j.Domain() == c.gateway.Domain() {
		return "", &AddressError{j.String(), UnknownDomain, errors.New("stands for no person who could be answered")}
	}
	return mailbox(j, address{jid.Unescape(j.Local()), j.Domain()})
}

// MailRecipient returns the mail address, or the phone number, that a JID stands for: one
// in the gateway domain, or one that a recipient_map makes. The error is an *AddressError.
func (c *Converter) MailRecipient(j jid.JID) (string, error) {
	if j.Domain() != c.gateway.Domain() {
		if addr, ok := c.reverse(j, func(address) bool { return true }); ok {
			return addr, nil
		}
		return "", &AddressError{j.String(), UnknownDomain, errors.New("stands for no mail address")}
	}
	a, err := splitAddress(jid.Unescape(j.Local()))
	if err != nil {
		return "", &AddressError{j.String(), Malformed, err}
	}
	return mailbox(j, a)
}

// mailbox writes the address of j as it stands in mail.
func mailbox(j jid.JID, a address) (string, error) {
	if a.domain == "" {
		return a.local, nil
	}
	domain, err := mailDomain(a.domain)
	if err != nil {
		return "", &AddressError{j.String(), Malformed, fmt.Errorf("domain: %w", err)}
	}
	addr := address{quoteLocal(a.local), domain}.String()
	if len(addr) > maxAddress {
		return "", &AddressError{j.String(), Malformed, fmt.Errorf("longer than %d bytes as a mail address", maxAddress)}
	}
	return addr, nil
}

// mailDomain is a domain in A-labels (RFC 5321 §2.3.5).
func mailDomain(domain string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(ascii); err == nil {
		return "", errors.New("an IP address is no mail domain")
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 {
			return "", errors.New("a label is empty or too long")
		}
	}
	return ascii, nil
}

// reverse returns an address that a recipient_map turns into j: of the first map that has
// one. Only what comes back as j counts, by all the rules for recipients.
func (c *Converter) reverse(j jid.JID, suits func(address) bool) (string, bool) {
	j = j.Bare()
	for i := range c.maps {
		for _, text := range c.maps[i].guesses(j) {
			a, err := splitAddress(text)
			if err != nil || !suits(a) {
				continue
			}
			addr, err := mailbox(j, a)
			if err != nil {
				continue
			}
			if back, _, err := c.recipient(addr); err == nil && back == j {
				return addr, true
			}
		}
	}
	return "", false
}

// guesses returns addresses that may lead to j by the map; some of them may not. A map
// whose expression has room for more than its groups bring, such as "(.*)@.*", has none.
func (m *addressMap) guesses(j jid.JID) []string {
	found := m.back.FindStringSubmatch(j.String())
	if found == nil {
		return nil
	}
	values := make(map[int]string)
	n := 0
	for _, p := range m.pieces {
		if p.group == 0 {
			continue
		}
		n++
		values[p.group] = found[n]
		if p.local {
			values[p.group] = jid.Unescape(found[n])
		} else if local, domain, ok := strings.Cut(found[n], "@"); ok { // the whole address
			values[p.group] = jid.Unescape(local) + "@" + domain
		}
	}
	re, err := syntax.Parse(m.match.String(), syntax.Perl)
	if err != nil {
		return nil
	}
	return texts(re, values)
}

// backwards is the expression by which the groups of a template are found in a JID.
// Preparation has made small letters of the literal text.
func backwards(pieces []piece) (*regexp.Regexp, error) {
	b := "(?is)^"
	for _, p := range pieces {
		if p.group > 0 {
			b += "(.*)"
		} else {
			b += regexp.QuoteMeta(p.text)
		}
	}
	return regexp.Compile(b + "$")
}

// texts returns what an expression matches where its groups have these values; nothing
// where it leaves more open than whether an optional part is there.
func texts(re *syntax.Regexp, values map[int]string) []string {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine:
		return []string{""}
	case syntax.OpLiteral:
		return []string{string(re.Rune)}
	case syntax.OpCapture:
		if v, ok := values[re.Cap]; ok {
			return []string{v}
		}
		return texts(re.Sub[0], values)
	case syntax.OpQuest: // with it first: an address is worth more than a number
		if with := texts(re.Sub[0], values); with != nil {
			return append(with, "")
		}
		return []string{""}
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			all = append(all, texts(sub, values)...)
		}
		return all[:min(len(all), maxGuesses)]
	case syntax.OpCharClass: // as the parser writes "a|b"
		return characters(re.Rune)
	case syntax.OpConcat:
		return concat(re.Sub, values)
	default:
		return nil
	}
}

// characters returns those of a class that has few; ranges are pairs of first and last.
func characters(ranges []rune) []string {
	var all []string
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if all = append(all, string(r)); len(all) > maxGuesses {
				return nil
			}
		}
	}
	return all
}

func concat(subs []*syntax.Regexp, values map[int]string) []string {
	all := []string{""}
	for _, sub := range subs {
		var longer []string
		ends := texts(sub, values)
		for _, begin := range all {
			for _, end := range ends {
				longer = append(longer, begin+end)
			}
		}
		all = longer[:min(len(longer), maxGuesses)]
	}
	return all
}
