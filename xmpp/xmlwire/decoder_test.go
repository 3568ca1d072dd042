package xmlwire_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	. "mcmt2xmpp/xmpp/xmlwire"
)

const header = "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' xml:lang='en'" +
	" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'>"

// conversation is a stream as it comes over a connection.
const conversation = header + "\n" +
	"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth> \r\n" +
	"<message to='a@b'><body>one &amp; <![CDATA[two]]>\r\n</body></message>" +
	"<db:result from='a' to='b'>key</db:result><stream:error/>" +
	"<iq xmlns:db='other' type='get'><db:query/></iq><db:verify/>" +
	"</stream:stream>"

var conversationTrees = []string{
	`({http://etherx.jabber.org/streams}stream to="example.com" version="1.0" {http://www.w3.org/XML/1998/namespace}lang="en")`,
	`({urn:ietf:params:xml:ns:xmpp-sasl}auth mechanism="PLAIN" "AGEAYg==")`,
	`({jabber:client}message to="a@b" ({jabber:client}body "one & two\n"))`,
	`({jabber:server:dialback}result from="a" to="b" "key")`,
	`({http://etherx.jabber.org/streams}error)`,
	`({jabber:client}iq type="get" ({other}query))`,
	`({jabber:server:dialback}verify)`,
	"end: EOF",
}

// readAll reads a stream to its end and returns what came, the error last.
func readAll(d *Decoder) (got []string) {
	e, err := d.Header()
	for err == nil {
		got = append(got, dump(e))
		e, err = d.Next()
	}
	return append(got, "end: "+err.Error())
}

func TestDecoder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		r    io.Reader
	}{
		{"at once", strings.NewReader(conversation)},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(conversation))},
		{"with the error beside the last bytes", iotest.DataErrReader(strings.NewReader(conversation))},
		{"half of what is asked for", iotest.HalfReader(strings.NewReader(conversation))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := NewDecoder(test.r, Limits{})
			if got, want := readAll(d), conversationTrees; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if _, err := d.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("Next after the end: %v, want %v", err, io.EOF)
			}
		})
	}
}

// TestDecoderSplit cuts the conversation in two at every place.
func TestDecoderSplit(t *testing.T) {
	t.Parallel()
	want := fmt.Sprint(conversationTrees)
	for i := range conversation {
		r := io.MultiReader(strings.NewReader(conversation[:i]), strings.NewReader(conversation[i:]))
		if got := readAll(NewDecoder(r, Limits{})); fmt.Sprint(got) != want {
			t.Fatalf("cut at byte %d: got\n%s", i, strings.Join(got, "\n"))
		}
	}
}

// slowReader gives one byte and then times out, again and again.
type slowReader struct {
	rest    string
	waiting bool
}

func (r *slowReader) Read(b []byte) (int, error) {
	r.waiting = !r.waiting
	if r.waiting {
		return 0, os.ErrDeadlineExceeded
	}
	if r.rest == "" {
		return 0, io.EOF
	}
	b[0], r.rest = r.rest[0], r.rest[1:]
	return 1, nil
}

// TestDecoderTimeouts: a read deadline is not the end; the bytes before it stay.
func TestDecoderTimeouts(t *testing.T) {
	t.Parallel()
	d := NewDecoder(&slowReader{rest: conversation}, Limits{})
	var got []string
	timeouts := 0
	next := d.Header
	for len(got) < len(conversationTrees) {
		e, err := next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			timeouts++
			continue
		case err != nil:
			got = append(got, "end: "+err.Error())
		default:
			got = append(got, dump(e))
		}
		next = d.Next
	}
	if fmt.Sprint(got) != fmt.Sprint(conversationTrees) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if timeouts < len(conversation) {
		t.Errorf("%d timeouts, want at least %d", timeouts, len(conversation))
	}
}

func TestDecoderEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, in string
		want     []string
	}{
		{"before anything", "", []string{"end: EOF"}},
		{"after white space", " ", []string{"end: unexpected EOF"}},
		{"within the header", "<stream:st", []string{"end: unexpected EOF"}},
		{"after the header", "<a>", []string{"(a)", "end: unexpected EOF"}},
		{"between two elements", "<a><b/> ", []string{"(a)", "(b)", "end: unexpected EOF"}},
		{"within an element", "<a><b><c/>", []string{"(a)", "end: unexpected EOF"}},
		{"within the end tag", "<a></a", []string{"(a)", "end: unexpected EOF"}},
		{"by the end tag", "<a></a >", []string{"(a)", "end: EOF"}},
		{"header and end in one", "<a/>", []string{"(a)", "end: EOF"}},
		{"bytes after the end tag do not matter", "<a></a><!", []string{"(a)", "end: EOF"}},
		{"text between elements", "<a><b/>x", []string{"(a)", "(b)", "end: not well-formed: text outside of an element at byte 7"}},
		{"CDATA between elements", "<a><![CDATA[]]>", []string{"(a)", "end: not well-formed: text outside of an element at byte 3"}},
		{"reference between elements", "<a>&#32;", []string{"(a)", "end: not well-formed: text outside of an element at byte 3"}},
		{"end tag of another name", "<a></b>", []string{"(a)", "end: not well-formed: an end tag that closes nothing at byte 3"}},
		{"end tag with another prefix", "<p:a xmlns:p='u' xmlns:q='u'></q:a>", []string{"({u}a)", "end: not well-formed: an end tag that closes nothing at byte 29"}},
		{"comment at its first byte", "<a><!-", []string{"(a)", "end: restricted xml: comment or document type declaration at byte 3"}},
		{"prefix of an element before", "<a><b xmlns:p='u'/><p:c/>", []string{"(a)", "(b)", `end: unbound prefix: prefix "p" is not declared at byte 20`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := readAll(NewDecoder(strings.NewReader(test.in), Limits{})); fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestDecoderErrorStays: after malformed input nothing else can come.
func TestDecoderErrorStays(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader("<a><b></c><d/></a>"), Limits{})
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	_, first := d.Next()
	_, second := d.Next()
	var bad *Error
	if !errors.As(first, &bad) || second != first {
		t.Errorf("got %v, then %v", first, second)
	}
}

// endless is a stanza that never ends.
type endless struct {
	begin string
	more  string
	at    int // in more
	given int
}

func (r *endless) Read(b []byte) (int, error) {
	n := copy(b, r.begin)
	r.begin = r.begin[n:]
	for ; n < len(b); n++ {
		b[n] = r.more[r.at]
		r.at = (r.at + 1) % len(r.more)
	}
	r.given += n
	return n, nil
}

// TestDecoderRefusesWhileReading: what is too large is refused before it is
// there, whatever it is that does not end, and what was read for it is bounded.
func TestDecoderRefusesWhileReading(t *testing.T) {
	t.Parallel()
	const limit = 10000
	for _, test := range []struct{ name, begin, more string }{
		{"header", "<", "a"},
		{"text", header + "<a>", "x"},
		{"element name", header + "<", "a"},
		{"attribute name", header + "<a ", "b"},
		{"attribute value", header + "<a b='", "c"},
		{"attributes", header + "<a", " b='c'"},
		{"depth", header, "<a>"},
		{"children", header + "<a>", "<b/>"},
		{"end tag", header + "<a></a", " "},
		{"CDATA", header + "<a><![CDATA[", "]"},
		{"CDATA sections", header + "<a>", "<![CDATA[]]>"},
		{"white space inside", header + "<a>", " "},
		{"declarations", header + "<a", " xmlns:b='c'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &endless{begin: test.begin, more: test.more}
			d := NewDecoder(r, Limits{Bytes: limit})
			_, err := d.Header()
			if err == nil {
				_, err = d.Next()
			}
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if bad.Kind != TooLarge && bad.Kind != NotWellFormed {
				t.Errorf("got %v, want %v", bad, TooLarge)
			}
			if r.given > 3*limit {
				t.Errorf("%d bytes were read for a limit of %d", r.given, limit)
			}
		})
	}
}

// TestDecoderWhitespaceKeepalive: white space between stanzas is no part of
// them and may go on for ever (RFC 6120 §4.6.1).
func TestDecoderWhitespaceKeepalive(t *testing.T) {
	t.Parallel()
	r := io.MultiReader(strings.NewReader(header), strings.NewReader(strings.Repeat(" \n", 50000)), strings.NewReader("<a/>"))
	d := NewDecoder(r, Limits{Bytes: 1000})
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	if e, err := d.Next(); err != nil || dump(e) != "({jabber:client}a)" {
		t.Errorf("got %v, %v", e, err)
	}
}

// TestDecoderBuffered: what came after an element in the same read is told and
// is gone after Reset (RFC 6120 §5.3.3).
func TestDecoderBuffered(t *testing.T) {
	t.Parallel()
	const after = "<iq type='set'/>"
	d := NewDecoder(strings.NewReader(header+"<starttls/>"+after), Limits{})
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Next(); err != nil {
		t.Fatal(err)
	}
	if got := d.Buffered(); got != len(after) {
		t.Errorf("Buffered() = %d, want %d", got, len(after))
	}
	d.Reset(strings.NewReader("<stream xmlns='new'><b/></stream>"))
	if got := d.Buffered(); got != 0 {
		t.Errorf("Buffered() = %d after Reset, want 0", got)
	}
	want := []string{"({new}stream)", "({new}b)", "end: EOF"}
	if got := readAll(d); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after Reset got %q, want %q", got, want)
	}
	if _, ok := d.Namespace("stream"); ok {
		t.Error("a prefix of the old stream is still bound after Reset")
	}
}

