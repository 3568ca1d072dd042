package mcmt

import (
	"maps"
	"path"
	"sort"
	"strconv"
	"strings"
)

// maxParams bounds the parameters of one field; more are ignored.
const maxParams = 64

// parseParams reads a value with parameters: Content-Type, Content-Disposition
// (RFC 2045 §5.1, RFC 2183). The value is returned in lower case. It is tolerant
// where senders are careless: file names without quotes, a missing semicolon,
// empty parameters. The first of equal names wins. Continuations and charsets
// of RFC 2231 are resolved, and encoded words in values, which RFC 2047 §5
// forbids and many write.
func parseParams(v string) (string, map[string]string) {
	end := strings.IndexAny(v, "; \t")
	if end < 0 {
		return strings.ToLower(strings.TrimSpace(v)), nil
	}
	value, rest := strings.ToLower(strings.TrimSpace(v[:end])), v[end:]
	params := make(map[string]string, 2)
	var sections []section
	for n := 0; n < maxParams; n++ {
		var name, val string
		var ok bool
		if name, val, rest, ok = nextParam(rest); !ok {
			break
		}
		if strings.Contains(name, "*") {
			sections = append(sections, newSection(name, val))
			continue
		}
		if _, dup := params[name]; !dup && name != "" {
			params[name] = decodeWords(val)
		}
	}
	if len(sections) > 0 {
		// The RFC 2231 form wins: senders give the other one for old readers.
		maps.Copy(params, joinSections(sections))
	}
	return value, params
}

// nextParam reads one parameter from s; false at the end.
func nextParam(s string) (name, value, rest string, ok bool) {
	s = strings.TrimLeft(s, "; \t")
	if s == "" {
		return "", "", "", false
	}
	i := strings.IndexAny(s, "=;")
	if i < 0 || s[i] == ';' {
		_, rest, _ = strings.Cut(s, ";")
		return "", "", rest, true
	}
	name = strings.ToLower(strings.TrimSpace(s[:i]))
	s = strings.TrimLeft(s[i+1:], " \t")
	if strings.HasPrefix(s, `"`) {
		value, rest = quotedString(s[1:])
		return name, value, rest, true
	}
	value, rest, _ = strings.Cut(s, ";")
	value = strings.TrimSpace(value)
	// Only a file name may hold blanks unquoted; elsewhere a blank stands for
	// a forgotten semicolon.
	if name != "name" && name != "filename" {
		if j := strings.IndexAny(value, " \t"); j >= 0 {
			rest = value[j:] + ";" + rest
			value = value[:j]
		}
	}
	return name, value, rest, true
}

// quotedString reads s, which begins behind the opening quote. A missing
// closing one ends with s.
func quotedString(s string) (value, rest string) {
	if i := strings.IndexAny(s, `"\\`); i >= 0 && s[i] == '"' {
		return s[:i], s[i+1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:]
		// COMPAT old Windows mailers: a path in a file name has unescaped
		// backslashes, so only these two are escapes.
		case c == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// section is one piece of an RFC 2231 parameter: title*0*=….
type section struct {
	name    string
	index   int
	encoded bool // extended: percent-encoded, the first with charset and language
	value   string
}

func newSection(name, value string) section {
	parts := strings.Split(name, "*")
	s := section{name: parts[0], value: value}
	last := parts[len(parts)-1]
	s.encoded = last == ""
	if len(parts) > 2 || !s.encoded {
		// A number that is none counts as 0 (COMPAT: "filename*01").
		s.index, _ = strconv.Atoi(parts[1])
	}
	return s
}

// joinSections puts the pieces of each parameter together and decodes them.
func joinSections(ss []section) map[string]string {
	sort.SliceStable(ss, func(i, j int) bool { return ss[i].index < ss[j].index })
	out := make(map[string]string)
	for _, name := range sectionNames(ss) {
		var charset string
		var b strings.Builder
		first := true
		for _, s := range ss {
			if s.name != name {
				continue
			}
			v := s.value
			if s.encoded {
				if first {
					charset, v = extendedValue(v)
				}
				v = percentDecode(v)
			}
			b.WriteString(v)
			first = false
		}
		out[name], _ = decodeCharset(charset, []byte(b.String()))
	}
	return out
}

func sectionNames(ss []section) []string {
	var names []string
	seen := make(map[string]bool)
	for _, s := range ss {
		if !seen[s.name] {
			seen[s.name] = true
			names = append(names, s.name)
		}
	}
	return names
}

// extendedValue divides charset'language'text (RFC 2231 §4).
func extendedValue(v string) (charset, text string) {
	charset, rest, ok := strings.Cut(v, "'")
	if !ok {
		return "", v
	}
	if _, after, ok := strings.Cut(rest, "'"); ok {
		return charset, after
	}
	return charset, rest
}

func percentDecode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, ok := hexByte(s[i+1], s[i+2]); ok {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// hexByte decodes two hexadecimal digits.
func hexByte(hi, lo byte) (byte, bool) {
	h, ok1 := hexDigit(hi)
	l, ok2 := hexDigit(lo)
	return h<<4 | l, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// baseName is the last element of a file name written on any system, without
// control characters: a name from outside must not choose a folder.
func baseName(name string) string {
	name = path.Base(strings.ReplaceAll(cleanLine(name), `\`, "/"))
	if name == "." || name == ".." || name == "/" {
		return ""
	}
	return name
}
