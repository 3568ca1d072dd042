package certificate

import (
	"crypto/x509"
	"fmt"
	"strings"
)

// Describe says for an operator what a chain that a peer has sent is: whose the first
// certificate is, who signed it, how long it holds and what for.
func Describe(chain []*x509.Certificate) string {
	if len(chain) == 0 {
		return "there is no certificate"
	}
	leaf := chain[0]
	text := fmt.Sprintf("for %s, signed by %q, from %s to %s", title(leaf), clip(leaf.Issuer.String()),
		leaf.NotBefore.UTC().Format("2006-01-02"), leaf.NotAfter.UTC().Format("2006-01-02"))
	if usage := usages(leaf); usage != "" {
		text += ", usage " + usage
	}
	return text
}

// usages are the extended key usages that matter between servers; empty: any.
func usages(leaf *x509.Certificate) string {
	var all []string
	for _, u := range leaf.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			all = append(all, "serverAuth")
		case x509.ExtKeyUsageClientAuth:
			all = append(all, "clientAuth")
		case x509.ExtKeyUsageAny:
			all = append(all, "any")
		}
	}
	return strings.Join(all, " ")
}
