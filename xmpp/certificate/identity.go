// Package certificate is what others' certificates prove: whose they are (RFC 6120
// §13.7, with RFC 6125), whether an authority vouches for them, and if not, why, in
// the words of an operator. Only the leaf proves anything, and only once it has
// been verified.
package certificate

import (
	"crypto/x509"
	"encoding/asn1"
	"unicode/utf8"

	"mcmt2xmpp/xmpp/jid"
)

// Bounds of what is read of one certificate. Those of a handshake hold it at some
// ten thousand names.
const (
	maxNames = 1024
	maxName  = 3071 // the longest JID, RFC 7622 §3.1
)

// Names are the identities that a certificate presents for XMPP, as they stand
// there.
type Names struct {
	DNS  []string // dNSName
	SRV  []string // id-on-dnsSRV, "_service.domain" (RFC 4985 §2)
	XMPP []string // id-on-xmppAddr, a JID (RFC 6120 §13.7.1.4)
}

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidXMPPAddr       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}
	oidDNSSRV         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7}
)

// Identities returns the identities in the subject alternative name of a
// certificate, at most 1024 of them; other kinds and malformed ones are left out.
//
// The common name is none. RFC 6125 §6.4.4 allows it as a last resort, and RFC 9525,
// which replaces that, no longer does: it is free text, and authorities that are
// bound to certain names are not bound in it (RFC 5280 §4.2.1.10).
func Identities(leaf *x509.Certificate) Names {
	n := Names{DNS: leaf.DNSNames[:min(len(leaf.DNSNames), maxNames)]}
	for _, ext := range leaf.Extensions {
		if ext.Id.Equal(oidSubjectAltName) {
			n.addOther(ext.Value)
		}
	}
	return n
}

// addOther reads the names of the form otherName (RFC 5280 §4.2.1.6), of which the
// standard library knows nothing.
func (n *Names) addOther(der []byte) {
	var all asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &all); err != nil || len(rest) > 0 || all.Tag != asn1.TagSequence || all.Class != asn1.ClassUniversal {
		return
	}
	for rest := all.Bytes; len(rest) > 0 && len(n.SRV)+len(n.XMPP) < maxNames; {
		var name asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return
		}
		if name.Class == asn1.ClassContextSpecific && name.Tag == 0 {
			n.addName(name.FullBytes)
		}
	}
}

// addName reads one otherName: a type, and a value within a tag of its own.
func (n *Names) addName(der []byte) {
	var other struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	var text asn1.RawValue
	if _, err := asn1.UnmarshalWithParams(der, &other, "tag:0"); err != nil || other.Value.Class != asn1.ClassContextSpecific || other.Value.Tag != 0 {
		return
	}
	if rest, err := asn1.Unmarshal(other.Value.Bytes, &text); err != nil || len(rest) > 0 || text.Class != asn1.ClassUniversal || len(text.Bytes) > maxName {
		return
	}
	switch {
	case other.Type.Equal(oidXMPPAddr) && text.Tag == asn1.TagUTF8String && utf8.Valid(text.Bytes):
		n.XMPP = append(n.XMPP, string(text.Bytes))
	case other.Type.Equal(oidDNSSRV) && text.Tag == asn1.TagIA5String && isASCII(text.Bytes):
		n.SRV = append(n.SRV, string(text.Bytes))
	}
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// JIDs returns the accounts that a client certificate names: its xmppAddr
// identities that are bare JIDs with a localpart (XEP-0178 §2), each once.
func JIDs(leaf *x509.Certificate) []jid.JID {
	var all []jid.JID
	seen := make(map[jid.JID]bool)
	for _, text := range Identities(leaf).XMPP {
		j, err := jid.Parse(text)
		if err != nil || j.Local() == "" || !j.IsBare() || seen[j] {
			continue
		}
		seen[j] = true
		all = append(all, j)
	}
	return all
}
