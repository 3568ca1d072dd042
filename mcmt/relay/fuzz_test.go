package relay

import (
	"bufio"
	"bytes"
	"io"
	"net/textproto"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever a server says: no panic, bounded memory, and what is kept of it fits on a
// line of a log.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		"250 ok\r\n", "250-a\r\n250-b\r\n250 c\r\n", "250\r\n", "250\n", "550-5.1.1 no\r\n550 5.1.1 such user\r\n", "250-a\r\n550 b\r\n",
		"199 x\r\n", "2x0 x\r\n", "250x\r\n", "421 4.3.2 \x00\x1b[31m\xff\r\n", "\r\n", "", "250-", "550 5.1 x\r\n", "550 5.99999.1 x\r\n",
		"250 " + strings.Repeat("ü", 400) + "\r\n", strings.Repeat("250-x\r\n", 3000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		r, err := readReply(bufio.NewReaderSize(in, 4096))
		if read := len(b) - in.Len(); read > maxReply+2*maxReplyLine {
			t.Errorf("%d bytes were read", read)
		}
		if err != nil {
			if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("error is %q", err)
			}
			return
		}
		if r.code < 200 || r.code > 599 || len(r.lines) == 0 {
			t.Errorf("reply %+v of %q", r, b)
		}
		refusal := r.refusal("h:25", "RCPT")
		if refusal.Enhanced[0] != r.code/100 || refusal.Text == "" {
			t.Errorf("refusal %+v of %q", refusal, b)
		}
		for _, s := range append(r.lines, r.text(), r.String()) {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%q of %q", s, b)
			}
		}
		if len(r.text()) > maxReplyText || len(r.String()) > maxReplyText {
			t.Errorf("text of %d bytes", len(r.text()))
		}
		extensions(r.lines)
	})
}

// What another implementation reads off the wire is the message with its lines ended
// as they should, and nothing ends it earlier.
func FuzzData(f *testing.F) {
	for _, seed := range []string{
		"", ".", "\r", "\n", "\r\n", "\n.\n", "\r.\r", "\r\n.\r\n", "x\r\n.\nMAIL FROM:<x>\r\n", "a\r\r\n.\r\r\n", "..", "\x00.\xff",
		strings.Repeat("x", 998) + ".", strings.Repeat("ü", 700), strings.Repeat(".", 3000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var wire bytes.Buffer
		size, err := writeData(&wire, raw)
		if err != nil {
			t.Fatal(err)
		}
		out := wire.Bytes()
		for i, b := range out {
			if b == '\n' && (i == 0 || out[i-1] != '\r') || b == '\r' && (i+1 == len(out) || out[i+1] != '\n') {
				t.Fatalf("a bare %q at %d of %q", b, i, out)
			}
		}
		for line := range bytes.SplitSeq(out, crlf) {
			if string(line) == "." || len(line) > maxLine+1 { // with the dot that is stuffed
				t.Fatalf("line %q of %q", line, out)
			}
		}
		r := textproto.NewReader(bufio.NewReader(io.MultiReader(&wire, strings.NewReader(".\r\nQUIT\r\n"))))
		got, err := r.ReadDotBytes()
		if err != nil {
			t.Fatal(err)
		}
		if rest, err := r.ReadLine(); err != nil || rest != "QUIT" {
			t.Fatalf("after the message stands %q (%v)", rest, err)
		}
		// The reader gives LF for each CRLF.
		if n := len(got) + bytes.Count(got, []byte("\n")); int64(n) != size {
			t.Errorf("size %d, the message has %d", size, n)
		}
		if want := plainLines(raw); !bytes.Equal(rejoin(got), rejoin(want)) {
			t.Errorf("sent %q, got %q", want, got)
		}
	})
}

// plainLines is a message with LF for every end of a line, and one at the end.
func plainLines(raw []byte) []byte {
	raw = bytes.ReplaceAll(raw, crlf, []byte("\n"))
	raw = bytes.ReplaceAll(raw, []byte("\r"), []byte("\n"))
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		raw = append(raw, '\n')
	}
	return raw
}

// rejoin takes the breaks of long lines out, so that what is compared does not
// depend on where they are: every LF and blank.
func rejoin(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\n"), nil)
	return bytes.ReplaceAll(b, []byte(" "), nil)
}

// An address that passes stands alone between its brackets.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"a@b", `"a b"@c`, `"a\"b"@c`, "a@[IPv6:::1]", "a@b> NOTIFY=NEVER", "a\r\n@b", `"\`, "ü@ü", "a b@c", `"a>@b`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		if !wellFormed(addr) {
			return
		}
		unquoted := ""
		quoted, escaped := false, false
		for _, r := range addr {
			switch {
			case escaped:
				escaped = false
			case quoted && r == '\\':
				escaped = true
			case r == '"':
				quoted = !quoted
			case !quoted:
				unquoted += string(r)
			}
		}
		if strings.ContainsAny(addr, "\r\n\x00") || quoted || strings.ContainsAny(unquoted, " <>") {
			t.Errorf("%q passes", addr)
		}
	})
}
