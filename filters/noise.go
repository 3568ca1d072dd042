package filters

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"mcmt2xmpp/xmpp/stanza"
)

// Kind is what a verdict found, for the report of what was dropped. The zero value
// is what none of the others names.
type Kind uint8

// The kinds.
const (
	OtherKind Kind = iota
	Active         // chat states (XEP-0085 §4)
	Composing
	Paused
	Inactive
	Gone
	UnknownState // one that XEP-0085 does not have
	Receipt      // delivery receipt, or the request for one (XEP-0184)
	Marker       // chat marker (XEP-0333)
	Empty        // nothing at all, or an empty body
	Wordless     // what means something to a client, without text: a reaction, encryption, an invitation
	Error        // an error, which does not become mail
	Element      // what the filter of type element looks for
	Body         // what the filter of type body_regex looks for
	Size         // too large
	Rate         // too many of one sender
	kindCount    // number of kinds
)

var kindNames = [kindCount]string{
	"other", "active", "composing", "paused", "inactive", "gone", "unknown_state", "receipt", "marker", "empty", "wordless",
	"error", "element", "body", "size", "rate",
}

// String returns the kind as the report names it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// stateKind is the kind of a chat state (XEP-0085 §4).
func stateKind(state string) Kind {
	switch state {
	case "active":
		return Active
	case "composing":
		return Composing
	case "paused":
		return Paused
	case "inactive":
		return Inactive
	case "gone":
		return Gone
	}
	return UnknownState
}

// Bounds of what one filter tells apart; both are names that strangers choose. The
// rest is counted as otherName.
const (
	maxDomains  = 100
	maxClients  = 50
	otherName   = "other"
	unknownName = "unknown"
)

// tally counts what one filter has dropped.
type tally struct {
	kinds   [kindCount][directions]atomic.Uint64
	mails   atomic.Uint64 // in the direction Out: to a mail address
	sms     atomic.Uint64 // and to a phone number
	domains names
	clients names
}

func newTally() *tally {
	return &tally{domains: names{max: maxDomains}, clients: names{max: maxClients}}
}

// add counts it, which is dropped as a kind.
func (t *tally) add(it *Item, k Kind) {
	if k >= kindCount {
		k = OtherKind
	}
	t.kinds[k][it.Direction].Add(1)
	t.domains.add(senderDomain(it))
	switch it.Direction {
	case In: // a mail has no client
		return
	case Out:
		t.addSaved(it.Recipient)
	}
	t.clients.add(software(it))
}

// addSaved counts a mail or short message that was not sent. A JID that stands for no
// address gets neither.
func (t *tally) addSaved(recipient string) {
	switch {
	case recipient == "":
	case strings.Contains(recipient, "@"):
		t.mails.Add(1)
	default:
		t.sms.Add(1)
	}
}

// names counts by name, the first max of them. Most messages have a name that is
// known, and take no lock; many have that of the one before, and need no look-up.
type names struct {
	max    int
	last   atomic.Pointer[count]
	counts atomic.Pointer[map[string]*count] // replaced, never changed
	mu     sync.Mutex                        // who replaces it
}

// count is that of one name.
type count struct {
	name string
	atomic.Uint64
}

// add counts name.
func (n *names) add(name string) {
	c := n.last.Load()
	if c == nil || c.name != name {
		if c = n.known(name); c == nil {
			c = n.learn(name)
		}
		n.last.Store(c)
	}
	c.Add(1)
}

// known returns the count of a name, nil for one that was not seen yet.
func (n *names) known(name string) *count {
	if all := n.counts.Load(); all != nil {
		return (*all)[name]
	}
	return nil
}

// learn returns the count of a name that was not known, or that of the others where
// there is no room.
func (n *names) learn(name string) *count {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.known(name); c != nil {
		return c
	}
	all := make(map[string]*count)
	if old := n.counts.Load(); old != nil {
		if len(*old) >= n.max {
			name = otherName
		}
		if c := (*old)[name]; c != nil {
			return c
		}
		maps.Copy(all, *old)
	}
	c := &count{name: strings.Clone(name)} // it may be a piece of a stanza
	all[c.name] = c
	n.counts.Store(&all)
	return c
}

// list returns the counts.
func (n *names) list() map[string]uint64 {
	all := make(map[string]uint64)
	if counts := n.counts.Load(); counts != nil {
		for name, c := range *counts {
			all[name] = c.Load()
		}
	}
	return all
}

// senderDomain is that of the sender's mail address, or else of its JID.
func senderDomain(it *Item) string {
	if domain := domainOf(it.Sender); domain != "" {
		return domain
	}
	if domain := it.Stanza.From.Domain(); domain != "" {
		return domain
	}
	return unknownName
}

// domainOf is the domain of a mail address in lower case, "" for what is none.
func domainOf(address string) string {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return ""
	}
	return strings.ToLower(address[i+1:])
}

// maxSoftware bounds the name of a client.
const maxSoftware = 64

// software names the sender's client by the host of its capabilities' node, which
// is a URI that stands for the software and not for its version (XEP-0115 §4):
// "https://gajim.org" gives gajim.org.
func software(it *Item) string {
	if it.Software == nil || it.Stanza.Kind != stanza.Message {
		return unknownName
	}
	node := it.Software(it.Stanza.From)
	if _, rest, ok := strings.Cut(node, "://"); ok {
		node = rest
	}
	node, _, _ = strings.Cut(node, "/")
	node, _, _ = strings.Cut(node, "#")
	node = strings.TrimPrefix(strings.ToLower(node), "www.")
	if node == "" || len(node) > maxSoftware || strings.ContainsFunc(node, notInHost) {
		return unknownName
	}
	return node
}

// notInHost keeps what a client claims out of the report unless it reads like a
// host name: anything else might be a text.
func notInHost(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
}
