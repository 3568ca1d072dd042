package stanza_test

import (
	"errors"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func mustParse(t testing.TB, text string) *stanza.Stanza {
	t.Helper()
	s, err := stanza.ParseBytes([]byte(text), xmlwire.Limits{})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestParse(t *testing.T) {
	t.Parallel()
	s := mustParse(t, `<message xmlns='jabber:client' from='Romeo@Montague.lit/orchard' to='juliet@capulet.lit' `+
		`id='a1' type='chat' xml:lang='en' x='y'><body>Hi</body></message>`)
	if s.Kind != stanza.Message || s.From != jid.MustParse("romeo@montague.lit/orchard") || s.To != jid.MustParse("juliet@capulet.lit") ||
		s.ID != "a1" || s.Type != stanza.TypeChat || s.Lang != "en" || s.Child("body").Text() != "Hi" {
		t.Errorf("got %+v", s)
	}
	const want = `<message xmlns='jabber:client' to='juliet@capulet.lit' from='romeo@montague.lit/orchard' id='a1' type='chat' xml:lang='en' x='y'><body>Hi</body></message>`
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestNamespaces: a stanza of any stream becomes one of jabber:client and back;
// what it carries of other namespaces stays.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	const inside = `<body>Hi</body><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>Ho</body></message></forwarded>` +
		`<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`
	for _, ns := range []string{stanza.Client, stanza.Server, stanza.Component} {
		t.Run(ns, func(t *testing.T) {
			t.Parallel()
			s := mustParse(t, `<message xmlns='`+ns+`' to='a@b'>`+inside+`</message>`)
			for _, name := range []string{"body", "error"} {
				if s.Child(name) == nil {
					t.Errorf("%s is not in %s", name, stanza.Client)
				}
			}
			before := s.String()
			if want := `<message xmlns='jabber:client' to='a@b'>` + inside + `</message>`; before != want {
				t.Errorf("alone\n got %s\nwant %s", before, want)
			}
			if got, want := string(s.Append(nil, ns)), `<message to='a@b'>`+inside+`</message>`; got != want {
				t.Errorf("in a stream\n got %s\nwant %s", got, want)
			}
			if after := s.String(); after != before {
				t.Errorf("Append changed the stanza to %s", after)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, in string
		want     stanza.Condition // "" is ErrNoStanza
	}{
		{"another element", `<msg xmlns='jabber:client'/>`, ""},
		{"another namespace", `<message xmlns='jabber:clients'/>`, ""},
		{"no namespace", `<message/>`, ""},
		{"bad to", `<message xmlns='jabber:client' to='@b' id='1'/>`, stanza.JIDMalformed},
		{"empty to", `<message xmlns='jabber:client' to='' id='1'/>`, stanza.JIDMalformed},
		{"bad from", `<presence xmlns='jabber:server' from='a@b/' id='1'/>`, stanza.JIDMalformed},
		{"presence of no type there is", `<presence xmlns='jabber:client' type='available' id='1'/>`, stanza.BadRequest},
		{"iq without a type", `<iq xmlns='jabber:client' id='1'><a xmlns='u'/></iq>`, stanza.BadRequest},
		{"iq of no type there is", `<iq xmlns='jabber:client' id='1' type='put'><a xmlns='u'/></iq>`, stanza.BadRequest},
		{"iq without an id", `<iq xmlns='jabber:client' type='get'><a xmlns='u'/></iq>`, stanza.BadRequest},
		{"get without a child", `<iq xmlns='jabber:client' id='1' type='get'/>`, stanza.BadRequest},
		{"set with two children", `<iq xmlns='jabber:client' id='1' type='set'><a xmlns='u'/><a xmlns='u'/></iq>`, stanza.BadRequest},
		{"result with two children", `<iq xmlns='jabber:client' id='1' type='result'><a xmlns='u'/><a xmlns='u'/></iq>`, stanza.BadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := stanza.ParseBytes([]byte(test.in), xmlwire.Limits{})
			if test.want == "" {
				if !errors.Is(err, stanza.ErrNoStanza) || s != nil {
					t.Errorf("got %v, %v, want %v", s, err, stanza.ErrNoStanza)
				}
				return
			}
			var bad *stanza.Error
			if !errors.As(err, &bad) || bad.Condition != test.want {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			if s == nil || s.ID != "1" && test.name != "iq without an id" {
				t.Errorf("no stanza to answer: %v", s)
			}
		})
	}
	var malformed *xmlwire.Error
	if _, err := stanza.ParseBytes([]byte("<message><!-- --></message>"), xmlwire.Limits{}); !errors.As(err, &malformed) {
		t.Errorf("got %v, want an *xmlwire.Error", err)
	}
}

func TestParseAccepts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`<message xmlns='jabber:client' type='unheard-of'/>`, // RFC 6121 §5.2.2: normal
		`<presence xmlns='jabber:client'/>`,
		`<presence xmlns='jabber:client' type='probe' to='a@b'/>`,
		`<iq xmlns='jabber:client' type='result' id='1'/>`,
		`<iq xmlns='jabber:client' type='error' id='1'><a xmlns='u'/><error/></iq>`,
	} {
		if got := mustParse(t, text).Append(nil, stanza.Client); len(got) >= len(text) {
			t.Errorf("%s became %s", text, got)
		}
	}
}

// TestFieldsWin: the fields are the addresses, whatever the element says.
func TestFieldsWin(t *testing.T) {
	t.Parallel()
	s := mustParse(t, `<message xmlns='jabber:client' from='evil@b' to='c@d' id='1' type='chat' xml:lang='en'/>`)
	s.From, s.To, s.ID, s.Type, s.Lang = jid.JID{}, jid.MustParse("e@f/'<&"), "2", "", "de"
	const want = `<message to='e@f/&apos;&lt;&amp;' id='2' xml:lang='de'/>`
	if got := string(s.Append(nil, stanza.Client)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	get := mustParse(t, `<iq xmlns='jabber:client' type='get' id='7' from='a@b/c' to='d@e'><ping xmlns='urn:xmpp:ping'/></iq>`)
	if got, want := string(get.Reply(stanza.TypeResult).Append(nil, stanza.Client)), `<iq to='a@b/c' from='d@e' id='7' type='result'/>`; got != want {
		t.Errorf("Reply\n got %s\nwant %s", got, want)
	}
	e := &stanza.Error{Condition: stanza.ServiceUnavailable, Text: "no <such> thing"}
	const want = `<iq to='a@b/c' from='d@e' id='7' type='error'><error type='cancel'>` +
		`<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>` +
		`<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &lt;such&gt; thing</text></error></iq>`
	if got := string(get.ErrorReply(e).Append(nil, stanza.Client)); got != want {
		t.Errorf("ErrorReply\n got %s\nwant %s", got, want)
	}
	for _, text := range []string{
		`<iq xmlns='jabber:client' type='result' id='7' from='a@b/c'/>`,
		`<iq xmlns='jabber:client' type='error' id='7' from='a@b/c'/>`,
		`<message xmlns='jabber:client' type='error' from='a@b/c'/>`,
		`<presence xmlns='jabber:client' type='error' from='a@b/c'/>`,
	} {
		if r := mustParse(t, text).ErrorReply(e); r != nil {
			t.Errorf("%s was answered by %s", text, r)
		}
	}
	if r := mustParse(t, `<message xmlns='jabber:client' from='a@b/c'/>`).ErrorReply(e); r == nil || r.Type != stanza.TypeError {
		t.Errorf("a message was answered by %v", r)
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	s := mustParse(t, `<message xmlns='jabber:client' to='a@b'><body>1</body></message>`)
	c := s.Clone()
	c.Child("body").AddText("2")
	c.To = jid.JID{}
	if got := string(s.Append(nil, stanza.Client)); got != `<message to='a@b'><body>1</body></message>` {
		t.Errorf("a change of the clone changed the original to %s", got)
	}
	if got := string(c.Append(nil, stanza.Client)); got != `<message><body>12</body></message>` {
		t.Errorf("clone: %s", got)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	a, b := jid.MustParse("a@b"), jid.MustParse("c@d/e")
	for _, test := range []struct {
		s    *stanza.Stanza
		want string
	}{
		{stanza.NewMessage(a, b, stanza.TypeChat, "x & y"), `<message to='a@b' from='c@d/e' type='chat'><body>x &amp; y</body></message>`},
		{stanza.NewMessage(a, jid.JID{}, "", ""), `<message to='a@b'/>`},
		{stanza.NewPresence(jid.JID{}, b, "unavailable"), `<presence from='c@d/e' type='unavailable'/>`},
		{stanza.NewIQ(a, b, stanza.TypeGet, "1", xmlwire.New("urn:xmpp:ping", "ping")), `<iq to='a@b' from='c@d/e' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`},
		{stanza.NewIQ(a, b, stanza.TypeResult, "1", nil), `<iq to='a@b' from='c@d/e' id='1' type='result'/>`},
	} {
		if got := string(test.s.Append(nil, stanza.Client)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
