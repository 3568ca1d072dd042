package outmail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"time"
	"unicode/utf8"
)

// action is what a notification says of a recipient (RFC 3464 §2.3.3). There is no
// "expanded": nothing here has members.
type action string

const (
	failed    action = "failed"
	delayed   action = "delayed"
	delivered action = "delivered"
	relayed   action = "relayed"
)

// notification is a delivery status notification for one recipient (RFC 3464). Its texts
// may come from anybody: whatever they hold, they stay within their field.
type notification struct {
	Host    string // that reports
	To      string // who is told: the envelope sender
	ID      string // Message-ID without angle brackets
	Date    time.Time
	Action  action
	Status  enhanced
	Explain []string // paragraphs for a person

	EnvelopeID string    // ENVID
	Arrival    time.Time // of the message
	Original   string    // ORCPT: address type and address; empty: not given
	Recipient  string    // as the sender wrote it
	Remote     string    // name type and name of the host that decided; empty: we did
	Diagnostic string    // type and text; empty: none
	Until      time.Time // when it will be given up; zero: not said

	MessageID string // of the message, without angle brackets; empty: not known
	Message   []byte // the message, or nil where it is not at hand
	Full      bool   // all of it is wanted
}

// Bounds in bytes.
const (
	maxText     = 700       // of one text from elsewhere, so that no line is too long
	maxHeaders  = 32 << 10  // of a message's header that goes back
	maxReturned = 256 << 10 // of a message that goes back whole
)

// build writes the notification as a mail (RFC 6522): for a person, for a program, and
// what it is about.
func (n *notification) build() []byte {
	parts := [][]byte{n.human(), n.status(), n.returned()}
	boundary := boundaryFor(parts)
	var b bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	field("Date", n.Date.Format(dateLayout))
	field("From", "Mail Delivery System <postmaster@"+atom(n.Host)+">")
	field("To", "<"+oneLine(n.To, maxText)+">")
	field("Subject", subjects[n.Action])
	field("Message-ID", "<"+oneLine(n.ID, maxText)+">")
	if id := msgID(n.MessageID); id != "" {
		field("In-Reply-To", "<"+id+">")
		field("References", "<"+id+">")
	}
	field("Auto-Submitted", "auto-replied") // RFC 3834 §5
	field("MIME-Version", "1.0")
	field("Content-Type", "multipart/report; report-type=delivery-status;\r\n\tboundary=\""+boundary+"\"")
	b.WriteString("\r\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\n%s\r\n", boundary, p)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes()
}

var subjects = map[action]string{
	failed:    "Message not delivered",
	delayed:   "Message not delivered yet",
	delivered: "Message delivered",
	relayed:   "Message passed on",
}

// human is the part for a person.
func (n *notification) human() []byte {
	var b bytes.Buffer
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	paragraphs := []string{"This is the mail system of " + atom(n.Host) + "."}
	for _, p := range n.Explain {
		paragraphs = append(paragraphs, oneLine(p, 3*maxText))
	}
	quoted(&b, strings.Join(paragraphs, "\n\n")+"\n")
	return b.Bytes()
}

// status is the part for programs: a block of fields for the message, and one for the
// recipient (RFC 3464 §2.1).
func (n *notification) status() []byte {
	var b bytes.Buffer
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	b.WriteString("Content-Type: message/delivery-status\r\n\r\n")
	field("Original-Envelope-Id", plainText(n.EnvelopeID))
	field("Reporting-MTA", "dns; "+atom(n.Host))
	field("Arrival-Date", date(n.Arrival))
	b.WriteString("\r\n")
	field("Original-Recipient", typed(n.Original))
	field("Final-Recipient", addressField(n.Recipient))
	field("Action", string(n.Action))
	field("Status", n.Status.String())
	field("Remote-MTA", typed(n.Remote))
	field("Diagnostic-Code", typed(n.Diagnostic))
	field("Last-Attempt-Date", date(n.Date))
	field("Will-Retry-Until", date(n.Until))
	return b.Bytes()
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(dateLayout)
}

