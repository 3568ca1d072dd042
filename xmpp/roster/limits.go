package roster

import (
	"cmp"
	"fmt"

	"mcmt2xmpp/xmpp/stanza"
)

// Limits bound a roster. Zero fields have their defaults.
type Limits struct {
	Items    int // contacts. Zero: 1000
	Requests int // subscription requests of people who are no contacts. Zero: 100
	Groups   int // of one contact. Zero: 50
	Name     int // bytes of a contact's name. Zero: 1023
	Group    int // bytes of the name of a group. Zero: 1023
	Request  int // bytes of a request that is kept with what is in it. Zero: 8 KiB
	Bytes    int // of the whole record as it is stored. Zero: 512 KiB
}

func (l Limits) orDefault() Limits {
	return Limits{
		Items: cmp.Or(l.Items, 1000), Requests: cmp.Or(l.Requests, 100), Groups: cmp.Or(l.Groups, 50),
		Name: cmp.Or(l.Name, 1023), Group: cmp.Or(l.Group, 1023), Request: cmp.Or(l.Request, 8<<10), Bytes: cmp.Or(l.Bytes, 512<<10),
	}
}

// LimitError is a change that a limit forbids. It wraps the *stanza.Error for
// whoever asked for it.
type LimitError struct {
	What string // "contacts", say
	Max  int
	// Condition is what goes onto the wire: not-acceptable where RFC 6121 §2.3.3
	// wants it.
	Condition stanza.Condition
}

// Error returns what there is too much of.
func (e *LimitError) Error() string { return fmt.Sprintf("more than %d %s", e.Max, e.What) }

// Unwrap returns the *stanza.Error.
func (e *LimitError) Unwrap() error { return &stanza.Error{Condition: e.Condition, Text: e.Error()} }

// check holds n against a limit.
func check(n, most int, what string, condition stanza.Condition) error {
	if n > most {
		return &LimitError{what, most, condition}
	}
	return nil
}

// checkItem holds the name and the groups of a contact to RFC 6121 §2.3.3.
func (l Limits) checkItem(name string, groups []string) error {
	l = l.orDefault()
	if err := check(len(name), l.Name, "bytes in a name", stanza.NotAcceptable); err != nil {
		return err
	}
	if err := check(len(groups), l.Groups, "groups", stanza.NotAcceptable); err != nil {
		return err
	}
	seen := make(map[string]bool, len(groups))
	for _, g := range groups {
		if err := check(len(g), l.Group, "bytes in the name of a group", stanza.NotAcceptable); err != nil {
			return err
		}
		switch {
		case g == "":
			return &stanza.Error{Condition: stanza.NotAcceptable, Text: "a group without a name"}
		case seen[g]:
			return &stanza.Error{Condition: stanza.BadRequest, Text: "a group twice"}
		}
		seen[g] = true
	}
	return nil
}

// CheckSize holds the stored form of a roster to Limits.Bytes.
func (l Limits) CheckSize(encoded []byte) error {
	return check(len(encoded), l.orDefault().Bytes, "bytes in a roster", stanza.PolicyViolation)
}