// TestDecoderBufferedSpace: not even white space may follow, so it counts.
func TestDecoderBufferedSpace(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader(header+"<starttls/> "), Limits{})
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Next(); err != nil {
		t.Fatal(err)
	}
	if got := d.Buffered(); got != 1 {
		t.Errorf("Buffered() = %d, want 1", got)
	}
}

func TestDecoderNamespace(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader(header), Limits{})
	if _, ok := d.Namespace(""); ok {
		t.Error("a default namespace before the header")
	}
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string]string{"": "jabber:client", "stream": Streams, "db": "jabber:server:dialback", "xml": "", "no": ""} {
		if got, ok := d.Namespace(prefix); got != want || ok != (want != "") {
			t.Errorf("Namespace(%q) = %q, %v, want %q", prefix, got, ok, want)
		}
	}
}

// TestDecoderSetLimits: limits grow with trust.
func TestDecoderSetLimits(t *testing.T) {
	t.Parallel()
	large := "<message>" + strings.Repeat("x", 5000) + "</message>"
	d := NewDecoder(strings.NewReader(header+large+large), Limits{Bytes: 4000})
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	d.SetLimits(Limits{Bytes: 6000})
	if _, err := d.Next(); err != nil {
		t.Errorf("after the limit was raised: %v", err)
	}
	d.SetLimits(Limits{Bytes: 4000})
	var bad *Error
	if _, err := d.Next(); !errors.As(err, &bad) || bad.Kind != TooLarge {
		t.Errorf("after the limit was lowered: %v", err)
	}
}

// TestDecoderOutOfTurn: the header comes first and once.
func TestDecoderOutOfTurn(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader(header), Limits{})
	if _, err := d.Next(); err == nil {
		t.Error("Next before Header")
	}
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Header(); err == nil {
		t.Error("Header twice")
	}
}

// TestDecoderNoProgress: a reader that gives nothing and no error does not hang
// the stream.
func TestDecoderNoProgress(t *testing.T) {
	t.Parallel()
	d := NewDecoder(nothing{}, Limits{})
	if _, err := d.Header(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v, want %v", err, io.ErrNoProgress)
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }
