package mcmt

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// references are those that a presentation has at most, to what is not there.
func references() string {
	var b strings.Builder
	for i := range maxRefs {
		fmt.Fprintf(&b, "<img src='%d.png'/>", i)
	}
	return b.String()
}

// shorter is how much less each of the short inputs has of what is made to be expensive,
// and tooMuch how many times more than theirs the cost of the long one must not be.
const (
	shorter = 64
	tooMuch = 6
)

// TestHostileCost: input made to be expensive costs as much as its length says. Each case,
// a header field as long as the limits allow or a body of a MiB, is measured against
// sixty-four that have a sixty-fourth of it: both take the same time, where what grows with
// the square of the length takes the long one sixty-four times as much, or some twenty where
// each step of the square is a fast one. Both are measured side by side, the least of
// several rounds counts, and there are more of them before it fails: a busy machine only
// ever adds to what something takes.
func TestHostileCost(t *testing.T) {
	fill := func(s string, n int) string { return strings.Repeat(s, n/len(s)) }
	for _, tt := range []struct {
		name string
		raw  func(part int) string // a part of the whole
	}{
		{"open words", func(p int) string { return "Subject: " + fill("=?a?q?x", 60<<10/p) + "\r\n\r\n" }},
		{"word starts", func(p int) string { return "Subject: " + fill("=?", 60<<10/p) + "\r\n\r\n" }},
		{"many words", func(p int) string { return "Subject: " + fill("=?utf-8?q?a?= ", 60<<10/p) + "\r\n\r\n" }},
		{"nested comments", func(p int) string { return "From: " + fill("(", 60<<10/p) + "\r\n\r\n" }},
		{"phrases", func(p int) string { return "To: " + fill("a ", 60<<10/p) + "\r\n\r\n" }},
		{"addresses", func(p int) string { return "To: " + fill("a@b,", 60<<10/p) + "\r\n\r\n" }},
		{"domain literals", func(p int) string { return "To: a@[" + fill("\\a", 60<<10/p) + "\r\n\r\n" }},
		{"open words in parts", func(p int) string { return wordParts(fill("=?a?q?x", 60<<10/p), 1<<20/p) }},
		{"parts with open words", func(p int) string { return wordParts(fill("=?a?q?x", 60<<10), 5<<20/p) }},
		{"references", func(p int) string { return "References: " + fill("<", 60<<10/p) + "\r\n\r\n" }},
		{"parameters", func(p int) string { return "Content-Type: text/plain; " + fill("a*0*=x; b c", 60<<10/p) + "\r\n\r\n" }},
		{"blank parameters", func(p int) string { return "Content-Type: text/plain; a=" + fill("b ", 60<<10/p) + "\r\n\r\n" }},
		{"continuations", func(p int) string { return "A: b\r\n" + fill(" c\r\n", 60<<10/p) + "\r\n" }},
		{"near boundaries", func(p int) string {
			return "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + fill("\n--b ", 1<<20/p)
		}},
		{"nested boundaries", func(p int) string {
			return "Content-Type: multipart/mixed; boundary=-\r\n\r\n---\r\n\r\n" + fill("-", 1<<20/p)
		}},
		{"soft breaks", func(p int) string {
			return "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + fill("=\n", 1<<20/p)
		}},
		{"base64 junk", func(p int) string { return "Content-Transfer-Encoding: base64\r\n\r\n" + fill("!A", 1<<20/p) }},
		{"presentation of large names", func(p int) string { return presentation(fill("=?a?q?x", 60<<10/p), 1<<20/p) }},
		{"presentation of many large names", func(p int) string { return presentation(fill("=?a?q?x", 60<<10), 5<<20/p) }},
		{"quotes", func(p int) string { return "Content-Type: text/plain; format=flowed\r\n\r\n" + fill("> \n", 1<<20/p) }},
		{"deep quotes", func(p int) string { return "Content-Type: text/plain; format=flowed\r\n\r\n" + fill(">", 1<<20/p) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			long, short := []byte(tt.raw(1)), []byte(tt.raw(shorter))
			ratio := 0.0
			for best, part, round := time.Duration(0), time.Duration(0), 1; round <= 8; round++ {
				best, part = least(best, cost(long, 1)), least(part, cost(short, shorter))
				if ratio = float64(best) / float64(part); round >= 3 && ratio < tooMuch {
					t.Logf("costs %.1f times what its parts do", ratio)
					return
				}
			}
			t.Errorf("costs %.1f times what its parts do", ratio)
		})
	}
}

// cost is how long it takes to parse an input n times. Whether it is refused is the matter
// of other tests.
func cost(raw []byte, n int) time.Duration {
	start := time.Now()
	for range n {
		_, _ = Parse(raw, Limits{})
	}
	return time.Since(start)
}

// least is the lesser of two times, the first of which may be zero: there is none yet.
func least(best, d time.Duration) time.Duration {
	if best == 0 {
		return d
	}
	return min(best, d)
}

// wordParts is a mail of so many bytes in parts that have a name.
func wordParts(name string, size int) string {
	part := "--b\r\nContent-Type: text/plain; name=\"" + name + "\"\r\n\r\n\r\n"
	return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat(part, size/len(part))
}

// presentation is one with images of so many bytes that have a name, and with all the
// references that it may have.
func presentation(name string, size int) string {
	image := "--b\r\nContent-Type: image/png; name=\"" + name + "\"\r\n\r\nx\r\n"
	return "Content-Type: " + Type + "; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\n" +
		"--a\r\nContent-Type: multipart/vnd.msys.mm7; boundary=b\r\n\r\n--b\r\nContent-Type: application/smil\r\n\r\n<smil>" + references() + "</smil>\r\n" +
		strings.Repeat(image, size/len(image))
}
