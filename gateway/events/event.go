package events

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

// Version is that of the form of events. It changes when a member gets another meaning
// or goes, not when one is added.
const Version = 1

// Event is how one message has ended for one recipient, or that it begins to wait.
// Nothing in it is text of the message.
type Event struct {
	// ID is the same whenever the event is sent: letters, digits and _.
	ID        string    `json:"id"`
	Type      string    `json:"type"` // message. and the outcome
	Version   int       `json:"version"`
	Timestamp time.Time `json:"timestamp"` // when it ended, or began to wait
	Data      Data      `json:"data"`

	body []byte // as JSON
}

// Data are the members that GET /v1/messages/{id} has too, under the same names.
type Data struct {
	ID        string    `json:"id"`
	StanzaID  string    `json:"stanza_id,omitempty"`
	MessageID string    `json:"message_id,omitempty"` // without its angle brackets
	From      string    `json:"from,omitempty"`       // reverse-path; empty: no bounces
	To        string    `json:"to"`                   // recipient as given
	JID       string    `json:"jid,omitempty"`
	Outcome   string    `json:"outcome"`
	Proof     string    `json:"proof,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Part      string    `json:"part,omitempty"`
	Listener  string    `json:"listener,omitempty"`
	Node      string    `json:"node,omitempty"`
	Accepted  time.Time `json:"accepted,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	Attempts  int       `json:"attempts"`
	Next      time.Time `json:"next,omitzero"` // attempt at the latest, of one that waits
}

// newEvent makes the event of a record, nil of one that is no end.
func newEvent(r broker.Record) (*Event, error) {
	o, err := custody.DecodeOutcome(r.Data)
	if err != nil {
		return nil, err
	}
	if o.End == custody.Diverted {
		return nil, nil
	}
	e := &Event{
		ID: idOf(o, r.Recipient), Type: "message." + string(o.End), Version: Version, Timestamp: o.Ended.UTC(),
		Data: Data{
			ID: string(o.ID), StanzaID: o.StanzaID, MessageID: o.MessageID, From: o.From, To: o.To.Address, JID: o.Address,
			Outcome: string(o.End), Proof: o.Proof, Reason: o.Why, Part: o.Part, Listener: o.Listener, Node: o.Node,
			Accepted: o.Accepted, Ended: o.Ended, Attempts: o.Tried(),
		},
	}
	if o.End == custody.Deferred {
		e.Data.Ended, e.Data.Next = time.Time{}, o.Next
	}
	if e.body, err = json.Marshal(e); err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	return e, nil
}

// idOf is the same for each record of one end, or of one deferral: a crash may have left
// two. What an operator has sent on its way again ends anew.
func idOf(o custody.Outcome, recipient string) string {
	again := ""
	if !o.Revived.IsZero() {
		again = o.Revived.UTC().Format(time.RFC3339Nano)
	}
	return "evt_" + digest(string(o.ID), recipient, string(o.End), again)
}

// digest names what parts are, in lower-case letters and digits.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s", len(p), p)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)[:15]))
}

// of says whether the message came from or was for one of the domains; none: it did.
func (e *Event) of(domains []string) bool {
	if len(domains) == 0 {
		return true
	}
	return within(domainOf(e.Data.From), domains) || within(domainOf(e.Data.To), domains) || within(e.domain(), domains)
}

// domain is that of the recipient.
func (e *Event) domain() string {
	if e.Data.JID == "" {
		return domainOf(e.Data.To)
	}
	bare := e.Data.JID
	if !custody.IsMail(bare) { // the local part of a mail address may have a slash
		bare, _, _ = strings.Cut(bare, "/")
	}
	return domainOf(bare)
}

// within says whether a domain is one of several, of which ".example.com" takes in
// subdomains.
func within(domain string, domains []string) bool {
	return domain != "" && slices.ContainsFunc(domains, func(d string) bool {
		return d == domain || strings.HasPrefix(d, ".") && (strings.HasSuffix(domain, d) || domain == d[1:])
	})
}

// domainOf is the domain of a mail address or a bare JID, in lower case.
func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}
