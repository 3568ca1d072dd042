package convert

import (
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
)

func TestBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, reason, text, want string }{
		{"signature", "left as it is", "Hi\n-- \nAlice", "Hi\n-- \nAlice"},
		{"blank lines", "those around the text go", "\n \n  Hi\n\nBob\n\n", "  Hi\n\nBob"},
		{"control", "what XML cannot hold is replaced", "a\x00b\x1bc\uFFFEd\te", "a\uFFFDb\uFFFDc\uFFFDd\te"},
		{"long", "cut between characters, and says so", strings.Repeat("ä", 60), strings.Repeat("ä", 49) + "\n[… 120 bytes in all]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConverter(t, func(o *Options) { o.MaxBody = 99 })
			m := build(t, mcmt.Draft{Text: "x"})
			m.Email.Text = tt.text
			r, err := c.Convert(input(m))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Stanza.Child("body").Text(); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.reason, got, tt.want)
			}
		})
	}
}

func TestHTML(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, reason, html, want string }{
		{"entities", "named and numbered", "<p>Tr&egrave;s &#8364;&nbsp;5 &lt;b&gt;</p>", "Très €\u00a05 <b>"},
		{"blocks", "lines as a reader sees them", "<div>one</div><div>two</div><p>three</p><p>four</p>", "one\ntwo\n\nthree\n\nfour"},
		{"list", "items get a dash", "<ul><li>a</li><li>b</li></ul>c", "- a\n- b\nc"},
		{"link", "the address follows the text", `see <a class=x href="https://x.example/?a=1&amp;b=2">this</a>.`, "see this <https://x.example/?a=1&b=2>."},
		{"same link", "once is enough", `<a href="https://x.example/">https://x.example/</a>`, "https://x.example/"},
		{"script link", "an address that runs code is not shown", `<a href="javascript:alert(1)">click</a>`, "click"},
		{"anchor", "html2text loses all that follows an anchor", `<a name="top">Top</a> text after`, "Top text after"},
		{"stray end", "and all that follows a stray end tag", "</style>text <b>after</b>", "text after"},
		{"comment", "a > inside a comment ends nothing", "a<!-- <b>x</b> -- > y -->b", "ab"},
		{"hidden", "script, style and title are no text", "<head><title>t</title><style>p{}</style></head><script>if(a<b)x()</script><p>text</p>", "text"},
		{"table", "cells stay apart", "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"},
		{"broken", "markup that ends in the middle", "<p>text <a href='x", "text"},
		{"nothing", "an image is no text", "<img src='x.png'>", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := reduceHTML(tt.html, 1000); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.reason, got, tt.want)
			}
		})
	}
}
