package convert

import (
	"fmt"
	"slices"
	"strings"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// sendTypes are the types of a message that may leave (RFC 6121 §5.2.2). An
// error is an answer to a stanza, and nobody sent us one.
var sendTypes = []string{stanza.TypeChat, stanza.TypeNormal, stanza.TypeHeadline, stanza.TypeGroupchat}

// try makes the stanza of the part called name; nil where there is none that
// can be sent.
func (k *conversion) try(name string) *stanza.Stanza {
	switch name {
	case "xmpp":
		return k.xmpp()
	case "smpp":
		if sms := k.in.Message.SMS; sms != nil {
			return k.text(name, sms.Text)
		}
	case "mm7":
		if mm7 := k.in.Message.MM7; mm7 != nil {
			return k.mms(mm7)
		}
	case "email":
		return k.email()
	}
	k.step(name, "not there")
	return nil
}

// xmpp takes the XMPP part as it stands. One that is not valid must not get
// through; the message is still worth delivering, so the next part is tried.
func (k *conversion) xmpp() *stanza.Stanza {
	m := k.in.Message
	if !m.MCMT {
		k.step("xmpp", "not there: an ordinary mail")
		return nil
	}
	raw := m.XMPPPart(k.c.xmppTypes)
	if raw == nil {
		k.step("xmpp", "not there")
		return nil
	}
	st, from, err := k.readPart(raw)
	if err != nil {
		k.step("xmpp", "not valid, left out: %s", err)
		return nil
	}
	k.step("xmpp", "used as it stands")
	st.To = k.to
	st.From = k.partSender(from)
	k.dropClaims(st)
	if !slices.Contains(sendTypes, st.Type) {
		st.Type = k.c.messageType
	}
	return st
}

// readPart validates an XMPP part: one <message/> in restricted XML (RFC 6120
// §11.1). A part without a namespace is taken to be in jabber:client. The
// addresses are taken out first: a bad one must not cost the message, as none
// of them counts by itself. It returns the sender that the part names.
func (k *conversion) readPart(raw []byte) (*stanza.Stanza, string, error) {
	e, err := xmlwire.Parse(raw, k.c.limits)
	if err != nil {
		return nil, "", err
	}
	e = e.Clone()
	if e.Name.Space == "" {
		adopt(e)
	}
	if e.Name.Local != "message" {
		return nil, "", fmt.Errorf("<%.40s/> is not <message/>", e.Name.Local)
	}
	from := e.Attr("from")
	e.SetAttr("from", "")
	e.SetAttr("to", "")
	st, err := stanza.Parse(e)
	if err != nil {
		return nil, "", err
	}
	if st.Type == stanza.TypeError {
		return nil, "", fmt.Errorf("type error is an answer, not a message")
	}
	return st, from, nil
}

// dropClaims takes out of st what only the recipient's account may say: its
// stanza id (XEP-0359 §3), and where st is from that account itself, copies of
// messages that others sent, which a client would believe (XEP-0280 §11).
func (k *conversion) dropClaims(st *stanza.Stanza) {
	account := k.to.Bare()
	before := len(st.Element.Children)
	st.Element.Children = slices.DeleteFunc(st.Element.Children, func(n xmlwire.Node) bool {
		switch e := n.Element; {
		case e == nil:
			return false
		case e.Name == stanza.StanzaID:
			by, err := jid.Parse(e.Attr("by"))
			return err != nil || by == account
		default:
			return st.From.Bare() == account &&
				(e.Name.Space == "urn:xmpp:carbons:2" || strings.HasPrefix(e.Name.Space, "urn:xmpp:mam:"))
		}
	})
	if n := before - len(st.Element.Children); n > 0 {
		k.step("xmpp", "%d elements taken out that only the recipient's account may send", n)
	}
}

// adopt puts e and what inherits no namespace into stanza.Client.
func adopt(e *xmlwire.Element) {
	e.Name.Space = stanza.Client
	for c := range e.Elements() {
		if c.Name.Space == "" {
			adopt(c)
		}
	}
}

// partSender is the sender of an XMPP part: the one it names counts only where
// the peer may say so and the domain is ours.
func (k *conversion) partSender(named string) jid.JID {
	if named == "" || !k.in.PartFromAllowed {
		return k.from
	}
	j, err := jid.Parse(named)
	if err != nil || k.c.roles(j.Domain()) != Server {
		k.step("from", "sender of the part is not in a domain of ours, not kept")
		return k.from
	}
	k.step("from", "sender of the part kept: %s", j)
	return j
}

// text makes a stanza of plain text; nil where it is blank.
func (k *conversion) text(name, text string) *stanza.Stanza {
	body := k.body(text)
	if body == "" {
		k.step(name, "has no text")
		return nil
	}
	k.step(name, "text used")
	st := stanza.NewMessage(k.to, k.from, k.c.messageType, body)
	k.thread(st)
	return st
}

// email makes a stanza of the mail: text, or HTML reduced to text, or where
// there is neither the subject alone.
func (k *conversion) email() *stanza.Stanza {
	m := k.in.Message.Email
	if m == nil {
		k.step("email", "not there")
		return nil
	}
	subject := k.cut(clean(m.Subject))
	body, note := k.body(m.Text), "text/plain used"
	if body == "" && strings.TrimSpace(m.HTML) != "" {
		body, note = k.body(reduceHTML(m.HTML, k.c.maxBody)), "text/html used, reduced to text"
	}
	if body == "" {
		// A <subject/> alone would change the topic of a room and show
		// nothing elsewhere (RFC 6121 §5.2.4, XEP-0045 §8.1).
		body, subject, note = subject, "", "has no text, subject used"
	}
	if body == "" {
		k.step("email", "has neither text nor subject")
		return nil
	}
	k.step("email", "%s", note)
	st := stanza.NewMessage(k.to, k.from, k.c.messageType, body)
	if subject != "" {
		st.Element.Add(xmlwire.New(stanza.Client, "subject").AddText(subject))
	}
	k.thread(st)
	return st
}
