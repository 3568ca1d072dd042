package admin

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mcmt2xmpp/xmpp/jid"
)

// filterField is a field of a QueueFilter under its name in queries and bodies.
type filterField struct{ name, value string }

func (f QueueFilter) fields() []filterField {
	return []filterField{{"id", f.ID}, {"recipient", f.Recipient}, {"domain", f.Domain}, {"state", string(f.State)}, {"reason", f.Reason}}
}

// queueQuery are the fields of a QueueFilter as parameters.
var queueQuery = []field{
	{"id", "queue id, Message-ID or stanza id", ""},
	{"recipient", "bare JID", ""},
	{"domain", "of the recipient", ""},
	{"state", "why it is in the queue", Deferred},
	{"reason", "text that the reason holds", ""},
}

// limitField is the parameter for how many are listed.
var limitField = field{"limit", "how many are listed, from 1 to 1000; left out: 100", 0}

// set reads one field of the filter. Nothing may be empty: an unset variable in
// a script must not select everything.
func (f *QueueFilter) set(name string, value any) (err error) {
	s, isText := value.(string)
	switch name {
	case "id":
		f.ID, err = messageID(name, s)
	case "recipient":
		var j jid.JID
		j, err = bareJID(name, s)
		f.Recipient = j.String()
	case "domain":
		f.Domain, err = domain(name, s)
	case "state":
		f.State = QueueState(s)
		if f.State != Deferred && f.State != Held && f.State != Dead {
			err = badRequest("state must be deferred, held or dead")
		}
	case "reason":
		f.Reason, err = text(name, s)
	default:
		return badRequest(fmt.Sprintf("there is no %q here, but id, recipient, domain, state and reason", name))
	}
	if !isText {
		return badRequest(name + " must be a string")
	}
	return err
}

// messageID reads a queue id, stanza id or Message-ID; the last may come in the
// angle brackets of its header (RFC 5322 §3.6.4), which are no part of it.
func messageID(name, s string) (string, error) {
	if inner, ok := strings.CutPrefix(s, "<"); ok {
		if inner, ok = strings.CutSuffix(inner, ">"); ok {
			s = inner
		}
	}
	return text(name, s)
}

// domain reads the address of a domain.
func domain(name, s string) (string, error) {
	j, err := jid.New("", s, "")
	if err != nil {
		return "", badRequest(name + ": " + err.Error())
	}
	return j.Domain(), nil
}

// text reads what may be any text of one line.
func text(name, s string) (string, error) {
	switch {
	case s == "":
		return "", badRequest(name + " is empty")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return "", badRequest(name + " must be text without control characters")
	}
	return s, nil
}

// maxLimit is how many messages one answer lists at most.
const maxLimit = 1000

// limitOf reads how many are listed.
func limitOf(fields map[string]string) (int, error) {
	written, ok := fields["limit"]
	if !ok {
		return defaultLimit, nil
	}
	limit, err := strconv.Atoi(written)
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, badRequest(fmt.Sprintf("limit must be a number from 1 to %d", maxLimit))
	}
	return limit, nil
}

// readQuery reads the filter of a query, and its limit unless the given one,
// which is that of a query without one, is zero: then there is none.
func readQuery(r *http.Request, limit int) (f QueueFilter, _ int, err error) {
	fields, err := query(r)
	if err != nil {
		return f, 0, err
	}
	if limit > 0 {
		if limit, err = limitOf(fields); err != nil {
			return f, 0, err
		}
		delete(fields, "limit")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := f.set(name, fields[name]); err != nil {
			return f, 0, err
		}
	}
	return f, limit, nil
}

// readSelection reads the filter of a body and holds it to what a can do.
func readSelection(w http.ResponseWriter, r *http.Request, a QueueAction) (f QueueFilter, err error) {
	var body map[string]any
	if err := readJSON(w, r, &body); err != nil {
		return f, err
	}
	all, isBool := body["all"].(bool)
	if _, written := body["all"]; written && !isBool {
		return f, badRequest("all must be true or false")
	}
	delete(body, "all")
	for _, name := range slices.Sorted(maps.Keys(body)) {
		if err := f.set(name, body[name]); err != nil {
			return f, err
		}
	}
	if f == (QueueFilter{}) && !all {
		return f, badRequest("an empty filter selects everything: \"all\": true says that it is meant")
	}
	return f.limitedTo(a)
}

// limitedTo is the filter as it holds for a. A retry concerns what is waiting:
// the senders of dead messages may have been told that they were not delivered,
// so those are tried again only where the state or an id names them.
func (f QueueFilter) limitedTo(a QueueAction) (QueueFilter, error) {
	switch {
	case a.onRoutes() && (f.ID != "" || f.State != "" || f.Reason != ""):
		return f, badRequest(string(a) + " is for a recipient or a domain, whatever messages there are")
	case a == Retry && f.State == Held:
		return f, badRequest("what is held is tried when it is released")
	case a == Retry && f.State == "" && f.ID == "":
		f.State = Deferred
	}
	return f, nil
}
