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

// TestHostileCost: input made to be expensive stays cheap. Each case is the
// largest the limits allow; one whose cost grows with the square of its length
// takes many times the bound.
func TestHostileCost(t *testing.T) {
	fill := func(s string, n int) string { return strings.Repeat(s, n/len(s)) }
	for _, tt := range []struct{ name, raw string }{
		{"open words", "Subject: " + fill("=?a?q?x", 60<<10) + "\r\n\r\n"},
		{"word starts", "Subject: " + fill("=?", 60<<10) + "\r\n\r\n"},
		{"many words", "Subject: " + fill("=?utf-8?q?a?= ", 60<<10) + "\r\n\r\n"},
		{"nested comments", "From: " + fill("(", 60<<10) + "\r\n\r\n"},
		{"phrases", "To: " + fill("a ", 60<<10) + "\r\n\r\n"},
		{"addresses", "To: " + fill("a@b,", 60<<10) + "\r\n\r\n"},
		{"domain literals", "To: a@[" + fill("\\a", 60<<10) + "\r\n\r\n"},
		{"open words in parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
			fill("--b\r\nContent-Type: text/plain; name=\""+fill("=?a?q?x", 60<<10)+"\"\r\n\r\n\r\n", 5<<20)},
		{"references", "References: " + fill("<", 60<<10) + "\r\n\r\n"},
		{"parameters", "Content-Type: text/plain; " + fill("a*0*=x; b c", 60<<10) + "\r\n\r\n"},
		{"blank parameters", "Content-Type: text/plain; a=" + fill("b ", 60<<10) + "\r\n\r\n"},
		{"continuations", "A: b\r\n" + fill(" c\r\n", 60<<10) + "\r\n"},
		{"near boundaries", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + fill("\n--b ", 9<<20)},
		{"nested boundaries", "Content-Type: multipart/mixed; boundary=-\r\n\r\n---\r\n\r\n" + fill("-", 9<<20)},
		{"soft breaks", "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + fill("=\n", 9<<20)},
		{"base64 junk", "Content-Transfer-Encoding: base64\r\n\r\n" + fill("!A", 9<<20)},
		{"presentation of large names", "Content-Type: " + Type + "; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nA: b\r\n\r\n" +
			"--a\r\nContent-Type: multipart/vnd.msys.mm7; boundary=b\r\n\r\n--b\r\nContent-Type: application/smil\r\n\r\n<smil>" + references() + "</smil>\r\n" +
			fill("--b\r\nContent-Type: image/png; name=\""+fill("=?a?q?x", 60<<10)+"\"\r\n\r\nx\r\n", 5<<20)},
		{"quotes", "Content-Type: text/plain; format=flowed\r\n\r\n" + fill("> \n", 1<<20)},
		{"deep quotes", "Content-Type: text/plain; format=flowed\r\n\r\n" + fill(">", 9<<20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, _ = Parse([]byte(tt.raw), Limits{}) // refused or not is the matter of other tests
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %s", d)
			} else {
				t.Log(d)
			}
		})
	}
}
