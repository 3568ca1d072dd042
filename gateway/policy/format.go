package policy

import (
	"fmt"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// maxFormatWidth is the largest width or precision of string.format, as in Lua.
const maxFormatWidth = 99

// strFormat is string.format, which the library leaves to Go's verbs and widths.
func (s *state) strFormat(L *lua.LState) int {
	format := L.CheckString(1)
	var b strings.Builder
	arg := 1
	for format != "" {
		plain, rest, found := strings.Cut(format, "%")
		s.meter.charge(L, len(plain))
		b.WriteString(plain)
		if !found {
			break
		}
		if strings.HasPrefix(rest, "%") {
			b.WriteByte('%')
			format = rest[1:]
			continue
		}
		spec, verb, after := formatSpec(L, rest)
		arg++
		text := formatted(L, spec, verb, arg)
		s.meter.charge(L, len(text))
		b.WriteString(text)
		format = after
	}
	L.Push(lua.LString(b.String()))
	return 1
}

// formatSpec divides what follows a % into flags, width and precision, the verb,
// and the rest.
func formatSpec(L *lua.LState, text string) (spec string, verb byte, rest string) {
	i := len(text) - len(strings.TrimLeft(text, "-+ #0"))
	for _, part := range []string{"", "."} {
		if !strings.HasPrefix(text[i:], part) {
			break
		}
		i += len(part)
		digits := i
		for i < len(text) && text[i] >= '0' && text[i] <= '9' {
			i++
		}
		if n, err := strconv.Atoi("0" + text[digits:i]); err != nil || n > maxFormatWidth {
			L.RaiseError("invalid format (width or precision too long)")
		}
	}
	if i > 32 || i == len(text) {
		L.RaiseError("invalid format")
	}
	return text[:i], text[i], text[i+1:]
}

// formatted is argument n as a verb shows it.
func formatted(L *lua.LState, spec string, verb byte, n int) string {
	switch verb {
	case 'c':
		return string([]byte{byte(L.CheckInt(n))})
	case 'd', 'i':
		return fmt.Sprintf("%"+spec+"d", int64(L.CheckNumber(n)))
	case 'u':
		return fmt.Sprintf("%"+spec+"d", uint64(int64(L.CheckNumber(n))))
	case 'o', 'x', 'X':
		return fmt.Sprintf("%"+spec+string(verb), uint64(int64(L.CheckNumber(n))))
	case 'e', 'E', 'f', 'g', 'G':
		if verb != 'f' && !strings.Contains(spec, ".") {
			spec += ".6" // as in C; Go would give as many digits as it takes
		}
		return fmt.Sprintf("%"+spec+string(verb), float64(L.CheckNumber(n)))
	case 'q':
		return quoted(L.CheckString(n))
	case 's':
		text := L.ToStringMeta(L.CheckAny(n)).String()
		if spec == "" {
			return text
		}
		return fmt.Sprintf("%"+spec+"s", text)
	}
	L.RaiseError("invalid option '%%%c' to 'format'", verb)
	return ""
}

// quoted is a text as a Lua string literal.
func quoted(text string) string {
	r := strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\\n", "\r", "\\r", "\x00", "\\000")
	return "\"" + r.Replace(text) + "\""
}
