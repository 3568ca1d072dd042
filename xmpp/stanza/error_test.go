package stanza_test

import (
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// conditions are those of RFC 6120 §8.3.3 with the type that each section
// associates with it, and whether that makes the error temporary.
var conditions = []struct {
	condition stanza.Condition
	typ       stanza.ErrorType
	temporary bool
}{
	{"bad-request", "modify", false},
	{"conflict", "cancel", false},
	{"feature-not-implemented", "cancel", false},
	{"forbidden", "auth", false},
	{"gone", "cancel", false},
	{"internal-server-error", "cancel", false},
	{"item-not-found", "cancel", false},
	{"jid-malformed", "modify", false},
	{"not-acceptable", "modify", false},
	{"not-allowed", "cancel", false},
	{"not-authorized", "auth", false},
	{"policy-violation", "modify", false},
	{"recipient-unavailable", "wait", true},
	{"redirect", "modify", false},
	{"registration-required", "auth", false},
	{"remote-server-not-found", "cancel", false},
	{"remote-server-timeout", "wait", true},
	{"resource-constraint", "wait", true},
	{"service-unavailable", "cancel", false},
	{"subscription-required", "auth", false},
	{"undefined-condition", "cancel", false},
	{"unexpected-request", "wait", true},
}

func TestConditions(t *testing.T) {
	t.Parallel()
	for _, test := range conditions {
		t.Run(string(test.condition), func(t *testing.T) {
			t.Parallel()
			e := &stanza.Error{Condition: test.condition, Text: "why", Specific: xmlwire.Name{Space: "u", Local: "x"}}
			if got := test.condition.DefaultType(); got != test.typ {
				t.Errorf("type %s, want %s", got, test.typ)
			}
			if got := e.Temporary(); got != test.temporary {
				t.Errorf("Temporary() = %v", got)
			}
			parsed := stanza.ParseError(e.Element())
			if parsed.Condition != test.condition || parsed.Type != test.typ || parsed.Text != "why" || parsed.Specific != e.Specific {
				t.Errorf("came back as %v", parsed)
			}
		})
	}
}

func TestParseError(t *testing.T) {
	t.Parallel()
	const ns = ` xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'`
	for _, test := range []struct {
		name, in string
		want     stanza.Error
	}{
		{"type other than the default", `<error type='wait'><policy-violation` + ns + `/></error>`, stanza.Error{Type: stanza.Wait, Condition: stanza.PolicyViolation}},
		{"by, and a condition of an application", `<error by='b' type='modify'><x xmlns='u'/><bad-request` + ns + `/><text` + ns + `>t</text></error>`,
			stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest, Text: "t", Specific: xmlwire.Name{Space: "u", Local: "x"}}},
		{"new address", `<error type='cancel'><gone` + ns + `>xmpp:a@b</gone></error>`, stanza.Error{Type: stanza.Cancel, Condition: stanza.Gone, URI: "xmpp:a@b"}},
		{"no type", `<error><item-not-found` + ns + `/></error>`, stanza.Error{Condition: stanza.ItemNotFound}},
		{"unknown type", `<error type='x'><item-not-found` + ns + `/></error>`, stanza.Error{Condition: stanza.ItemNotFound}},
		{"unknown condition", `<error type='cancel'><x` + ns + `/></error>`, stanza.Error{Type: stanza.Cancel, Condition: stanza.UndefinedCondition}},
		{"condition of another namespace", `<error type='cancel'><gone xmlns='u'/></error>`, stanza.Error{Type: stanza.Cancel, Condition: stanza.UndefinedCondition, Specific: xmlwire.Name{Space: "u", Local: "gone"}}},
		{"empty", `<error/>`, stanza.Error{Condition: stanza.UndefinedCondition}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := mustParse(t, `<message xmlns='jabber:client' type='error'>`+test.in+`</message>`)
			if got := stanza.ParseError(s.Child("error")); *got != test.want {
				t.Errorf("got %+v, want %+v", *got, test.want)
			}
		})
	}
	if got := stanza.ParseError(nil); got.Condition != stanza.UndefinedCondition {
		t.Errorf("no error element: %v", got)
	}
}

// TestRedirect: the new address is on the wire again.
func TestRedirect(t *testing.T) {
	t.Parallel()
	e := &stanza.Error{Condition: stanza.Redirect, URI: "xmpp:a@b"}
	const want = `<error type='modify'><redirect xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:a@b</redirect></error>`
	if got := string(xmlwire.Append(nil, e.Element(), stanza.Client)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzParse: a stanza that was parsed is written so that it parses to the same,
// alone and in every kind of stream.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`<message xmlns='jabber:server' from='a@b/c' to='d@e' id='1' type='chat' xml:lang='en' x='y'><body>Hi &amp;</body></message>`))
	f.Add([]byte(`<p:iq xmlns:p='jabber:client' id='1' type='get'><q xmlns='u' p:a='b'><body xmlns='jabber:client'/></q></p:iq>`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := stanza.ParseBytes(in, xmlwire.Limits{Bytes: 4096})
		if err != nil {
			return
		}
		want := s.String()
		for _, ns := range []string{"", stanza.Client, stanza.Server, stanza.Component} {
			text := s.Append(nil, ns)
			if ns != "" {
				text = append([]byte(`<x xmlns='`+ns+`' xmlns:stream='http://etherx.jabber.org/streams'>`), text...)
				text = append(text, "</x>"...)
			}
			e, err := xmlwire.Parse(text, xmlwire.Limits{Bytes: 1 << 20, Depth: 100})
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if ns != "" {
				e = e.Children[0].Element
			}
			again, err := stanza.Parse(e)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if got := again.String(); got != want {
				t.Errorf("through %q\n got %s\nwant %s", ns, got, want)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	s := stanza.NewMessage(jid.MustParse("juliet@capulet.lit/balcony"), jid.MustParse("romeo@montague.lit/orchard"), stanza.TypeChat, "Art thou not Romeo?")
	s.ID = "x1"
	for _, ns := range []string{stanza.Client, stanza.Server} {
		b.Run(ns, func(b *testing.B) {
			buf := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				buf = s.Append(buf[:0], ns)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	in := []byte(`<message xmlns='jabber:client' from='romeo@montague.lit/orchard' to='juliet@capulet.lit' id='a1' type='chat'><body>Art thou not Romeo?</body></message>`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := stanza.ParseBytes(in, xmlwire.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
