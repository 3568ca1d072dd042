package convert

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// maxSubject bounds the subject of a mail in bytes.
const maxSubject = 2000

// body is the text of a message in one language.
type body struct{ lang, text string }

// readBodies returns the texts of a message that hold more than white space, that in the
// message's own language first (RFC 6121 §5.2.3).
func readBodies(st *stanza.Stanza) []body {
	var bodies []body
	for e := range st.Element.Elements() {
		if e.Name != (xmlwire.Name{Space: stanza.Client, Local: "body"}) {
			continue
		}
		b := body{langOf(e, st), unmarked(clean(e.Text()))}
		same := func(o body) bool { return strings.EqualFold(o.lang, b.lang) }
		if strings.TrimSpace(b.text) == "" || slices.ContainsFunc(bodies, same) {
			continue // of two in one language only one is allowed
		}
		if strings.EqualFold(b.lang, st.Lang) {
			bodies = slices.Insert(bodies, 0, b)
		} else {
			bodies = append(bodies, b)
		}
	}
	return bodies
}

// langOf is the language of a child of st.
func langOf(e *xmlwire.Element, st *stanza.Stanza) string {
	if lang, ok := e.LookupAttr(xmlwire.Name{Space: xmlwire.XML, Local: "lang"}); ok {
		return lang
	}
	return st.Lang
}

// readSubject returns the subject in a language, or else the first, as one line.
func readSubject(st *stanza.Stanza, lang string) string {
	first := ""
	for e := range st.Element.Elements() {
		if e.Name != (xmlwire.Name{Space: stanza.Client, Local: "subject"}) {
			continue
		}
		s := oneLine(e.Text())
		if s != "" && strings.EqualFold(langOf(e, st), lang) {
			return s
		}
		if first == "" {
			first = s
		}
	}
	return first
}

// unmarked takes away what every reader of mail takes for a byte order mark.
func unmarked(s string) string { return strings.TrimLeft(s, "\ufeff") }

// oneLine makes s one line without control characters, as a header field holds it.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, clean(s))
	s = strings.TrimSpace(strings.TrimLeftFunc(s, func(r rune) bool { return r == '\ufeff' || unicode.IsSpace(r) }))
	if len(s) <= maxSubject {
		return s
	}
	n := maxSubject
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimSpace(s[:n])
}

// encryptions are the namespaces of elements that hold what only the recipient's own
// client can read. The body beside one says no more than that.
var encryptions = map[string]string{
	"eu.siacs.conversations.axolotl": "OMEMO encryption",
	"urn:xmpp:omemo:1":               "OMEMO encryption", // XEP-0384
	"urn:xmpp:omemo:2":               "OMEMO encryption",
	"urn:xmpp:openpgp:0":             "OpenPGP encryption", // XEP-0373
	"jabber:x:encrypted":             "OpenPGP encryption", // XEP-0027
	"urn:xmpp:eme:0":                 "encryption",         // XEP-0380 says which
}

// encrypted says how a message is encrypted; "" for not.
func encrypted(st *stanza.Stanza) string {
	for e := range st.Element.Elements() {
		if what := encryptions[e.Name.Space]; what != "" {
			return what
		}
	}
	return ""
}

// withLinks is the first text of a message and the files and links that go with it. What
// the text itself names is not repeated: clients write the address of a file as the body.
func withLinks(st *stanza.Stanza, bodies []body) string {
	text := ""
	if len(bodies) > 0 {
		text = bodies[0].text
	}
	var lines []string
	for e := range st.Element.Elements() {
		for _, l := range readLinks(e) {
			if !strings.Contains(text, l.url) && !slices.ContainsFunc(lines, func(s string) bool { return strings.Contains(s, l.url) }) {
				lines = append(lines, l.String())
			}
		}
	}
	if len(lines) == 0 {
		return text
	}
	links := strings.Join(lines, "\n")
	if strings.TrimSpace(text) == "" {
		return links
	}
	return text + "\n\n" + links
}

// Files returns the addresses of the files that a message offers, each once, at most most.
func Files(st *stanza.Stanza, most int) (urls []string) {
	for e := range st.Element.Elements() {
		for _, l := range readLinks(e) {
			if len(urls) < most && !slices.Contains(urls, l.url) {
				urls = append(urls, l.url)
			}
		}
	}
	return urls
}

// link is a file or an address that a message offers.
type link struct{ name, url string }

func (l link) String() string {
	if l.name == "" {
		return l.url
	}
	return l.name + ": " + l.url
}

// readLinks returns what a child of a message offers: out of band data (XEP-0066), a file
// (XEP-0447, with the name of XEP-0446), or one the older way (XEP-0385).
func readLinks(e *xmlwire.Element) []link {
	switch e.Name {
	case xmlwire.Name{Space: "jabber:x:oob", Local: "x"}:
		desc, address := "", ""
		for c := range e.Elements() {
			switch c.Name.Local {
			case "url":
				address = c.Text()
			case "desc":
				desc = c.Text()
			}
		}
		return links(desc, address)
	case xmlwire.Name{Space: "urn:xmpp:sfs:0", Local: "file-sharing"},
		xmlwire.Name{Space: "urn:xmpp:reference:0", Local: "reference"}:
		f := file{}
		f.read(e, 0)
		return links(f.name, f.urls...)
	}
	return nil
}

// file is what is said of a shared file.
type file struct {
	name string
	urls []string
}

// maxFileDepth is how deep the parts of a shared file are looked for.
const maxFileDepth = 4

func (f *file) read(e *xmlwire.Element, depth int) {
	for c := range e.Elements() {
		switch {
		case c.Name.Local == "name" && f.name == "":
			f.name = c.Text()
		case c.Name == xmlwire.Name{Space: "http://jabber.org/protocol/url-data", Local: "url-data"}:
			f.urls = append(f.urls, c.Attr("target"))
		case c.Name == xmlwire.Name{Space: "urn:xmpp:reference:0", Local: "reference"} && depth > 0:
			f.urls = append(f.urls, c.Attr("uri"))
		case depth < maxFileDepth:
			f.read(c, depth+1)
		}
	}
}

// links returns the first of several addresses of the same thing that a mail program can
// open.
func links(name string, urls ...string) []link {
	for _, s := range urls {
		s = strings.TrimSpace(s)
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || len(s) > maxSubject || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			continue
		}
		switch strings.ToLower(u.Scheme) {
		case "http", "https", "ftp":
			return []link{{oneLine(name), s}}
		}
	}
	return nil
}
