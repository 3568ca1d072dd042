package config

import (
	"slices"
	"strings"
)

// kind is the type of an option's value: what may be written, and the Go type
// that comes out of it (value.go).
type kind uint8

const (
	kindString   kind = iota // string
	kindNumber               // int
	kindSize                 // int64, bytes
	kindDuration             // time.Duration
	kindBoolean              // bool
	kindMode                 // fs.FileMode
	kindEnum                 // string, lower case
	kindPath                 // string, absolute unless "none" or from the default
	kindDomain               // string, prepared
	kindRate                 // rate
	kindRegexp               // *regexp.Regexp, of the whole text
	kindPattern              // string, of a regexp that may match a part
	kindURI                  // string
	kindAddress              // string, host:port
	kindCIDR                 // netip.Prefix
	kindCiphers              // []uint16
	kindAuth                 // string: a dictionary with the URI of an account store
)

// option is one row of the table: everything that is known of an option.
// The same name may have several rows, for scopes where it means or defaults to
// something else; no two rows share a scope.
type option struct {
	name    string
	kind    kind
	list    bool     // a list of kind, []T
	words   []string // of an enum
	schemes []string // that a URI may have
	min     int64    // of numbers, sizes and durations (seconds)
	max     int64    // 0: none
	def     string   // the default, as it would be written; empty for unset
	defDoc  string   // how the default is described where def cannot say it
	scopes  scopeSet
	of      scopeSet // the listeners in whose listen and peer scopes it is valid; 0: those in scopes, or all where none is
	secret  bool
	chapter bool     // in Table 10.1 or section 10.1.2 of the chapter
	planned scopeSet // where a later version gives it its effect
	inert   string   // why it has no effect and never will, empty for the others
	// fixed is where a change takes effect only after a restart, and fixedDoc what of
	// it does; empty: all.
	fixed    scopeSet
	fixedDoc string
	doc      string
}

// table is every option.
var table = slices.Concat(listenerOptions, tlsOptions, messageOptions, filterOptions, domainOptions, streamOptions, mailOptions, linkOptions, relayOptions, webhookOptions, scriptOptions, loggerOptions, systemOptions, accountOptions, operatorOptions)

// byName finds the rows of a name.
var byName = func() map[string][]*option {
	m := make(map[string][]*option, len(table))
	for _, o := range table {
		m[o.name] = append(m[o.name], o)
	}
	return m
}()

// findOption returns the row of name that is valid in n, or nil.
func findOption(name string, n *node) *option {
	for _, o := range byName[name] {
		if o.validIn(n) {
			return o
		}
	}
	return nil
}

// listeners returns the kinds of listener in whose listen and peer scopes the
// option is valid.
func (o *option) listeners() scopeSet {
	switch {
	case o.of != 0:
		return o.of
	case o.scopes&inListeners != 0:
		return o.scopes & inListeners
	default:
		return inListeners
	}
}

// validIn reports whether the option may be set in n. In a pathway every option
// of pathways may: it holds where it means something.
func (o *option) validIn(n *node) bool {
	if o.scopes&n.scope.bit == 0 {
		return false
	}
	if n.scope.bit&(inListen|inPeer) == 0 {
		return true
	}
	return o.listeners()&n.listener().scope.bit != 0
}

// validScopes describes where an option of some name may be set.
func validScopes(name string) string {
	var set scopeSet
	only := inListeners
	for _, o := range byName[name] {
		set |= o.scopes
		if o.scopes&(inListen|inPeer) != 0 {
			only = o.listeners()
		}
	}
	s := set.String()
	if within := set & (inListen | inPeer); only != inListeners && within != 0 {
		s += " (" + strings.Join(within.names(), " and ") + " of " + only.String() + ")"
	}
	return s
}

// unit describes what a bare number means.
func (o *option) unit() string {
	switch o.kind {
	case kindSize:
		return "bytes"
	case kindDuration:
		return "seconds"
	case kindRate:
		return "number/seconds"
	default:
		return ""
	}
}

// typeName describes what may be written.
func (o *option) typeName() string {
	name := kindNames[o.kind]
	if o.list {
		return "list of " + plural(name)
	}
	return name
}

// plural is enough English for the names of types.
func plural(s string) string {
	if strings.HasSuffix(s, "s") {
		return s + "es"
	}
	return s + "s"
}

var kindNames = map[kind]string{
	kindString:   "string",
	kindNumber:   "number",
	kindSize:     "size",
	kindDuration: "duration",
	kindBoolean:  "boolean",
	kindMode:     "octal mode",
	kindEnum:     "word",
	kindPath:     "path",
	kindDomain:   "domain",
	kindRate:     "rate",
	kindRegexp:   "regular expression",
	kindPattern:  "regular expression",
	kindURI:      "URI",
	kindAddress:  "address",
	kindCIDR:     "CIDR",
	kindCiphers:  "cipher list",
	kindAuth:     "dictionary",
}
