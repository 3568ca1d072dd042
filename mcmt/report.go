package mcmt

import (
	"bytes"
	"strings"
)

// Report is a delivery status notification (RFC 3464): what a mail server says of a mail
// that was sent before.
type Report struct {
	EnvelopeID string // ENVID of that mail; empty: it had none, or the server does not say it
	Recipients []Reported
	Returned   Header // of that mail, where the server gives it back (RFC 6522 §3)
}

// Reported is what a notification says of one recipient. Addresses are as they stand
// there, without their type; one is empty where it is not named.
type Reported struct {
	Original, Final string
	Action          string // in lower case: "failed", "delayed", "delivered", "relayed" or "expanded" (RFC 3464 §2.3.3)
	Status          string // as "5.1.1" (RFC 3463)
}

// maxReported bounds the recipients of a notification.
const maxReported = 1000

// Report takes the mail as a notification; nil where it is none, or one that cannot be
// read. Not all servers call it a multipart/report (RFC 6522 §3): OpenSMTPD does not.
func (m *Email) Report(lim Limits) *Report {
	p := newParser(lim)
	e, err := p.entity(p.dropMboxLine(m.Raw), "")
	if err != nil || !isMultipart(e.kind) {
		return nil
	}
	children, err := p.children(e, 1)
	if err != nil {
		return nil
	}
	var r *Report
	for _, c := range children {
		switch c.kind {
		case "message/delivery-status", "message/global-delivery-status": // RFC 6533 §4
			if b, ok := p.content(c); ok && r == nil {
				r = p.report(b)
			}
		case "message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers":
			if b, ok := p.content(c); ok && r != nil {
				if h, _, err := p.header(b, c.where); err == nil {
					r.Returned = h
				}
				return r
			}
		}
	}
	return r
}

// report reads the part for programs: a block of fields for the mail, and one for each
// recipient (RFC 3464 §2.1).
func (p *parser) report(b []byte) *Report {
	r := new(Report)
	for first := true; len(b) > 0 && len(r.Recipients) < maxReported; first = false {
		h, rest, err := p.header(bytes.TrimLeft(b, "\r\n"), "")
		if err != nil {
			return nil
		}
		b = rest
		if first {
			r.EnvelopeID = h.Get("Original-Envelope-Id")
			continue
		}
		if h.Len() == 0 {
			continue
		}
		action, _, _ := strings.Cut(h.Get("Action"), "(") // a comment
		r.Recipients = append(r.Recipients, Reported{
			Original: reportedAddress(h.Get("Original-Recipient")), Final: reportedAddress(h.Get("Final-Recipient")),
			Action: strings.ToLower(strings.TrimSpace(action)), Status: h.Get("Status"),
		})
	}
	return r
}

// reportedAddress is an address without its type (RFC 3464 §2.1.2).
func reportedAddress(v string) string {
	kind, addr, ok := strings.Cut(v, ";")
	if !ok || strings.TrimSpace(kind) == "" {
		return ""
	}
	return strings.TrimSpace(addr)
}
