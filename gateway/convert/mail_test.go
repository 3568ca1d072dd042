package convert

import (
	"bytes"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// message is a stanza from bob to alice at corp.other.
func message(t testing.TB, attrs, children string) *stanza.Stanza {
	t.Helper()
	st, err := stanza.ParseBytes([]byte(`<message xmlns='jabber:client' from='bob@jabber.example/phone' to='alice\40other.example@mail.jabber.example' id='s1' `+
		attrs+`>`+children+`</message>`), xmlwire.Limits{})
	if err != nil {
		t.Fatalf("%v in %s", err, children)
	}
	return st
}

func mailInput(sts ...*stanza.Stanza) MailInput {
	return MailInput{ID: "q1", Stanzas: sts, From: "bob@jabber.example", To: "alice@other.example", Accepted: received, Subject: "Chat"}
}

// makeMail makes a mail and reads it.
func makeMail(t testing.TB, in MailInput) (MailResult, *mcmt.Message) {
	t.Helper()
	res, err := newConverter(t, nil).Mail(in)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, res.Raw)
	m, err := mcmt.ParseMail(res.Raw, mcmt.Limits{})
	if err != nil || len(m.Warnings) > 0 {
		t.Fatalf("%v, %v\n%s", err, m.Warnings, res.Raw)
	}
	return res, m
}

type fataler interface{ Fatalf(string, ...any) }

// checkLines: CRLF, lines of 998 bytes at most and of 76 where an encoded word is in them.
func checkLines(t fataler, raw []byte) {
	for _, line := range strings.Split(strings.TrimSuffix(string(raw), "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") || len(line) > 76 && strings.Contains(line, "=?utf-8?b?") {
			t.Fatalf("line of %d bytes: %q", len(line), line)
		}
	}
}

func TestMailIs(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	res, err := c.Mail(mailInput(message(t, "type='chat' xml:lang='de'", `<subject>Zug</subject><body>Gleis 7</body><thread>m@x.example</thread><nick xmlns='http://jabber.org/protocol/nick'>Bob</nick>`)))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`Date: Mon, 02 Mar 2026 09:00:30 +0000
From: "Bob"
 <bob@jabber.example>
To: alice@other.example
Subject: Zug
Message-ID: <`+res.MessageID+`>
In-Reply-To: <m@x.example>
References: <m@x.example>
Jabber-Gateway-Hops: 1
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Language: de
Content-Transfer-Encoding: quoted-printable

Gleis 7
`, "\n", "\r\n")
	if d := cmp.Diff(want, string(res.Raw)); d != "" {
		t.Error(d)
	}
	again, err := c.Mail(mailInput(message(t, "type='chat' xml:lang='de'", `<subject>Zug</subject><body>Gleis 7</body><thread>m@x.example</thread><nick xmlns='http://jabber.org/protocol/nick'>Bob</nick>`)))
	if err != nil || !bytes.Equal(again.Raw, res.Raw) {
		t.Errorf("the same messages make another mail: %v\n%s", err, again.Raw)
	}
}

