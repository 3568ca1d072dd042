package xmlwire_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	. "mcmt2xmpp/xmpp/xmlwire"
)

// dump writes a tree so that each difference shows: {namespace}name, attributes
// and text in quotation marks.
func dump(e *Element) string {
	var b strings.Builder
	var write func(e *Element)
	name := func(n Name) {
		if n.Space != "" {
			b.WriteString("{" + n.Space + "}")
		}
		b.WriteString(n.Local)
	}
	write = func(e *Element) {
		b.WriteByte('(')
		name(e.Name)
		for _, a := range e.Attrs {
			b.WriteByte(' ')
			name(a.Name)
			b.WriteString("=" + quote(a.Value))
		}
		for _, n := range e.Children {
			b.WriteByte(' ')
			if n.Element != nil {
				write(n.Element)
			} else {
				b.WriteString(quote(n.Text))
			}
		}
		b.WriteByte(')')
	}
	write(e)
	return b.String()
}

func quote(s string) string {
	return `"` + strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`, `"`, `\"`).Replace(s) + `"`
}

// accepted are documents and the trees they mean.
var accepted = []struct{ name, in, tree string }{
	{"empty element", `<a/>`, `(a)`},
	{"empty element with white space", `<a />`, `(a)`},
	{"start and end tag", `<a></a>`, `(a)`},
	{"white space in the end tag", "<a></a \n>", `(a)`},
	{"declaration", `<?xml version='1.0'?><a/>`, `(a)`},
	{"declaration in full", "<?xml version = \"1.0\" encoding='utf-8'\tstandalone='yes' ?>\n<a/>", `(a)`},
	{"byte order mark", "\xEF\xBB\xBF<?xml version='1.0'?><a/>", `(a)`},
	{"byte order mark without a declaration", "\xEF\xBB\xBF<a/>", `(a)`},
	{"white space around", " \n<a/>\r\n ", `(a)`},
	{"text", `<a>one</a>`, `(a "one")`},
	{"white space is text", `<a> </a>`, `(a " ")`},
	{"mixed content", `<a>1<b/>2<c>3</c>4</a>`, `(a "1" (b) "2" (c "3") "4")`},
	{"predefined entities", `<a b="&lt;&gt;&amp;&quot;&apos;">&lt;&gt;&amp;&quot;&apos;</a>`, `(a b="<>&\"'" "<>&\"'")`},
	{"references by number", `<a>&#65;&#x42;&#x1F600;&#0067;</a>`, `(a "AB😀C")`},
	{"CR by number stays", `<a b='&#13;'>&#xD;&#xd;</a>`, `(a b="\r" "\r\r")`},
	{"line ends", "<a>1\r\n2\r3\n4\r\r\n5</a>", `(a "1\n2\n3\n4\n\n5")`},
	{"white space in a value", "<a b='1\t2\n3\r\n4\r5'/>", `(a b="1 2 3 4 5")`},
	{"white space by number in a value", `<a b='&#9;&#10;&#x20;'/>`, `(a b="\t\n ")`},
	{"quotation marks in a value", `<a b='"' c="'"/>`, `(a b="\"" c="'")`},
	{"end of a tag in a value", `<a b='/>' c='>'>x</a>`, `(a b="/>" c=">" "x")`},
	{"equals sign with white space", "<a b = 'c'\n\td\r=\n\"e\" />", `(a b="c" d="e")`},
	{"CDATA (RFC 6120 §11.1 does not forbid it)", `<a><![CDATA[<b>&amp;]]]]></a>`, `(a "<b>&amp;]]")`},
	{"CDATA joins the text around", `<a>1<![CDATA[2]]>&#51;<![CDATA[]]><![CDATA[4]]></a>`, `(a "1234")`},
	{"CDATA around ]]>", `<a>]]<![CDATA[>]]></a>`, `(a "]]>")`},
	{"line ends in CDATA", "<a><![CDATA[1\r\n2\r]]></a>", `(a "1\n2\n")`},
	{"brackets and > in text", `<a>] ]] > ]&gt;</a>`, `(a "] ]] > ]>")`},
	{"characters beyond ASCII", `<a b='é'>日本語 😀 �</a>`, `(a b="é" "日本語 😀 �")`},
	{"names beyond ASCII", `<été ñ='1'><日本·/></été>`, `(été ñ="1" (日本·))`},
	{"names with digits, dots, dashes", `<_a.b-c1 x2='y'/>`, `(_a.b-c1 x2="y")`},
	{"DEL is a character", "<a>\x7F</a>", "(a \"\x7F\")"},
	{"default namespace", `<a xmlns='u'><b/><c xmlns='v'><d/></c><e/></a>`, `({u}a ({u}b) ({v}c ({v}d)) ({u}e))`},
	{"default namespace taken back", `<a xmlns='u'><b xmlns=''><c/></b><d/></a>`, `({u}a (b (c)) ({u}d))`},
	{"prefix", `<p:a xmlns:p='u' p:b='1' b='2'><p:c/><d/></p:a>`, `({u}a {u}b="1" b="2" ({u}c) (d))`},
	{"prefix bound anew", `<p:a xmlns:p='u'><p:b xmlns:p='v'/><p:c/></p:a>`, `({u}a ({v}b) ({u}c))`},
	{"declaration after its use", `<p:a p:b='1' xmlns:p='u'/>`, `({u}a {u}b="1")`},
	{"an attribute has no default namespace", `<a xmlns='u' b='1'/>`, `({u}a b="1")`},
	{"one name in two namespaces", `<a xmlns:p='u' xmlns:q='v' p:x='1' q:x='2' x='3'/>`, `(a {u}x="1" {v}x="2" x="3")`},
	{"namespace name with a reference", `<a xmlns='u&amp;v'/>`, `({u&v}a)`},
	{"xml:lang", `<a xml:lang='en'/>`, `(a {http://www.w3.org/XML/1998/namespace}lang="en")`},
	{"the prefix xml declared as what it is", `<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='en'/>`, `(a {http://www.w3.org/XML/1998/namespace}lang="en")`},
	{"an attribute whose name begins with xmlns", `<a xmlnsx='1'/>`, `(a xmlnsx="1")`},
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range accepted {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e, err := Parse([]byte(test.in), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got := dump(e); got != test.tree {
				t.Errorf("Parse(%q)\n got %s\nwant %s", test.in, got, test.tree)
			}
		})
	}
}

