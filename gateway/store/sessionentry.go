package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
)

// sessionBucket holds a sessionEntry for each bound session of all processes.
const sessionBucket = "session"

// binding is one Bind. Of several of one full JID the latest holds.
type binding struct {
	since  int64 // nanoseconds since 1970, later than every binding known then
	node   string
	number uint64 // counts those of the node
}

// after says whether b is the later one. It is so on every node: what two nodes
// do at the same instant is ordered by their names.
func (b binding) after(o binding) bool {
	return cmp.Or(cmp.Compare(b.since, o.since), strings.Compare(b.node, o.node), cmp.Compare(b.number, o.number)) > 0
}

// sessionEntry is the value of a session in the bucket, as JSON.
type sessionEntry struct {
	JID       string `json:"jid"`
	Node      string `json:"node"`
	Number    uint64 `json:"number"` // the incarnation of the session on its node
	Since     int64  `json:"since"`
	Priority  int8   `json:"priority"`
	Available bool   `json:"available"`
	Present   bool   `json:"present,omitempty"` // others see it as available: while it is suspended, too
	Carbons   bool   `json:"carbons,omitempty"` // its client wants copies (XEP-0280)
	Moved     bool   `json:"moved,omitempty"`   // it is the session of the former binding, whose node has handed it over
}

func (e sessionEntry) binding() binding { return binding{e.Since, e.Node, e.Number} }

// shown is what the entry says of the session.
func (e sessionEntry) shown() shown {
	return shown{rankOf(e.Priority, e.Available), e.Available || e.Present, e.Carbons}
}

// shown is what other processes know of a session.
type shown struct {
	rank    int32 // the priority in one number: away where the session takes no messages
	present bool
	carbons bool
}

// nothing is shown of a session that is not there.
var nothing = shown{rank: away}

// shownOf is what others are to know of a session.
func shownOf(s router.Session) shown {
	c, ok := s.(interface{ Carbons() bool })
	return shown{rankOf(s.Priority()), router.Present(s), ok && c.Carbons()}
}

// away is the rank of a session that is not available, or not there.
const away = -1 << 16

func rankOf(priority int8, available bool) int32 {
	if !available {
		return away
	}
	return int32(priority)
}

// parseSession reads the entry under key.
func parseSession(key string, value []byte) (sessionEntry, jid.JID, error) {
	var e sessionEntry
	if err := json.Unmarshal(value, &e); err != nil {
		return e, jid.JID{}, fmt.Errorf("sessions: key %s: %w", key, err)
	}
	full, err := jid.Parse(e.JID)
	switch {
	case err != nil:
		return e, jid.JID{}, fmt.Errorf("sessions: key %s: %w", key, err)
	case full.IsBare() || e.Node == "" || sessionKey(full) != key:
		return e, jid.JID{}, fmt.Errorf("sessions: key %s: an entry that is not of it", key)
	}
	return e, full, nil
}

// sessionKey is the key of a full JID: the SHA-256 of the bare one, as far as is
// needed to tell accounts apart, and the resource.
func sessionKey(full jid.JID) string {
	sum := sha256.Sum256([]byte(full.Bare().String()))
	return hex.EncodeToString(sum[:16]) + "." + resourceKey(full.Resource())
}

// resourceKey is a resource as the token of a key: letters, digits, - and _ as
// they are, each other byte as = and two hex digits; what gets too long as its
// SHA-256 behind a slash, which no other resource has.
func resourceKey(resource string) string {
	var b strings.Builder
	for i := range len(resource) {
		switch c := resource[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	if b.Len() <= maxKey {
		return b.String()
	}
	sum := sha256.Sum256([]byte(resource))
	return "sha256/" + hex.EncodeToString(sum[:])
}
