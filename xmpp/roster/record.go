package roster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// ErrRecord says that something is not a roster record.
var ErrRecord = errors.New("not a roster record")

// The record is one JSON object with a member for each contact, by bare JID:
//
//	{"contact@host": {
//	   "name": "…", "groups": ["…"],
//	   "subscription": "none" | "to" | "from" | "both",
//	   "approved": true,              pre-approved (RFC 6121 §3.4); left out: not
//	   "pending_requests": {
//	      "out": "subscribe",         asked for, not answered: `ask` of the item (§2.1.2.2)
//	      "in": "<presence …/>"}}}    asks, not answered: the stanza (§3.1.3)
//
// All members may be left out; subscription is none then, unless there is nothing
// but a request that came in: that contact is no item of the roster (§A.1).
// Members that are not known here are kept.

// Record returns the JSON record.
func (r *Roster) Record() ([]byte, error) {
	all := make(map[string]extra, len(r.contacts))
	for j, c := range r.contacts {
		members, err := c.members(j)
		if err != nil {
			return nil, fmt.Errorf("roster: %s: %w", j, err)
		}
		all[j.String()] = members
	}
	return marshal(all)
}

// members are a contact's line of the record.
func (c contact) members(j jid.JID) (extra, error) {
	requests := maps.Clone(c.requests)
	if requests == nil {
		requests = extra{}
	}
	members := maps.Clone(c.extra)
	if members == nil {
		members = extra{}
	}
	var errs []error
	put := func(to extra, name string, value any) {
		raw, err := marshal(value)
		to[name] = raw
		errs = append(errs, err)
	}
	if c.state.PendingOut() {
		put(requests, "out", string(Subscribe))
	}
	if c.state.PendingIn() {
		request := c.request
		if request == "" {
			request = parseRequest(j, "").String()
		}
		put(requests, "in", request)
	}
	put(members, "pending_requests", requests)
	if c.listed {
		put(members, "name", c.name)
		put(members, "groups", append([]string{}, c.groups...)) // never null
		put(members, "subscription", c.state.Subscription())
	}
	if c.approved {
		put(members, "approved", true)
	}
	return members, errors.Join(errs...)
}

// marshal is json.Marshal with < and > as they are: people read records.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ParseRecord reads a record that somebody gives us, and holds it to the limits.
// The error is ErrRecord with the contact that is wrong, and may wrap a
// *LimitError.
func ParseRecord(data []byte, lim Limits) (*Roster, error) {
	r, err := parseRecord(data)
	if err != nil {
		return nil, err
	}
	r.Limits = lim
	items := 0
	for j, c := range r.contacts {
		if c.listed {
			items++
		}
		if err := lim.checkItem(c.name, c.groups); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrRecord, j, err)
		}
		if err := check(len(c.request), lim.orDefault().Request, "bytes in a request", stanza.NotAcceptable); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrRecord, j, err)
		}
	}
	return r, r.checkCounts()
}

// checkCounts holds the number of lines to the limits.
func (r *Roster) checkCounts() error {
	lim, items := r.Limits.orDefault(), r.Len()
	err := check(items, lim.Items, "contacts", stanza.PolicyViolation)
	if err == nil {
		err = check(len(r.contacts)-items, lim.Requests, "subscription requests that wait for an answer", stanza.PolicyViolation)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return nil
}

func parseRecord(data []byte) (*Roster, error) {
	var all map[string]extra
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if all == nil {
		return nil, fmt.Errorf("%w: null", ErrRecord)
	}
	r := &Roster{contacts: make(map[jid.JID]contact, len(all))}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		j, c, err := parseLine(key, all[key])
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrRecord, key, err)
		}
		if _, twice := r.contacts[j]; twice {
			return nil, fmt.Errorf("%w: %q: the contact is there twice", ErrRecord, key)
		}
		if c.listed || c.state != None {
			r.contacts[j] = c
		}
	}
	return r, nil
}

func parseLine(key string, members extra) (jid.JID, contact, error) {
	j, err := jid.Parse(key)
	if err != nil {
		return j, contact{}, err
	}
	if !j.IsBare() {
		return j, contact{}, errors.New("a contact has no resource")
	}
	var c contact
	var subscription string
	members = maps.Clone(members)
	err = errors.Join(members.take("name", &c.name), members.take("groups", &c.groups), members.take("approved", &c.approved),
		members.take("subscription", &subscription), members.take("pending_requests", &c.requests))
	if err != nil {
		return j, contact{}, err
	}
	var out string
	if err := errors.Join(c.requests.take("out", &out), c.requests.take("in", &c.request)); err != nil {
		return j, contact{}, fmt.Errorf("pending_requests: %w", err)
	}
	if out != "" && out != string(Subscribe) {
		return j, contact{}, fmt.Errorf("pending_requests: out is %q, want subscribe", out)
	}
	c.extra = members
	return j, c, c.read(subscription, out != "")
}

