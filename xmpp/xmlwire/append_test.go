package xmlwire_test

import (
	"strings"
	"testing"

	. "mcmt2xmpp/xmpp/xmlwire"
)

func attr(space, local, value string) Attr {
	return Attr{Name: Name{Space: space, Local: local}, Value: value}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	with := func(e *Element, attrs ...Attr) *Element {
		e.Attrs = append(e.Attrs, attrs...)
		return e
	}
	for _, test := range []struct {
		name string
		e    *Element
		ns   string
		want string
	}{
		{"no namespace", New("", "a"), "", `<a/>`},
		{"namespace that is in scope", New("jabber:client", "a"), "jabber:client", `<a/>`},
		{"namespace that is not", New("u", "a"), "jabber:client", `<a xmlns='u'/>`},
		{"no namespace where there is one", New("", "a"), "jabber:client", `<a xmlns=''/>`},
		{"children inherit", New("u", "a").Add(New("u", "b").Add(New("u", "c"))), "", `<a xmlns='u'><b><c/></b></a>`},
		{"children of other namespaces and back", New("u", "a").Add(New("v", "b").Add(New("u", "c"))).Add(New("u", "d")), "u",
			`<a><b xmlns='v'><c xmlns='u'/></b><d/></a>`},
		{"attributes", New("", "a", "b", "1", "c", "2"), "", `<a b='1' c='2'/>`},
		{"xml:lang needs no declaration", with(New("", "a"), attr(XML, "lang", "en")), "", `<a xml:lang='en'/>`},
		{"prefixed attribute", with(New("u", "a"), attr("v", "b", "1")), "u", `<a xmlns:a0='v' a0:b='1'/>`},
		{"an attribute in its element's namespace needs a prefix", with(New("u", "a"), attr("u", "b", "1")), "u", `<a xmlns:a0='u' a0:b='1'/>`},
		{"prefixed attributes of one namespace", with(New("", "a", "x", "0"), attr("v", "b", "1"), attr("w", "b", "2"), attr("v", "c", "3")), "",
			`<a x='0' xmlns:a1='v' a1:b='1' xmlns:a2='w' a2:b='2' a1:c='3'/>`},
		{"prefixed attribute in a child", with(New("", "a"), attr("v", "b", "1")).Add(with(New("", "c"), attr("w", "d", "2"))), "",
			`<a xmlns:a0='v' a0:b='1'><c xmlns:a0='w' a0:d='2'/></a>`},
		{"stream prefix inside a stream", New(Streams, "features").Add(New("u", "bind")), "jabber:client",
			`<stream:features><bind xmlns='u'/></stream:features>`},
		{"stream prefix standing alone", New(Streams, "features").Add(New(Streams, "x")).Add(New("", "y")), "",
			`<stream:features xmlns:stream='http://etherx.jabber.org/streams'><stream:x/><y/></stream:features>`},
		{"element of the namespace of xml", New(XML, "a").Add(New("u", "b")), "u", `<xml:a><b/></xml:a>`},
		{"declarations are not attributes", with(New("u", "a", "xmlns", "v"), attr("http://www.w3.org/2000/xmlns/", "p", "w")), "u", `<a/>`},
		{"text", New("", "a").AddText("1").Add(New("", "b")).AddText("2").AddText("3"), "", `<a>1<b/>23</a>`},
		{"empty text is no content", &Element{Name: Name{Local: "a"}, Children: []Node{{Text: ""}}}, "", `<a/>`},
		{"text escaped", New("", "a").AddText("<&>'\"]]>\r\n\t"), "", "<a>&lt;&amp;&gt;'\"]]&gt;&#xD;\n\t</a>"},
		{"value escaped", New("", "a", "b", "<&>'\"\r\n\t "), "", `<a b='&lt;&amp;&gt;&apos;&quot;&#xD;&#xA;&#x9; '/>`},
		{"namespace escaped", New("u'&", "a"), "", `<a xmlns='u&apos;&amp;'/>`},
		{"what XML cannot hold", New("", "a", "b", "\x00\x1F\uFFFE").AddText("1\x002\uFFFF3\xFF4\xED\xA0\x80"), "",
			"<a b='\uFFFD\uFFFD\uFFFD'>1\uFFFD2\uFFFD3\uFFFD4\uFFFD\uFFFD\uFFFD</a>"},
		{"characters beyond ASCII", New("", "a", "b", "é").AddText("日本 😀 \uFFFD \x7F"), "", "<a b='é'>日本 😀 \uFFFD \x7F</a>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := string(Append([]byte("> "), test.e, test.ns)); got != "> "+test.want {
				t.Errorf("\n got %s\nwant > %s", got, test.want)
			}
		})
	}
}

// TestRoundTrip: what was parsed is written so that it parses to the same.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, test := range accepted {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e, err := Parse([]byte(test.in), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			text := e.String()
			again, err := Parse([]byte(text), Limits{})
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if got := dump(again); got != test.tree {
				t.Errorf("%s\n got %s\nwant %s", text, got, test.tree)
			}
		})
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	e, err := Parse([]byte(`<a xmlns='u' b='1' xml:lang='en'>x<c n='1'/>y<d/><c n='2'/><c xmlns='v' n='3'/>z</a>`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	before := dump(e)
	if got := e.Attr("b") + e.Attr("lang") + e.Attr("c"); got != "1" {
		t.Errorf("Attr: %q, want %q", got, "1")
	}
	if v, ok := e.LookupAttr(Name{Space: XML, Local: "lang"}); v != "en" || !ok {
		t.Errorf("LookupAttr: %q, %v", v, ok)
	}
	if _, ok := e.LookupAttr(Name{Local: "lang"}); ok {
		t.Error("LookupAttr found xml:lang as lang")
	}
	if got := e.Text(); got != "xyz" {
		t.Errorf("Text: %q, want %q", got, "xyz")
	}
	if c := e.Child(Name{Space: "v", Local: "c"}); c.Attr("n") != "3" {
		t.Errorf("Child: %v", c)
	}
	if c := e.Child(Name{Local: "c"}); c != nil {
		t.Errorf("Child without a namespace: %v", c)
	}
	var names []string
	for c := range e.Elements() {
		names = append(names, c.Name.Local+c.Attr("n"))
		if len(names) == 3 {
			break
		}
	}
	if got := strings.Join(names, " "); got != "c1 d c2" {
		t.Errorf("Elements: %q", got)
	}
	c := e.Clone()
	c.SetAttr("b", "")
	c.SetAttr("new", "2")
	c.SetAttr("new", "3")
	c.Child(Name{Space: "u", Local: "d"}).AddText("text").Name.Local = "e"
	c.Children[0].Text = "w"
	if got := dump(e); got != before {
		t.Errorf("a change of the clone changed the original:\n got %s\nwant %s", got, before)
	}
	const want = `({u}a {http://www.w3.org/XML/1998/namespace}lang="en" new="3" "w" ({u}c n="1") "y" ({u}e "text") ({u}c n="2") ({v}c n="3") "z")`
	if got := dump(c); got != want {
		t.Errorf("clone\n got %s\nwant %s", got, want)
	}
}

// TestAppendEveryByte puts each byte at each place of the eight that are looked
// at together: what is written must come back.
func TestAppendEveryByte(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for at := range 10 {
			b := []byte("abcdefghij")
			b[at] = byte(c)
			s := string(b)
			e, err := Parse(Append(nil, New("", "a", "b", s).AddText(s), ""), Limits{})
			if err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			if want := clean(s); e.Text() != want || e.Attr("b") != want {
				t.Errorf("%q came back as %s", s, dump(e))
			}
		}
	}
}
