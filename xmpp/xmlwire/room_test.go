package xmlwire

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestRoomIsGivenBack: what one large stanza needed is not kept by the
// connection, and the stream goes on with its prefixes.
func TestRoomIsGivenBack(t *testing.T) {
	t.Parallel()
	const header = "<s:stream xmlns:s='u' xmlns='v'>"
	large := "<a>" + strings.Repeat("<b xmlns:c='d' e='f'>x</b>", 8000) + "</a>"
	d := NewDecoder(strings.NewReader(header+large+" "+strings.Repeat("<s:g/>", 2000)), Limits{})
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	if e, err := d.Next(); err != nil || len(e.Children) != 8000 {
		t.Fatalf("%v", err)
	}
	for range 2000 {
		e, err := d.Next()
		if err != nil || e.Name != (Name{"u", "g"}) {
			t.Fatalf("%v, %v", e, err)
		}
	}
	if _, err := d.Next(); err == nil { // waits for more, and makes room for it
		t.Fatal("an element after the last one")
	}
	b := &d.p.tree
	if n := max(cap(b.elems), cap(b.attrs), cap(b.nodes), cap(b.decls)); n > keepParts {
		t.Errorf("room for %d parts is kept", n)
	}
	if n := cap(d.p.buf); n > keepSize+readSize {
		t.Errorf("a buffer of %d bytes is kept", n)
	}
}

// TestWait: a decoder that waits between elements reads the same ones, knows the
// prefixes of the header, and keeps little.
func TestWait(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	large := "<message xmlns:x='urn:x' x:a='1'>" + strings.Repeat("<b>text</b>", 3000) + "</message>"
	said := []string{
		"<stream:stream xmlns='jabber:client' xmlns:stream='" + Streams + "' xmlns:y='urn:y'>",
		"<presence/>", large, " ", "<iq y:z='1'><q xmlns='urn:q'/></iq>", "<message", "/></stream:stream>",
	}
	go func() {
		for _, s := range said {
			_, _ = io.WriteString(w, s)
		}
		_ = w.Close()
	}()
	d := NewDecoder(r, Limits{Children: 10000})
	if _, err := d.Header(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		if d.Buffered() == 0 {
			if err := d.Wait(); err != nil {
				t.Fatal(err)
			}
			if cap(d.p.buf) > waitSize || cap(d.p.tree.elems)+cap(d.p.tree.nodes) > 0 {
				t.Errorf("%d bytes and %d parts are kept", cap(d.p.buf), cap(d.p.tree.elems))
			}
		}
		e, err := d.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(Append(nil, e, "jabber:client")))
	}
	if len(got) != 4 || got[0] != "<presence/>" || len(got[1]) < 3000*11 || got[2] != "<iq xmlns:a0='urn:y' a0:z='1'><q xmlns='urn:q'/></iq>" || got[3] != "<message/>" {
		t.Errorf("got %.200q", got)
	}
	if err := d.Wait(); err != nil {
		t.Errorf("after the end of the stream: %v", err)
	}
}
