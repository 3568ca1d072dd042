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
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.caps
}

func (in info) verification() string {
	var b strings.Builder
	identities := make([]string, 0, len(in.identities))
	for _, i := range in.identities {
		identities = append(identities, i.Category+"/"+i.Type+"//"+i.Name)
	}
	write := func(all []string) {
		slices.Sort(all)
		for _, s := range all {
			b.WriteString(s + "<")
		}
	}
	write(identities)
	write(slices.Clone(in.features))
	forms := make([]string, 0, len(in.forms))
	for _, f := range in.forms {
		forms = append(forms, formString(f))
	}
	slices.Sort(forms)
	b.WriteString(strings.Join(forms, ""))
	sum := sha1.Sum([]byte(b.String())) // #nosec G401
	return base64.StdEncoding.EncodeToString(sum[:])
}

// formString is a form in the verification string: its type, and then its fields and
// their values in order (§5.1, steps 6 and 7).
func formString(form *xmlwire.Element) string {
	typ := ""
	var fields []string
	for f := range form.Elements() {
		var values []string
		for v := range f.Elements() {
			values = append(values, v.Text())
		}
		slices.Sort(values)
		if f.Attr("var") == "FORM_TYPE" {
			typ = strings.Join(values, "<") + "<"
			continue
		}
		fields = append(fields, f.Attr("var")+"<"+strings.Join(append(values, ""), "<"))
	}
	slices.Sort(fields)
	return typ + strings.Join(fields, "")
}
