package httpd

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"mcmt2xmpp/mcmt"
)

// Media types of the bodies.
const (
	typeRFC822 = "message/rfc822"
	typeJSON   = "application/json"

	singleTypes = mcmt.Type + ", " + typeRFC822 + ", " + typeJSON
	batchTypes  = "application/x-ndjson, application/ndjson, application/jsonl"
)

// maxAddress bounds an address: 64 octets of local part, @ and 255 of domain
// (RFC 5321 §4.5.3.1).
const maxAddress = 320

// maxKey bounds an Idempotency-Key.
const maxKey = 255

// message is what a request, or a line of a batch, asks to send.
type message struct {
	from string // reverse-path; empty is the null path
	to   []string
	raw  []byte
	// parsed is raw; nil where it was not parsed, or changed afterwards.
	parsed *mcmt.Message
	key    string // Idempotency-Key
	line   int    // of the batch, from 1; 0 for none
	body   *body  // holds the memory
}

func (m *message) release() { m.body.release() }

// contentType checks the fields that describe the body: only the types listed,
// none of which a form of a web page can send, and no coding.
func contentType(r *http.Request, accepts string) (kind string, params map[string]string, err error) {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		// RFC 9110 §15.5.16 tells the client by Accept-Encoding.
		return "", nil, newProblem(http.StatusUnsupportedMediaType, "header Content-Encoding", "%.40q is not supported: send the body as it is", coding).
			with("Accept-Encoding", "identity")
	}
	fields := r.Header.Values("Content-Type")
	if len(fields) == 0 {
		return "", nil, unsupported("there is none", accepts)
	}
	if len(fields) > 1 {
		return "", nil, newProblem(http.StatusBadRequest, "header Content-Type", "the field is there %d times", len(fields))
	}
	kind, params, err = mime.ParseMediaType(fields[0])
	if err != nil {
		return "", nil, newProblem(http.StatusBadRequest, "header Content-Type", "it cannot be parsed: %v", err)
	}
	if !slices.Contains(strings.Split(accepts, ", "), kind) {
		return "", nil, unsupported("it is "+strings.ToValidUTF8(kind, "?"), accepts)
	}
	if charset := params["charset"]; charset != "" && kind != typeRFC822 && kind != mcmt.Type && !strings.EqualFold(charset, "utf-8") {
		return "", nil, newProblem(http.StatusUnsupportedMediaType, "header Content-Type", "JSON is UTF-8, not %.40q", charset)
	}
	return kind, params, nil
}

func unsupported(detail, accepts string) *problem {
	return newProblem(http.StatusUnsupportedMediaType, "header Content-Type", "%s; want one of %s", detail, accepts).with("Accept-Post", accepts)
}

// query is the envelope that the URL gives.
type query struct {
	from    string
	hasFrom bool // "?from=" is the null path, no from at all leaves it to the header
	to      []string
}

// parseQuery reads from and to; JSON names them in the body.
func parseQuery(r *http.Request, kind string) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return query{}, newProblem(http.StatusBadRequest, "query", "it cannot be parsed: %v", err)
	}
	for name := range values {
		if kind == typeJSON || name != "from" && name != "to" {
			return query{}, newProblem(http.StatusBadRequest, "query parameter "+clip(name), "it is not known here")
		}
	}
	if len(values["from"]) > 1 {
		return query{}, newProblem(http.StatusBadRequest, "query parameter from", "it is there %d times", len(values["from"]))
	}
	return query{from: values.Get("from"), hasFrom: values.Has("from"), to: values["to"]}, nil
}

// idempotencyKey reads the field of that name.
func idempotencyKey(r *http.Request) (string, error) {
	fields := r.Header.Values("Idempotency-Key")
	switch {
	case len(fields) == 0:
		return "", nil
	case len(fields) > 1:
		return "", newProblem(http.StatusBadRequest, "header Idempotency-Key", "the field is there %d times", len(fields))
	case fields[0] == "" || len(fields[0]) > maxKey:
		return "", newProblem(http.StatusBadRequest, "header Idempotency-Key", "want 1 to %d characters", maxKey)
	case strings.ContainsFunc(fields[0], func(r rune) bool { return r < ' ' || r > '~' }):
		return "", newProblem(http.StatusBadRequest, "header Idempotency-Key", "want printable ASCII")
	}
	return fields[0], nil
}

// fromMultipart takes a body of type multipart/vnd.msys.mcmt. The header that
// makes it a message comes from the request; it holds nothing that differs
// between two tries, or an Idempotency-Key would not recognise the second.
func (m *message) fromMultipart(x *exchange, params map[string]string, q query) error {
	// RFC 2046 §5.1.1.
	if b := params["boundary"]; b == "" || len(b) > 70 {
		return newProblem(http.StatusBadRequest, "header Content-Type", "want a boundary of 1 to 70 characters")
	}
	header := "MIME-Version: 1.0\r\nContent-Type: " + x.r.Header.Get("Content-Type") + "\r\n\r\n"
	raw := make([]byte, 0, len(header)+len(m.body.b))
	raw = append(append(raw, header...), m.body.b...)
	return m.fromRFC822(x, raw, q, "")
}

// checkAddress refuses what cannot be an address in an envelope. Whether it is
// one of ours is the sink's to say.
func checkAddress(a string) string {
	switch {
	case a == "":
		return "it is empty"
	case len(a) > maxAddress:
		return "it is longer than an address can be"
	case !utf8.ValidString(a):
		return "it is not UTF-8"
	case strings.ContainsFunc(a, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }):
		return "it holds a control character"
	case strings.ContainsAny(a, "<>") && !strings.HasPrefix(a, `"`):
		return "it holds an angle bracket: want the address alone"
	case strings.ContainsAny(a, " ,") && !strings.HasPrefix(a, `"`):
		return "it holds a space or comma: want one address"
	}
	return ""
}

// setEnvelope checks the addresses and takes each recipient once. where names
// the place of a recipient by its index.
func (m *message) setEnvelope(from, fromWhere string, to []string, where func(int) string, limit int) []fault {
	var faults []fault
	if why := checkAddress(from); why != "" && from != "" {
		faults = append(faults, fault{fromWhere, why})
	}
	seen := make(map[string]bool, len(to))
	for i, a := range to {
		if why := checkAddress(a); why != "" {
			faults = append(faults, fault{where(i), why})
			continue
		}
		if !seen[a] {
			seen[a] = true
			m.to = append(m.to, a)
		}
	}
	if len(m.to) > limit {
		faults = append(faults, fault{where(limit), "there are more recipients than one message may have"})
	}
	m.from = from
	return faults
}

// clip shortens text of the peer's for an answer.
func clip(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
