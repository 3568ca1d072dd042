package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// check reports what no single value shows to be wrong: labels, references,
// order, and what has no effect yet. What needs the resolved options is checked
// as they are resolved (check_listen.go, check_files.go).
func (t *tree) check() {
	t.checkLabels(t.root)
	t.checkPathways()
	if !t.report.syntax {
		// What seems to be missing may stand in what did not parse.
		t.checkReferences(t.root)
		t.checkModules()
		t.checkSockets()
	}
	t.checkEffect(t.root)
}

// checkLabels reports labels that are not what their scope's label has to be.
func (t *tree) checkLabels(n *node) {
	for _, c := range n.children {
		var err error
		switch c.scope.bit {
		case inListen:
			_, err = parseAddress(c.label)
		case inPeer:
			err = t.checkPeerLabel(c)
		case inDomain:
			err = t.checkDomainLabel(c)
		}
		if err != nil {
			f := err.(*fault)
			t.report.errorf(c.labelPos, f.hint, "%s", f.message)
			c.bad = true
		}
		t.checkLabels(c)
	}
}

// checkPeerLabel refuses a range that the scope around it has already, written
// in another way.
func (t *tree) checkPeerLabel(n *node) error {
	prefix, err := peerPrefix(n.label)
	if err != nil {
		return err
	}
	for _, other := range n.parent.of(inPeer) {
		if other == n {
			break
		}
		if p, err := peerPrefix(other.label); err == nil && p == prefix {
			return faultf("put both into one", "peer %s is there already, at %s", prefix, other.pos)
		}
	}
	return nil
}

// checkDomainLabel reads the label of a domain scope and refuses a domain that
// is there already, perhaps in another spelling.
func (t *tree) checkDomainLabel(n *node) (err error) {
	if n.protocol, n.domain, err = splitDomain(n.label); err != nil {
		return err
	}
	for _, other := range t.domains[n.domain] {
		if other.protocol == n.protocol {
			return faultf("put both into one", "domain %s is there already, at %s", n.domain, other.pos)
		}
	}
	t.domains[n.domain] = append(t.domains[n.domain], n)
	return nil
}

// checkPathways refuses a pathway that stands in two groups: which of the groups
// it falls back on would be anybody's guess.
func (t *tree) checkPathways() {
	first := make(map[string]*node)
	for _, g := range t.root.of(inPathwayGroup) {
		for _, p := range g.of(inPathway) {
			key := strings.ToLower(p.label)
			if other := first[key]; other != nil {
				t.report.errorf(p.labelPos, "", "pathway %s is in another group already, at %s", p.label, other.pos)
				continue
			}
			first[key] = p
		}
	}
}

// checkReferences reports names of pathways and thread pools that are nowhere.
func (t *tree) checkReferences(n *node) {
	var pathways []string
	for _, g := range append(t.root.of(inPathwayGroup), t.root) {
		pathways = append(pathways, labels(g.of(inPathway))...)
	}
	t.checkReference(n, "pathway", pathways)
	t.checkReference(n, "pool_name", labels(t.root.of(inThreadpool)))
	for _, c := range n.children {
		t.checkReferences(c)
	}
}

func (t *tree) checkReference(n *node, name string, known []string) {
	s := n.settings[name]
	if s == nil || s.bad {
		return
	}
	is := func(label string) bool { return strings.EqualFold(label, s.value.(string)) }
	if slices.ContainsFunc(known, is) {
		return
	}
	hint := didYouMean(s.value.(string), known)
	if len(known) == 0 {
		hint = "there is none in this configuration"
	}
	what := map[string]string{"pathway": "pathway", "pool_name": "threadpool"}[name]
	t.report.errorf(s.pos, hint, "%s: no %s is called %s", name, what, s.text)
}

func labels(nodes []*node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.label)
	}
	return out
}

// checkModules holds the chapter's rule of order, and says when the module that
// a listener needs is switched off.
func (t *tree) checkModules() {
	var module *node
	for _, n := range t.root.children {
		switch {
		case n.scope.bit == inXMPP:
			module = n
		case n.scope.bit != inXMPPListener:
		case module == nil:
			t.report.errorf(n.pos, "write xmpp {} above it", "you cannot add the xmpp_listener before adding the xmpp module")
		case !t.view(module).flag("enabled"):
			t.report.warnf(n.pos, "", "not listening: the xmpp module is switched off at %s", t.view(module).pos("enabled"))
		}
	}
}

