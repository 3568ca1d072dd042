package convert

import (
	"bytes"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

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

func TestAuthorAddress(t *testing.T) {
	t.Parallel()
	c := newConverter(t, func(o *Options) {
		o.Maps = append(o.Maps, RecipientMap{"all", regexp.MustCompile(`^(.*)@legacy\.example$`), "$1@old.jabber.example"},
			RecipientMap{"open", regexp.MustCompile(`^.*@void\.example$`), "void@remote.example"})
	})
	for _, tt := range []struct{ name, reason, jid, want string }{
		{"mapped", "he is written to under that address", "bob@jabber.example/phone", "bob@corp.example"},
		{"mapped number", "a number alone is no sender, its address is", "15551234567@remote.example", "+15551234567@mms.example"},
		{"escaped", "XEP-0106", `john\20smith@jabber.example`, `"john smith"@corp.example`},
		{"no map has it", "the JID itself", "bob@elsewhere.example", "bob@elsewhere.example"},
		{"escaped JID itself", "unescaped and quoted", `o\27hara\40x@elsewhere.example`, `"o'hara@x"@elsewhere.example`},
		{"IDN", "a mail domain is ASCII", "bob@münchen.example", "bob@xn--mnchen-3ya.example"},
		{"open map", "nobody knows which address it was: the JID itself", "void@remote.example", "void@remote.example"},
		{"wide map", "its group has the local part", "x@old.jabber.example", "x@legacy.example"},
		{"a domain", "nobody could be answered", "jabber.example", ""},
		{"the gateway's", "stands for somebody else", `a\40b.example@mail.jabber.example`, ""},
		{"IP address", "is no mail domain", "bob@192.0.2.1", ""},
		{"IPv6 address", "is no mail domain", "bob@[2001:db8::1]", ""},
		{"too long", "RFC 5321 §4.5.3.1.3", strings.Repeat("a", 250) + "@elsewhere.example", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.AuthorAddress(jid.MustParse(tt.jid))
			var ae *AddressError
			if got != tt.want || (tt.want == "") != errors.As(err, &ae) {
				t.Errorf("%s: got %q, %v", tt.reason, got, err)
			}
		})
	}
}

func TestMailRecipient(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	for _, tt := range []struct{ name, reason, jid, want string }{
		{"escaped", "XEP-0106", `alice\40corp.example@mail.jabber.example/automatic`, "alice@corp.example"},
		{"quoted", "RFC 5321 wants quotes", `john\20smith\40corp.example@mail.jabber.example`, `"john smith"@corp.example`},
		{"number", "E.164", "+4915112345678@mail.jabber.example", "+4915112345678"},
		{"mapped", "by a map the other way", "4915112345678@remote.example", "+4915112345678@mms.example"},
		{"the gateway", "no address", "mail.jabber.example", ""},
		{"not escaped", "no address", "alice@mail.jabber.example", ""},
		{"IP address", "the gateway connects to no address that a user names", `a\40[127.0.0.1]@mail.jabber.example`, ""},
		{"elsewhere", "no map has it", "bob@elsewhere.example", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.MailRecipient(jid.MustParse(tt.jid))
			if got != tt.want || (tt.want == "") != (err != nil) {
				t.Errorf("%s: got %q, %v", tt.reason, got, err)
			}
		})
	}
}

