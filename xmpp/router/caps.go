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

// Info is what disco#info tells of somebody (XEP-0030 §3.1).
type Info struct {
	Identities []Identity
	Features   []string
	Forms      []*xmlwire.Element // that say more (XEP-0128)
}

// Capabilities are an Info with its hash, which is worked out once. Whoever has them
// may not change the Info.
type Capabilities struct {
	Info
	version string // the verification string (XEP-0115 §5.1)
}

// NewCapabilities hashes an Info.
func NewCapabilities(in Info) *Capabilities { return &Capabilities{in, in.verification()} }

// Element stands for the Info in stream features and presence (XEP-0115 §4).
func (c *Capabilities) Element() *xmlwire.Element {
	return xmlwire.New(nsCaps, "c", "hash", "sha-1", "node", capsURI, "ver", c.version)
}

// Query is the answer to a disco#info query of a node: of none, or of the one that
// a client asks for what Element stands for (XEP-0115 §6.2), which comes back. Another
// one is an error (XEP-0030 §7).
func (c *Capabilities) Query(node string) (*xmlwire.Element, error) {
	if node != "" && node != capsURI+"#"+c.version {
		return nil, errNoNode
	}
	q := xmlwire.New(nsInfo, "query")
	q.SetAttr("node", node)
	for _, i := range c.Identities {
		e := xmlwire.New(nsInfo, "identity", "category", i.Category, "type", i.Type)
		e.SetAttr("name", i.Name)
		q.Add(e)
	}
	for _, f := range c.Features {
		q.Add(xmlwire.New(nsInfo, "feature", "var", f))
	}
	for _, f := range c.Forms {
		q.Add(f)
	}
	return q, nil
}

// Caps is the element that names the features of our domains, for stream features
// and presence (XEP-0115 §6.3).
func (r *Router) Caps() *xmlwire.Element { return r.capabilities(false).Element() }

func (in Info) verification() string {
	var b strings.Builder
	identities := make([]string, 0, len(in.Identities))
	for _, i := range in.Identities {
		identities = append(identities, i.Category+"/"+i.Type+"//"+i.Name)
	}
	write := func(all []string) {
		slices.Sort(all)
		for _, s := range all {
			b.WriteString(s + "<")
		}
	}
	write(identities)
	write(slices.Clone(in.Features))
	forms := make([]string, 0, len(in.Forms))
	for _, f := range in.Forms {
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
