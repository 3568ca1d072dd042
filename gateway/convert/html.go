package convert

import (
	"bytes"
	"strings"

	"github.com/k3a/html2text"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// reduceHTML returns the text of an HTML document. It reads at most eight bytes
// of markup for each of the limit bytes of text that can be sent.
//
// The document is tokenised and written anew before html2text v1.4.0 sees it,
// which otherwise loses the rest of the text after an <a> without href or a
// stray </style>, takes comments for tags, and knows no <div>.
func reduceHTML(doc string, limit int) string {
	if len(doc) > 8*limit {
		doc = strings.ToValidUTF8(doc[:8*limit], "")
	}
	text := html2text.HTML2TextWithOptions(plainMarkup(doc),
		html2text.WithUnixLineBreaks(), html2text.WithListSupport())
	return tidyLines(text)
}

// plainMarkup writes doc with those tags only that html2text renders.
func plainMarkup(doc string) string {
	w := markup{z: html.NewTokenizer(strings.NewReader(doc))}
	w.out.Grow(len(doc))
	for {
		switch w.z.Next() {
		case html.ErrorToken: // the end, or what cannot be read: keep what is there
			return w.out.String()
		case html.TextToken:
			w.text()
		case html.StartTagToken:
			w.open(false)
		case html.SelfClosingTagToken:
			w.open(true)
		case html.EndTagToken:
			w.close()
		}
	}
}

// markup is the document being written by plainMarkup.
type markup struct {
	z      *html.Tokenizer // at the token to be written
	out    strings.Builder
	hidden atom.Atom // element whose content is skipped; 0 for none
	href   string    // of the link that is open, escaped; "" for none
	label  string    // text since the link was opened
}

func (w *markup) text() {
	if w.hidden != 0 {
		return
	}
	from := w.out.Len()
	if raw := w.z.Raw(); bytes.ContainsAny(raw, "<>&") {
		w.out.WriteString(html.EscapeString(string(w.z.Text())))
	} else {
		w.out.Write(raw)
	}
	if w.href != "" && len(w.label) <= len(w.href) {
		w.label += w.out.String()[from:]
	}
}

func (w *markup) open(closed bool) {
	name, more := w.z.TagName()
	tag := atom.Lookup(name)
	switch {
	case w.hidden != 0:
	case isHidden(tag):
		if !closed {
			w.hidden = tag
		}
	case tag == atom.A:
		w.href, w.label = html.EscapeString(linkOf(w.z, more)), ""
	default:
		w.out.WriteString(openTags[tag])
	}
}

func (w *markup) close() {
	name, _ := w.z.TagName()
	tag := atom.Lookup(name)
	switch {
	case w.hidden != 0:
		if tag == w.hidden {
			w.hidden = 0
		}
	case tag == atom.A:
		// An address that is its own text needs no second time.
		if w.href != "" && strings.TrimSpace(w.label) != w.href {
			w.out.WriteString(" &lt;" + w.href + "&gt;")
		}
		w.href = ""
	default:
		w.out.WriteString(closeTags[tag])
	}
}

// isHidden: elements whose content is not text of the document.
func isHidden(a atom.Atom) bool {
	switch a {
	case atom.Script, atom.Style, atom.Title, atom.Noscript, atom.Template, atom.Iframe, atom.Object, atom.Svg:
		return true
	}
	return false
}

var openTags = map[atom.Atom]string{
	atom.Br: "<br>", atom.Hr: "<br>", atom.P: "<p>", atom.Li: "<li>",
	atom.H1: "<h1>", atom.H2: "<h1>", atom.H3: "<h1>", atom.H4: "<h1>", atom.H5: "<h1>", atom.H6: "<h1>",
	atom.Td: " ", atom.Th: " ",
}

var closeTags = map[atom.Atom]string{
	atom.P: "</p>", atom.Ul: "</ul>", atom.Ol: "</ol>",
	atom.H1: "</h1>", atom.H2: "</h1>", atom.H3: "</h1>", atom.H4: "</h1>", atom.H5: "</h1>", atom.H6: "</h1>",
	atom.Div: "<br>", atom.Tr: "<br>", atom.Blockquote: "<br>", atom.Pre: "<br>", atom.Section: "<br>",
	atom.Table: "<br>",
}

// linkOf is the address of a link worth showing; "" for none. more is what
// TagName said of attributes.
func linkOf(z *html.Tokenizer, more bool) string {
	for more {
		var key, val []byte
		key, val, more = z.TagAttr()
		if string(key) != "href" {
			continue
		}
		v := strings.TrimSpace(string(val))
		for _, scheme := range []string{"http:", "https:", "mailto:", "xmpp:", "tel:", "sms:", "geo:"} {
			if len(v) > len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) {
				return v
			}
		}
	}
	return ""
}

// tidyLines trims each line and leaves one blank line where there were more.
func tidyLines(s string) string {
	var b strings.Builder
	blank := 0
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" {
			blank++
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\n")
			if blank > 0 {
				b.WriteString("\n")
			}
		}
		blank = 0
		b.WriteString(line)
	}
	return b.String()
}