// refused are documents, the rule that each breaks, and how many bytes are
// before the fault.
var refused = []struct {
	name, in string
	kind     Kind
	offset   int64
}{
	{"comment", `<a><!-- x --></a>`, Restricted, 3},
	{"comment before the root", `<!-- x --><a/>`, Restricted, 0},
	{"document type", `<!DOCTYPE a><a/>`, Restricted, 0},
	{"internal subset", `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, Restricted, 0},
	{"processing instruction", `<a><?b c?></a>`, Restricted, 3},
	{"stylesheet", `<?xml-stylesheet href='x'?><a/>`, Restricted, 0},
	{"a second declaration", `<?xml version='1.0'?><?xml version='1.0'?><a/>`, Restricted, 21},
	{"declaration after white space", ` <?xml version='1.0'?><a/>`, Restricted, 1},
	{"declaration inside", `<a><?xml version='1.0'?></a>`, Restricted, 3},
	{"entity", `<a>x&nbsp;</a>`, Restricted, 4},
	{"entity in a value", `<a b='&nbsp;'/>`, Restricted, 6},

	{"encoding declared", `<?xml version='1.0' encoding='ISO-8859-1'?><a/>`, BadEncoding, 0},
	{"UTF-16 byte order mark", "\xFF\xFE<\x00a\x00/\x00>\x00", BadEncoding, 0},
	{"UTF-16 without a byte order mark", "\x00<\x00a\x00/\x00>", BadEncoding, 0},
	{"invalid UTF-8", "<a>x\xC3(</a>", BadEncoding, 4},
	{"overlong UTF-8", "<a>\xC0\x80</a>", BadEncoding, 3},
	{"surrogate in UTF-8", "<a>\xED\xA0\x80</a>", BadEncoding, 3},
	{"invalid UTF-8 in a value", "<a b='\xFF'/>", BadEncoding, 6},

	{"unbound prefix of an element", `<p:a/>`, UnboundPrefix, 1},
	{"unbound prefix of an attribute", `<a p:b='1'/>`, UnboundPrefix, 3},
	{"prefix of a sibling", `<a><b xmlns:p='u'/><p:c/></a>`, UnboundPrefix, 20},

	{"end tag of another name", `<a></b>`, NotWellFormed, 3},
	{"end tag of another prefix", `<p:a xmlns:p='u' xmlns:q='u'></q:a>`, NotWellFormed, 29},
	{"end tag that closes nothing", `</a>`, NotWellFormed, 0},
	{"second root", `<a/><b/>`, NotWellFormed, 4},
	{"end tag after the root", `<a/></a>`, NotWellFormed, 4},
	{"text before the root", `x<a/>`, NotWellFormed, 0},
	{"text after the root", `<a/>x`, NotWellFormed, 4},
	{"CDATA after the root", `<a/><![CDATA[ ]]>`, NotWellFormed, 4},
	{"attribute given twice", `<a b='1' b='2'/>`, NotWellFormed, 9},
	{"attribute given twice by namespace", `<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>`, NotWellFormed, 35},
	{"default namespace declared twice", `<a xmlns='u' xmlns='v'/>`, NotWellFormed, 13},
	{"prefix declared twice", `<a xmlns:p='u' xmlns:p='u'/>`, NotWellFormed, 15},
	{"prefix bound to nothing", `<a xmlns:p=''/>`, NotWellFormed, 3},
	{"prefix xml bound to something else", `<a xmlns:xml='u'/>`, NotWellFormed, 3},
	{"another prefix for the namespace of xml", `<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>`, NotWellFormed, 3},
	{"namespace of xml as the default", `<a xmlns='http://www.w3.org/XML/1998/namespace'/>`, NotWellFormed, 3},
	{"prefix xmlns declared", `<a xmlns:xmlns='u'/>`, NotWellFormed, 3},
	{"namespace of xmlns bound", `<a xmlns:p='http://www.w3.org/2000/xmlns/'/>`, NotWellFormed, 3},
	{"element with the prefix xmlns", `<xmlns:a/>`, UnboundPrefix, 1},
	{"two colons", `<p:a:b xmlns:p='u'/>`, NotWellFormed, 4},
	{"colon first", `<:a/>`, NotWellFormed, 0},
	{"colon last", `<a: xmlns:a='u'/>`, NotWellFormed, 0},
	{"no name", `<>`, NotWellFormed, 0},
	{"white space before the name", `< a/>`, NotWellFormed, 0},
	{"white space before the end tag's name", `<a></ a>`, NotWellFormed, 3},
	{"digit first", `<1/>`, NotWellFormed, 0},
	{"combining character first", "<\u0301/>", NotWellFormed, 0},
	{"multiplication sign in a name", `<a×/>`, NotWellFormed, 2},
	{"attribute without a value", `<a b/>`, NotWellFormed, 3},
	{"attribute without quotation marks", `<a b=c/>`, NotWellFormed, 3},
	{"attribute without white space before", `<a b='c'd='e'/>`, NotWellFormed, 8},
	{"slash inside a tag", `<a / >`, NotWellFormed, 3},
	{"attribute in an end tag", `<a></a b='c'>`, NotWellFormed, 3},
	{"< in a value", `<a b='<'/>`, NotWellFormed, 6},
	{"< in a tag", `<a <b/>`, NotWellFormed, 3},
	{"]]> in text", `<a>x]]></a>`, NotWellFormed, 4},
	{"ampersand alone", `<a>x & y</a>`, NotWellFormed, 5},
	{"reference without an end", `<a>&amp</a>`, NotWellFormed, 3},
	{"empty reference", `<a>&;</a>`, NotWellFormed, 3},
	{"reference to no number", `<a>&#;</a>`, NotWellFormed, 3},
	{"reference with a capital X", `<a>&#X41;</a>`, NotWellFormed, 3},
	{"reference to NUL", `<a>&#0;</a>`, NotWellFormed, 3},
	{"reference to a control character", `<a>&#x1B;</a>`, NotWellFormed, 3},
	{"reference to a surrogate", `<a>&#xD800;</a>`, NotWellFormed, 3},
	{"reference to U+FFFE", `<a>&#xFFFE;</a>`, NotWellFormed, 3},
	{"reference beyond Unicode", `<a>&#x110000;</a>`, NotWellFormed, 3},
	{"reference beyond any integer", `<a>&#99999999999999999999;</a>`, NotWellFormed, 3},
	{"control character", "<a>\x01</a>", NotWellFormed, 3},
	{"NUL", "<a>x\x00</a>", NotWellFormed, 4},
	{"control character in a value", "<a b='\x1F'/>", NotWellFormed, 6},
	{"control character in CDATA", "<a><![CDATA[\x08]]></a>", NotWellFormed, 12},
	{"U+FFFE", "<a>\uFFFE</a>", NotWellFormed, 3},
	{"U+FFFF", "<a>\uFFFF</a>", NotWellFormed, 3},
	{"byte order mark twice", "\xEF\xBB\xBF\xEF\xBB\xBF<a/>", NotWellFormed, 3},
	{"declaration without a version", `<?xml encoding='UTF-8'?><a/>`, NotWellFormed, 0},
	{"declaration out of order", `<?xml version='1.0' standalone='no' encoding='UTF-8'?><a/>`, NotWellFormed, 0},
	{"declaration of nothing", `<?xml ?><a/>`, NotWellFormed, 0},
	{"declaration of something else", `<?xml version='1.0' x='y'?><a/>`, NotWellFormed, 0},
	{"declaration of another version", `<?xml version='1.1'?><a/>`, NotWellFormed, 0},
	{"declaration with a bad standalone", `<?xml version='1.0' standalone='maybe'?><a/>`, NotWellFormed, 0},
	{"declaration without white space", `<?xml version='1.0'encoding='UTF-8'?><a/>`, NotWellFormed, 0},
	{"declaration that goes on for ever", `<?xml version='1.0' ` + strings.Repeat(" ", 300) + `?><a/>`, NotWellFormed, 0},
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e, err := Parse([]byte(test.in), Limits{})
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("Parse(%q) = %v, %v, want an *Error", test.in, e, err)
			}
			if bad.Kind != test.kind || bad.Offset != test.offset {
				t.Errorf("Parse(%q): %v, want %v at byte %d", test.in, bad, test.kind, test.offset)
			}
		})
	}
}

