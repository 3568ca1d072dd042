package convert

import (
	"slices"
	"testing"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func TestReceipts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		why, xml string
		ids      []string
		proof    string
	}{
		{"a receipt", `<message xmlns="jabber:client"><received xmlns='urn:xmpp:receipts' id='a'/></message>`, []string{"a"}, "a receipt of the client (XEP-0184)"},
		{"a marker", `<message xmlns="jabber:client" type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='a'/></message>`, []string{"a"}, "a marker of the client that it was displayed (XEP-0333)"},
		{"a marker that says less", `<message xmlns="jabber:client" type='chat'><received xmlns='urn:xmpp:chat-markers:0' id='a'/></message>`, []string{"a"}, "a marker of the client that it was received (XEP-0333)"},
		{"both, and a text", `<message xmlns="jabber:client"><body>x</body><received xmlns='urn:xmpp:receipts' id='a'/><received xmlns='urn:xmpp:chat-markers:0' id='b'/></message>`, []string{"a", "b"}, "a marker of the client that it was received (XEP-0333)"},
		{"a request is none", `<message xmlns="jabber:client" id='a'><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/></message>`, nil, ""},
		{"no id", `<message xmlns="jabber:client"><received xmlns='urn:xmpp:receipts'/></message>`, nil, ""},
		{"came back", `<message xmlns="jabber:client" type='error'><received xmlns='urn:xmpp:receipts' id='a'/></message>`, nil, ""},
	} {
		st, err := stanza.ParseBytes([]byte(tc.xml), xmlwire.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		ids, proof := Receipts(st)
		if !slices.Equal(ids, tc.ids) || len(ids) > 0 && proof != tc.proof {
			t.Errorf("%s: %q by %q", tc.why, ids, proof)
		}
	}
}

// TestRequestReceipt: one is asked for once, of what a client confirms.
func TestRequestReceipt(t *testing.T) {
	t.Parallel()
	for xml, want := range map[string]int{
		`<message xmlns="jabber:client" id='a'><body>x</body></message>`:                                             1,
		`<message xmlns="jabber:client" id='a'><body>x</body><request xmlns='urn:xmpp:receipts'/></message>`:         1,
		`<message xmlns="jabber:client" id='a'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`: 0,
		`<message xmlns="jabber:client" id='a'><body>x</body><received xmlns='urn:xmpp:receipts' id='b'/></message>`: 0,
		`<message xmlns="jabber:client" id='a' type='groupchat'><body>x</body></message>`:                            0,
	} {
		st, err := stanza.ParseBytes([]byte(xml), xmlwire.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		RequestReceipt(st)
		n := 0
		for _, c := range st.Element.Children {
			if c.Element != nil && c.Element.Name == receiptRequest {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d requests", xml, n)
		}
	}
}
