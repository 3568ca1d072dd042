package sasl

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// digestResponse is a digest-response (RFC 2831 §2.1.2), its text in UTF-8
// whatever charset the client used.
type digestResponse struct {
	username, realm, nonce, cnonce, nc, uri, response, authzid string
}

func parseDigestResponse(msg []byte) (digestResponse, error) {
	d, err := parseDirectives(string(msg))
	if err != nil {
		return digestResponse{}, err
	}
	switch charset, ok := d["charset"]; {
	case !ok:
		// Without the directive the text is ISO 8859-1.
		d["username"], d["realm"] = fromLatin1(d["username"]), fromLatin1(d["realm"])
	case !strings.EqualFold(charset, "utf-8"):
		return digestResponse{}, fmt.Errorf("charset %q is not utf-8", charset)
	}
	for name, value := range d {
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			return digestResponse{}, fmt.Errorf("%s is not text", name)
		}
	}
	if qop, ok := d["qop"]; ok && qop != "auth" {
		return digestResponse{}, fmt.Errorf("qop %q was not offered", qop)
	}
	for _, name := range []string{"username", "nonce", "cnonce", "nc", "digest-uri", "response"} {
		if d[name] == "" {
			return digestResponse{}, fmt.Errorf("%s is missing", name)
		}
	}
	return digestResponse{
		username: d["username"], realm: d["realm"], nonce: d["nonce"], cnonce: d["cnonce"],
		nc: d["nc"], uri: d["digest-uri"], response: d["response"], authzid: d["authzid"],
	}, nil
}

// parseDirectives reads a list of name=value and name="value" (RFC 2831 §7).
// Names come in lower case. A name that occurs twice is an error: each directive that
// is known here may occur once, and of two values a peer could have shown either.
func parseDirectives(s string) (map[string]string, error) {
	d := make(map[string]string)
	for {
		s = strings.TrimLeft(s, ", \t\r\n") // the # rule allows empty elements
		if s == "" {
			return d, nil
		}
		name, rest, ok := strings.Cut(s, "=")
		name = strings.ToLower(strings.TrimRight(name, " \t\r\n"))
		if !ok || !isToken(name) {
			return nil, errors.New("directive without a name and =")
		}
		if _, twice := d[name]; twice {
			return nil, fmt.Errorf("%s occurs twice", name)
		}
		value, rest, err := directiveValue(strings.TrimLeft(rest, " \t\r\n"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		d[name] = value
		s = strings.TrimLeft(rest, " \t\r\n")
		if s != "" && s[0] != ',' {
			return nil, fmt.Errorf("%s is followed by something else than a comma", name)
		}
	}
}

// directiveValue reads one token or quoted-string and returns what follows it.
func directiveValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t\r\n")
		if end < 0 {
			end = len(s)
		}
		if !isToken(s[:end]) {
			return "", "", errors.New("value is not a token")
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("quoted string has no end")
}

// isToken says whether s is a token (RFC 2831 §7). COMPAT: "/" passes, which
// clients leave unquoted in digest-uri.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7F || strings.IndexByte(`()<>@,;:\"[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func fromLatin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}
