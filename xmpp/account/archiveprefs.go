package account

import (
	"context"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Policy says with whom messages are kept, where an account has not named them.
type Policy string

// The policies (XEP-0441 §2).
const (
	PolicyAlways Policy = "always" // with everybody
	PolicyRoster Policy = "roster" // with contacts
	PolicyNever  Policy = "never"
)

// ArchivePreferences are which messages an account wants kept. The zero value has none.
type ArchivePreferences struct {
	Default       Policy // empty: that of the server
	Always, Never []jid.JID
}

// PreferenceStore keeps preferences, by bare JID. Its methods may be called from any
// goroutine.
type PreferenceStore interface {
	ArchivePreferences(user jid.JID) ArchivePreferences
	SetArchivePreferences(ctx context.Context, user jid.JID, p ArchivePreferences) error
}

// mostPreferences bounds the addresses that an account names.
const mostPreferences = 1000

// wants says whether an account wants a message with somebody kept.
func (a *Archives) wants(user, with jid.JID) bool {
	p := a.Preferences.ArchivePreferences(user)
	names := func(list []jid.JID) bool { return slices.Contains(list, with) || slices.Contains(list, with.Bare()) }
	switch policy := a.policy(p); {
	case names(p.Always):
		return true
	case names(p.Never) || policy == PolicyNever:
		return false
	case policy == PolicyRoster:
		_, listed := a.Roster(user).Item(with)
		return listed || user == with.Bare()
	}
	return true
}

func (a *Archives) policy(p ArchivePreferences) Policy {
	switch {
	case p.Default != "":
		return p.Default
	case a.Default != "":
		return a.Default
	}
	return PolicyAlways
}

// preferences tells them, or changes them and tells what they are then (XEP-0441 §2).
func (a *Archives) preferences(ctx context.Context, rq router.Request) (*xmlwire.Element, error) {
	user := rq.Account()
	p := a.Preferences.ArchivePreferences(user)
	if rq.Type == stanza.TypeSet {
		var err error
		if p, err = parsePreferences(rq.Payload); err != nil {
			return nil, err
		}
		if err := a.Preferences.SetArchivePreferences(ctx, user, p); err != nil {
			return nil, err
		}
	}
	e := xmlwire.New(nsArchive, "prefs", "default", string(a.policy(p)))
	for _, l := range []struct {
		local string
		list  []jid.JID
	}{{"always", p.Always}, {"never", p.Never}} {
		list := xmlwire.New(nsArchive, l.local)
		for _, j := range l.list {
			list.Add(xmlwire.New(nsArchive, "jid").AddText(j.String()))
		}
		e.Add(list)
	}
	return e, nil
}

func parsePreferences(e *xmlwire.Element) (p ArchivePreferences, err error) {
	switch p.Default = Policy(e.Attr("default")); p.Default {
	case PolicyAlways, PolicyRoster, PolicyNever:
	default:
		return p, badRequest
	}
	if p.Always, err = preferred(e, "always"); err == nil {
		p.Never, err = preferred(e, "never")
	}
	if err == nil && len(p.Always)+len(p.Never) > mostPreferences {
		err = &stanza.Error{Type: stanza.Cancel, Condition: stanza.ResourceConstraint}
	}
	return p, err
}

// preferred reads the addresses of a list.
func preferred(e *xmlwire.Element, local string) (all []jid.JID, err error) {
	list := e.Child(field(nsArchive, local))
	if list == nil {
		return nil, nil
	}
	for item := range list.Elements() {
		if item.Name != field(nsArchive, "jid") {
			continue
		}
		j, err := jid.Parse(item.Text())
		if err != nil {
			return nil, &stanza.Error{Condition: stanza.JIDMalformed}
		}
		all = append(all, j)
	}
	return all, nil
}
