package convert

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// body prepares text for a <body/>: blank lines around it go, the rest stays as
// it is, signature included.
func (k *conversion) body(text string) string {
	text = strings.TrimRight(clean(text), " \t\n")
	for {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok || strings.TrimSpace(line) != "" {
			break
		}
		text = rest
	}
	if len(text) <= k.c.maxBody {
		return text
	}
	k.step("body", "cut after %d of %d bytes", k.c.maxBody, len(text))
	return fmt.Sprintf("%s\n[… %d bytes in all]", k.cut(text), len(text))
}

// cut shortens s to the longest body, between characters.
func (k *conversion) cut(s string) string {
	if len(s) <= k.c.maxBody {
		return s
	}
	n := k.c.maxBody
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// clean replaces what XML cannot hold (XML 1.0 §2.2) by U+FFFD and writes line
// breaks as "\n".
func clean(s string) string {
	if strings.Contains(s, "\r") {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	}
	for _, r := range s {
		if !isChar(r) || r == utf8.RuneError {
			return strings.Map(func(r rune) rune {
				if !isChar(r) {
					return utf8.RuneError
				}
				return r
			}, s)
		}
	}
	return s
}

func isChar(r rune) bool {
	switch {
	case r < 0x20:
		return r == '\t' || r == '\n' || r == '\r'
	case r < 0xD800:
		return true
	}
	return r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}