func TestParseIncomplete(t *testing.T) {
	t.Parallel()
	const whole = "<?xml version='1.0'?><a b='c>'>text<d/><![CDATA[x]]></a>"
	for i := range whole {
		if _, err := Parse([]byte(whole[:i]), Limits{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Parse(%q): %v, want %v", whole[:i], err, io.ErrUnexpectedEOF)
		}
	}
}

func TestParseLimits(t *testing.T) {
	t.Parallel()
	many := strings.Repeat
	for _, test := range []struct {
		name string
		lim  Limits
		in   string
		ok   bool
	}{
		{"bytes, just enough", Limits{Bytes: 11}, `<a>text</a>`, true},
		{"bytes, one too few", Limits{Bytes: 10}, `<a>text</a>`, false},
		{"bytes, white space around does not count", Limits{Bytes: 11}, "  <a>text</a>\n\n", true},
		{"depth, just enough", Limits{Depth: 3}, `<a><b><c/></b></a>`, true},
		{"depth, one too few", Limits{Depth: 2}, `<a><b><c/></b></a>`, false},
		{"depth counts what is open only", Limits{Depth: 2}, `<a><b/><c/><d></d></a>`, true},
		{"attributes, just enough", Limits{Attrs: 2}, `<a b='1' c='2'><d e='3' f='4'/></a>`, true},
		{"attributes, one too few", Limits{Attrs: 1}, `<a b='1' c='2'/>`, false},
		{"declarations are attributes", Limits{Attrs: 1}, `<a xmlns:p='1' xmlns:q='2'/>`, false},
		{"children, just enough", Limits{Children: 3}, `<a>x<b/>y</a>`, true},
		{"children, one too few", Limits{Children: 2}, `<a>x<b/>y</a>`, false},
		{"text in pieces is one child", Limits{Children: 1}, `<a>x<![CDATA[y]]>z</a>`, true},
		{"prefixes in scope", Limits{}, many("<a xmlns:p='u' xmlns:q='u' xmlns:r='u' xmlns:s='u' xmlns:t='u'>", 60), false},
		{"defaults", Limits{}, "<a>" + many("<b/>", 8192) + "</a>", true},
		{"default number of children", Limits{}, "<a>" + many("<b/>", 8193) + "</a>", false},
		{"default length", Limits{}, "<a>" + many("x", 256<<10) + "</a>", false},
		{"default depth", Limits{}, many("<a>", 65), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]byte(test.in), test.lim)
			var bad *Error
			switch {
			case test.ok && err != nil:
				t.Error(err)
			case !test.ok && (!errors.As(err, &bad) || bad.Kind != TooLarge):
				t.Errorf("got %v, want an error of kind %v", err, TooLarge)
			}
		})
	}
}

// TestParseKeepsInput holds Parse to its word: decoding in place is not done in
// the caller's bytes, and the tree does not change with them.
func TestParseKeepsInput(t *testing.T) {
	t.Parallel()
	const in = "<a b='&amp;'>&lt;\r\n</a>"
	b := []byte(in)
	e, err := Parse(b, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != in {
		t.Errorf("input changed to %q", b)
	}
	before := dump(e)
	clear(b)
	for range 10 {
		if _, err := Parse([]byte("<xxxxxxxxxxxxxxxxxxx/>"), Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, dump(e)); diff != "" {
		t.Errorf("tree changed: %s", diff)
	}
}

// TestChildrenDoNotOverlap: elements parsed together share a slice, and adding
// to one must not write into another.
func TestChildrenDoNotOverlap(t *testing.T) {
	t.Parallel()
	e, err := Parse([]byte(`<a><b x='1'><c/></b><d y='2'><e/></d></a>`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	b := e.Child(Name{Local: "b"})
	b.Add(New("", "new")).SetAttr("z", "3")
	const want = `(a (b x="1" z="3" (c) (new)) (d y="2" (e)))`
	if got := dump(e); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