func TestMailText(t *testing.T) {
	t.Parallel()
	const (
		oob = `<x xmlns='jabber:x:oob'><url>https://f.example/a.png</url>%s</x>`
		sfs = `<file-sharing xmlns='urn:xmpp:sfs:0'><file xmlns='urn:xmpp:file:metadata:0'><name>a.png</name></file><sources>%s</sources></file-sharing>`
	)
	for _, tt := range []struct {
		name, reason, attrs, children string
		want                          string // text that is read first; "" for an error
	}{
		{"text", "as it is", "", "<body>a &lt; b\n\n c</body>", "a < b\n\n c"},
		{"umlauts", "any character", "", "<body>Zürich 🚆</body>", "Zürich 🚆"},
		{"language of the stanza first", "RFC 6121 §5.2.3", "xml:lang='de'", "<body xml:lang='en'>one</body><body>eins</body>", "eins"},
		{"first of foreign ones", "better than none", "xml:lang='fr'", "<body xml:lang='en'>one</body><body xml:lang='de'>eins</body>", "one"},
		{"blank body", "nothing to read", "", "<body> \n </body>", ""},
		{"subject alone", "nothing to read", "", "<subject>x</subject>", ""},
		{"chat state", "noise", "", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", ""},
		{"OMEMO", "the body only says that it is encrypted", "", "<encrypted xmlns='eu.siacs.conversations.axolotl'/><body>I sent you an encrypted message</body>", ""},
		{"OOB", "a file is a link", "", fmt.Sprintf(oob, ""), "https://f.example/a.png"},
		{"OOB beside text", "below it", "", "<body>look</body>" + fmt.Sprintf(oob, "<desc>a cat</desc>"), "look\n\na cat: https://f.example/a.png"},
		{"OOB in the text", "clients put the address into both", "", "<body>https://f.example/a.png</body>" + fmt.Sprintf(oob, ""), "https://f.example/a.png"},
		{"file sharing", "XEP-0447 with the name", "", fmt.Sprintf(sfs, `<url-data xmlns='http://jabber.org/protocol/url-data' target='https://f.example/b'/>`), "a.png: https://f.example/b"},
		{"file sharing and OOB", "once", "", fmt.Sprintf(sfs, `<url-data xmlns='http://jabber.org/protocol/url-data' target='https://f.example/a.png'/>`) + fmt.Sprintf(oob, ""), "a.png: https://f.example/a.png"},
		{"stateless inline media", "XEP-0385", "", `<body>look</body><reference xmlns='urn:xmpp:reference:0' type='data'><media-sharing xmlns='urn:xmpp:sims:1'><sources><reference xmlns='urn:xmpp:reference:0' type='data' uri='https://f.example/c'/></sources></media-sharing></reference>`, "look\n\nhttps://f.example/c"},
		{"mention", "no file", "", `<body>hi @x</body><reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:x@y.example'/>`, "hi @x"},
		{"script", "not a link that a mail program should have", "", `<x xmlns='jabber:x:oob'><url>javascript:alert(1)</url></x>`, ""},
		{"local file", "nor is that", "", `<body>x</body><x xmlns='jabber:x:oob'><url>file:///etc/passwd</url></x>`, "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := mailInput(message(t, tt.attrs, tt.children))
			if tt.want == "" {
				var ce *ContentError
				if _, err := newConverter(t, nil).Mail(in); !errors.As(err, &ce) || ce.Temporary() {
					t.Errorf("%s: %v", tt.reason, err)
				}
				return
			}
			if _, m := makeMail(t, in); strings.TrimRight(m.Email.Text, "\n") != tt.want {
				t.Errorf("%s: got %q, want %q", tt.reason, m.Email.Text, tt.want)
			}
		})
	}
}

// TestMailHeader reads single fields.
func TestMailHeader(t *testing.T) {
	t.Parallel()
	const body = "<body>x</body>"
	long := strings.Repeat("wort ", 60)
	for _, tt := range []struct{ name, reason, attrs, children, field, want string }{
		{"subject", "its own", "", "<subject>Zürich</subject>" + body, "Subject", "Zürich"},
		{"no subject", "the configured one", "", body, "Subject", "Chat"},
		{"subject of the language", "goes with the body", "xml:lang='de'", "<subject xml:lang='en'>train</subject><subject>Zug</subject>" + body, "Subject", "Zug"},
		{"long subject", "folded as encoded words", "", "<subject>" + long + "</subject>" + body, "Subject", strings.TrimSpace(long)},
		{"subject like an encoded word", "text is no syntax", "", "<subject>=?utf-8?q?x?=</subject>" + body, "Subject", "=?utf-8?q?x?="},
		{"subject with a line break", "one line, no further field", "", "<subject>a\nBcc: evil@x.example</subject>" + body, "Subject", "a Bcc: evil@x.example"},
		{"nick", "XEP-0172", "", "<nick xmlns='http://jabber.org/protocol/nick'>J\"ürgen</nick>" + body, "From", `J"ürgen bob@jabber.example`},
		{"nick like an address", "would be shown as the sender", "", "<nick xmlns='http://jabber.org/protocol/nick'>boss@corp.example</nick>" + body, "From", " bob@jabber.example"},
		{"delay", "when it was sent (XEP-0203)", "", body + "<delay xmlns='urn:xmpp:delay' stamp='2026-03-02T08:00:00Z'/>", "Date", "Mon, 02 Mar 2026 08:00:00 +0000"},
		{"delay in the future", "a clock that is ahead", "", body + "<delay xmlns='urn:xmpp:delay' stamp='2027-03-02T08:00:00Z'/>", "Date", "Mon, 02 Mar 2026 09:00:30 +0000"},
		{"no thread", "begins one", "", body, "References", ""},
		{"thread of mail", "replies to it", "", body + "<thread>a.b@x.example</thread>", "In-Reply-To", "<a.b@x.example>"},
		{"thread of a client", "belongs together", "", body + "<thread>e0ffe42b</thread>", "References", "<t.cko6cpj56gp64@mail.jabber.example>"},
		{"thread of a client is no mail", "nothing is replied to", "", body + "<thread>e0ffe42b</thread>", "In-Reply-To", ""},
		{"headline", "no answer is expected", "type='headline'", body, "Auto-Submitted", "auto-generated"},
		{"chat", "a person", "type='chat'", body, "Auto-Submitted", ""},
		{"said to be automatic", "XEP-0131", "", body + "<headers xmlns='http://jabber.org/protocol/shim'><header name='auto-submitted'>auto-replied</header></headers>", "Auto-Submitted", "auto-replied"},
		{"hops", "one more", "", body + "<headers xmlns='http://jabber.org/protocol/shim'><header name='Jabber-Gateway-Hops'>3</header></headers>", "Jabber-Gateway-Hops", "4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, m := makeMail(t, mailInput(message(t, tt.attrs, tt.children)))
			got := m.Header.Text(tt.field)
			if tt.field == "From" {
				a := m.Header.Addresses("From")[0]
				got = a.Name + " " + a.Addr
			}
			if got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.reason, got, tt.want)
			}
		})
	}
}

