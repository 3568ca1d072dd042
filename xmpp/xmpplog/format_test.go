package xmpplog

import (
	"net"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// The formats of the chapter, and those of what it does not know.
const (
	delivery  = "%t+D+%st+%at+%af+%ai+%ay+%H"
	reception = "%t+R+%st+%at+%af+%ai+%ay+%H"
	heartbeat = "%t+M"
)

var (
	then   = time.Unix(1385596800, 999)
	remote = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5222}
)

// sent is a stanza on its way out of a client's stream.
func sent(t testing.TB, xml string) Record {
	t.Helper()
	st, err := stanza.ParseBytes([]byte(xml), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return recordOf(stream.Passage{Out: true, Remote: remote, Content: stanza.Client, Stanza: st})
}

// received is an element that came in on a client's stream, whose session is bound.
func received(t testing.TB, xml string) Record {
	t.Helper()
	e, err := xmlwire.Parse([]byte(xml), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return recordOf(stream.Passage{Remote: remote, Content: stanza.Client, Element: e, Sender: jid.MustParse("romeo@example.net/orchard")})
}

// TestLines are the lines to the letter.
func TestLines(t *testing.T) {
	t.Parallel()
	const message = `<message xmlns='jabber:client' from='romeo@example.net/orchard' to='juliet@im.example.com/balcony' id='ju2ba41c' type='chat'><body>Art thou not Romeo?</body></message>`
	for name, tc := range map[string]struct {
		format string
		record Record
		want   string
	}{
		"a message sent": {delivery, sent(t, message),
			"1385596800+D+message+juliet@im.example.com/balcony+romeo@example.net/orchard+ju2ba41c+chat+192.0.2.1:5222"},
		"a message received": {reception, received(t, message),
			"1385596800+R+message+juliet@im.example.com/balcony+romeo@example.net/orchard+ju2ba41c+chat+192.0.2.1:5222"},
		"a client need not say who it is": {reception, received(t, `<presence xmlns='jabber:client'/>`),
			"1385596800+R+presence++romeo@example.net/orchard+++192.0.2.1:5222"},
		"an iq": {delivery, sent(t, `<iq xmlns='jabber:client' type='result' id='1' to='romeo@example.net/orchard'/>`),
			"1385596800+D+iq+romeo@example.net/orchard++1+result+192.0.2.1:5222"},
		"a stream header": {reception, received(t, `<stream:stream xmlns:stream='http://etherx.jabber.org/streams' from='romeo@example.net' to='example.net' version='1.0'/>`),
			"1385596800+R+stream+example.net+romeo@example.net+++192.0.2.1:5222"},
		"a stream error": {reception, received(t, `<stream:error xmlns:stream='http://etherx.jabber.org/streams'><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`),
			"1385596800+R+error++romeo@example.net/orchard+++192.0.2.1:5222"},
		"the heartbeat":                   {heartbeat, Record{Kind: Heartbeat}, "1385596800+M"},
		"a per cent sign":                 {"100%% %t", sent(t, message), "100% 1385596800"},
		"macros end where their names do": {"%to %stx %afH%%t", sent(t, message), "1385596800o messagex romeo@example.net/orchardH%t"},
		"the stanza as it is written on its stream": {"%sr", sent(t, message),
			"<message to='juliet@im.example.com/balcony' from='romeo@example.net/orchard' id='ju2ba41c' type='chat'><body>Art thou not Romeo?</body></message>"},
		"the stanza without its text": {"%so", sent(t, message),
			"<message to='juliet@im.example.com/balcony' from='romeo@example.net/orchard' id='ju2ba41c' type='chat'><body>***</body></message>"},
		"a received one likewise": {"%so", received(t, message),
			"<message from='romeo@example.net/orchard' to='juliet@im.example.com/balcony' id='ju2ba41c' type='chat'><body>***</body></message>"},
		"streams speak of themselves": {"%so", received(t, `<stream:error xmlns:stream='http://etherx.jabber.org/streams'><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>why</text></stream:error>`),
			"<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>why</text></stream:error>"},
		"a header is a tag": {"%sr", received(t, `<stream:stream xmlns:stream='http://etherx.jabber.org/streams' to='example.net'/>`),
			"<stream:stream to='example.net'>"},
		"what becomes of a message": {"%t+F+%st+%at+%af+%ai+%ay+%H+%xi+%xf+%xr+%xn", Record{Kind: Filtered, Stanza: "message", From: "a@b.example", To: "c@d", ID: "s1", Message: "q1", Filter: "chat-states", Reason: "a chat state", Attempt: 2},
			"1385596800+F+message+c@d+a@b.example+s1+++q1+chat-states+a chat state+2"},
		"nobody is nowhere, and nobody has tried": {"%H|%xn", Record{Kind: Failed}, "|"},

		"a separator in a value": {delivery, sent(t, `<message xmlns='jabber:client' to='a+b@c' id='x+D+y'/>`),
			`1385596800+D+message+a\x2bb@c++x\x2bD\x2by++192.0.2.1:5222`},
		"which is none in another format": {"%at %ai", sent(t, `<message xmlns='jabber:client' to='a+b@c' id='x y'/>`),
			`a+b@c x y`},
		"a line break": {"%ai;%sr", sent(t, "<message xmlns='jabber:client' id='a&#xA;b'><body>c\nd;e</body></message>"),
			`a\x0ab;<message id='a&#xA;b'><body>c\x0ad;e</body></message>`},
		"a separator before more": {"%ai;%sr;", sent(t, "<message xmlns='jabber:client' id='a;b'><body>d;e</body></message>"),
			`a\x3bb;<message id='a\x3bb'><body>d\x3be</body></message>;`},
		"other line breaks":         {"%ai", sent(t, "<message xmlns='jabber:client' id='a\u0085b\u2028c\u2029d'/>"), `a\u0085b\u2028c\u2029d`},
		"what shows a terminal":     {"%ai", sent(t, "<message xmlns='jabber:client' id='\u007f\u009b31m'/>"), `\x7f\u009b31m`},
		"other languages":           {"%ai", sent(t, "<message xmlns='jabber:client' id='žluťoučký 好 😀'/>"), "žluťoučký 好 😀"},
		"XEP-0106 stays":            {"%af", sent(t, `<message xmlns='jabber:client' from='a\40corp.example@mail.example'/>`), `a\40corp.example@mail.example`},
		"what looks like an escape": {"%ai", sent(t, `<message xmlns='jabber:client' id='\x41\u0041\\'/>`), `\x5cx41\x5cu0041\\`},
		"broken UTF-8":              {"%xr", Record{Kind: Failed, Reason: "a\xffb"}, `a\xffb`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := ParseFormat(tc.record.Kind, tc.format)
			if err != nil {
				t.Fatal(err)
			}
			tc.record.Time = then
			if got := string(f.Append(nil, &tc.record)); got != tc.want+"\n" {
				t.Errorf("\ngot  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestRemote is where a peer may be.
func TestRemote(t *testing.T) {
	t.Parallel()
	for want, addr := range map[string]net.Addr{
		"192.0.2.1:5222":      remote,
		"[2001:db8::1]:5269":  &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 5269},
		"[fe80::1%eth0]:5269": &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 5269, Zone: "eth0"},
		"/run/xmpp":           &net.UnixAddr{Name: "/run/xmpp"},
		"":                    nil,
	} {
		if got := string(appendRemote(nil, &Record{Remote: addr})); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestBadFormats are mistakes, and what is said about them.
func TestBadFormats(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kind         Kind
		format, want string
	}{
		"an unknown macro":                  {Delivery, "%t+%q+%st", "unknown macro %q"},
		"half a macro":                      {Delivery, "%s", "unknown macro %s"},
		"a longer name":                     {Delivery, "%sx+", "unknown macro %sx"},
		"no name":                           {Delivery, "%t+%+", "unknown macro %"},
		"nothing behind it":                 {Delivery, "%t+%", "unknown macro %"},
		"case counts":                       {Delivery, "%T", "unknown macro %T"},
		"empty":                             {Delivery, "", "is empty"},
		"two lines":                         {Delivery, "%t\n%st", `holds "\n": a record is one line`},
		"a heartbeat has no stanza":         {Heartbeat, "%t+%st", "%st says nothing in these lines"},
		"a stanza has no filter":            {Delivery, "%xf", "%xf says nothing in these lines"},
		"of a failure no stanza is known":   {Failed, "%so", "%so says nothing in these lines"},
		"a failure has a reason, no filter": {Failed, "%xr %xf", "%xf says nothing in these lines"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := ParseFormat(tc.kind, tc.format); err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	if got, want := Macros(Heartbeat), "%t %%"; got != want {
		t.Errorf("macros of a heartbeat: %s, want %s", got, want)
	}
}

// TestObfuscated: nothing that people have written is left, wherever it stands.
func TestObfuscated(t *testing.T) {
	t.Parallel()
	f, err := ParseFormat(Delivery, "%so")
	if err != nil {
		t.Fatal(err)
	}
	if f.Whole() {
		t.Error("an obfuscated stanza is said to hold the text")
	}
	for _, xml := range []string{
		`<message xmlns='jabber:client'><body>secret</body><body xml:lang='de'>secret</body><subject>secret</subject><thread>secret</thread></message>`,
		`<message xmlns='jabber:client'>secret</message>`,
		`<message xmlns='jabber:client' mood='secret'/>`,
		`<message xmlns='jabber:client'><html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>se<b>secret</b></p><img alt='secret' src='data:secret'/></body></html></message>`,
		`<message xmlns='jabber:client'><x xmlns='jabber:x:conference' reason='secret' password='secret'/></message>`,
		`<message xmlns='jabber:client'><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>secret</body></message></forwarded></sent></message>`,
		`<message xmlns='jabber:client' type='error'><body>secret</body><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>secret</gone></error></message>`,
		`<presence xmlns='jabber:client'><status>secret</status><nick xmlns='http://jabber.org/protocol/nick'>secret</nick></presence>`,
		`<iq xmlns='jabber:client' type='set' id='1'><query xmlns='jabber:iq:register'><password>secret</password></query></iq>`,
		`<iq xmlns='jabber:client' type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='a@b' name='secret'><group>secret</group></item></query></iq>`,
	} {
		r := sent(t, xml)
		before := r.passage.Stanza.String()
		if got := string(f.Append(nil, &r)); strings.Contains(got, "secret") || !strings.Contains(got, hidden) {
			t.Errorf("%s\nbecomes %s", xml, got)
		}
		if after := r.passage.Stanza.String(); after != before {
			t.Errorf("the stanza itself has changed: %s", after)
		}
	}
	r := sent(t, `<presence xmlns='jabber:client' to='a@b'><show>away</show><priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/></presence>`)
	if got, want := string(f.Append(nil, &r)), "<presence to='a@b'><show>away</show><priority>5</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/></presence>\n"; got != want {
		t.Errorf("words of the protocol:\ngot  %swant %s", got, want)
	}
}

// FuzzEscape: a value is one line without separators, and can be read back.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a+b", "a\nb", `\x41`, `\`, `\\x`, "\u2028\u0085", "\xff\xc2", "é"} {
		f.Add(s, "+;")
	}
	f.Fuzz(func(t *testing.T, value, separators string) {
		if strings.ContainsFunc(separators, func(r rune) bool {
			return r >= 0x7f || r == '\\' || r >= '0' && r <= '9' || (r|0x20) >= 'a' && (r|0x20) <= 'z'
		}) {
			t.Skip("no separators of a format")
		}
		got := string(escapeFrom([]byte("kept+\n"+value), 6, staysBut([]byte(separators))))
		escaped, ok := strings.CutPrefix(got, "kept+\n")
		if !ok || strings.ContainsFunc(escaped, control) || strings.ContainsAny(escaped, separators) {
			t.Fatalf("%q becomes %q", value, got)
		}
		if back := unescape(t, escaped); back != value {
			t.Fatalf("%q becomes %q, and that %q", value, escaped, back)
		}
	})
}

// unescape is the way back, for who reads the lines.
func unescape(t *testing.T, s string) string {
	var b strings.Builder
	for s != "" {
		var c rune
		switch {
		case strings.HasPrefix(s, `\x`):
			c = hexRune(t, s[2:4])
			b.WriteByte(byte(c))
			s = s[4:]
		case strings.HasPrefix(s, `\u`):
			b.WriteRune(hexRune(t, s[2:6]))
			s = s[6:]
		default:
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String()
}

func hexRune(t *testing.T, digits string) (r rune) {
	for _, d := range digits {
		i := strings.IndexRune(hexDigits, d)
		if i < 0 {
			t.Fatalf("%q is no number", digits)
		}
		r = r<<4 | rune(i)
	}
	return r
}

// FuzzParseFormat: any text is a format or an error, and a format makes one line.
func FuzzParseFormat(f *testing.F) {
	f.Add(uint8(0), delivery)
	f.Add(uint8(7), heartbeat)
	f.Add(uint8(2), "%xi%%%xr%")
	f.Fuzz(func(t *testing.T, k uint8, text string) {
		kind := Kind(k) % kinds
		format, err := ParseFormat(kind, text)
		if err != nil {
			return
		}
		r := Record{Kind: kind, Time: then, Stanza: "message", From: "a\nb", To: "c", ID: "d\x00", Reason: "e\re"}
		if line := format.Append(nil, &r); strings.ContainsFunc(string(line[:len(line)-1]), control) || line[len(line)-1] != '\n' {
			t.Fatalf("%q makes %q", text, line)
		}
	})
}
