package convert

import (
	"crypto/sha256"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// DelaySlack is the age up to which a message counts as of now.
const DelaySlack = time.Minute

// maxID bounds an id or thread that a message brings along.
const maxID = 255

// StanzaID is the id of the stanza that message id becomes for one recipient:
// 26 characters, the same on every attempt, telling nothing of either.
func StanzaID(id string, to jid.JID) string {
	sum := sha256.Sum256([]byte("mcmt2xmpp stanza\x00" + id + "\x00" + to.String()))
	return idEncoding.EncodeToString(sum[:16])
}

// identify gives st the ids by which a duplicate is recognised. The id of an
// XMPP part stays, since receipts and corrections refer to it (XEP-0184,
// XEP-0308); a careless sender uses one twice, so the origin id is ours unless
// the part has one (XEP-0359 §2.2).
func (k *conversion) identify(st *stanza.Stanza) {
	id := StanzaID(k.in.ID, k.to)
	if st.ID == "" || len(st.ID) > maxID {
		st.ID = id
	} else {
		k.step("id", "id of the part kept")
	}
	origin := stanza.OriginID
	if e := st.Element.Child(origin); e == nil || e.Attr("id") == "" {
		st.Element.Add(xmlwire.New(origin.Space, origin.Local, "id", id))
	}
}

// stamp is when the message was sent: its Date, unless that is after we had it
// or cannot be written (XEP-0082).
func stamp(in Input) time.Time {
	if m := in.Message.Email; m != nil && !m.Date.IsZero() {
		utc := m.Date.UTC()
		if (in.Received.IsZero() || utc.Before(in.Received)) && utc.Year() >= 1970 && utc.Year() <= 9999 {
			return utc
		}
	}
	return in.Received
}

// AddDelay marks st as sent at stamp if that is more than DelaySlack before now,
// and reports whether it did. by is who held the message. It changes st.
func AddDelay(st *stanza.Stanza, by jid.JID, stamp, now time.Time) bool {
	return now.Sub(stamp) > DelaySlack && MarkDelayed(st, by, stamp)
}

// MarkDelayed marks st as sent at stamp and held by by since (XEP-0203 §2), and
// reports whether it did: a mark that is there already stays the only one, and
// the zero stamp makes none. It changes st.
func MarkDelayed(st *stanza.Stanza, by jid.JID, stamp time.Time) bool {
	if stamp.IsZero() || st.Element.Child(stanza.Delay) != nil {
		return false
	}
	st.Element.Add(xmlwire.New(stanza.Delay.Space, stanza.Delay.Local,
		"from", by.String(), "stamp", stamp.UTC().Format("2006-01-02T15:04:05Z")))
	return true
}