// TestMailLanguages: all languages are there, each said.
func TestMailLanguages(t *testing.T) {
	t.Parallel()
	_, m := makeMail(t, mailInput(message(t, "xml:lang='de'", "<body xml:lang='en'>one</body><body>eins</body><body xml:lang='x\"y'>?</body>")))
	got := ""
	for _, p := range m.Parts {
		got += p.Header.Get("Content-Language") + ":" + strings.TrimSpace(string(p.Body)) + " "
	}
	if got != "de:eins en:one :? " {
		t.Errorf("got %q", got)
	}
}

// TestDigest: lines of one conversation stand in one mail, in their order.
func TestDigest(t *testing.T) {
	t.Parallel()
	a, b := message(t, "", "<body>a</body><thread>t</thread>"), message(t, "", "<body>b</body><thread>t</thread>")
	_, m := makeMail(t, mailInput(a, b))
	if m.Email.Text != "a\nb\n" || m.Email.Subject != "Chat" {
		t.Errorf("%q %q", m.Email.Text, m.Email.Subject)
	}
	for _, tt := range []struct {
		reason, attrs, children string
		want                    bool
	}{
		{"the next line", "", "<body>b</body><thread>t</thread>", true},
		{"another device", "from='bob@jabber.example/desk'", "<body>b</body><thread>t</thread>", true},
		{"another author", "from='eve@jabber.example/desk'", "<body>b</body><thread>t</thread>", false},
		{"another thread", "", "<body>b</body>", false},
		{"a subject of its own", "", "<subject>s</subject><body>b</body><thread>t</thread>", false},
		{"several languages", "", "<body>b</body><body xml:lang='de'>c</body><thread>t</thread>", false},
		{"not by a person", "type='headline'", "<body>b</body><thread>t</thread>", false},
	} {
		attrs := strings.Replace(tt.attrs, "from=", "x=", 1)
		next := message(t, attrs, tt.children)
		if attrs != tt.attrs {
			next.From = jid.MustParse(strings.Trim(strings.TrimPrefix(tt.attrs, "from="), "'"))
		}
		if got := Joins(a, next); got != tt.want {
			t.Errorf("%s: joins %t", tt.reason, got)
		}
	}
}

// TestMailMCMT: another gateway finds the stanza, and whoever knows no MCMT the mail.
func TestMailMCMT(t *testing.T) {
	t.Parallel()
	in := mailInput(message(t, "type='chat'", "<body>Zürich "+strings.Repeat("x", 1200)+"</body><thread>t1</thread><stanza-id xmlns='urn:xmpp:sid:0' by='jabber.example' id='9'/>"))
	in.Format = MCMTMail
	c := newConverter(t, nil)
	res, err := c.Mail(in)
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, res.Raw)
	m, err := mcmt.Parse(res.Raw, mcmt.Limits{})
	if err != nil || !m.MCMT || m.Header.Get(hopsField) != "1" || m.Email.MessageID != res.MessageID || m.Header.Get("Message-ID") != "<"+res.MessageID+">" {
		t.Fatalf("%v\n%s", err, res.Raw)
	}
	if s := string(m.XMPP); strings.Contains(s, "phone") || strings.Contains(s, "stanza-id") || !strings.Contains(s, "Zürich") {
		t.Errorf("%.300s", s)
	}
	far, err := c.Convert(Input{ID: "q2", From: in.From, To: "bob@jabber.example", Message: m, Received: received, Now: received})
	if err != nil || far.Part != "xmpp" || threadOf(far.Stanza) != "t1" || far.Stanza.From.Resource() != "" && far.Stanza.From.Domain() != "jabber.example" {
		t.Errorf("%v %v", far, err)
	}
	in.Stanzas = append(in.Stanzas, in.Stanzas[0])
	if _, err := c.Mail(in); err == nil {
		t.Error("two stanzas in one XMPP part")
	}
}