// read sets the state from what the record says.
func (c *contact) read(subscription string, out bool) error {
	var to, from bool
	switch subscription {
	case "", "none":
	case "to":
		to = true
	case "from":
		from = true
	case "both":
		to, from = true, true
	default:
		return fmt.Errorf("subscription is %q, want none, to, from or both", subscription)
	}
	if c.request != "" {
		st, err := stanza.ParseBytes([]byte(c.request), xmlwire.Limits{})
		if err != nil || !isRequest(st) {
			return errors.New("pending_requests: in is not a presence stanza of type subscribe")
		}
	}
	c.state = stateOf(to, from, out, c.request != "")
	if !c.state.PendingIn() {
		c.request = ""
	}
	c.listed = subscription != "" || c.state != NonePendingIn || c.name != "" || len(c.groups) > 0 || c.approved
	return nil
}

// take reads a member into v and removes it. One that is not there, or null, leaves
// v as it is.
func (e extra) take(name string, v any) error {
	raw, ok := e[name]
	if !ok {
		return nil
	}
	delete(e, name)
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Import takes the contacts of a record over: each line replaces that of the same
// contact, but a request that waits for its answer goes on waiting, and members
// that neither knows stay. With replace the roster becomes what the record is. The
// error is a *LimitError, and nothing has changed then.
func (r *Roster) Import(record *Roster, replace bool) error {
	next := r.Clone()
	next.changed = r.changed
	for _, j := range r.lines() {
		if _, ok := record.contacts[j]; !ok && replace {
			_ = next.put(j, contact{}) // removing exceeds no limit
		}
	}
	for _, j := range record.lines() {
		c, old := record.contacts[j], r.contacts[j]
		if !replace {
			c.extra, c.requests = merged(old.extra, c.extra), merged(old.requests, c.requests)
			if old.state.PendingIn() && !c.state.PendingIn() && !c.state.HasFrom() {
				c.state, c.request = stateOf(c.state.HasTo(), false, c.state.PendingOut(), true), old.request
			}
		}
		if err := next.put(j, c); err != nil {
			return err
		}
	}
	if err := next.checkCounts(); err != nil {
		return err
	}
	*r = *next
	return nil
}

// lines are the addresses of all lines, in order.
func (r *Roster) lines() []jid.JID {
	return slices.SortedFunc(maps.Keys(r.contacts), func(a, b jid.JID) int { return strings.Compare(a.String(), b.String()) })
}

func merged(old, new extra) extra {
	all := make(extra, len(old)+len(new))
	maps.Copy(all, old)
	maps.Copy(all, new)
	return all
}

// Encode returns the form in which the roster of a user is stored: the record, with
// what its versions need.
func (r *Roster) Encode(user jid.JID) ([]byte, error) {
	record, err := r.Record()
	if err != nil {
		return nil, err
	}
	changes := make([]string, len(r.log))
	for i, j := range r.log {
		changes[i] = j.String()
	}
	members := maps.Clone(r.extra)
	if members == nil {
		members = extra{}
	}
	members["roster"] = record
	for name, v := range map[string]any{"jid": user.String(), "id": r.id, "version": r.version, "changes": changes} {
		if members[name], err = marshal(v); err != nil {
			return nil, fmt.Errorf("roster: %w", err)
		}
	}
	return marshal(members)
}

// Decode reads what Encode has made.
func Decode(data []byte, lim Limits) (user jid.JID, r *Roster, err error) {
	var members extra
	if err := json.Unmarshal(data, &members); err != nil {
		return jid.JID{}, nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	var address, id string
	var version uint64
	var changes []string
	var record json.RawMessage
	err = errors.Join(members.take("jid", &address), members.take("id", &id), members.take("version", &version),
		members.take("changes", &changes), members.take("roster", &record))
	if err != nil {
		return jid.JID{}, nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if user, err = jid.Parse(address); err != nil {
		return jid.JID{}, nil, fmt.Errorf("%w: jid: %w", ErrRecord, err)
	}
	if r, err = parseRecord(record); err != nil {
		return jid.JID{}, nil, err
	}
	r.Limits, r.id, r.version, r.extra = lim, id, version, members
	if uint64(len(changes)) > version {
		return jid.JID{}, nil, fmt.Errorf("%w: more changes than versions", ErrRecord)
	}
	for _, c := range changes {
		j, err := jid.Parse(c)
		if err != nil {
			return jid.JID{}, nil, fmt.Errorf("%w: changes: %w", ErrRecord, err)
		}
		r.log = append(r.log, j)
	}
	return user, r, nil
}