// addressField is the address of a recipient with its type. It is that of mail, for an
// address in an XMPP domain too: so the sender has written it (RFC 3464 §2.3.2). One that
// is not ASCII is written as RFC 6533 §3 has it for a message of 7 bits.
func addressField(addr string) string {
	switch {
	case !isASCII(addr):
		var b strings.Builder
		for _, r := range oneLine(addr, maxText/10) {
			if r < 0x80 && r != '\\' && r != '+' && r != '=' {
				b.WriteRune(r)
			} else {
				fmt.Fprintf(&b, `\x{%X}`, r)
			}
		}
		return "utf-8; " + b.String()
	case !strings.Contains(addr, "@"):
		return "x-phone; " + plainText(addr)
	}
	return "rfc822; " + plainText(addr)
}

// typed is a value with its type before a semicolon; empty for what has none.
func typed(s string) string {
	kind, value, ok := strings.Cut(s, ";")
	value = plainText(strings.TrimSpace(value))
	if !ok || kind == "" || kind != atom(kind) || len(kind) > 60 || value == "" {
		return ""
	}
	return kind + "; " + value
}

// returned is the message, or its header, or what is known of it.
func (n *notification) returned() []byte {
	var b bytes.Buffer
	if n.Full && n.Action == failed && n.Message != nil && len(n.Message) <= maxReturned && transportable(n.Message) {
		b.WriteString("Content-Type: message/rfc822\r\n")
		if !isASCII(string(n.Message)) {
			b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
		}
		b.WriteString("\r\n")
		b.Write(n.Message)
		return b.Bytes()
	}
	b.WriteString("Content-Type: text/rfc822-headers; charset=utf-8\r\n")
	header := headerOf(n.Message)
	if id := msgID(n.MessageID); len(header) == 0 && id != "" {
		header = []byte("Message-ID: <" + id + ">\r\n")
	}
	if transportable(header) && isASCII(string(header)) {
		b.WriteString("\r\n")
		b.Write(header)
		return b.Bytes()
	}
	// Lines that are too long, or not of 7 bits: only text may be encoded.
	b.WriteString("Content-Transfer-Encoding: quoted-printable\r\n\r\n")
	quoted(&b, string(header))
	return b.Bytes()
}

// headerOf is the header of a message, or the lines of it that are not too much.
func headerOf(raw []byte) []byte {
	end := 0
	for end < len(raw) {
		i := bytes.IndexByte(raw[end:], '\n') + 1
		if i == 0 {
			i = len(raw) - end
		}
		if len(bytes.TrimRight(raw[end:end+i], "\r\n")) == 0 || end+i > maxHeaders {
			break
		}
		end += i
	}
	return raw[:end]
}

// transportable reports whether b can be part of a mail as it is: lines of at most 998
// bytes that end in CRLF, no NUL (RFC 5322 §2.1.1).
func transportable(b []byte) bool {
	for line := range bytes.Lines(b) {
		text, ended := bytes.CutSuffix(line, []byte("\r\n"))
		if len(text) > 998 || bytes.ContainsAny(text, "\r\n\x00") || !ended && bytes.HasSuffix(line, []byte("\n")) {
			return false
		}
	}
	return true
}

// quoted writes text in quoted-printable.
func quoted(b *bytes.Buffer, text string) {
	w := quotedprintable.NewWriter(b)
	_, _ = io.WriteString(w, strings.ToValidUTF8(text, "\ufffd")) // a Buffer does not fail
	_ = w.Close()
}

// boundaryFor returns a boundary that none of the parts holds.
func boundaryFor(parts [][]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	for {
		b := "=_" + hex.EncodeToString(h.Sum(nil)[:12])
		clash := false
		for _, p := range parts {
			clash = clash || bytes.Contains(p, []byte(b))
		}
		if !clash {
			return b
		}
		h.Write([]byte(b))
	}
}

// msgID is a msg-id from elsewhere, empty where it cannot stand in a header.
func msgID(s string) string {
	if len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' }) {
		return ""
	}
	return s
}

// plainText is text for a field of ASCII.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x7f {
			return '?'
		}
		return r
	}, oneLine(s, maxText))
}

// oneLine makes s one line of at most most bytes without control characters.
func oneLine(s string, most int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd")))
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