// checkEffect warns about scopes and options that have no effect in this
// version. Nothing that is written is passed over in silence.
func (t *tree) checkEffect(n *node) {
	for _, s := range n.settings {
		if o := s.option; !s.bad && o.planned&n.scope.bit != 0 {
			t.report.later(s.pos, o.name)
		} else if o.inert != "" && !s.bad {
			t.report.warnf(s.pos, "", "%s has no effect: %s", o.name, o.inert)
		}
	}
	for _, c := range n.children {
		switch {
		case c.scope.inert != "":
			t.report.warnf(c.pos, "", "%s has no effect: %s", c.scope.name, c.scope.inert)
		case c.scope.planned:
			t.report.later(c.pos, "scope "+c.scope.name)
		default:
			t.checkEffect(c)
		}
	}
}

// checkDomains reports roles that contradict each other or mean nothing.
func (t *tree) checkDomains(c *Config) {
	for _, n := range t.root.of(inDomain) {
		for _, name := range []string{"xmpp_role", "xmpp_dialback_secret"} {
			if s := n.settings[name]; s != nil && n.protocol == "smtp" {
				t.report.errorf(s.pos, "", "%s has no meaning for the SMTP side of a domain", name)
			}
		}
		v := t.view(n)
		if v.duration("max_retry_interval") < v.duration("retry_interval") {
			t.report.errorf(v.pos("max_retry_interval"), "", "max_retry_interval is shorter than retry_interval")
		}
		t.checkStreamsOf(v)
	}
	g := t.view(t.root)
	t.checkStreamsOf(g)
	if d := c.domains[c.MailGatewayDomain]; d != nil {
		pos := d.Pos
		if s := g.set("mail_gateway_domain"); s != nil {
			pos = s.pos
		}
		t.report.errorf(pos, "set mail_gateway_domain to a name that no domain scope has",
			"the mail gateway's domain %s is a domain of its own, at %s", d.Name, d.Pos)
	}
	xmpp := t.root.of(inXMPPListener)
	if len(xmpp) > 0 && len(c.ServedDomains()) == 0 && !t.report.syntax {
		t.report.warnf(xmpp[0].pos, `add domain "…" { xmpp_role = "server" }`, "no domain has xmpp_role = server: nobody can log in")
	}
}

// checkUploads reports addresses of files that are none.
func (t *tree) checkUploads(c *Config) {
	text := c.Accounts.UploadURL
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !strings.HasSuffix(u.Path, "/") || u.RawQuery != "" || u.Fragment != "" ||
		u.Path == "/" || strings.HasPrefix(u.Path, "/v1/") {
		t.report.errorf(t.view(t.root).pos("upload_url"), `as "https://files.example/upload/"`, "upload_url: %q is no address of a folder", text)
	}
}

// checkMap reports a recipient map that could not map, and whether it can.
func (t *tree) checkMap(n *node, v view, m RecipientMap) bool {
	for _, name := range []string{"match", "jid"} {
		if n.settings[name] == nil {
			t.report.errorf(n.pos, "", "recipient_map %s has no %s", n.label, name)
		}
	}
	if m.Match == nil || v.set("jid") == nil {
		return false
	}
	ok := true
	for _, name := range groups(m.JID) {
		if !hasGroup(m.Match, name) {
			hint := "write ${1} where a digit or letter follows"
			if m.Match.NumSubexp() == 0 {
				hint = "groups of match are written in ( )"
			}
			t.report.errorf(v.set("jid").valuePos, hint, "jid: match has no group %s", name)
			ok = false
		}
	}
	if _, domain, has := strings.Cut(m.JID, "@"); has && !strings.Contains(domain, "$") {
		if _, err := readDomain(domain); err != nil {
			t.report.errorf(v.set("jid").valuePos, "", "jid: %s", err)
			ok = false
		}
	}
	return ok
}

// groupName is how a template refers to a group (regexp.Regexp.Expand).
var groupName = regexp.MustCompile(`\$(?:\$|(\w+)|\{(\w+)\})`)

func groups(template string) []string {
	var names []string
	for _, m := range groupName.FindAllStringSubmatch(template, -1) {
		if name := m[1] + m[2]; name != "" {
			names = append(names, name)
		}
	}
	return names
}

func hasGroup(re *regexp.Regexp, name string) bool {
	if i := re.SubexpIndex(name); i >= 0 {
		return true
	}
	// A reference is a number only when it is all digits, as in Expand.
	n := 0
	for _, c := range name {
		if c < '0' || c > '9' || n > 1000 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= re.NumSubexp()
}