// TestReverseMaps: what a map can be reversed to, and what not.
func TestReverseMaps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, reason, match, template, addr, want string }{
		{"literal", "no group at all", `^info@a\.example$`, "desk@x.example", "info@a.example", "info@a.example"},
		{"whole address", "is one group", `^(.+)$`, "$1", "bob@x.example", "bob@x.example"},
		{"two groups", "both are found", `^(\w+)\.(\w+)@a\.example$`, "${2}_$1@x.example", "ann.lee@a.example", "ann.lee@a.example"},
		{"alternatives", "the first that leads back", `^(\w+)@(?:a|b)\.example$`, "$1@x.example", "bob@b.example", "bob@a.example"},
		{"group in the domain", "unescaped there", `^(\w+)@(\w+)\.example$`, "$1@$2.x.example", "bob@dev.example", "bob@dev.example"},
		{"group left out", "what it held is not known", `^(\w+)@(\w+)\.example$`, "$1@x.example", "bob@dev.example", ""},
		{"inner group", "around it all is literal", `^((\w+)@a\.example)$`, "$2@x.example", "bob@a.example", "bob@a.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConverter(t, func(o *Options) {
				o.Roles = nil
				o.Maps = []RecipientMap{{"m", regexp.MustCompile(tt.match), tt.template}}
			})
			j, err := c.Recipient(tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.MailRecipient(j)
			if got != tt.want || (tt.want == "") != (err != nil) {
				t.Errorf("%s: %s gives %q, %v", tt.reason, j, got, err)
			}
		})
	}
}

// TestReverseShadowed: an address that an earlier map sends elsewhere is not that of a JID.
func TestReverseShadowed(t *testing.T) {
	t.Parallel()
	c := newConverter(t, func(o *Options) {
		o.Maps = []RecipientMap{{"boss", regexp.MustCompile(`^boss@a\.example$`), "ceo@x.example"}, {"all", regexp.MustCompile(`^(\w+)@a\.example$`), "$1@x.example"}}
	})
	for j, want := range map[string]string{"ceo@x.example": "boss@a.example", "boss@x.example": "boss@x.example", "ann@x.example": "ann@a.example"} {
		if got, err := c.AuthorAddress(jid.MustParse(j)); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", j, got, err, want)
		}
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

// TestMailAddressesRoundTrip: a JID that has a mail address is who that address leads to.
func TestMailAddressesRoundTrip(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.OneOf(rapid.StringMatching(`[a-z0-9.+_-]{1,20}`), xmlText(12)).Draw(t, "local")
		domain := rapid.SampledFrom([]string{"jabber.example", "münchen.example", "remote.example"}).Draw(t, "domain")
		j, err := jid.New(jid.Escape(local), domain, "")
		if err != nil || local == "" {
			return
		}
		addr, err := c.AuthorAddress(j)
		if err != nil {
			t.Fatalf("%s has no address: %v", j, err)
		}
		if back, err := c.Recipient(addr); err != nil || back != j {
			t.Fatalf("%s is %s, which leads to %s, %v", j, addr, back, err)
		}
		// And as the sender elsewhere, answered from there.
		far := newFar(t)
		theirs, err := far.Sender(addr)
		if err != nil {
			return // a name from right to left cannot stand beside a domain (RFC 5893 §2)
		}
		if back, err := far.MailRecipient(theirs); err != nil || !strings.EqualFold(back, addr) {
			t.Fatalf("%s is %s there, which is %s, %v", addr, theirs, back, err)
		}
	})
}