// TestMailUTF8: only an address that is not ASCII needs SMTPUTF8.
func TestMailUTF8(t *testing.T) {
	t.Parallel()
	in := mailInput(message(t, "", "<body>ü</body>"))
	if res, _ := makeMail(t, in); res.UTF8 {
		t.Error("for a text")
	}
	in.From = "jürgen@jabber.example"
	res, m := makeMail(t, in)
	if got := m.Header.Addresses("From"); !res.UTF8 || len(got) != 1 || got[0].Addr != in.From {
		t.Errorf("%t, %v", res.UTF8, got)
	}
}

// xmlText is text of all characters that a body can hold as it comes out of the parser.
func xmlText(maxLen int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		kind := rapid.OneOf(
			rapid.RuneFrom([]rune("abc =?_\t\n.-<>&\"'\\@:;,\u00a0\u0085\u2028\ufeff\ufffd=")),
			rapid.RuneFrom([]rune("From aüß€🚆漢\u0301\u202e")),
			rapid.Rune(),
		)
		return clean(string(rapid.SliceOfN(kind, 0, maxLen).Draw(t, "runes")))
	})
}

// TestMailRoundTrip: whatever a person writes comes back when the mail is sent back: the
// text, the subject, the thread, to the same JID.
func TestMailRoundTrip(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		text, subject, thread := xmlText(2000).Draw(t, "text"), xmlText(300).Draw(t, "subject"), xmlText(60).Draw(t, "thread")
		if rapid.Bool().Draw(t, "mail") {
			thread = rapid.StringMatching(`[!-;=?-~]{1,100}@[!-;=?-~]{1,100}`).Draw(t, "msg-id")
		}
		st := stanza.NewMessage(jid.MustParse(`alice\40other.example@mail.jabber.example`), jid.MustParse("bob@jabber.example/x"), stanza.TypeChat, text)
		st.Element.Add(xmlwire.New(stanza.Client, "subject").AddText(subject)).Add(xmlwire.New(stanza.Client, "thread").AddText(thread))
		// As it comes out of the store.
		st, err := stanza.ParseBytes(st.Append(nil, ""), xmlwire.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Mail(mailInput(st))
		if strings.TrimSpace(strings.TrimLeft(text, "\ufeff")) == "" {
			if err == nil {
				t.Fatalf("a mail of %q", text)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkLines(t, res.Raw)
		if _, err := mail.ReadMessage(bytes.NewReader(res.Raw)); err != nil {
			t.Fatal(err)
		}
		m, err := mcmt.ParseMail(res.Raw, mcmt.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		back, err := c.Convert(Input{ID: "q2", From: "alice@other.example", To: "bob@jabber.example", Message: m, Received: received, Now: received})
		if err != nil {
			t.Fatal(err)
		}
		k := conversion{c: c}
		if got, want := back.Stanza.Child("body").Text(), k.body(strings.TrimLeft(text, "\ufeff")); got != want {
			t.Fatalf("text %q came back as %q", want, got)
		}
		got, want := "", oneLine(subject)
		if e := back.Stanza.Child("subject"); e != nil {
			got = e.Text()
		}
		if want == "" {
			want = "Chat"
		}
		if got != want {
			t.Fatalf("subject %q came back as %q", want, got)
		}
		if got := threadOf(back.Stanza); thread != "" && len(thread) <= maxID && got != thread {
			t.Fatalf("thread %q came back as %q", thread, got)
		}
		checkReplies(t, c, res, m, thread)
	})
}

// checkReplies: what answers the mail is in its thread, if it copies References or not.
func checkReplies(t *rapid.T, c *Converter, res MailResult, m *mcmt.Message, thread string) {
	if thread == "" || len(thread) > maxInID {
		return
	}
	for name, refs := range map[string][]string{"references": append(m.Email.References, res.MessageID), "message id alone": {res.MessageID}} {
		raw, err := mcmt.Build(mcmt.Draft{Text: "x", MessageID: "other@x", InReplyTo: res.MessageID, References: refs})
		if err != nil {
			t.Fatal(err)
		}
		reply, err := mcmt.Parse(raw, mcmt.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		back, err := c.Convert(Input{ID: "q3", From: "alice@other.example", To: "bob@jabber.example", Message: reply, Received: received, Now: received})
		if err != nil || threadOf(back.Stanza) != thread {
			t.Fatalf("%s: thread %q, %v, want %q", name, threadOf(back.Stanza), err, thread)
		}
	}
}
