package convert

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Tickets bring what mail servers report of a mail (RFC 3464) to the Jabber user whose
// message it was, as the receipt that his client has asked for (XEP-0184). A ticket is the
// envelope id of the mail (RFC 3461 §4.4), and a field of its header, since not all servers
// give the one back. It holds the id of the message and a proof that it is of this
// gateway, so that nothing has to be remembered. The key is the same on all
// nodes, and secret; without one there are no tickets.
type Tickets struct{ Key []byte }

// receiptField is the field of the header with the ticket.
const receiptField = "Jabber-Gateway-Receipt"

// maxEnvelopeID is the length of an ENVID in characters (RFC 3461 §4.4).
const maxEnvelopeID = 100

// ticketEncoding is of characters that nobody has to quote, in either case.
var ticketEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// Of is the ticket of a message from author to a mail address; empty where he does not ask
// for a receipt, or the id of the message does not fit.
func (t Tickets) Of(st *stanza.Stanza, address string) string {
	if len(t.Key) == 0 || st.ID == "" || st.Type == stanza.TypeGroupchat || st.Element.Child(receiptRequest) == nil {
		return ""
	}
	ticket := "r." + t.proof(st.From, address, st.ID) + "." + strings.ToLower(ticketEncoding.EncodeToString([]byte(st.ID)))
	if len(ticket) > maxEnvelopeID {
		return ""
	}
	return ticket
}

// proof is 80 bits of who wrote to whom, and in which message. None of these holds a NUL.
func (t Tickets) proof(author jid.JID, address, id string) string {
	h := hmac.New(sha256.New, t.Key)
	_, _ = h.Write([]byte("receipt\x00" + author.Bare().String() + "\x00" + strings.ToLower(address) + "\x00" + id))
	return strings.ToLower(ticketEncoding.EncodeToString(h.Sum(nil)[:10]))
}

// id is that of the message of a ticket, where it is one of ours.
func (t Tickets) id(ticket string, author jid.JID, address string) (string, bool) {
	kind, rest, _ := strings.Cut(ticket, ".")
	proof, encoded, ok := strings.Cut(rest, ".")
	if !ok || kind != "r" || len(t.Key) == 0 {
		return "", false
	}
	id, err := ticketEncoding.DecodeString(strings.ToUpper(encoded))
	if err != nil || !hmac.Equal([]byte(strings.ToLower(proof)), []byte(t.proof(author, address, string(id)))) {
		return "", false
	}
	return string(id), true
}

// Receipt is the receipt that a notification brings about a mail of ours, with ours true
// for one that asks for nothing else: st is nil where it says less than that the mail has
// reached its recipient. What it says of a failure is for a person, and not ours.
func (c *Converter) Receipt(t Tickets, in Input) (st *stanza.Stanza, ours bool) {
	if in.From != "" || in.Message.Email == nil || len(t.Key) == 0 || !isReport(in.Message.Header) {
		return nil, false
	}
	r := in.Message.Email.Report(mcmt.Limits{})
	if r == nil {
		return nil, false
	}
	to, _, err := c.recipient(in.To)
	if err != nil {
		return nil, false
	}
	for _, about := range r.Recipients {
		address, id := t.about(r, about, to)
		from, err := c.Sender(address)
		if id == "" || err != nil {
			continue
		}
		switch about.Action {
		case "delivered":
			st = receiptOf(from, to, id)
			st.ID = StanzaID(in.ID, to)
			return st, true
		case "relayed", "expanded":
			return nil, true // nobody knows whether it arrives
		}
	}
	return nil, false
}

// about finds the message of a notification to author, and the address that it went to:
// what we wrote, as far as the servers have kept it. An empty id: it is none of ours.
func (t Tickets) about(r *mcmt.Report, about mcmt.Reported, author jid.JID) (address, id string) {
	for _, address := range []string{about.Original, about.Final} {
		if id, ok := t.id(r.EnvelopeID, author, address); ok {
			return address, id
		}
	}
	for _, to := range r.Returned.Addresses("To") {
		if id, ok := t.id(r.Returned.Get(receiptField), author, to.Addr); ok {
			return to.Addr, id
		}
	}
	return "", ""
}

// isReport says whether a mail may be a notification, which costs less than to read it.
func isReport(h mcmt.Header) bool {
	kind := h.Get("Content-Type")
	return len(kind) > 10 && strings.EqualFold(kind[:10], "multipart/")
}

// receiptOf is that of XEP-0184 §5.3, to all of the author's clients.
func receiptOf(from, to jid.JID, id string) *stanza.Stanza {
	st := stanza.NewMessage(to, from, stanza.TypeChat, "")
	st.Element.Add(xmlwire.New(receipt.Space, receipt.Local, "id", id))
	st.Element.Add(xmlwire.New(nsHints, "store"))
	return st
}
