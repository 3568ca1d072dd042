package admin

import (
	"fmt"
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
	Outcome      string // one of those of Outcome
	From         string // sender's address or JID, without regard to case
	To           string // recipient's address or bare JID, likewise
}

// outcomes are the values that an Outcome's outcome can have.
var outcomes = []string{"delivered", "filtered", "relayed", "failed", "expired", "dropped", "waiting", "deferred", "held"}

// readSearch reads the query of a search.
func readSearch(r *http.Request, now time.Time) (f MessageFilter, limit int, after string, err error) {
	fields, err := query(r)
	if err != nil {
		return f, 0, "", err
	}
	limit = defaultLimit
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		v := fields[name]
		switch name {
		case "limit":
			if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > maxLimit {
				err = badRequest(fmt.Sprintf("limit must be a number from 1 to %d", maxLimit))
			}
		case "after":
			after, err = text(name, v)
		default:
			err = f.set(name, v, now)
		}
		if err != nil {
			return f, 0, "", err
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return f, 0, "", badRequest("since must be before until")
	}
	return f, limit, after, nil
}

// set reads one field of the filter.
func (f *MessageFilter) set(name, v string, now time.Time) (err error) {
	switch name {
	case "since":
		f.Since, err = moment(name, v, now)
	case "until":
		f.Until, err = moment(name, v, now)
	case "domain":
		f.Domain, err = domain(name, v)
	case "outcome":
		if f.Outcome = v; !slices.Contains(outcomes, v) {
			err = badRequest("outcome must be one of " + strings.Join(outcomes, ", "))
		}
	case "from":
		f.From, err = text(name, v)
	case "to":
		f.To, err = text(name, v)
	default:
		return badRequest(fmt.Sprintf("there is no %q here, but since, until, domain, outcome, from, to, limit and after", name))
	}
	return err
}

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
