package xmpptest

import (
	"fmt"
	"regexp"
	"strings"

	"mcmt2xmpp/xmpp/xmlwire"
)

// parse reads an element as within a client's stream, parseIn as within one whose
// content namespace that is: with the prefixes of streams.
func parse(text string) (*xmlwire.Element, error) { return parseIn("jabber:client", text) }

func parseIn(content, text string) (*xmlwire.Element, error) {
	header := "<stream:stream xmlns='" + content + "' xmlns:stream='" + xmlwire.Streams + "' xmlns:db='" + xmlwire.Dialback + "'>"
	dec := xmlwire.NewDecoder(strings.NewReader(header+text), xmlwire.Limits{})
	if _, err := dec.Header(); err != nil {
		return nil, err
	}
	return dec.Next()
}

var variable = regexp.MustCompile(`^\{([a-z][a-z0-9]*)\}$`)

// matcher compares and keeps what {names} stand for.
type matcher struct{ captured map[string]string }

func (m matcher) value(where, want, got string) error {
	if v := variable.FindStringSubmatch(want); v != nil {
		old, ok := m.captured[v[1]]
		if !ok && got != "" {
			m.captured[v[1]] = got
			return nil
		}
		want = old
	}
	if want == got || want == "*" && got != "" {
		return nil
	}
	return fmt.Errorf("%s is %q, want %q", where, got, want)
}

func (m matcher) element(want, got *xmlwire.Element) error {
	if want.Name != got.Name {
		return fmt.Errorf("element is {%s}%s, want {%s}%s", got.Name.Space, got.Name.Local, want.Name.Space, want.Name.Local)
	}
	if err := m.attrs(want, got); err != nil {
		return err
	}
	text, open := want.Text(), false
	if strings.TrimSpace(text) == "..." {
		text, open = "", true
	}
	if strings.TrimSpace(text) != "" || !open && strings.TrimSpace(got.Text()) != "" {
		if err := m.value("text of "+got.Name.Local, text, got.Text()); err != nil {
			return err
		}
	}
	return m.children(want, got, open)
}

func (m matcher) attrs(want, got *xmlwire.Element) error {
	for _, a := range want.Attrs {
		v, ok := got.LookupAttr(a.Name)
		if !ok {
			return fmt.Errorf("<%s> has no attribute %s", got.Name.Local, a.Name.Local)
		}
		if err := m.value(a.Name.Local+" of "+got.Name.Local, a.Value, v); err != nil {
			return err
		}
	}
	for _, a := range got.Attrs {
		if _, ok := want.LookupAttr(a.Name); !ok {
			return fmt.Errorf("<%s> has an attribute %s=%q", got.Name.Local, a.Name.Local, a.Value)
		}
	}
	return nil
}

// children compares in order. With open, children that are not wanted may stand
// between those that are.
func (m matcher) children(want, got *xmlwire.Element, open bool) error {
	var wanted []*xmlwire.Element
	texts := false
	for c := range want.Elements() {
		wanted = append(wanted, c)
		texts = texts || c.Name.Local == "text"
	}
	for c := range got.Elements() {
		if len(wanted) > 0 && (!open || wanted[0].Name == c.Name) {
			if err := m.element(wanted[0], c); err == nil {
				wanted = wanted[1:]
				continue
			} else if !open && !isErrorText(c) {
				return err
			}
		}
		if !open && (texts || !isErrorText(c)) {
			return fmt.Errorf("<%s> has a child %s", got.Name.Local, c.Name.Local)
		}
	}
	if len(wanted) > 0 {
		return fmt.Errorf("<%s> has no child %s", got.Name.Local, wanted[0].Name.Local)
	}
	return nil
}

func isErrorText(e *xmlwire.Element) bool {
	if e.Name.Local != "text" {
		return false
	}
	switch e.Name.Space {
	case "urn:ietf:params:xml:ns:xmpp-streams", "urn:ietf:params:xml:ns:xmpp-stanzas", "urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sasl:2":
		return true
	}
	return false
}
