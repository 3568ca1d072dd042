package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/xmpptest"
)

// chainOf is a certificate with what follows it, as a peer sends it.
func chainOf(t *testing.T, issued ...tls.Certificate) (chain []*x509.Certificate) {
	t.Helper()
	for _, i := range issued {
		for _, der := range i.Certificate {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, c)
		}
	}
	return chain
}

// A certificate appended to another's chain never proves what it says: only the
// leaf was used to prove that its key is there.
func TestAppendedCertificate(t *testing.T) {
	t.Parallel()
	a := xmpptest.NewAuthority(t)
	attacker := a.Issue(t, xmpptest.Leaf{DNS: []string{"attacker.example"}, XMPP: []string{"mallory@attacker.example"}})
	victim := a.Issue(t, xmpptest.Leaf{DNS: []string{"victim.example"}, XMPP: []string{"juliet@victim.example"}})
	self := a.Issue(t, xmpptest.Leaf{DNS: []string{"victim.example"}, SelfSigned: true})
	now := time.Now()
	for name, tt := range map[string]struct {
		chain []*x509.Certificate
		kind  Kind
	}{
		"the victim's after the attacker's":  {chainOf(t, attacker, victim), WrongName},
		"the victim's after one of no value": {chainOf(t, self, victim), SelfSigned},
		"no leaf of its own": {chainOf(t, a.Issue(t, xmpptest.Leaf{SelfSigned: true}), victim),
			SelfSigned},
	} {
		err := Check(tt.chain, a.Pool(), now, "victim.example", "xmpp-server")
		if p, ok := errors.AsType[*Problem](err); !ok || p.Kind != tt.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	jids, err := Accounts(chainOf(t, attacker, victim), a.Pool(), now)
	if err != nil || fmt.Sprint(jids) != "[mallory@attacker.example]" {
		t.Errorf("accounts of the attacker: %v, %v", jids, err)
	}
	if err := Check(chainOf(t, victim, attacker), a.Pool(), now, "victim.example", "xmpp-server"); err != nil {
		t.Errorf("the victim itself: %v", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	a := xmpptest.NewAuthority(t)
	other := xmpptest.NewAuthority(t)
	below := a.Below(t)
	now := time.Now()
	day := func(n int) time.Time { return now.AddDate(0, 0, n).Truncate(time.Second) }
	stamp := func(n int) string { return day(n).UTC().Format("2006-01-02 15:04 MST") }
	im := []string{"im.example"}
	for name, tt := range map[string]struct {
		chain []*x509.Certificate
		text  string // "" for no problem
		kind  Kind
	}{
		"good": {chainOf(t, a.Issue(t, xmpptest.Leaf{DNS: im})), "", 0},
		"for servers only, XEP-0178 §3": {chainOf(t, a.Issue(t, xmpptest.Leaf{DNS: im,
			Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})), "", 0},
		"for something else": {chainOf(t, a.Issue(t, xmpptest.Leaf{DNS: im,
			Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})), "", 0},
		"by an authority below": {chainOf(t, below.Issue(t, xmpptest.Leaf{DNS: im})), "", 0},
		"the authority below is not sent": {chainOf(t, below.Issue(t, xmpptest.Leaf{DNS: im}))[:1],
			`the certificate for "im.example" is signed by an unknown authority, "CN=Test Authority below Test Authority"`, UnknownAuthority},
		"by another authority": {chainOf(t, other.Below(t).Issue(t, xmpptest.Leaf{DNS: im})),
			`the certificate for "im.example" is signed by an unknown authority, "CN=Test Authority"`, UnknownAuthority},
		"by itself": {chainOf(t, a.Issue(t, xmpptest.Leaf{CommonName: "x", DNS: im, SelfSigned: true})),
			`the certificate for "im.example" is self-signed`, SelfSigned},
		"none": {nil, "there is no certificate", Absent},
		"run out": {chainOf(t, a.Issue(t, xmpptest.Leaf{DNS: im, NotBefore: day(-3), NotAfter: day(-2)})),
			`the certificate for "im.example" expired on ` + stamp(-2), Expired},
		"not begun": {chainOf(t, a.Issue(t, xmpptest.Leaf{DNS: im, NotBefore: day(2), NotAfter: day(3)})),
			`the certificate for "im.example" is not valid before ` + stamp(2), NotYetValid},
		"for others": {chainOf(t, a.Issue(t, xmpptest.Leaf{DNS: []string{"a", "b", "c", "d", "e"}, XMPP: []string{"f\nf"}})),
			`the certificate is for "a", "b", "c", "d" and 2 more, not for "im.example"`, WrongName},
		"for nobody": {chainOf(t, a.Issue(t, xmpptest.Leaf{CommonName: strings.Repeat("n", 200)})),
			`the certificate is for "CN=` + strings.Repeat("n", 125) + `…", not for "im.example"`, WrongName},
	} {
		err := Check(tt.chain, a.Pool(), now, "im.example", "xmpp-server")
		if tt.text == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if p, ok := errors.AsType[*Problem](err); !ok || p.Kind != tt.kind || p.Error() != tt.text {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A certificate that signs itself may be the one that is trusted.
func TestPinned(t *testing.T) {
	t.Parallel()
	chain := chainOf(t, xmpptest.NewAuthority(t).Issue(t, xmpptest.Leaf{DNS: []string{"im.example"}, SelfSigned: true}))
	roots := x509.NewCertPool()
	roots.AddCert(chain[0])
	if err := Check(chain, roots, time.Now(), "im.example", "xmpp-server"); err != nil {
		t.Error(err)
	}
}

// An authority that may vouch for certain domains only does not vouch for others by
// names in which the standard library does not hold it to them.
func TestConstrainedAuthority(t *testing.T) {
	t.Parallel()
	a := xmpptest.NewAuthority(t)
	bound, free := a.Below(t, "corp.example"), a.Below(t)
	now := time.Now()
	for name, tt := range map[string]struct {
		by   *xmpptest.Authority
		leaf xmpptest.Leaf
		want bool
	}{
		"within":          {bound, xmpptest.Leaf{DNS: []string{"im.corp.example"}}, true},
		"beyond, by DNS":  {bound, xmpptest.Leaf{DNS: []string{"victim.example"}}, false},
		"beyond, by XMPP": {bound, xmpptest.Leaf{DNS: []string{"im.corp.example"}, XMPP: []string{"victim.example"}}, false},
		"beyond, by SRV":  {bound, xmpptest.Leaf{SRV: []string{"_xmpp-server.victim.example"}}, false},
		"free":            {free, xmpptest.Leaf{XMPP: []string{"victim.example"}}, true},
	} {
		domain := "victim.example"
		if name == "within" {
			domain = "im.corp.example"
		}
		err := Check(chainOf(t, tt.by.Issue(t, tt.leaf)), a.Pool(), now, domain, "xmpp-server")
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	juliet := xmpptest.Leaf{XMPP: []string{"juliet@victim.example"}}
	if jids, err := Accounts(chainOf(t, bound.Issue(t, juliet)), a.Pool(), now); err != nil || len(jids) > 0 {
		t.Errorf("accounts by the bound one: %v, %v", jids, err)
	}
	if jids, err := Accounts(chainOf(t, free.Issue(t, juliet)), a.Pool(), now); err != nil || len(jids) != 1 {
		t.Errorf("accounts by the free one: %v, %v", jids, err)
	}
}
