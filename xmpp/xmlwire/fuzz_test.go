package xmlwire_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	. "mcmt2xmpp/xmpp/xmlwire"
)

// FuzzParse holds Parse against encoding/xml: what Parse accepts the standard
// library accepts too, and both see the same tree. The other way round is not
// so, on purpose. encoding/xml accepts, and Parse refuses: comments, processing
// instructions, document types; text outside of the root; unbound prefixes,
// attributes given twice, reserved prefixes and namespaces misused; attributes
// without white space between them; a declaration anywhere and almost of any
// form; input of any size.
//
// Where both accept, three things are known to differ. encoding/xml does not
// normalise tabs and line ends in values (XML 1.0 §3.3.3), so values are compared
// with all white space made blanks. It knows the letters of XML 1.0 fourth
// edition only, so documents with other names are not compared. It keeps the
// declarations as attributes, which are left out.
//
// A second property needs no reference: what was parsed and written parses to
// the same tree, standing alone and inside a stream.
func FuzzParse(f *testing.F) {
	for _, test := range accepted {
		f.Add([]byte(test.in))
	}
	for _, test := range refused {
		f.Add([]byte(test.in))
	}
	f.Add([]byte(conversation))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := Parse(in, Limits{Bytes: 4096, Depth: 32})
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		got := dump(e)
		if want, err := reference(in); err == nil {
			if got, want := blanks(got), blanks(want); got != want {
				t.Errorf("%q\n     we see %s\nencoding/xml %s", in, got, want)
			}
		} else if asciiNames(e) {
			t.Errorf("%q: accepted, but encoding/xml says: %v", in, err)
		}
		roundTrip(t, e, got)
	})
}

// roundTrip writes e and parses it again.
func roundTrip(t *testing.T, e *Element, want string) {
	t.Helper()
	alone := Append(nil, e, "")
	again, err := Parse(alone, Limits{})
	if err != nil {
		t.Fatalf("%s\nwritten as %s: %v", want, alone, err)
	}
	if got := dump(again); got != want {
		t.Errorf("written as %s\n got %s\nwant %s", alone, got, want)
	}
	inside := Append([]byte(header), e, "jabber:client")
	d := NewDecoder(bytes.NewReader(inside), Limits{})
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	if again, err = d.Next(); err != nil {
		t.Fatalf("%s\nwritten as %s: %v", want, inside, err)
	}
	if got := dump(again); got != want {
		t.Errorf("written as %s\n got %s\nwant %s", inside, got, want)
	}
}

// reference is the tree that encoding/xml sees.
func reference(in []byte) (string, error) {
	d := xml.NewDecoder(bytes.NewReader(in))
	var root *Element
	var open []*Element
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return dump(root), nil
		}
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &Element{Name: Name(token.Name)}
			for _, a := range token.Attr {
				if a.Name.Space == "xmlns" || a.Name == (xml.Name{Local: "xmlns"}) {
					continue
				}
				e.Attrs = append(e.Attrs, Attr{Name(a.Name), a.Value})
			}
			if len(open) > 0 {
				open[len(open)-1].Add(e)
			} else {
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].AddText(string(token))
			}
		}
	}
}

// blanks makes the white space of a dump blanks.
func blanks(s string) string {
	return strings.NewReplacer(`\n`, " ", `\r`, " ", `\t`, " ").Replace(s)
}

// asciiNames reports whether all names in e are ASCII.
func asciiNames(e *Element) bool {
	ascii := func(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 }
	if !ascii(e.Name.Local) {
		return false
	}
	for _, a := range e.Attrs {
		if !ascii(a.Name.Local) {
			return false
		}
	}
	for c := range e.Elements() {
		if !asciiNames(c) {
			return false
		}
	}
	return true
}

// FuzzDecoder feeds a stream whole, byte by byte, and with a timeout after every
// byte: the same must come of it, errors and their places included. What is
// kept and returned stays within the limits.
func FuzzDecoder(f *testing.F) {
	for _, test := range accepted {
		f.Add([]byte(test.in))
		f.Add([]byte(header + test.in))
	}
	for _, test := range refused {
		f.Add([]byte(test.in))
		f.Add([]byte(header + test.in))
	}
	f.Add([]byte(conversation))
	f.Fuzz(func(t *testing.T, in []byte) {
		lim := Limits{Bytes: 400, Depth: 5, Attrs: 8, Children: 6}
		whole := fmt.Sprint(readAll(NewDecoder(bytes.NewReader(in), lim)))
		bytewise := fmt.Sprint(readAll(NewDecoder(iotest.OneByteReader(bytes.NewReader(in)), lim)))
		if whole != bytewise {
			t.Errorf("%q\n   at once: %s\nbyte by byte: %s", in, whole, bytewise)
		}
		d := NewDecoder(&slowReader{rest: string(in)}, lim)
		var slow []string
		next := d.Header
		for range 3*len(in) + 10 {
			e, err := next()
			if err != nil && strings.Contains(err.Error(), "timeout") {
				continue
			}
			if err != nil {
				slow = append(slow, "end: "+err.Error())
				break
			}
			slow = append(slow, dump(e))
			next = d.Next
		}
		if got := fmt.Sprint(slow); got != whole {
			t.Errorf("%q\n     at once: %s\nwith timeouts: %s", in, whole, got)
		}
	})
}

// FuzzAppend writes what nobody checked: it must still parse, and the text must
// come back with what XML cannot hold replaced.
func FuzzAppend(f *testing.F) {
	f.Add("jabber:client", "text ]]> \r\n", "value\t'\"")
	f.Add("", "\x00\xFF\uFFFE", "\xED\xA0\x80")
	f.Add("a&b<c>'d'", "", "")
	f.Fuzz(func(t *testing.T, space, text, value string) {
		switch space {
		case XML, "http://www.w3.org/2000/xmlns/":
			return
		}
		e := New(space, "a", "b", value).AddText(text)
		e.Attrs = append(e.Attrs, attr(space, "c", value))
		if space == "" {
			e.Attrs = e.Attrs[:1]
		}
		out := Append(nil, e, "")
		got, err := Parse(out, Limits{Bytes: 1 << 26})
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if got.Name.Space != clean(space) || got.Text() != clean(text) || got.Attr("b") != clean(value) {
			t.Errorf("%q came back as %s", out, dump(got))
		}
	})
}

// clean replaces what XML cannot hold, slowly.
func clean(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}
