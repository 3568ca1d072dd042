package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CipherError is a word of tls_ciphers that cannot be honoured.
type CipherError struct {
	Name string // as written, with its sign; empty when the fault is of the whole value
	Text string // what is wrong
	Hint string // what to write instead; may be empty

	lacking bool // the name is OpenSSL's; what it stands for is not here
}

// Error returns name, text and hint.
func (e *CipherError) Error() string {
	s := e.Text
	if e.Name != "" {
		s = fmt.Sprintf("%q: %s", e.Name, s)
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// suite is one TLS 1.2 suite that we can offer. Its tags are the names of the
// OpenSSL groups it belongs to (openssl-ciphers(1)), beside those that its key
// exchange implies.
type suite struct {
	name string // OpenSSL's
	id   uint16
	tags []string
}

// tls12Suites leaves out RC4 and 3DES, which crypto/tls still has: RFC 7465 forbids
// the one and RFC 9325 §4.1 the other. OpenSSL no longer builds them either, so
// that its groups do not contain them.
var tls12Suites = []suite{
	{"ECDHE-ECDSA-AES256-GCM-SHA384", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, []string{"ECDHE", "ECDSA", "AES256", "AESGCM", "TLSV1.2"}},
	{"ECDHE-RSA-AES256-GCM-SHA384", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, []string{"ECDHE", "ARSA", "AES256", "AESGCM", "TLSV1.2"}},
	{"ECDHE-ECDSA-CHACHA20-POLY1305", tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, []string{"ECDHE", "ECDSA", "CHACHA20", "TLSV1.2"}},
	{"ECDHE-RSA-CHACHA20-POLY1305", tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, []string{"ECDHE", "ARSA", "CHACHA20", "TLSV1.2"}},
	{"ECDHE-ECDSA-AES128-GCM-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, []string{"ECDHE", "ECDSA", "AES128", "AESGCM", "TLSV1.2"}},
	{"ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, []string{"ECDHE", "ARSA", "AES128", "AESGCM", "TLSV1.2"}},
	{"ECDHE-ECDSA-AES128-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, []string{"ECDHE", "ECDSA", "AES128", "SHA256", "TLSV1.2"}},
	{"ECDHE-RSA-AES128-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, []string{"ECDHE", "ARSA", "AES128", "SHA256", "TLSV1.2"}},
	{"ECDHE-ECDSA-AES256-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, []string{"ECDHE", "ECDSA", "AES256", "SHA", "TLSV1"}},
	{"ECDHE-RSA-AES256-SHA", tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, []string{"ECDHE", "ARSA", "AES256", "SHA", "TLSV1"}},
	{"ECDHE-ECDSA-AES128-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, []string{"ECDHE", "ECDSA", "AES128", "SHA", "TLSV1"}},
	{"ECDHE-RSA-AES128-SHA", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, []string{"ECDHE", "ARSA", "AES128", "SHA", "TLSV1"}},
	{"AES256-GCM-SHA384", tls.TLS_RSA_WITH_AES_256_GCM_SHA384, []string{"RSA", "ARSA", "AES256", "AESGCM", "TLSV1.2"}},
	{"AES128-GCM-SHA256", tls.TLS_RSA_WITH_AES_128_GCM_SHA256, []string{"RSA", "ARSA", "AES128", "AESGCM", "TLSV1.2"}},
	{"AES128-SHA256", tls.TLS_RSA_WITH_AES_128_CBC_SHA256, []string{"RSA", "ARSA", "AES128", "SHA256", "TLSV1.2"}},
	{"AES256-SHA", tls.TLS_RSA_WITH_AES_256_CBC_SHA, []string{"RSA", "ARSA", "AES256", "SHA", "SSLV3"}},
	{"AES128-SHA", tls.TLS_RSA_WITH_AES_128_CBC_SHA, []string{"RSA", "ARSA", "AES128", "SHA", "SSLV3"}},
}

// groupAlias maps a group's other names to the tag in tls12Suites.
var groupAlias = map[string]string{
	"EECDH": "ECDHE", "KECDHE": "ECDHE", "KEECDH": "ECDHE", "ECDH": "ECDHE",
	"KRSA": "RSA", "AECDSA": "ECDSA", "SHA1": "SHA", "TLSV1.0": "TLSV1",
}

// emptyGroups are groups of which we have nothing, with the reason; excluding
// one is honoured exactly by doing nothing.
var emptyGroups = map[string]string{
	"ANULL": "no suite without authentication is ever offered", "ENULL": "no suite without encryption is ever offered",
	"NULL": "no suite without encryption is ever offered", "COMPLEMENTOFALL": "no suite without encryption is ever offered",
	"ADH": "no suite without authentication is ever offered", "AECDH": "no suite without authentication is ever offered",
	"DH": noDHE, "DHE": noDHE, "EDH": noDHE, "KDHE": noDHE, "KEDH": noDHE, "KDH": noDHE, "KDHR": noDHE, "KDHD": noDHE,
	"ADSS": noDHE, "DSS": noDHE,
	"RC4": weak, "RC2": weak, "DES": weak, "3DES": weak, "IDEA": weak, "SEED": weak, "MD5": weak,
	"EXP": weak, "EXPORT": weak, "EXPORT40": weak, "EXPORT56": weak, "LOW": weak, "MEDIUM": weak, "SSLV2": weak,
	"CAMELLIA": notHere, "CAMELLIA128": notHere, "CAMELLIA256": notHere, "ARIA": notHere, "ARIA128": notHere, "ARIA256": notHere,
	"ARIAGCM": notHere, "AESCCM": notHere, "AESCCM8": notHere, "SHA384": notHere, "GOST": notHere, "KGOST": notHere, "AGOST": notHere, "GOST94": notHere, "GOST89MAC": notHere,
	"PSK": notHere, "KPSK": notHere, "APSK": notHere, "KECDHEPSK": notHere, "KDHEPSK": notHere, "KRSAPSK": notHere,
	"SRP": notHere, "KSRP": notHere, "ASRP": notHere, "KECDH": notHere, "KECDHR": notHere,
	"KRB5": notHere, "KFZA": notHere,
}

const (
	noDHE   = "finite-field Diffie-Hellman is not available"
	weak    = "it is broken, or too weak to be offered"
	notHere = "the TLS library has no such suite"

	useECDHE = "use ECDHE-RSA-AES128-GCM-SHA256 or ECDHE+AESGCM"
)

// ParseCiphers reads tls_ciphers, a cipher string as openssl-ciphers(1)
// describes it: names of suites, groups and their intersections ("ECDHE+AESGCM"),
// with the signs ! (exclude for good), - (exclude until named again) and + (move
// to the end), apart by colons, commas or white space; IANA names are taken too.
// A group allows those of its suites that we have. suites is nil, Go's own
// choice, for an empty string. notes say what a value means that is taken but
// does not do all that it says: TLS 1.3 suites are fixed, and the order is the
// library's. err joins one *CipherError for every word that cannot be honoured.
func ParseCiphers(s string) (suites []uint16, notes []string, err error) {
	words := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(":,; \t\r\n", r) })
	if len(words) == 0 {
		return nil, nil, nil
	}
	var p cipherParser
	for _, word := range words {
		if err := p.word(word); err != nil {
			p.errs = append(p.errs, err)
		}
	}
	if len(p.errs) == 0 && len(p.chosen) == 0 {
		hint := "name at least one, such as ECDHE+AESGCM"
		if p.tls13 {
			hint = "the suites of TLS 1.3 are always on; " + hint
		}
		p.errs = append(p.errs, &CipherError{Text: "no suite of TLS 1.2 is left", Hint: hint})
	}
	if len(p.errs) > 0 {
		return nil, nil, errors.Join(p.errs...)
	}
	return p.chosen, p.conclude(), nil
}

// cipherParser holds what the words so far amount to.
type cipherParser struct {
	chosen    []uint16
	banned    []uint16 // by "!"
	errs      []error
	tls13     bool // a TLS 1.3 suite was named
	reordered bool // an order was asked for
}

// word applies one word of the cipher string.
func (p *cipherParser) word(word string) error {
	name, sign := word, byte(0)
	switch word[0] {
	case '!', '-', '+':
		sign, name = word[0], word[1:]
	case '@':
		return p.directive(word)
	}
	if isTLS13(name) {
		if sign == '!' || sign == '-' {
			return &CipherError{Name: word, Text: "the suites of TLS 1.3 are fixed and cannot be excluded"}
		}
		p.tls13 = true
		return nil
	}
	ids, err := selectSuites(name)
	if err != nil {
		if err.lacking && (sign == '!' || sign == '-') {
			return nil // already excluded
		}
		err.Name = word
		return err
	}
	if len(ids) == 0 && sign == 0 {
		return &CipherError{Name: word, Text: "it allows no suite that we have: " + emptyReason(name), Hint: useECDHE}
	}
	in := func(id uint16) bool { return slices.Contains(ids, id) }
	switch sign {
	case '!':
		p.banned = append(p.banned, ids...)
		p.chosen = slices.DeleteFunc(p.chosen, in)
	case '-':
		p.chosen = slices.DeleteFunc(p.chosen, in)
	case '+':
		p.reordered = true
	default:
		for _, id := range ids {
			if !slices.Contains(p.chosen, id) && !slices.Contains(p.banned, id) {
				p.chosen = append(p.chosen, id)
			}
		}
	}
	return nil
}

// directive applies "@STRENGTH" and the like.
func (p *cipherParser) directive(word string) error {
	if strings.EqualFold(word, "@STRENGTH") {
		p.reordered = true
		return nil
	}
	return &CipherError{Name: word, Text: "security levels are OpenSSL's own", Hint: "name the suites that you want"}
}

// conclude returns the notes on a value that was taken.
func (p *cipherParser) conclude() (notes []string) {
	if p.tls13 {
		notes = append(notes, "the suites of TLS 1.3 are fixed: all three are offered whatever is written")
	}
	if p.reordered {
		notes = append(notes, "the order of suites is the TLS library's: it puts the strongest first that both sides do fast")
	}
	if i := slices.IndexFunc(p.chosen, func(id uint16) bool { return slices.Contains(members("RSA"), id) }); i >= 0 {
		notes = append(notes, "some suites allowed here have no forward secrecy, such as "+opensslName(p.chosen[i])+": add !kRSA to leave them out")
	}
	return notes
}

// selectSuites returns the suites that a name, a group or groups joined by "+"
// stand for.
func selectSuites(name string) ([]uint16, *CipherError) {
	for _, s := range tls12Suites {
		if strings.EqualFold(name, s.name) || strings.EqualFold(name, tls.CipherSuiteName(s.id)) {
			return []uint16{s.id}, nil
		}
	}
	var ids []uint16
	for i, part := range strings.Split(name, "+") {
		tag := strings.ToUpper(part)
		if alias, ok := groupAlias[tag]; ok {
			tag = alias
		}
		group := members(tag)
		if group == nil && emptyGroups[tag] == "" {
			return nil, unknownCipher(part)
		}
		if i == 0 {
			ids = group
		} else {
			ids = slices.DeleteFunc(ids, func(id uint16) bool { return !slices.Contains(group, id) })
		}
	}
	return ids, nil
}

// members returns the suites of a group, nil for a group of which we have none.
func members(tag string) (ids []uint16) {
	for _, s := range tls12Suites {
		switch {
		case tag == "ALL", tag == "HIGH", slices.Contains(s.tags, tag),
			tag == "AES" && !slices.Contains(s.tags, "CHACHA20"),
			tag == "DEFAULT" && isDefault(s.id), tag == "COMPLEMENTOFDEFAULT" && !isDefault(s.id):
			ids = append(ids, s.id)
		}
	}
	return ids
}

// isDefault reports whether crypto/tls offers the suite where none is chosen:
// DEFAULT is the default of the library that does the work.
func isDefault(id uint16) bool {
	return slices.ContainsFunc(tls.CipherSuites(), func(c *tls.CipherSuite) bool { return c.ID == id })
}

func isTLS13(name string) bool {
	return slices.ContainsFunc(tls.CipherSuites(), func(c *tls.CipherSuite) bool {
		return slices.Contains(c.SupportedVersions, tls.VersionTLS13) && strings.EqualFold(c.Name, name)
	}) || strings.EqualFold(name, "TLSv1.3")
}

// emptyReason says why a combination of groups is empty.
func emptyReason(name string) string {
	for part := range strings.SplitSeq(strings.ToUpper(name), "+") {
		if why := emptyGroups[part]; why != "" {
			return why
		}
	}
	return "the groups have nothing in common"
}

// unknownCipher says of a name that stands for nothing we have why that is so,
// by what OpenSSL's names have in common.
func unknownCipher(name string) *CipherError {
	upper := strings.ToUpper(name)
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains("-"+upper, p) })
	}
	e := &CipherError{Name: name, Text: "no suite or group of that name", Hint: useECDHE, lacking: true}
	switch {
	case has("RC4-", "-DES-CBC", "-EXP-", "NULL-", "-ADH-", "-AECDH-", "-IDEA-", "-SEED-"):
		e.Text = weak
	case has("-DHE-", "-EDH-", "-DH-"):
		e.Text = noDHE
	case has("-CAMELLIA", "-ARIA", "-PSK-", "-SRP-", "-CCM", "-AES256-SHA384", "-AES128-SHA384", "-AES256-SHA256", "-ECDH-"):
		e.Text = notHere
	case has("-SUITEB"):
		e.Text, e.lacking = "Suite B also fixes curves and signatures, which this option does not", false
	default:
		e.lacking = false
	}
	return e
}

// opensslName returns OpenSSL's name of one of our suites.
func opensslName(id uint16) string {
	i := slices.IndexFunc(tls12Suites, func(s suite) bool { return s.id == id })
	return tls12Suites[i].name
}
