package certificate

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/xmpptest"
)

func TestIdentities(t *testing.T) {
	t.Parallel()
	cert := xmpptest.NewAuthority(t).Issue(t, xmpptest.Leaf{
		CommonName: "cn.example",
		DNS:        []string{"a.example", "*.b.example"},
		SRV:        []string{"_xmpp-server.c.example"},
		XMPP:       []string{"d.example", "bücher.example", "juliet@e.example"},
	}).Leaf
	got := fmt.Sprint(Identities(cert))
	if want := "{[a.example *.b.example] [_xmpp-server.c.example] [d.example bücher.example juliet@e.example]}"; got != want {
		t.Errorf("got %s", got)
	}
}

// XEP-0178 §2.
func TestJIDs(t *testing.T) {
	t.Parallel()
	cert := xmpptest.NewAuthority(t).Issue(t, xmpptest.Leaf{
		DNS:  []string{"a.example"},
		XMPP: []string{"Juliet@E.example", "e.example", "juliet@e.example", "juliet@e.example/balcony", "@", "romeo@e.example"},
	}).Leaf
	if got := fmt.Sprint(JIDs(cert)); got != "[juliet@e.example romeo@e.example]" {
		t.Errorf("got %s", got)
	}
}

// value writes an element; context says that its tag is of the surrounding type.
func value(t testing.TB, context bool, tag int, content ...[]byte) []byte {
	v := asn1.RawValue{Tag: tag, IsCompound: context || tag == asn1.TagSequence}
	if context {
		v.Class = asn1.ClassContextSpecific
	}
	for _, c := range content {
		v.Bytes = append(v.Bytes, c...)
	}
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestOtherNames(t *testing.T) {
	t.Parallel()
	id, err := asn1.Marshal(oidXMPPAddr)
	if err != nil {
		t.Fatal(err)
	}
	utf8 := func(s string) []byte { return value(t, false, asn1.TagUTF8String, []byte(s)) }
	name := func(content ...[]byte) []byte { return value(t, true, 0, content...) }
	good := name(id, value(t, true, 0, utf8("a.example")))
	for what, tt := range map[string]struct {
		der  []byte
		want string
	}{
		"one":                      {value(t, false, asn1.TagSequence, good), "[a.example]"},
		"two":                      {value(t, false, asn1.TagSequence, good, good), "[a.example a.example]"},
		"another kind of name":     {value(t, false, asn1.TagSequence, value(t, true, 1, id), good), "[a.example]"},
		"something after it":       {append(value(t, false, asn1.TagSequence, good), 0), "[]"},
		"no sequence":              {good, "[]"},
		"a value without its tag":  {value(t, false, asn1.TagSequence, name(id, utf8("a.example"))), "[]"},
		"a string of another type": {value(t, false, asn1.TagSequence, name(id, value(t, true, 0, value(t, false, asn1.TagIA5String, []byte("a"))))), "[]"},
		"not UTF-8":                {value(t, false, asn1.TagSequence, name(id, value(t, true, 0, utf8("\xff")))), "[]"},
		"two values":               {value(t, false, asn1.TagSequence, name(id, value(t, true, 0, utf8("a"), utf8("b")))), "[]"},
		"too long":                 {value(t, false, asn1.TagSequence, name(id, value(t, true, 0, utf8(strings.Repeat("a", maxName+1))))), "[]"},
		"no value":                 {value(t, false, asn1.TagSequence, name(id)), "[]"},
		"cut off":                  {value(t, false, asn1.TagSequence, good)[:20], "[]"},
		"many": {value(t, false, asn1.TagSequence, []byte(strings.Repeat(string(good), maxNames+5))),
			"[" + strings.TrimSuffix(strings.Repeat("a.example ", maxNames), " ") + "]"},
	} {
		var n Names
		n.addOther(tt.der)
		if got := fmt.Sprint(n.XMPP); got != tt.want || len(n.SRV) > 0 {
			t.Errorf("%s: %.100s %v", what, got, n.SRV)
		}
	}
}

func FuzzIdentities(f *testing.F) {
	a := xmpptest.NewAuthority(f)
	for _, l := range []xmpptest.Leaf{
		{XMPP: []string{"a.example"}}, {SRV: []string{"_xmpp-server.a.example"}}, {DNS: []string{"a"}, XMPP: []string{"u@a", "b"}},
	} {
		for _, ext := range a.Issue(f, l).Leaf.Extensions {
			if ext.Id.Equal(oidSubjectAltName) {
				f.Add(ext.Value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		cert := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: der}}}
		n := Identities(cert)
		size := 0
		for _, s := range append(n.SRV, n.XMPP...) {
			size += len(s)
		}
		if size > len(der) || len(n.SRV)+len(n.XMPP) > maxNames {
			t.Errorf("%d bytes became %d in %d names", len(der), size, len(n.SRV)+len(n.XMPP))
		}
		for _, j := range JIDs(cert) {
			if j.Local() == "" || !j.IsBare() {
				t.Errorf("%q is no account", j)
			}
		}
		_ = Match(cert, "a.example", "xmpp-server")
	})
}
