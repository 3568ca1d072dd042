package xmlwire

import (
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
