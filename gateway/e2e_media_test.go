package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// offered are the addresses that a stanza offers by XEP-0066.
func offered(st *stanza.Stanza) []string {
	const oob = "jabber:x:oob"
	var urls []string
	for e := range st.Element.Elements() {
		if e.Name == (xmlwire.Name{Space: oob, Local: "x"}) {
			urls = append(urls, e.Child(xmlwire.Name{Space: oob, Local: "url"}).Text())
		}
	}
	return urls
}

// TestMedia: what a multimedia message shows is there, at the address that each of its
// recipients gets, for whoever has that, also after the death of the process.
func TestMedia(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	pixels, drawing := strings.Repeat("pixel", 30000), "<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"
	mm7 := "--n\r\nContent-Type: application/smil\r\n\r\n<smil><body><par><text src='cid:t'/><img src='cid:p'/></par></body></smil>\r\n" +
		"--n\r\nContent-Type: image/svg+xml; name=b.svg\r\n\r\n" + drawing + "\r\n" +
		"--n\r\nContent-Type: image/png; name=\"a b.png\"\r\nContent-ID: <p>\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(pixels)) + "\r\n" +
		"--n\r\nContent-Type: text/plain\r\nContent-ID: <t>\r\n\r\nlook\r\n--n--\r\n"
	raw, err := mcmt.Build(mcmt.Draft{From: "a@corp.example", Subject: "s", Text: "the mail",
		Parts: []mcmt.RawPart{{ContentType: "multipart/vnd.msys.mm7; boundary=n", Body: []byte(mm7)}}})
	if err != nil {
		t.Fatal(err)
	}
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	if a := g.post("/v1/messages?from=a@corp.example&to=alice@localhost&to=bob@localhost", "message/rfc822", string(raw)); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	st := alice.next()
	urls := offered(st)
	if len(urls) != 2 || bodyOf(st) != "look\n"+urls[0]+"\n"+urls[1] {
		t.Fatalf("offered %q in %s", urls, st)
	}
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	if same := offered(bob.next()); fmt.Sprint(same) != fmt.Sprint(urls) {
		t.Errorf("another recipient gets %q, the first %q", same, urls)
	}
	folder := g.http() + "/upload/media/"
	if !strings.HasPrefix(urls[0], folder) || !strings.HasSuffix(urls[0], "/a%20b.png") || len(urls[0]) != len(folder)+32+len("/a%20b.png") {
		t.Errorf("the address is %s", urls[0])
	}
	get := func(method, address, ranges string) (int, http.Header, string) {
		t.Helper()
		rq, err := http.NewRequestWithContext(t.Context(), method, g.http()+strings.TrimPrefix(address, strings.TrimSuffix(folder, "/upload/media/")), nil)
		if err != nil {
			t.Fatal(err)
		}
		if ranges != "" {
			rq.Header.Set("Range", ranges)
		}
		resp, err := http.DefaultTransport.RoundTrip(rq)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header, string(text)
	}
	check := func() {
		t.Helper()
		for _, tt := range []struct {
			method, address, ranges, text, typ string
			status                             int
		}{
			{http.MethodGet, urls[0], "", pixels, "image/png", http.StatusOK},
			{http.MethodHead, urls[0], "", "", "image/png", http.StatusOK},
			{http.MethodGet, urls[0], "bytes=149995-", "pixel", "image/png", http.StatusPartialContent},
			{http.MethodGet, urls[0], "bytes=150000-", "", "", http.StatusRequestedRangeNotSatisfiable},
			{http.MethodGet, urls[1], "", drawing, "application/octet-stream", http.StatusOK}, // it could run in a browser
			{http.MethodGet, strings.Replace(urls[0], "/media/", "/media/a", 1), "", "", "", http.StatusNotFound},
			{http.MethodGet, strings.Replace(urls[0], "/media/", "/", 1), "", "", "", http.StatusNotFound},
			{http.MethodPut, urls[0], "", "", "", http.StatusMethodNotAllowed},
		} {
			status, h, text := get(tt.method, tt.address, tt.ranges)
			if status != tt.status || status < 300 && (text != tt.text || h.Get("Content-Type") != tt.typ) {
				t.Errorf("%s %s %s: %d, %d bytes of %q", tt.method, tt.address, tt.ranges, status, len(text), h.Get("Content-Type"))
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || status == http.StatusOK && !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") {
				t.Errorf("%s %s: header %v", tt.method, tt.address, h)
			}
		}
	}
	check()
	g.kill()
	g.start()
	check()
}

// TestMailMedia: of the files that a Jabber message offers those that may be fetched are in
// the mail where the configuration wants that, and the links of all are in its text. What
// stands on a loopback address, and is none of ours, is not asked for.
func TestMailMedia(t *testing.T) {
	t.Parallel()
	const pixels = "pixels"
	g, mx := newMailGateway(t, "mail_media = attach\n")
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	raw, err := mcmt.Build(mcmt.Draft{From: "bob@corp.example", Subject: "s", Text: "the mail",
		Parts: []mcmt.RawPart{{ContentType: "multipart/vnd.msys.mm7; boundary=n", Body: []byte("--n\r\nContent-Type: image/png; name=cat.png\r\n\r\n" + pixels + "\r\n--n--\r\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	if a := g.post("/v1/messages?from=bob@corp.example&to=alice@localhost", "message/rfc822", string(raw)); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	urls := offered(alice.next())
	if len(urls) != 1 {
		t.Fatalf("offered %q", urls)
	}
	private := "http://" + peertest.Reserve(t) + "/private.png"
	offer := func(body string) {
		t.Helper()
		var files []*xmlwire.Element
		for _, u := range []string{urls[0], private} {
			files = append(files, xmlwire.New("jabber:x:oob", "x").Add(xmlwire.New("jabber:x:oob", "url").AddText(u)))
		}
		alice.write(bob, body, files...)
	}
	check := func(which int, attached bool) {
		t.Helper()
		mx.Wait("bob@corp.example", which+1)
		m, err := mcmt.ParseMail(mx.Mailbox("bob@corp.example")[which].Raw, mcmt.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range []string{urls[0], private} {
			if !strings.Contains(m.Email.Text, u) {
				t.Errorf("no link to %s in %q", u, m.Email.Text)
			}
		}
		all := string(mx.Mailbox("bob@corp.example")[which].Raw)
		if got := strings.Contains(all, "image/png") && strings.Contains(all, base64.StdEncoding.EncodeToString([]byte(pixels))); got != attached {
			t.Errorf("attached %t, want %t:\n%s", got, attached, all)
		}
	}
	offer("look")
	check(0, true)
	for name, want := range map[string]float64{"attached": 1, "not_fetched": 1} {
		if n := metric(t, g, `mail_files_total{outcome="`+name+`"}`); n != want {
			t.Errorf("%s: %v files", name, n)
		}
	}
	from := g.reload(strings.Replace(g.config(), "mail_media = attach\n", "", 1))
	g.eventually("the reload", func() bool { return g.logged(from, "configuration reloaded") != "" })
	offer("again")
	check(1, false)
}
