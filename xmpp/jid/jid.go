// Package jid is the XMPP address, the Jabber identifier (RFC 7622), and the
// escaping that lets a mail address stand in its localpart (XEP-0106).
package jid

import "strings"

// JID is an address in its prepared form, so that two JIDs are the same address
// exactly if they are == (RFC 7622 §3.5); it may be a map key. The zero JID is
// no address. Its parts may share memory with the string that was parsed.
type JID struct {
	local, domain, resource string
}

// Parse prepares the address s: localpart "@" domainpart "/" resourcepart, the
// first and the last optional. It divides before it prepares (RFC 7622 §3.1),
// because preparation can turn other characters into the separators. The error
// is an *Error.
func Parse(s string) (JID, error) {
	rest, resource, hasResource := strings.Cut(s, "/")
	if hasResource && resource == "" {
		return JID{}, &Error{resourcepart, "empty"}
	}
	local, domain, hasLocal := strings.Cut(rest, "@")
	if !hasLocal {
		local, domain = "", rest
	} else if local == "" {
		return JID{}, &Error{localpart, "empty"}
	}
	return New(local, domain, resource)
}

// New prepares an address from its parts; "" leaves out the localpart or the
// resourcepart. The error is an *Error.
func New(local, domain, resource string) (JID, error) {
	var j JID
	var err error
	if j.domain, err = prepareDomain(domain); err != nil {
		return JID{}, err
	}
	if local != "" {
		if j.local, err = prepareLocal(local); err != nil {
			return JID{}, err
		}
	}
	return j.WithResource(resource)
}

// MustParse is Parse for constants and tests: it panics on a bad address.
func MustParse(s string) JID {
	j, err := Parse(s)
	if err != nil {
		panic("jid: " + s + ": " + err.Error())
	}
	return j
}

// Local returns the localpart, "" for none.
func (j JID) Local() string { return j.local }

// Domain returns the domainpart, in U-labels; "" only for the zero JID.
func (j JID) Domain() string { return j.domain }

// Resource returns the resourcepart, "" for none.
func (j JID) Resource() string { return j.resource }

// Bare returns the address without its resourcepart.
func (j JID) Bare() JID { return JID{j.local, j.domain, ""} }

// IsBare reports whether there is no resourcepart.
func (j JID) IsBare() bool { return j.resource == "" }

// IsZero reports whether j is no address.
func (j JID) IsZero() bool { return j == JID{} }

// WithResource returns the address with another resourcepart, "" for none.
func (j JID) WithResource(r string) (JID, error) {
	var err error
	if j.resource = ""; r != "" {
		if j.resource, err = prepareResource(r); err != nil {
			return JID{}, err
		}
	}
	return j, nil
}

// String returns the address as it is written on the wire, not yet escaped for
// XML; "" for the zero JID.
func (j JID) String() string {
	switch {
	case j.local == "" && j.resource == "":
		return j.domain
	case j.local == "":
		return j.domain + "/" + j.resource
	case j.resource == "":
		return j.local + "@" + j.domain
	}
	return j.local + "@" + j.domain + "/" + j.resource
}

// Names of the parts in errors.
const (
	localpart    = "localpart"
	domainpart   = "domainpart"
	resourcepart = "resourcepart"
)

// Error is a string that is no address. It does not hold the string.
type Error struct {
	Part string // localpart, domainpart or resourcepart
	Text string // what is wrong with it
}

// Error returns the part and what is wrong with it.
func (e *Error) Error() string { return e.Part + ": " + e.Text }

// Temporary reports false: the same string is wrong the next time too.
func (e *Error) Temporary() bool { return false }
