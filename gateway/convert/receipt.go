package convert

import (
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

var (
	receiptRequest = xmlwire.Name{Space: "urn:xmpp:receipts", Local: "request"}
	receipt        = xmlwire.Name{Space: "urn:xmpp:receipts", Local: "received"}
	markers        = "urn:xmpp:chat-markers:0"
)

// RequestReceipt asks the recipient's client to say when it has the message (XEP-0184
// §5.1), where it has something that a client confirms: a body. It changes st.
func RequestReceipt(st *stanza.Stanza) {
	if st.Type == stanza.TypeGroupchat || st.Element.Child(xmlwire.Name{Space: stanza.Client, Local: "body"}) == nil ||
		st.Element.Child(receiptRequest) != nil || st.Element.Child(receipt) != nil {
		return
	}
	st.Element.Add(xmlwire.New(receiptRequest.Space, receiptRequest.Local))
}

// Receipts returns the ids of the messages that a client says it has, and how it says so;
// none where st is no such thing.
func Receipts(st *stanza.Stanza) (ids []string, proof string) {
	if st.Type == stanza.TypeError {
		return nil, ""
	}
	for _, n := range st.Element.Children {
		switch e := n.Element; {
		case e == nil:
			continue
		case e.Name == receipt:
			proof = "a receipt of the client (XEP-0184)"
		case e.Name.Space == markers && e.Name.Local == "received":
			proof = "a marker of the client that it was received (XEP-0333)"
		case e.Name.Space == markers && (e.Name.Local == "displayed" || e.Name.Local == "acknowledged"):
			proof = "a marker of the client that it was " + e.Name.Local + " (XEP-0333)"
		default:
			continue
		}
		if id := n.Element.Attr("id"); id != "" && len(id) <= maxID && len(ids) < maxReceipts {
			ids = append(ids, id)
		}
	}
	return ids, proof
}

// maxReceipts bounds what one message can confirm: XEP-0184 has one receipt in each.
const maxReceipts = 8