// newFar is the converter of another gateway.
func newFar(t interface{ Fatalf(string, ...any) }) *Converter {
	c, err := New(Options{MailGatewayDomain: "mail.far.example", Roles: func(domain string) Role {
		if domain == "far.example" {
			return Server
		}
		return NoRole
	}})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c
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

// TestMarks: what a mail is, the JID that it comes from says, and the stanza (XEP-0131).
func TestMarks(t *testing.T) {
	t.Parallel()
	const own = "m3.hash.c5h66@mail.jabber.example"
	for _, tt := range []struct{ name, reason, from, header, want string }{
		{"mail", "by a person", "a@x.example", "", `a\40x.example@mail.jabber.example`},
		{"said to be by a person", "RFC 3834 §5", "a@x.example", "Auto-Submitted: no\r\n", `a\40x.example@mail.jabber.example`},
		{"automatic", "its comment does not count", "a@x.example", "Auto-Submitted: Auto-Replied (vacation)\r\n", `a\40x.example@mail.jabber.example/automatic Auto-Submitted=auto-replied`},
		{"extension", "all but no is automatic", "a@x.example", "Auto-Submitted: x-robot; a=b\r\n", `a\40x.example@mail.jabber.example/automatic Auto-Submitted=auto-generated`},
		{"null path", "of reports; nobody can answer the gateway itself", "", "", `mail.jabber.example Auto-Submitted=auto-replied`},
		{"one of our users", "his JID is his own", "bob@jabber.example", "Auto-Submitted: auto-generated\r\n", `bob@jabber.example Auto-Submitted=auto-generated`},
		{"from a gateway", "counted there", "a@x.example", "Jabber-Gateway-Hops: 2\r\n", `a\40x.example@mail.jabber.example/hop-2 Jabber-Gateway-Hops=2`},
		{"answer to a mail of ours", "counted in the Message-ID", "a@x.example", "In-Reply-To: <" + own + ">\r\n", `a\40x.example@mail.jabber.example/hop-3 Jabber-Gateway-Hops=3`},
		{"answer to it in the references", "the highest counts", "a@x.example", "Jabber-Gateway-Hops: 1\r\nReferences: <a@b> <" + own + ">\r\n", `a\40x.example@mail.jabber.example/hop-3 Jabber-Gateway-Hops=3`},
		{"no number", "beyond all bounds", "a@x.example", "Jabber-Gateway-Hops: -1\r\n", `a\40x.example@mail.jabber.example/hop-20 Jabber-Gateway-Hops=20`},
		{"both", "the mark that sends nothing", "a@x.example", "Jabber-Gateway-Hops: 1\r\nPrecedence: junk\r\n", `a\40x.example@mail.jabber.example/automatic Jabber-Gateway-Hops=1 Auto-Submitted=auto-replied`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(parse(t, tt.header+"From: a@x.example\r\n\r\nhello\r\n"))
			in.From = tt.from
			r, err := newConverter(t, nil).Convert(in)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Stanza.From.String()
			if e := r.Stanza.Element.Child(headers); e != nil {
				for h := range e.Elements() {
					got += " " + h.Attr("name") + "=" + h.Text()
				}
			}
			if got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.reason, got, tt.want)
			}
		})
	}
}

// hop is a mail on its way between two who answer by themselves.
type hop struct {
	raw      []byte
	from, to string
}

// robot is an account that answers each message, as programs do: to the JID that it came
// from, some in the same thread.
func robot(c *Converter, h hop, format MailFormat, thread, bare bool) (hop, error) {
	m, err := mcmt.Parse(h.raw, mcmt.Limits{})
	if err != nil {
		return hop{}, err
	}
	in, err := c.Convert(Input{ID: "q", From: h.from, To: h.to, Message: m, Received: received, Now: received})
	if err != nil {
		return hop{}, err
	}
	st := in.Stanza
	to := st.From
	if bare {
		to = to.Bare()
	}
	answer := stanza.NewMessage(to, st.To, stanza.TypeChat, "I am away")
	answer.ID = "a"
	if thread && threadOf(st) != "" {
		answer.Element.Add(xmlwire.New(stanza.Client, "thread").AddText(threadOf(st)))
	}
	addr, err := c.MailRecipient(to)
	if err != nil {
		return hop{}, err
	}
	from, err := c.AuthorAddress(st.To)
	if err != nil {
		return hop{}, err
	}
	res, err := c.Mail(MailInput{ID: "q", Stanzas: []*stanza.Stanza{answer}, From: from, To: addr, Accepted: received, Format: format})
	return hop{res.Raw, from, addr}, err
}

