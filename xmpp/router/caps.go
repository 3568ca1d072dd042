package router

import (
	"crypto/sha1" // #nosec G505: XEP-0115 §5.1 has SHA-1 as the mandatory hash
	"encoding/base64"
	"slices"
	"strings"

	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	nsCaps = "http://jabber.org/protocol/caps"
	// capsURI tells which software this is (XEP-0115 §4).
	capsURI = "https://mcmt2xmpp.example/"
)

// Caps is the element that names the features of our domains, for stream features
// and presence (XEP-0115 §6.3).
func (r *Router) Caps() *xmlwire.Element {
	return xmlwire.New(nsCaps, "c", "hash", "sha-1", "node", capsURI, "ver", r.capsVersion())
}

// capsNode is the node that a client asks for what Caps stands for (§6.2).
func (r *Router) capsNode() string { return capsURI + "#" + r.capsVersion() }

// capsVersion is the verification string of what disco#info tells of a domain (§5.1).
func (r *Router) capsVersion() string {
	category, typ, name := r.identity(false)
	var b strings.Builder
	b.WriteString(category + "/" + typ + "//" + name + "<")
	for _, f := range slices.Sorted(slices.Values(r.features(false))) {
		b.WriteString(f + "<")
	}
	sum := sha1.Sum([]byte(b.String())) // #nosec G401
	return base64.StdEncoding.EncodeToString(sum[:])
}
