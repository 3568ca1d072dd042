package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/jid"
)

// readStore reads the URI of an account store.
func (o *option) readStore(s, dir string) (string, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	stores := strings.Join(o.schemes, "://, ") + "://"
	switch {
	case !ok:
		return "", faultf("write file:///PATH", "%q is not a URI", s)
	case scheme == "nats" && !slices.Contains(o.schemes, scheme):
		return "", faultf("known are "+stores, "the built-in store keeps SCRAM keys only and cannot do DIGEST-MD5")
	case !slices.Contains(o.schemes, scheme):
		return "", faultf("known are "+stores, "no account store is called %q", scheme)
	case scheme == "nats" && rest != "accounts":
		return "", faultf("write nats://accounts", "the built-in store is nats://accounts")
	case scheme == "nats":
		return "nats://accounts", nil
	case rest == "" || strings.HasSuffix(rest, "/"):
		return "", faultf("", "%q names no file", s)
	}
	return scheme + "://" + absolute(rest, dir), nil
}

// absolute resolves a path against the folder of the file that writes it. The
// embedded default has no folder: its paths start from the working one.
func absolute(path, dir string) string {
	if filepath.IsAbs(path) || dir == "" {
		return path
	}
	return filepath.Join(dir, path)
}

// read converts one string or word to the Go type of the option's kind.
func (o *option) read(s, dir string) (any, error) {
	switch o.kind {
	case kindNumber:
		return o.readNumber(s)
	case kindSize:
		return o.readUnits(s, map[string]int64{"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30})
	case kindDuration:
		n, err := o.readUnits(s, map[string]int64{"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400})
		return time.Duration(n) * time.Second, err
	case kindBoolean:
		return readBoolean(s)
	case kindMode:
		return readMode(s)
	case kindEnum:
		return o.readWord(s)
	case kindPath:
		return readPath(o, s, dir)
	case kindDomain:
		return readDomain(s)
	case kindRate:
		return readRate(s)
	case kindRegexp:
		return readRegexp(s)
	case kindPattern:
		return readPattern(s)
	case kindURI:
		return o.readURI(s)
	case kindAddress:
		return readHostPort(s)
	case kindCIDR:
		return readCIDR(s)
	default:
		return s, nil
	}
}

func (o *option) readNumber(s string) (any, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil, faultf("", "%q is not a number", s)
	}
	if err := o.inRange(n, err != nil); err != nil {
		return nil, err
	}
	return int(n), nil
}

// readUnits reads a number that may have a unit at its end.
func (o *option) readUnits(s string, units map[string]int64) (int64, error) {
	digits := strings.TrimRightFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	factor, ok := units[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil && !errors.Is(err, strconv.ErrRange) {
		hint := "a number of bytes, or with k, m or g"
		if o.kind == kindDuration {
			hint = "a number of seconds, or with s, m, h or d"
		}
		return 0, faultf(hint, "%q is not a %s", s, o.typeName())
	}
	over := err != nil || n > math.MaxInt64/factor || o.kind == kindDuration && n > int64(math.MaxInt64/time.Second)/factor
	return n * factor, o.inRange(n*factor, over)
}

func (o *option) inRange(n int64, over bool) error {
	switch {
	case !over && n >= o.min && (o.max == 0 || n <= o.max):
		return nil
	case o.max == 0 && o.min == 0:
		return faultf("", "must not be negative")
	case o.max == 0:
		return faultf("", "must be at least %d%s", o.min, spaced(o.unit()))
	default:
		return faultf("", "must be from %d to %d%s", o.min, o.max, spaced(o.unit()))
	}
}

func spaced(unit string) string {
	if unit == "" {
		return ""
	}
	return " " + unit
}

// readBoolean takes the words that files of the field use, in any case.
func readBoolean(s string) (any, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off":
		return false, nil
	}
	return nil, faultf("true or false (yes, no, on, off)", "%q is not a boolean", s)
}

func readMode(s string) (any, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return nil, faultf("three octal digits, such as 0660", "%q is not a file mode", s)
	}
	return fs.FileMode(n), nil
}

func (o *option) readWord(s string) (any, error) {
	word := strings.ToLower(s)
	if slices.Contains(o.words, word) {
		return word, nil
	}
	all := strings.Join(o.words, ", ")
	if len(o.words) == 2 {
		all = strings.Join(o.words, " or ")
	}
	return nil, faultf(didYouMean(word, o.words), "%q is not one of %s", s, all)
}

func readPath(o *option, s, dir string) (any, error) {
	switch {
	case s == "":
		return nil, faultf("", "path is empty")
	case o.name == "tls_certificate" && strings.EqualFold(s, none):
		return none, nil
	}
	return absolute(s, dir), nil
}

// none is the tls_certificate that offers no TLS.
const none = "none"

func readDomain(s string) (any, error) {
	j, err := jid.New("", s, "")
	if err != nil || s == "" {
		return nil, faultf("", "%q is not a domain name", s)
	}
	return j.Domain(), nil
}

func readRate(s string) (any, error) {
	count, per, ok := strings.Cut(s, "/")
	n, err1 := strconv.ParseInt(count, 10, 32)
	seconds, err2 := strconv.ParseInt(per, 10, 32)
	if !ok || err1 != nil || err2 != nil || n < 1 || seconds < 1 {
		return nil, faultf(`"60/3" is 60 in 3 seconds`, "%q is not a rate", s)
	}
	return rate{int(n), time.Duration(seconds) * time.Second}, nil
}

// readRegexp anchors the expression: a map for phone numbers that matched within
// a longer address would send a stranger's mail to whoever is named in it.
func readRegexp(s string) (any, error) {
	if _, err := regexp.Compile(s); err != nil {
		return nil, faultf("", "%s", err)
	}
	re, err := regexp.Compile(`^(?:` + s + `)$`)
	if err != nil {
		return nil, faultf("", "%s", err)
	}
	return re, nil
}

// readPattern leaves the expression as it is written.
func readPattern(s string) (any, error) {
	if _, err := regexp.Compile(s); err != nil {
		return nil, faultf("", "%s", err)
	}
	return s, nil
}

func (o *option) readURI(s string) (any, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return nil, faultf(fmt.Sprintf("write %s://HOST:PORT", o.schemes[0]), "not a URI")
	}
	if !slices.Contains(o.schemes, u.Scheme) {
		return nil, faultf("one of "+strings.Join(o.schemes, ", "), "scheme %s is not known", u.Scheme)
	}
	return s, nil
}

func readHostPort(s string) (any, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || !isPort(port) {
		return nil, faultf("write HOST:PORT", "%q is not an address", s)
	}
	return s, nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// readCIDR takes one address for the range of just that.
func readCIDR(s string) (any, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return nil, faultf(`an address or a range such as "192.0.2.0/24"`, "%q is not a CIDR", s)
	case p.Addr().Is4In6():
		return nil, faultf("write the IPv4 range", "%q is an IPv4-mapped range", s)
	case p != p.Masked():
		return nil, faultf(fmt.Sprintf("did you mean %s?", p.Masked()), "%q has bits beyond its prefix", s)
	}
	return p, nil
}