// TestLoopOfMail: a program that answers mail by itself and one that answers messages stop.
func TestLoopOfMail(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	for _, tt := range []struct {
		name, reason string
		header       string // of the answers
		refers       bool   // they say what they answer
		null         bool   // they come from the null path
		most         int    // mails from Jabber
	}{
		{"RFC 3834", "it says what it is", "Auto-Submitted: auto-replied (vacation)\r\n", true, false, 1},
		{"null path", "RFC 3834 §3.3", "", false, true, 1},
		{"vacation(1)", "older than the field", "Precedence: junk\r\n", false, false, 1},
		{"Exchange", "likewise", "X-Autoreply: yes\r\n", false, false, 1},
		{"says only what it answers", "the Message-ID counts", "", true, false, MaxHops},
	} {
		for _, thread := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/thread=%t", tt.name, thread), func(t *testing.T) {
				t.Parallel()
				h := hop{[]byte("From: alice@other.example\r\nMessage-ID: <1@other.example>\r\n\r\nhello\r\n"), "alice@other.example", "bob@jabber.example"}
				n := 0
				for ; n <= MaxHops; n++ {
					answer, err := robot(c, h, PlainMail, thread, false)
					if err != nil {
						t.Logf("after %d: %v", n, err)
						break
					}
					m, err := mcmt.Parse(answer.raw, mcmt.Limits{})
					if err != nil {
						t.Fatal(err)
					}
					header := "From: alice@other.example\r\n" + tt.header
					if tt.refers {
						header += "In-Reply-To: <" + m.Email.MessageID + ">\r\n"
					}
					h = hop{[]byte(header + "\r\nalso away\r\n"), "alice@other.example", answer.from}
					if tt.null {
						h.from = ""
					}
				}
				if n > tt.most {
					t.Errorf("%s: %d mails, want at most %d", tt.reason, n, tt.most)
				}
			})
		}
	}
}

// exchange lets two accounts, each behind a gateway, answer each other by robot, at most
// times mails, and returns how many there were and why there are no more.
func exchange(t *testing.T, most int, format MailFormat, thread, bare bool) (n int, err error) {
	t.Helper()
	at := []*Converter{newConverter(t, nil), newFar(t)}
	h := hop{[]byte("From: carol@far.example\r\n\r\nhello\r\n"), "carol@far.example", "bob@jabber.example"}
	for ; n < most; n++ {
		if h, err = robot(at[n%2], h, format, thread, bare); err != nil {
			return n, err
		}
	}
	return n, nil
}

// TestLoopOfGateways: two programs in Jabber, each behind a gateway, stop; two people whose
// clients write to bare JIDs need not.
func TestLoopOfGateways(t *testing.T) {
	t.Parallel()
	for _, format := range []MailFormat{PlainMail, MCMTMail} {
		for _, thread := range []bool{true, false} {
			n, err := exchange(t, 2*MaxHops, format, thread, false)
			var loop *LoopError
			if n > MaxHops || !errors.As(err, &loop) {
				t.Errorf("programs: %d mails, %v", n, err)
			}
			if n, err := exchange(t, 3*MaxHops, format, thread, true); err != nil {
				t.Errorf("people: %d mails, %v", n, err)
			}
		}
	}
}

// TestForwardedLoop: a message that is forwarded between gateways as it is stops too.
func TestForwardedLoop(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	raw, from := []byte("From: alice@other.example\r\n\r\nhello\r\n"), "alice@other.example"
	for n := 0; ; n++ {
		m, err := mcmt.Parse(raw, mcmt.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		in, err := c.Convert(Input{ID: "q", From: from, To: "bob@jabber.example", Message: m, Received: received, Now: received.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		in.Stanza.To, in.Stanza.From = jid.MustParse(`alice\40other.example@mail.jabber.example`), jid.MustParse("bob@jabber.example")
		res, err := c.Mail(mailInput(in.Stanza))
		var loop *LoopError
		if errors.As(err, &loop) {
			if n != MaxHops {
				t.Errorf("after %d", n)
			}
			return
		}
		if err != nil || n > MaxHops {
			t.Fatal(n, err)
		}
		raw = res.Raw
	}
}

// FuzzThread: a thread that a msg-id of ours holds stands for itself, and comes back.
func FuzzThread(f *testing.F) {
	for _, s := range []string{"t.c5h66@mail.jabber.example", "m1.x.c5h66@MAIL.jabber.example", "m1.x@mail.jabber.example", "t.@mail.jabber.example", "a@b", "m99999999999.x.y@mail.jabber.example"} {
		f.Add(s)
	}
	c := newConverter(f, nil)
	f.Fuzz(func(t *testing.T, id string) {
		if n := c.hopsIn(id); n < 0 || n > MaxHops {
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
