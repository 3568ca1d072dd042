package admin

import (
	"fmt"
	"net/url"
)

// button does one request of this API.
type button struct {
	Label   string
	What    string // it is done to
	Path    string // of a POST
	Body    string // JSON
	Confirm string // what has to be confirmed; empty: nothing
}

// queueButton does a to what fields select, in pairs; what names it, with n messages.
func queueButton(a QueueAction, label, what string, n int, fields ...string) button {
	selection := make(map[string]string)
	for i := 0; i < len(fields); i += 2 {
		selection[fields[i]] = fields[i+1]
	}
	b := button{Label: label, What: what, Path: "/v1/queue:" + string(a), Body: string(encoded(selection))}
	if a == Drop {
		b.Confirm = fmt.Sprintf("%d messages for %s are deleted for good, and their senders are not told.", n, what)
		if n == 1 {
			b.Confirm = fmt.Sprintf("The message for %s is deleted for good, and its sender is not told.", what)
		}
	}
	return b
}

// buttonsOf are what can be done about what a page shows.
func buttonsOf(v any) []button {
	switch v := v.(type) {
	case QueueDomain:
		return v.buttons()
	case liveRoute:
		return v.buttons()
	case deadRoute:
		return v.buttons()
	case story:
		return v.buttons()
	case ServerStream:
		return v.buttons()
	}
	return nil
}

// buttons are what can be done to all that waits for a domain.
func (d QueueDomain) buttons() []button {
	var all []button
	to := []string{"domain", d.Domain}
	if d.Deferred > 0 {
		all = append(all, queueButton(Retry, "Retry", d.Domain, 0, to...))
	}
	if d.Hold {
		all = append(all, queueButton(Release, "Release", d.Domain, 0, to...))
	} else {
		all = append(all, queueButton(Hold, "Hold", d.Domain, 0, to...))
	}
	switch {
	case d.Deferred > 0:
		all = append(all, queueButton(Drop, "Drop", d.Domain, d.Deferred, append(to, "state", string(Deferred))...))
	case d.Held > 0:
		all = append(all, queueButton(Drop, "Drop", d.Domain, d.Held, append(to, "state", string(Held))...))
	}
	return all
}

// recipients are the routes that are not the domain itself.
func recipients(d QueueDomain) (all []liveRoute) {
	for _, r := range d.Routes {
		if r.Route != d.Domain {
			all = append(all, liveRoute{r, d.Hold})
		}
	}
	return all
}

// liveRoute is what waits for one recipient.
type liveRoute struct {
	QueueRoute
	domainHeld bool
}

// buttons are what can be done to what waits for a recipient. One whose domain is held
// cannot be released alone.
func (r liveRoute) buttons() (all []button) {
	to := []string{"recipient", r.Route}
	switch {
	case r.State != Held:
		all = append(all, queueButton(Retry, "Retry", r.Route, 0, to...), queueButton(Hold, "Hold", r.Route, 0, to...))
	case !r.domainHeld:
		all = append(all, queueButton(Release, "Release", r.Route, 0, to...))
	}
	if r.Messages > 0 {
		all = append(all, queueButton(Drop, "Drop", r.Route, r.Messages, append(to, "state", string(r.State))...))
	}
	return all
}

// deadRoute is what is dead for one route and reason.
type deadRoute struct{ QueueRoute }

// buttons are what can be done to what is dead.
func (r deadRoute) buttons() []button {
	these := []string{"state", string(Dead), "domain", r.Domain}
	if r.Route != r.Domain {
		these = []string{"state", string(Dead), "recipient", r.Route}
	}
	if r.Reason != "" {
		these = append(these, "reason", r.Reason)
	}
	return []button{queueButton(Retry, "Send again", r.Route, 0, these...), queueButton(Drop, "Drop", r.Route, r.Messages, these...)}
}

// buttons are what can be done to a message that waits for its recipient.
func (s story) buttons() []button {
	if _, err := bareJID("", s.JID); err != nil {
		return nil // it goes out as mail
	}
	drop := queueButton(Drop, "Drop", s.JID, 1, "id", s.ID, "recipient", s.JID)
	switch QueueState(s.Outcome.Outcome) {
	case Deferred:
		return []button{queueButton(Retry, "Retry", s.JID, 0, "id", s.ID, "recipient", s.JID), queueButton(Hold, "Hold", s.JID, 0, "recipient", s.JID), drop}
	case Held:
		return []button{queueButton(Release, "Release", s.JID, 0, "recipient", s.JID), drop}
	}
	return nil
}

// buttons are what can be done about a server.
func (s ServerStream) buttons() []button {
	if s.State.State != "waiting" || s.Link != "" {
		return nil
	}
	return []button{{Label: "Retry", What: s.Domain, Path: "/v1/s2s/" + url.PathEscape(s.Domain) + "/retry", Body: "{}"}}
}
