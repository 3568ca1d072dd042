package convert

import (
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// TestXMPPPart: what becomes of the stanza that a sender wrote. want is the
// stanza without its origin id, or "" where the e-mail's text is sent instead.
func TestXMPPPart(t *testing.T) {
	t.Parallel()
	const ours = ` from='alerts\40corp.example@mail.jabber.example' to='bob@jabber.example'`
	for _, tt := range []struct {
		name, reason, part string
		keep               bool
		want               string
	}{
		{name: "to", reason: "the envelope says who gets it", part: `<message to='eve@jabber.example' id='a' type='chat'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "malformed to", reason: "an address that does not count cannot cost the message", part: `<message to='@' id='a' type='chat'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "from", reason: "a sender cannot choose another", part: `<message from='boss@jabber.example' id='a' type='chat'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "from kept", reason: "a peer that may, in a domain of ours", keep: true, part: `<message from='boss@jabber.example/x' id='a' type='chat'><body>x</body></message>`,
			want: `<message from='boss@jabber.example/x' to='bob@jabber.example' id='a' type='chat'><body>x</body></message>`},
		{name: "from of a stranger", reason: "a domain that is not ours, even for a peer that may", keep: true, part: `<message from='boss@remote.example' id='a' type='chat'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "from malformed", reason: "no address at all", keep: true, part: `<message from='@' id='a' type='chat'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "no type", reason: "type is chat unless the part says", part: `<message id='a'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "headline", reason: "the part says", part: `<message id='a' type='headline'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='headline'><body>x</body></message>`},
		{name: "unknown type", reason: "RFC 6121 §5.2.2 knows five", part: `<message id='a' type='shout'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "namespaces", reason: "all that is inside stays", part: `<message xmlns='jabber:client' id='a'><body xml:lang='de'>x</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body xml:lang='de'>x</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>`},
		{name: "server namespace", reason: "content namespaces are one", part: `<message xmlns='jabber:server' id='a'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "declaration", reason: "an XML declaration is no processing instruction", part: `<?xml version='1.0'?>` + "\n" + `<message id='a'><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "chat state", reason: "no body: the filter's matter", part: `<message id='a'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`,
			want: `<message` + ours + ` id='a' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`},
		{name: "stanza-id", reason: "the recipient's account has not seen it yet", part: `<message id='a'><stanza-id xmlns='urn:xmpp:sid:0' by='bob@jabber.example' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' id='2'/><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><body>x</body></message>`},
		{name: "stanza-id of another", reason: "XEP-0359 §3: not ours to strip", part: `<message id='a'><stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.example' id='1'/><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.example' id='1'/><body>x</body></message>`},
		{name: "carbon in own name", reason: "a client believes copies that its own account sends (CVE-2017-5589)", keep: true,
			part: `<message from='bob@jabber.example/x' id='a'><sent xmlns='urn:xmpp:carbons:2'/><result xmlns='urn:xmpp:mam:2'/><body>x</body></message>`,
			want: `<message from='bob@jabber.example/x' to='bob@jabber.example' id='a' type='chat'><body>x</body></message>`},
		{name: "carbon", reason: "from anyone else clients ignore it", part: `<message id='a'><private xmlns='urn:xmpp:carbons:2'/><body>x</body></message>`,
			want: `<message` + ours + ` id='a' type='chat'><private xmlns='urn:xmpp:carbons:2'/><body>x</body></message>`},
		{name: "two stanzas", reason: "exactly one", part: `<message><body>x</body></message><message><body>y</body></message>`},
		{name: "iq", reason: "a message and nothing else", part: `<iq type='set' id='1'><query xmlns='jabber:iq:roster'/></iq>`},
		{name: "presence", reason: "likewise", part: `<presence xmlns='jabber:client' type='unsubscribed'/>`},
		{name: "foreign message", reason: "a message of another language", part: `<message xmlns='urn:other'><body>x</body></message>`},
		{name: "error", reason: "an error answers a stanza nobody sent", part: `<message type='error'><body>x</body></message>`},
		{name: "comment", reason: "RFC 6120 §11.1", part: `<message><!-- c --><body>x</body></message>`},
		{name: "pi", reason: "RFC 6120 §11.1", part: `<message><?php x?><body>x</body></message>`},
		{name: "dtd", reason: "RFC 6120 §11.1", part: `<!DOCTYPE m [<!ENTITY e "x">]><message><body>&e;</body></message>`},
		{name: "not closed", reason: "not well-formed", part: `<message><body>x</body>`},
		{name: "stream", reason: "cannot end the stream it is written to", part: `<message><body>x</body></message></stream:stream>`},
		{name: "text", reason: "no XML", part: `hello`},
		{name: "latin1", reason: "bytes that are not UTF-8", part: "<message><body>\xe4</body></message>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(build(t, mcmt.Draft{Text: "from the mail", XMPP: []byte(tt.part)}))
			in.PartFromAllowed = tt.keep
			r, err := newConverter(t, nil).Convert(in)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if body := r.Stanza.Child("body").Text(); r.Part != "email" || body != "from the mail" {
					t.Errorf("%s: got %s", tt.reason, r.Stanza)
				}
				if !strings.HasPrefix(r.Steps[2].Note, "not valid") {
					t.Errorf("no step says why: %v", r.Steps)
				}
				return
			}
			origin := `<origin-id xmlns='urn:xmpp:sid:0' id='` + StanzaID("q1", jid.MustParse("bob@jabber.example")) + `'/>`
			got := string(r.Stanza.Append(nil, stanza.Client))
			if got = strings.Replace(got, origin, "", 1); !sameXML(t, got, tt.want) {
				t.Errorf("%s:\n got %s\nwant %s", tt.reason, got, tt.want)
			}
		})
	}
}

// sameXML compares without regard to the order of attributes.
func sameXML(t *testing.T, a, b string) bool {
	t.Helper()
	trees := make([]*xmlwire.Element, 2)
	for i, s := range []string{a, b} {
		e, err := xmlwire.Parse([]byte(s), xmlwire.Limits{})
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		trees[i] = e
	}
	return equal(trees[0], trees[1])
}

func equal(a, b *xmlwire.Element) bool {
	if a.Name != b.Name || len(a.Attrs) != len(b.Attrs) || len(a.Children) != len(b.Children) {
		return false
	}
	for _, at := range a.Attrs {
		if v, ok := b.LookupAttr(at.Name); !ok || v != at.Value {
			return false
		}
	}
	for i := range a.Children {
		ca, cb := a.Children[i], b.Children[i]
		if (ca.Element == nil) != (cb.Element == nil) || ca.Text != cb.Text || ca.Element != nil && !equal(ca.Element, cb.Element) {
			return false
		}
	}
	return true
}

// TestXMPPTypes: the list of media types is the operator's.
func TestXMPPTypes(t *testing.T) {
	t.Parallel()
	m := build(t, mcmt.Draft{Text: "mail", XMPP: []byte("<message><body>known</body></message>"),
		Parts: []mcmt.RawPart{{ContentType: "application/x-stanza", Body: []byte("<message><body>own</body></message>")}}})
	c := newConverter(t, func(o *Options) { o.XMPPTypes = []string{"application/x-stanza"} })
	r, err := c.Convert(input(m))
	if err != nil || r.Stanza.Child("body").Text() != "own" {
		t.Errorf("%v %v", r.Steps, err)
	}
}
