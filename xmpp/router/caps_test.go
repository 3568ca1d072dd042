package router

import (
	"testing"

	"mcmt2xmpp/xmpp/xmlwire"
)

// TestVerification: XEP-0115 §5.2, the example, whatever the order; and a form in it as in
// §5.3.
func TestVerification(t *testing.T) {
	t.Parallel()
	in := Info{
		Identities: []Identity{{"client", "pc", "Exodus 0.9.1"}},
		Features: []string{
			"http://jabber.org/protocol/muc", "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/caps",
		},
	}
	if got := in.verification(); got != "QgayPKawpkPSDYmwT/WM94uAlu0=" {
		t.Errorf("got %s", got)
	}
	const ns = "jabber:x:data"
	field := func(name string, values ...string) *xmlwire.Element {
		f := xmlwire.New(ns, "field", "var", name)
		for _, v := range values {
			f.Add(xmlwire.New(ns, "value").AddText(v))
		}
		return f
	}
	form := xmlwire.New(ns, "x", "type", "result").Add(field("os", "Mac")).Add(field("FORM_TYPE", "urn:xmpp:dataforms:softwareinfo")).
		Add(field("ip_version", "ipv6", "ipv4"))
	if got, want := formString(form), "urn:xmpp:dataforms:softwareinfo<ip_version<ipv4<ipv6<os<Mac<"; got != want {
		t.Errorf("form: %s, want %s", got, want)
	}
}
