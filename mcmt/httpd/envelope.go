package httpd

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/mail"
	"strings"

	"mcmt2xmpp/mcmt"
)

// fromRFC822 takes a whole message, MCMT or ordinary. What the query leaves open
// of the envelope comes from the header: the sender from Sender or From, the
// recipients from To, Cc and Bcc. Bcc is taken out of what is stored (RFC 5322
// §3.6.3). in names the message where it is part of something else.
func (m *message) fromRFC822(x *exchange, raw []byte, q query, in string) error {
	lim := mcmt.Limits{Size: x.opt.MaxMessageSize + 1<<20} // the size was checked; a header was added
	parsed, err := mcmt.Parse(raw, lim)
	if err != nil {
		return err
	}
	headers := envelopeHeaders(parsed)
	from, fromWhere := q.from, "query parameter from"
	if !q.hasFrom {
		if from, fromWhere, err = sender(headers, in); err != nil {
			return err
		}
	}
	to := q.to
	where := func(i int) string { return fmt.Sprintf("query parameter to (%d)", i+1) }
	if len(to) == 0 {
		var places []string
		if to, places, err = recipients(headers, in); err != nil {
			return err
		}
		where = func(i int) string { return places[min(i, len(places)-1)] }
	}
	if faults := m.setEnvelope(from, fromWhere, to, where, x.opt.MaxRecipients); len(faults) > 0 {
		return invalid(faults)
	}
	if m.raw, err = withoutBcc(raw, parsed); err == nil && len(m.raw) == len(raw) {
		m.parsed = parsed
	}
	return err
}

// envelopeHeaders returns the headers that may name sender and recipients: the
// message's own, then that of its e-mail part, for the outer one of an MCMT
// message often says nothing.
func envelopeHeaders(p *mcmt.Message) []mcmt.Header {
	if !p.MCMT {
		return []mcmt.Header{p.Header}
	}
	return []mcmt.Header{p.Header, p.Email.Header}
}

// sender returns the address of Sender, or else the first of From, of the first
// header that has one (RFC 5322 §3.6.2: the Sender is who sent it).
func sender(headers []mcmt.Header, in string) (addr, where string, err error) {
	for _, h := range headers {
		for _, name := range []string{"Sender", "From"} {
			if list := h.Addresses(name); len(list) > 0 {
				return list[0].Addr, in + "header " + name, nil
			}
		}
	}
	return "", "", newProblem(http.StatusUnprocessableEntity, in+"header From", "there is no sender, neither here nor as a query parameter")
}

// recipients returns the addresses of To, Cc and Bcc of the first header that has
// any, and the place of each. A field that cannot be parsed is refused: to
// deliver to those that can be made out would lose the others silently.
func recipients(headers []mcmt.Header, in string) (addrs, places []string, err error) {
	for _, h := range headers {
		for _, name := range []string{"To", "Cc", "Bcc"} {
			where := in + "header " + name
			for _, value := range h.Values(name) {
				list, err := parseList(value)
				if err != nil {
					return nil, nil, newProblem(http.StatusUnprocessableEntity, where, "it is not a list of addresses").because(err)
				}
				for _, a := range list {
					addrs, places = append(addrs, a), append(places, where)
				}
			}
		}
		if len(addrs) > 0 {
			return addrs, places, nil
		}
	}
	return nil, nil, newProblem(http.StatusUnprocessableEntity, in+"header To", "there is no recipient, neither in To, Cc and Bcc nor as a query parameter")
}

// anyCharset reads display names, which are not used, in whatever charset.
var anyCharset = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
}}

// parseList returns the addresses of a field, of groups their members.
func parseList(value string) ([]string, error) {
	if strings.TrimSpace(value) == "" {
		return nil, nil
	}
	list, err := anyCharset.ParseList(value)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, len(list))
	for i, a := range list {
		// String quotes the local part where it must be.
		s := (&mail.Address{Address: a.Address}).String()
		addrs[i] = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
	}
	return addrs, nil
}

// invalid is the answer to a message with mistakes in it.
func invalid(faults []fault) *problem {
	p := newProblem(http.StatusUnprocessableEntity, faults[0].Where, "%s", faults[0].Detail)
	if len(faults) > 1 {
		p.Detail = fmt.Sprintf("there are %d mistakes; the first: %s", len(faults), faults[0].Detail)
		p.Errors = faults[:min(len(faults), maxFaults)]
	}
	return p
}

// maxFaults bounds the list in an answer.
const maxFaults = 100
