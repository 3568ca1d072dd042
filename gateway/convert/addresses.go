package convert

import (
	"errors"
	"fmt"
	"strings"

	"mcmt2xmpp/xmpp/jid"
)

// Fault says what is wrong with an address.
type Fault uint8

const (
	Malformed     Fault = iota // cannot be read, or has no JID (5.1.3)
	UnknownDomain              // no xmpp_role and no recipient_map (5.1.2)
)

// AddressError is a mail address that has no JID, or a JID that has no mail
// address.
type AddressError struct {
	Address string
	Fault   Fault
	Err     error
}

// Error returns the address and the reason.
func (e *AddressError) Error() string { return fmt.Sprintf("address %.100q: %s", e.Address, e.Err) }

// Unwrap returns the reason.
func (e *AddressError) Unwrap() error { return e.Err }

// Temporary reports false: only another configuration changes it.
func (e *AddressError) Temporary() bool { return false }

// address is a mail address taken apart, the local part without its quotes.
// Without a domain it is a phone number.
type address struct{ local, domain string }

func (a address) String() string {
	if a.domain == "" {
		return a.local
	}
	return a.local + "@" + a.domain
}

// Recipient returns the JID of a recipient's mail address or phone number: the
// same where its domain has an xmpp_role, else that of the first recipient_map
// that matches. A map is tried with the number in E.164 form where the local
// part is one, then with the address, its domain in lower case and its local
// part unquoted. The error is an *AddressError.
func (c *Converter) Recipient(addr string) (jid.JID, error) {
	j, _, err := c.recipient(addr)
	return j, err
}

// recipient also names the recipient_map by which the JID was found; nil: its
// domain has an xmpp_role.
func (c *Converter) recipient(addr string) (j jid.JID, by *addressMap, err error) {
	a, err := parseAddress(addr)
	if err != nil {
		return jid.JID{}, nil, &AddressError{addr, Malformed, err}
	}
	if a.domain != "" && c.role(a.domain) != NoRole {
		if j, err = jid.New(sameLocal(a.local), a.domain, ""); err != nil {
			return jid.JID{}, nil, &AddressError{addr, Malformed, err}
		}
		return j, nil, nil
	}
	names := []string{a.String()}
	if n, ok := number(a.local); ok && n != a.local {
		names = []string{address{n, a.domain}.String(), a.String()}
	}
	for i := range c.maps {
		for _, name := range names {
			j, ok, err := c.maps[i].apply(name)
			if err != nil {
				return jid.JID{}, nil, &AddressError{addr, Malformed, err}
			}
			if ok {
				return j, &c.maps[i], nil
			}
		}
	}
	return jid.JID{}, nil, &AddressError{addr, UnknownDomain, errors.New("no xmpp domain and no recipient_map takes it")}
}

// Sender returns the JID of a sender's mail address: the same where its domain is
// ours, else one in the gateway domain that MailAddress turns back. The null
// path gives the gateway domain itself. The error is an *AddressError.
//
// PRECIS maps the local part to lower case (RFC 7622 §3.3), so addresses that
// differ in case only have one JID, and MailAddress returns the lower-case one.
func (c *Converter) Sender(addr string) (jid.JID, error) {
	if addr == "" {
		return c.gateway, nil
	}
	a, err := parseAddress(addr)
	if err != nil {
		return jid.JID{}, &AddressError{addr, Malformed, err}
	}
	local, domain := jid.Escape(a.String()), c.gateway.Domain()
	if a.domain != "" && c.role(a.domain) == Server {
		local, domain = sameLocal(a.local), a.domain
	}
	j, err := jid.New(local, domain, "")
	if err != nil {
		return jid.JID{}, &AddressError{addr, Malformed, err}
	}
	return j, nil
}

// MailAddress is the inverse of Sender: the mail address of a JID in the gateway
// domain or in a domain of ours, the local part quoted where it must be. The
// gateway domain itself gives the null path. The error is an *AddressError.
func (c *Converter) MailAddress(j jid.JID) (string, error) {
	local := jid.Unescape(j.Local())
	switch {
	case j.Domain() != c.gateway.Domain():
		if local == "" || c.role(j.Domain()) != Server {
			return "", &AddressError{j.String(), UnknownDomain, errors.New("not in a domain of ours")}
		}
		return address{quoteLocal(local), j.Domain()}.String(), nil
	case local == "":
		return "", nil
	}
	a, err := splitAddress(local)
	if err != nil {
		return "", &AddressError{j.String(), Malformed, err}
	}
	if a.domain == "" {
		return a.local, nil
	}
	return address{quoteLocal(a.local), a.domain}.String(), nil
}

// role asks for the role of a mail domain by the form it has in a JID.
func (c *Converter) role(domain string) Role {
	j, err := jid.New("", domain, "")
	if err != nil {
		return NoRole // an address literal, for one
	}
	return c.roles(j.Domain())
}

// parseAddress reads an RFC 5321 Mailbox or a phone number.
func parseAddress(s string) (address, error) {
	a, err := splitAddress(s)
	if err != nil {
		return a, err
	}
	if strings.HasPrefix(a.local, `"`) {
		if a.local, err = unquote(a.local); err != nil {
			return a, err
		}
	} else if strings.ContainsAny(a.local, " \"<>()[],;:") && a.domain != "" {
		// A backslash would have to be quoted too, but whoever writes the JID
		// john\20smith@… where an address is asked for means that JID.
		return a, errors.New("local part must be quoted")
	}
	// XEP-0106 §4.1: no JID begins or ends with a space, escaped or not.
	if a.local == "" || strings.Trim(a.local, " ") != a.local {
		return a, errors.New("local part is empty or begins or ends with a space")
	}
	return a, nil
}

// splitAddress divides s at its last @, which no domain holds.
func splitAddress(s string) (address, error) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return address{}, errors.New("control character")
	}
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		if n, ok := number(s); ok {
			return address{local: n}, nil
		}
		return address{}, errors.New("no @")
	}
	a := address{s[:i], strings.ToLower(s[i+1:])}
	if a.local == "" || a.domain == "" || strings.ContainsAny(a.domain, " \"<>(),;/\\") {
		return address{}, errors.New("local part or domain is missing or malformed")
	}
	return a, nil
}

// unquote returns the content of a Quoted-string (RFC 5321 §4.1.2).
func unquote(s string) (string, error) {
	if len(s) < 2 || s[len(s)-1] != '"' {
		return "", errors.New("closing quote is missing")
	}
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			return "", errors.New("quote inside the local part")
		}
		if s[i] == '\\' {
			if i++; i == len(s) {
				return "", errors.New("closing quote is missing")
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// quoteLocal writes a local part as RFC 5321 wants it: Dot-string or
// Quoted-string.
func quoteLocal(local string) string {
	if !strings.ContainsAny(local, " \"<>()[]\\,;:@") && !strings.HasPrefix(local, ".") &&
		!strings.HasSuffix(local, ".") && !strings.Contains(local, "..") {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}

// sameLocal is the localpart for a mail local part of the same account: as it is
// where a JID can hold it, so that an address with escapes in it names the
// account that was made under that name; else escaped.
func sameLocal(local string) string {
	if strings.ContainsAny(local, " \"&'/:<>@") { // RFC 7622 §3.3.1
		return jid.Escape(local)
	}
	return local
}
