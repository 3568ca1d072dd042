package mcmt

import (
	"strings"
)

// maxWord is the longest encoded word that is looked for. RFC 2047 §2 allows 75
// characters; senders that fold nothing write more. Without a bound the cost of
// words that do not end would grow with the square of the header.
const maxWord = 1000

// decodeWords decodes the encoded words of s (RFC 2047). A word in a charset
// nobody knows is decoded by guess, a malformed one stays as it is. White space
// between adjacent words is dropped (§6.2); their bytes are joined before the
// charset is undone where charset and encoding agree, since many senders divide
// a character between two words although §5 forbids it.
func decodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return s
	}
	var b strings.Builder
	var run wordRun
	for s != "" {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		w, rest, ok := cutWord(s[i:])
		if !ok {
			run.flush(&b)
			b.WriteString(s[:i+2])
			s = s[i+2:]
			continue
		}
		if between := s[:i]; !run.open || strings.Trim(between, " \t") != "" {
			run.flush(&b)
			b.WriteString(between)
		}
		run.add(&b, w)
		s = rest
	}
	run.flush(&b)
	b.WriteString(s)
	return b.String()
}

// word is one encoded word taken apart, its encoding undone.
type word struct {
	charset string
	bytes   []byte
}

// cutWord reads the encoded word with which s begins.
func cutWord(s string) (w word, rest string, ok bool) {
	near := s[:min(len(s), maxWord)]
	charset, after, ok := strings.Cut(near[2:], "?")
	if !ok || charset == "" || len(after) < 2 || after[1] != '?' {
		return word{}, "", false
	}
	text, rest, ok := strings.Cut(after[2:], "?=")
	rest = s[len(near)-len(rest):]
	if !ok || strings.ContainsAny(charset, " \t=") {
		return word{}, "", false
	}
	charset, _, _ = strings.Cut(charset, "*") // language, RFC 2231 §5
	w.charset = strings.ToLower(charset)
	switch after[0] {
	case 'B', 'b':
		w.bytes, _ = decodeBase64([]byte(text))
	case 'Q', 'q':
		w.bytes = decodeQ(text)
	default:
		return word{}, "", false
	}
	return w, rest, true
}

// decodeQ undoes the Q encoding (RFC 2047 §4.2).
func decodeQ(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '_':
			out = append(out, ' ')
		case s[i] == '=' && i+2 < len(s):
			if c, ok := hexByte(s[i+1], s[i+2]); ok {
				out = append(out, c)
				i += 2
				continue
			}
			out = append(out, s[i])
		default:
			out = append(out, s[i])
		}
	}
	return out
}

// wordRun gathers adjacent words of one charset.
type wordRun struct {
	open bool // the last thing read was a word
	word word
}

func (r *wordRun) add(b *strings.Builder, w word) {
	if r.open && r.word.charset == w.charset {
		r.word.bytes = append(r.word.bytes, w.bytes...)
		return
	}
	r.flush(b)
	r.open, r.word = true, w
}

func (r *wordRun) flush(b *strings.Builder) {
	if r.open {
		text, _ := decodeCharset(r.word.charset, r.word.bytes)
		b.WriteString(text)
	}
	*r = wordRun{}
}
