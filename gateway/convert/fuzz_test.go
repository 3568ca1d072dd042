package convert

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// FuzzConvert: whatever a message holds, the stanza is one that our own scanner
// accepts, goes to the recipient alone, comes from the gateway, and is of
// bounded size; else the error is permanent.
func FuzzConvert(f *testing.F) {
	files, err := filepath.Glob("../../mcmt/testdata/*.eml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	c := newConverter(f, func(o *Options) { o.MaxBody = 1000 })
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := mcmt.Parse(raw, mcmt.Limits{})
		if err != nil {
			return
		}
		in := input(m)
		in.Now, in.Place = in.Now.Add(time.Hour), place
		r, err := c.Convert(in)
		if err != nil {
			var ce *ContentError
			if !errors.As(err, &ce) {
				t.Fatal(err)
			}
			return
		}
		out := r.Stanza.Append(nil, "")
		st, err := stanza.ParseBytes(out, xmlwire.Limits{Bytes: 1 << 20})
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if st.To.String() != in.To || st.From.Domain() != "mail.jabber.example" || st.Type == stanza.TypeError || st.ID == "" {
			t.Fatalf("%s", out)
		}
		if r.Part != "xmpp" && len(out) > 20_000+len(r.Files)*3000 {
			t.Fatalf("%d bytes, %d files", len(out), len(r.Files))
		}
	})
}

// FuzzAddresses: no panic, and a sender's address survives the way there and
// back once it was there.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{`"john smith"@corp.example`, "+4915/TYPE=PLMN@x", `"a\\5Cb"@x`, "@", "a@[1.2.3.4]"} {
		f.Add(s)
	}
	c := newConverter(f, nil)
	f.Fuzz(func(t *testing.T, addr string) {
		_, _ = c.Recipient(addr)
		j, err := c.Sender(addr)
		if err != nil {
			return
		}
		back, err := c.MailAddress(j)
		if err != nil {
			t.Fatalf("%q has JID %q, which has no address: %v", addr, j, err)
		}
		again, err := c.Sender(back)
		if err != nil || again != j {
			t.Fatalf("%q: %q comes back as %q, which is %q, %v", addr, j, back, again, err)
		}
	})
}

// FuzzHTML: no panic, bounded output.
func FuzzHTML(f *testing.F) {
	f.Add("<p>a <a href='http://x'>b</a><ul><li>c</ul>&amp;&#x41;")
	f.Fuzz(func(t *testing.T, doc string) {
		if out := reduceHTML(doc, 1000); len(out) > 8*1000*8 || strings.Contains(out, "\n\n\n") {
			t.Fatalf("%d bytes from %d", len(out), len(doc))
		}
	})
}
