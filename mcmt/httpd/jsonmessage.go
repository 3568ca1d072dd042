package httpd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"mcmt2xmpp/mcmt"
)

// jsonMessage is a message in JSON. A field that is missing, or null, is nil.
type jsonMessage struct {
	From    *string
	To      []string
	Subject *string
	Text    *string
	XMPP    *string // one stanza
	Email   *string // a whole mail
}

// field returns where to put the value of a member, nil for one that is unknown.
func (j *jsonMessage) field(name string) any {
	switch name {
	case "from":
		return &j.From
	case "to":
		return &j.To
	case "subject":
		return &j.Subject
	case "text":
		return &j.Text
	case "xmpp":
		return &j.XMPP
	case "email":
		return &j.Email
	default:
		return nil
	}
}

// decodeJSON reads one object. Unlike encoding/json it refuses unknown and
// repeated members, and names that differ in case: what a client misspells
// would be left out without a word. Every such mistake is in the answer.
func decodeJSON(b []byte) (*jsonMessage, error) {
	if !utf8.Valid(b) {
		return nil, newProblem(http.StatusBadRequest, "body", "it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if t, err := dec.Token(); err != nil {
		return nil, syntax(dec, err)
	} else if t != json.Delim('{') {
		return nil, newProblem(http.StatusBadRequest, "body", "want a JSON object")
	}
	j, seen := new(jsonMessage), make(map[string]bool)
	var faults []fault
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, syntax(dec, err)
		}
		name, _ := t.(string) // only strings are members' names
		why, err := j.decode(dec, name, seen)
		if err != nil {
			return nil, err
		}
		if why != "" && len(faults) < maxFaults {
			faults = append(faults, fault{"field " + clip(name), why})
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, syntax(dec, err)
	}
	end := dec.InputOffset()
	if _, err := dec.Token(); err != io.EOF {
		return nil, newProblem(http.StatusBadRequest, fmt.Sprintf("offset %d", end), "something follows the object")
	}
	if len(faults) > 0 {
		p := invalid(faults)
		p.Type, p.Title, p.Status = typePrefix+kinds[http.StatusBadRequest][0], kinds[http.StatusBadRequest][1], http.StatusBadRequest
		return nil, p
	}
	return j, nil
}

// decode reads the value of one member. It returns what is wrong with it, or an
// error where the rest cannot be read either.
func (j *jsonMessage) decode(dec *json.Decoder, name string, seen map[string]bool) (why string, err error) {
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		return "", syntax(dec, err)
	}
	into := j.field(name)
	switch {
	case into == nil:
		return "it is not known; known are from, to, subject, text, xmpp and email", nil
	case seen[name]:
		return "it is there more than once", nil
	}
	seen[name] = true
	if json.Unmarshal(value, into) != nil {
		if name == "to" {
			return "want a list of strings", nil
		}
		return "want a string", nil
	}
	return "", nil
}

// syntax says where the JSON ends to be JSON.
func syntax(dec *json.Decoder, err error) *problem {
	at := dec.InputOffset()
	var se *json.SyntaxError
	if errors.As(err, &se) {
		at = max(at, se.Offset)
	}
	detail := "it is not JSON"
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		detail = "the JSON is cut short"
	}
	return newProblem(http.StatusBadRequest, fmt.Sprintf("offset %d", at), "%s", detail).because(err)
}

// fromJSON takes a message in JSON.
func (m *message) fromJSON(s *Server, x *exchange, b []byte) error {
	j, err := decodeJSON(b)
	if err != nil {
		return err
	}
	if faults := j.contradictions(); len(faults) > 0 {
		return invalid(faults)
	}
	if j.Email != nil {
		err = m.fromJSONMail(x, j)
	} else {
		err = m.fromJSONText(s, x, j)
	}
	if err == nil && int64(len(m.raw)) > x.opt.MaxMessageSize {
		err = tooLarge(x.opt.MaxMessageSize)
	}
	return err
}

// contradictions returns what cannot be meant.
func (j *jsonMessage) contradictions() (faults []fault) {
	switch {
	case j.Email != nil && j.Subject != nil:
		faults = append(faults, fault{"field subject", "the mail in email has one of its own"})
	case j.Email != nil && j.Text != nil:
		faults = append(faults, fault{"field text", "the mail in email has one of its own"})
	case j.Email == nil && j.Text == nil && j.XMPP == nil && j.Subject == nil:
		faults = append(faults, fault{"field text", "there is nothing to send: want text, subject, xmpp or email"})
	}
	if j.Email == nil && j.From == nil {
		faults = append(faults, fault{"field from", `it is missing; "" is the null sender`})
	}
	if j.Email == nil && len(j.To) == 0 {
		faults = append(faults, fault{"field to", "it is missing, or empty"})
	}
	return faults
}

// fromJSONMail takes a message whose mail is given whole.
func (m *message) fromJSONMail(x *exchange, j *jsonMessage) error {
	q := query{to: j.To}
	if j.From != nil {
		q.from, q.hasFrom = *j.From, true
	}
	if err := m.fromRFC822(x, []byte(*j.Email), q, "field email, "); err != nil {
		return inside("field email", err)
	}
	if j.XMPP == nil {
		return nil
	}
	parsed := m.parsed
	if parsed == nil {
		parsed, _ = mcmt.Parse(m.raw, mcmt.Limits{})
	}
	if parsed != nil && parsed.MCMT {
		return newProblem(http.StatusUnprocessableEntity, "field xmpp", "the mail in email is a multi-channel message already")
	}
	return m.build(mcmt.Draft{Email: m.raw, XMPP: []byte(*j.XMPP)})
}

// inside adds to the place of a parser's refusal what was parsed.
func inside(where string, err error) error {
	var r *mcmt.Refusal
	if !errors.As(err, &r) {
		return err
	}
	in := *r
	in.Where = strings.TrimSuffix(where+", "+r.Where, ", ")
	return &in
}

// fromJSONText takes a message whose mail is to be written.
func (m *message) fromJSONText(s *Server, x *exchange, j *jsonMessage) error {
	place := func(i int) string { return fmt.Sprintf("field to[%d]", i) }
	if faults := m.setEnvelope(*j.From, "field from", j.To, place, x.opt.MaxRecipients); len(faults) > 0 {
		return invalid(faults)
	}
	d := mcmt.Draft{From: m.from, Subject: deref(j.Subject), Text: deref(j.Text)}
	if len(m.to) == 1 {
		d.To = m.to // several would read each other's addresses, as in Bcc they do not
	}
	if j.XMPP != nil {
		d.XMPP = []byte(*j.XMPP)
	}
	if m.key == "" {
		d.Date = x.start
		d.MessageID = string(mcmt.NewID(x.start)) + "@" + s.opt.Hostname
	} else {
		// The same request must give the same bytes again: the sink compares
		// them when it meets the key a second time.
		sum := sha256.Sum256([]byte(x.user + "\x00" + m.key))
		d.MessageID = hex.EncodeToString(sum[:16]) + "@" + s.opt.Hostname
	}
	return m.build(d)
}

// build writes the message.
func (m *message) build(d mcmt.Draft) error {
	raw, err := mcmt.Build(d)
	if err == nil {
		m.raw, m.parsed = raw, nil
		return nil
	}
	var r *mcmt.Refusal
	if errors.As(err, &r) {
		return r
	}
	return newProblem(http.StatusUnprocessableEntity, "body", "no mail can be made of it").because(err)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
