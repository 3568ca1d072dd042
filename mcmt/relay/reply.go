package relay

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"mcmt2xmpp/mcmt"
)

// Bounds of what a server may say. RFC 5321 §4.5.3.1.5 allows 512 bytes a line;
// real servers say more, with links and lists of extensions.
const (
	maxReplyLine = 4096
	maxReply     = 64 << 10 // bytes of one reply
	maxReplyText = 512      // bytes of it that we keep
)

var (
	errReplyLong = errors.New("reply is too long")
	errReplyForm = errors.New("not an SMTP reply")
)

// reply is an answer of a server (RFC 5321 §4.2).
type reply struct {
	code  int
	lines []string // without code, printable UTF-8; at least one, which may be empty
}

// readReply reads one reply. It keeps no more than maxReply bytes, whatever the
// server sends.
func readReply(r *bufio.Reader) (reply, error) {
	var all reply
	for size := 0; ; {
		line, err := readLine(r)
		if err != nil {
			return reply{}, err
		}
		if size += len(line); size > maxReply {
			return reply{}, errReplyLong
		}
		code, more, text, err := parseReplyLine(line)
		switch {
		case err != nil:
			return reply{}, err
		case len(all.lines) > 0 && code != all.code:
			// RFC 5321 §4.2.1: the code is the same on each line. Which one would hold?
			return reply{}, fmt.Errorf("%w: codes %d and %d in one", errReplyForm, all.code, code)
		}
		all.code, all.lines = code, append(all.lines, printable(text))
		if !more {
			return all, nil
		}
	}
}

// readLine reads up to LF and returns what stands before it, and before a CR
// before that. COMPAT: some servers end lines with LF alone.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxReplyLine {
			return "", errReplyLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
}

// parseReplyLine takes a line apart: "250-text", "250 text" or "250".
func parseReplyLine(line string) (code int, more bool, text string, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, "", fmt.Errorf("%w: %.60q", errReplyForm, printable(line))
	}
	n, err := strconv.ParseUint(line[:3], 10, 16)
	if err != nil || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, "", fmt.Errorf("%w: %.60q", errReplyForm, printable(line))
	}
	if len(line) == 3 {
		return int(n), false, "", nil
	}
	return int(n), line[3] == '-', line[4:], nil
}

// printable makes a text of the server fit for logs and mails: what is not UTF-8
// becomes U+FFFD, what is not a character a space.
func printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// ok says whether the reply is of the class 2yz.
func (r reply) ok() bool { return r.code/100 == 2 }

// enhanced returns the enhanced code of the reply (RFC 2034 §4), or the one that
// says no more than the class.
func (r reply) enhanced() [3]int {
	code := [3]int{r.code / 100, 0, 0}
	if own, _, ok := cutEnhanced(r.lines[0]); ok && own[0] == code[0] {
		return own
	}
	return code
}

// text is the reply without codes, on one line.
func (r reply) text() string {
	var words []string
	for _, line := range r.lines {
		if _, rest, ok := cutEnhanced(line); ok {
			line = rest
		}
		words = append(words, strings.Fields(line)...)
	}
	return shorten(strings.Join(words, " "))
}

// String is the reply as the server gave it, on one line.
func (r reply) String() string {
	return shorten(strings.TrimSpace(fmt.Sprintf("%d %s", r.code, strings.Join(r.lines, " "))))
}

// shorten cuts a text at the end of a character.
func shorten(s string) string {
	if len(s) <= maxReplyText {
		return s
	}
	n := maxReplyText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// cutEnhanced splits "5.1.1 text" (RFC 3463 §2).
func cutEnhanced(line string) (code [3]int, rest string, ok bool) {
	word, rest, _ := strings.Cut(line, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return code, line, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n > 999 {
			return code, line, false
		}
		code[i] = int(n)
	}
	return code, rest, true
}

// refusal is the reply as the answer to a command.
func (r reply) refusal(host, command string) *mcmt.Refusal {
	text := r.text()
	if text == "" {
		text = "refused without a reason"
	}
	return &mcmt.Refusal{Code: r.code, Enhanced: r.enhanced(), Status: 502, Text: text, Where: command + " at " + host}
}
