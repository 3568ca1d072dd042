package convert

import (
	"errors"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
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

// FuzzMail: whatever stanza there is, the mail made of it can be read, has no field that a
// text has forged, and its lines are short enough.
func FuzzMail(f *testing.F) {
	for _, s := range []string{
		"<message><body>x</body><thread>a@b</thread></message>",
		"<message><subject>a&#10;Bcc: x@y</subject><body xml:lang='de'>x</body><body>=?y</body></message>",
		"<message><body>x</body><nick xmlns='http://jabber.org/protocol/nick'>a&#13;b</nick><x xmlns='jabber:x:oob'><url>http://x/&#10;y</url></x></message>",
	} {
		f.Add([]byte(s), true)
	}
	c := newConverter(f, nil)
	f.Fuzz(func(t *testing.T, raw []byte, whole bool) {
		e, err := xmlwire.Parse(raw, xmlwire.Limits{})
		if err != nil {
			return
		}
		e = e.Clone()
		if e.Name.Space == "" {
			adopt(e)
		}
		st, err := stanza.Parse(e)
		if err != nil || st.Kind != stanza.Message {
			return
		}
		in := mailInput(st)
		if whole {
			in.Format = MCMTMail
		}
		res, err := c.Mail(in)
		if err != nil {
			return
		}
		checkLines(t, res.Raw)
		m, err := mcmt.Parse(res.Raw, mcmt.Limits{Size: 64 << 20})
		if err != nil {
			t.Fatalf("%v\n%s", err, res.Raw)
		}
		if n := m.Email.Header.Len(); n > 13 || len(m.Email.Header.Values("Message-ID")) != 1 || m.Header.Get("Bcc") != "" {
			t.Fatalf("%d fields\n%s", n, res.Raw)
		}
	})
}

// FuzzThread: a thread that a msg-id of ours holds stands for itself, and comes back.
func FuzzThread(f *testing.F) {
	for _, s := range []string{"t.c5h66@mail.jabber.example", "m1.x.c5h66@MAIL.jabber.example", "m1.x@mail.jabber.example", "t.@mail.jabber.example", "a@b", "m99999999999.x.y@mail.jabber.example"} {
		f.Add(s)
	}
	c := newConverter(f, nil)
	f.Fuzz(func(t *testing.T, id string) {
		if n := c.hopsIn(id); n < 0 || n > MaxSlowHops {
			t.Fatalf("%q: %d hops", id, n)
		}
		thread, ok := c.threadIn(id)
		if !ok {
			thread = shortThread(id)
		}
		ref, _ := c.reference(thread)
		if thread == "" {
			return
		}
		back, ours := c.threadIn(ref)
		if !ours {
			back = shortThread(ref)
		}
		if back != thread {
			t.Fatalf("%q is thread %q, which is %q, which is %q", id, thread, ref, back)
		}
	})
}

// FuzzMailAddresses: whatever a JID, its mail address can stand in a header and an
// envelope, and a gateway address is one that Sender gives that JID.
func FuzzMailAddresses(f *testing.F) {
	for _, s := range []string{`a\40b.example@mail.jabber.example/x`, `"\20@x.example`, "bob@jabber.example", "4915112345678@remote.example", `a\5c40b\40c.example@mail.jabber.example`, "a..b@x.example", `0\400.@mail.jabber.example`} {
		f.Add(s)
	}
	c := newConverter(f, nil)
	f.Fuzz(func(t *testing.T, s string) {
		j, err := jid.Parse(s)
		if err != nil {
			return
		}
		for _, ask := range []func(jid.JID) (string, error){c.AuthorAddress, c.MailRecipient} {
			addr, err := ask(j)
			if err != nil || IsNumber(addr) {
				continue
			}
			if _, err := mail.ParseAddress("<" + addr + ">"); err != nil || len(addr) > maxAddress || strings.ContainsFunc(addr, unicode.IsControl) {
				t.Fatalf("%q has address %q, %v", s, addr, err)
			}
		}
		addr, err := c.MailRecipient(j)
		if err != nil || j.Domain() != c.gateway.Domain() {
			return
		}
		if back, err := c.Sender(addr); err == nil && back.Domain() == j.Domain() {
			if again, err := c.MailRecipient(back); err != nil || again != addr {
				t.Fatalf("%q is %q, which comes back as %q, %v", s, addr, again, err)
			}
		}
	})
}
