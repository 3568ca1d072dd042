package certificate

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/jid"
)

// Kind is what is wrong with a certificate, a closed set.
type Kind uint8

// The kinds. The zero value is what nothing more is known of.
const (
	Other            Kind = iota
	Absent                // there is none
	Expired               // it or one of its authorities' has run out
	NotYetValid           // likewise, not begun
	SelfSigned            // nobody else vouches for it
	UnknownAuthority      // who vouches for it is not known
	WrongName             // it is somebody else's
)

var kinds = [...]string{"other", "absent", "expired", "not_yet_valid", "self_signed", "unknown_authority", "wrong_name"}

// String returns the kind as it stands in logs and metrics.
func (k Kind) String() string { return kinds[k] }

// Problem is why a certificate proves nothing.
type Problem struct {
	Kind Kind
	Text string // for an operator, with names and dates; quoted, as a peer wrote them
	Err  error  // of the standard library, or nil
}

// Error returns the text.
func (p *Problem) Error() string { return p.Text }

// Unwrap returns the error of the standard library, or nil.
func (p *Problem) Unwrap() error { return p.Err }

// Verify checks that an authority vouches for the first certificate of a chain, as a
// peer sent it, at a time. roots nil are the system's authorities. The others of the
// chain only help to find one: whatever a peer appends proves nothing by itself.
//
// Any extended key usage will do: public authorities no longer issue clientAuth, and
// a server shows the one certificate that it has in both directions of a stream
// between servers (XEP-0178 §3). The error is a *Problem.
func Verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) error {
	_, err := verify(chain, roots, now)
	return err
}

// Check is Verify, and that the certificate is that of a domain for a service, as
// Match says. The error is a *Problem.
func Check(chain []*x509.Certificate, roots *x509.CertPool, now time.Time, domain, service string) error {
	bound, err := verify(chain, roots, now)
	if err != nil {
		return err
	}
	leaf := chain[0]
	if match(leaf, domain, service, bound) {
		return nil
	}
	return &Problem{Kind: WrongName, Text: fmt.Sprintf("the certificate is for %s, not for %q", title(leaf), clip(domain))}
}

// Accounts is Verify, and returns the accounts that the certificate names, as JIDs
// says. The error is a *Problem.
func Accounts(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) ([]jid.JID, error) {
	bound, err := verify(chain, roots, now)
	if err != nil || bound {
		return nil, err
	}
	return JIDs(chain[0]), nil
}

// verify is Verify. bound says that an authority on the way may vouch for certain
// domains only. The standard library holds it to them in dNSName, but not in the
// names of XMPP, which therefore do not count (RFC 5280 §4.2.1.10).
func verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (bound bool, err error) {
	if len(chain) == 0 {
		return false, &Problem{Kind: Absent, Text: "there is no certificate"}
	}
	leaf := chain[0]
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	found, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return false, problem(leaf, now, err)
	}
	// One way without such an authority is enough.
	free := func(way []*x509.Certificate) bool { return !slices.ContainsFunc(way[1:], constrained) }
	return !slices.ContainsFunc(found, free), nil
}

// constrained reports whether an authority may vouch for certain names only.
func constrained(ca *x509.Certificate) bool {
	return len(ca.PermittedDNSDomains)+len(ca.ExcludedDNSDomains)+len(ca.PermittedEmailAddresses)+len(ca.ExcludedEmailAddresses)+
		len(ca.PermittedURIDomains)+len(ca.ExcludedURIDomains)+len(ca.PermittedIPRanges)+len(ca.ExcludedIPRanges) > 0
}

// problem says what an error of the standard library means.
func problem(leaf *x509.Certificate, now time.Time, err error) *Problem {
	p := &Problem{Err: err}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if bytes.Equal(leaf.RawIssuer, leaf.RawSubject) && leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil {
			p.Kind, p.Text = SelfSigned, fmt.Sprintf("the certificate for %s is self-signed", title(leaf))
			return p
		}
		last := leaf
		if unknown.Cert != nil {
			last = unknown.Cert
		}
		p.Kind = UnknownAuthority
		p.Text = fmt.Sprintf("the certificate for %s is signed by an unknown authority, %q", title(leaf), clip(last.Issuer.String()))
		return p
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || invalid.Reason != x509.Expired {
		p.Text = fmt.Sprintf("the certificate for %s: %v", title(leaf), err)
		return p
	}
	whose := "the certificate for " + title(leaf)
	if invalid.Cert != nil && !invalid.Cert.Equal(leaf) {
		whose += fmt.Sprintf(": that of its authority %q", clip(invalid.Cert.Subject.String()))
		leaf = invalid.Cert
	}
	const form = "2006-01-02 15:04 MST"
	if now.Before(leaf.NotBefore) {
		p.Kind, p.Text = NotYetValid, whose+" is not valid before "+leaf.NotBefore.UTC().Format(form)
	} else {
		p.Kind, p.Text = Expired, whose+" expired on "+leaf.NotAfter.UTC().Format(form)
	}
	return p
}

// title names a certificate by its identities, or by its subject if it has none.
func title(leaf *x509.Certificate) string {
	const enough = 4
	id := Identities(leaf)
	all := slices.Concat(id.DNS, id.SRV, id.XMPP)
	if len(all) == 0 {
		return fmt.Sprintf("%q", clip(leaf.Subject.String()))
	}
	var quoted []string
	for _, name := range all[:min(len(all), enough)] {
		quoted = append(quoted, fmt.Sprintf("%q", clip(name)))
	}
	text := strings.Join(quoted, ", ")
	if more := len(all) - enough; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// clip keeps a peer from filling the log.
func clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
