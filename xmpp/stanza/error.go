package stanza

import "mcmt2xmpp/xmpp/xmlwire"

// Errors is the namespace of the conditions (RFC 6120 §8.3.2).
const Errors = "urn:ietf:params:xml:ns:xmpp-stanzas"

// Condition is a defined condition (RFC 6120 §8.3.3).
type Condition string

// The defined conditions, in the order of RFC 6120 §8.3.3.
const (
	BadRequest            Condition = "bad-request"
	Conflict              Condition = "conflict"
	FeatureNotImplemented Condition = "feature-not-implemented"
	Forbidden             Condition = "forbidden"
	Gone                  Condition = "gone"
	InternalServerError   Condition = "internal-server-error"
	ItemNotFound          Condition = "item-not-found"
	JIDMalformed          Condition = "jid-malformed"
	NotAcceptable         Condition = "not-acceptable"
	NotAllowed            Condition = "not-allowed"
	NotAuthorized         Condition = "not-authorized"
	PolicyViolation       Condition = "policy-violation"
	RecipientUnavailable  Condition = "recipient-unavailable"
	Redirect              Condition = "redirect"
	RegistrationRequired  Condition = "registration-required"
	RemoteServerNotFound  Condition = "remote-server-not-found"
	RemoteServerTimeout   Condition = "remote-server-timeout"
	ResourceConstraint    Condition = "resource-constraint"
	ServiceUnavailable    Condition = "service-unavailable"
	SubscriptionRequired  Condition = "subscription-required"
	UndefinedCondition    Condition = "undefined-condition"
	UnexpectedRequest     Condition = "unexpected-request"
)

// ErrorType says what the sender can do about an error (RFC 6120 §8.3.2).
type ErrorType string

// The types of error.
const (
	Auth     ErrorType = "auth"     // retry after providing credentials
	Cancel   ErrorType = "cancel"   // do not retry
	Continue ErrorType = "continue" // a warning only
	Modify   ErrorType = "modify"   // retry after changing the data
	Wait     ErrorType = "wait"     // retry after waiting
)

// defaultTypes are the types that RFC 6120 §8.3.3 associates with the
// conditions, the first where it names two.
var defaultTypes = map[Condition]ErrorType{
	BadRequest: Modify, Conflict: Cancel, FeatureNotImplemented: Cancel, Forbidden: Auth, Gone: Cancel,
	InternalServerError: Cancel, ItemNotFound: Cancel, JIDMalformed: Modify, NotAcceptable: Modify,
	NotAllowed: Cancel, NotAuthorized: Auth, PolicyViolation: Modify, RecipientUnavailable: Wait,
	Redirect: Modify, RegistrationRequired: Auth, RemoteServerNotFound: Cancel, RemoteServerTimeout: Wait,
	ResourceConstraint: Wait, ServiceUnavailable: Cancel, SubscriptionRequired: Auth,
	UndefinedCondition: Cancel, UnexpectedRequest: Wait,
}

// DefaultType returns the type that RFC 6120 §8.3.3 associates with the
// condition, Cancel for one it does not define.
func (c Condition) DefaultType() ErrorType {
	if t, ok := defaultTypes[c]; ok {
		return t
	}
	return Cancel
}

// Error is a stanza error (RFC 6120 §8.3). It goes onto the wire: Text is for
// the peer. The zero Condition means undefined-condition, the zero Type the
// condition's default.
type Error struct {
	Type      ErrorType
	Condition Condition
	Text      string // optional, for a person
	URI       string // new address, with Gone and Redirect only (§8.3.3.5, §8.3.3.14)
	// Specific is the application's own condition (§8.3.4); zero for none.
	Specific xmlwire.Name
	// Detail is what is in it, nil for nothing.
	Detail *xmlwire.Element
}

// kind returns type and condition with the zero values filled in.
func (e *Error) kind() (ErrorType, Condition) {
	t, c := e.Type, e.Condition
	if c == "" {
		c = UndefinedCondition
	}
	if t == "" {
		t = c.DefaultType()
	}
	return t, c
}

// Error returns the condition, the type and the text.
func (e *Error) Error() string {
	t, c := e.kind()
	s := "stanza error " + string(c) + " (" + string(t) + ")"
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Temporary reports whether the same stanza may be taken later.
func (e *Error) Temporary() bool {
	t, _ := e.kind()
	return t == Wait
}

// Element returns the error as the child of a stanza of type error.
func (e *Error) Element() *xmlwire.Element {
	t, c := e.kind()
	condition := xmlwire.New(Errors, string(c))
	if c == Gone || c == Redirect {
		condition.AddText(e.URI)
	}
	el := xmlwire.New(Client, "error", "type", string(t)).Add(condition)
	if e.Text != "" {
		text := xmlwire.New(Errors, "text").AddText(e.Text)
		text.Attrs = append(text.Attrs, xmlwire.Attr{Name: lang, Value: "en"})
		el.Add(text)
	}
	if e.Specific != (xmlwire.Name{}) {
		specific := xmlwire.New(e.Specific.Space, e.Specific.Local)
		if e.Detail != nil {
			specific.Add(e.Detail)
		}
		el.Add(specific)
	}
	return el
}

// ParseError reads an <error/> element; nil, which a stanza of type error may
// lack against the rules, gives undefined-condition. A type or condition that is
// not defined is read as its zero value: the default.
func ParseError(e *xmlwire.Element) *Error {
	out := &Error{Condition: UndefinedCondition}
	if e == nil {
		return out
	}
	switch t := ErrorType(e.Attr("type")); t {
	case Auth, Cancel, Continue, Modify, Wait:
		out.Type = t
	}
	for c := range e.Elements() {
		if c.Name.Space != Errors {
			out.Specific = c.Name
			continue
		}
		if c.Name.Local == "text" {
			if out.Text == "" {
				out.Text = c.Text()
			}
			continue
		}
		if _, ok := defaultTypes[Condition(c.Name.Local)]; ok && out.Condition == UndefinedCondition {
			out.Condition = Condition(c.Name.Local)
			if out.Condition == Gone || out.Condition == Redirect {
				out.URI = c.Text()
			}
		}
	}
	return out
}
