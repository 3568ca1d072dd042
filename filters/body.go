package filters

import (
	"context"
	"regexp"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// bodyRegex is the filter of type body_regex: messages with a body, in any
// language, in which the pattern is found. RE2 takes time in proportion to the
// body, which the size of a stanza bounds.
type bodyRegex struct {
	name    string
	pattern *regexp.Regexp
	action  Action
}

// Name returns the filter's name.
func (f *bodyRegex) Name() string { return f.name }

// Apply decides about one stanza. An error brings back the words of somebody else
// than its sender, so it is not judged by them.
func (f *bodyRegex) Apply(_ context.Context, it *Item) (Verdict, error) {
	switch {
	case it.Stanza.Kind != stanza.Message:
		return Verdict{Reason: "not a message"}, nil
	case it.Stanza.Type == stanza.TypeError:
		return Verdict{Reason: "error"}, nil
	case f.finds(it.Stanza.Element, 0):
		return Verdict{Action: f.action, Reason: "a body matches", Kind: Body}, nil
	}
	return Verdict{Reason: "no body matches"}, nil
}

// finds reports whether a body of the message e, or of one that it carries (see
// reading), matches.
func (f *bodyRegex) finds(e *xmlwire.Element, depth int) bool {
	if depth > maxForwarded {
		return false
	}
	for c := range e.Elements() {
		switch c.Name.Space {
		case stanza.Client, stanza.Server:
			if c.Name.Local == "body" && c.Name.Space == e.Name.Space && f.pattern.MatchString(c.Text()) ||
				c.Name.Local == "message" && f.finds(c, depth+1) {
				return true
			}
		case nsCarbons, nsForward, nsMAM:
			if f.finds(c, depth+1) {
				return true
			}
		}
	}
	return false
}
