package admin

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MessageFilter selects messages: those that all its fields that are not empty hold for.
type MessageFilter struct {
	// Since and Until are a window in time: what was under way in it, for however short a
	// time, is selected. Zero: there is no bound.
	Since, Until time.Time
	Domain       string // of the recipient: that of the JID or of the address as given; prepared
	Outcome      OutcomeKind
	From         string // sender's address or JID, without regard to case
	To           string // recipient's address or bare JID, likewise
}

// searchQuery are the fields of a MessageFilter as parameters, and how much is listed.
var searchQuery = []field{
	{"since", "under way at this time or later: " + momentText, ""},
	{"until", "accepted before this time, likewise", ""},
	{"domain", "of the recipient: that of the JID, or of the address as given", ""},
	{"outcome", "what has become of it", OutcomeKind("")},
	{"from", "address of the sender, or JID of the author", ""},
	{"to", "address or bare JID of the recipient", ""},
	limitField,
	{"after", "next of an earlier answer: go on behind that", ""},
}

// readSearch reads the query of a search, which has no other parameters.
func readSearch(r *http.Request, now time.Time) (f MessageFilter, limit int, after string, err error) {
	fields, err := query(r)
	if err != nil {
		return f, 0, "", err
	}
	if limit, err = limitOf(fields); err != nil {
		return f, 0, "", err
	}
	if f.Since, f.Until, err = window(fields, now); err != nil {
		return f, 0, "", err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		v := fields[name]
		switch name {
		case "domain":
			f.Domain, err = domain(name, v)
		case "outcome":
			f.Outcome, err = outcomeKind(name, v)
		case "from":
			f.From, err = text(name, v)
		case "to":
			f.To, err = text(name, v)
		case "after":
			after, err = text(name, v)
		}
		if err != nil {
			return f, 0, "", err
		}
	}
	return f, limit, after, nil
}

func outcomeKind(name, v string) (OutcomeKind, error) {
	k := OutcomeKind(v)
	if all := k.values(); !slices.Contains(all, v) {
		return "", badRequest(name + " must be one of " + strings.Join(all, ", "))
	}
	return k, nil
}

// window reads the parameters since and until. Zero: there is none.
func window(fields map[string]string, now time.Time) (since, until time.Time, err error) {
	if v, ok := fields["since"]; ok {
		if since, err = moment("since", v, now); err != nil {
			return since, until, err
		}
	}
	if v, ok := fields["until"]; ok {
		if until, err = moment("until", v, now); err != nil {
			return since, until, err
		}
	}
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return since, until, badRequest("since must be before until")
	}
	return since, until, nil
}

// momentText says in the document what moment reads.
const momentText = "RFC 3339, or how long ago, such as 90m, 12h or 7d"

// moment reads a time (RFC 3339), or how long ago it is, such as 90m, 12h or 7d.
func moment(name, v string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, v); err == nil {
		return at, nil
	}
	days, isDays := strings.CutSuffix(v, "d")
	if n, err := strconv.ParseUint(days, 10, 16); isDays && err == nil {
		return now.Add(-time.Duration(n) * 24 * time.Hour), nil //nolint:gosec // at most 65,535
	}
	ago, err := time.ParseDuration(v)
	if err != nil || ago < 0 {
		return time.Time{}, badRequest(name + " must be a time such as 2026-03-01T12:00:00Z, or how long ago that is, such as 90m, 12h or 7d")
	}
	return now.Add(-ago), nil
}
