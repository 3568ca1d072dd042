package delivery

import (
	"context"
	"errors"
	"strings"
	"testing"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/xmlwire"
)

// gallery keeps files in memory.
type gallery struct {
	full error // what Keep says
	kept map[string]string
}

func (g *gallery) Place(message string, f convert.File) (id, url string) {
	id = message + "-" + f.Name
	return id, "https://files.example/" + id
}

func (g *gallery) Keep(_ context.Context, f convert.File) error {
	if g.full != nil {
		return g.full
	}
	g.kept[f.ID] = string(f.Body)
	return nil
}

// mms is a multimedia message: a text and a picture.
func mms(t *testing.T) []byte {
	t.Helper()
	const mm7 = "--n\r\nContent-Type: text/plain\r\n\r\nlook\r\n--n\r\nContent-Type: image/png; name=a.png\r\n\r\npixels\r\n--n--\r\n"
	raw, err := mcmt.Build(mcmt.Draft{Email: []byte(mail), Parts: []mcmt.RawPart{{ContentType: "multipart/vnd.msys.mm7; boundary=n", Body: []byte(mm7)}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestMediaKept: a stanza goes on its way when what it offers is there. Until then its
// message waits, and then offers the same.
func TestMediaKept(t *testing.T) {
	t.Parallel()
	c, events := converter(rules(t))
	g := &gallery{full: errors.New("no room for files"), kept: make(map[string]string)}
	c.Media = g
	d := accepted(t, mms(t))
	out := c.Handle(t.Context(), []*broker.Delivery{d, accepted(t, draft(t, `<message><body>later</body></message>`))})
	if st, _ := moved(t, out[0]); st != nil || len(out) != 1 {
		t.Fatalf("sent without its file: %v, and %d after it", st, len(out)-1)
	}
	if e := events.of(trace.Deferred); len(e) != 1 || !strings.HasSuffix(e[0].Reason, "no room for files") {
		t.Errorf("told %+v", e)
	}
	g.full = nil
	d.Attempt++
	out = c.Handle(t.Context(), []*broker.Delivery{d})
	st, _ := moved(t, out[0])
	if st == nil {
		t.Fatalf("not sent: %+v", out[0])
	}
	url := st.Element.Child(xmlwire.Name{Space: "jabber:x:oob", Local: "x"}).Child(xmlwire.Name{Space: "jabber:x:oob", Local: "url"}).Text()
	if url != "https://files.example/q1-a.png" || g.kept["q1-a.png"] != "pixels" || st.Child("body").Text() != "look\n"+url {
		t.Errorf("offered %s of %v in %s", url, g.kept, st)
	}
}

// TestMediaNotKept: nobody gets the address of what a filter stops, so nothing is kept
// for it; and without a place for files there is still the text.
func TestMediaNotKept(t *testing.T) {
	t.Parallel()
	g := &gallery{kept: make(map[string]string)}
	c, _ := converter(rules(t, filters.Spec{Name: "files", Type: "element", Namespace: "jabber:x:oob", Action: "drop"}))
	c.Media = g
	out := c.Handle(t.Context(), []*broker.Delivery{accepted(t, mms(t))})
	if st, _ := moved(t, out[0]); st != nil || len(g.kept) != 0 {
		t.Errorf("stanza %v, kept %v", st, g.kept)
	}
	c.Media = nil
	out = c.Handle(t.Context(), []*broker.Delivery{accepted(t, mms(t))})
	if st, _ := moved(t, out[0]); st == nil || st.Child("body").Text() != "look\n[… 1 file left out]" {
		t.Errorf("without a place: %v", st)
	}
}
