package httpd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
)

const multipartField = "Content-Type: multipart/vnd.msys.mcmt; boundary=b\n"

// mcmtBody is the body of an MCMT message whose e-mail part has these fields.
func mcmtBody(fields string) string {
	return "--b\r\nContent-Type: message/rfc822\r\n\r\n" + fields + "Subject: hi\r\n\r\ntext\r\n" +
		"--b\r\nContent-Type: message/vnd.msys.xmpp\r\n\r\n<message><body>hi</body></message>\r\n--b--\r\n"
}

const mailAddrs = "From: a@corp.example\r\nTo: juliet@localhost\r\n"

// addresses lists the recipients of an envelope.
func addresses(env mcmt.Envelope) (out []string) {
	for _, r := range env.To {
		out = append(out, r.Address)
	}
	return out
}

// What is accepted, with the envelope that comes of it.
func TestAccepted(t *testing.T) {
	t.Parallel()
	juliet := []string{"juliet@localhost"}
	for name, tc := range map[string]struct {
		path, fields, body string
		from               string
		to                 []string
	}{
		"multipart, envelope from the e-mail part": {"", multipartField, mcmtBody(mailAddrs), "a@corp.example", juliet},
		"multipart, envelope from the query":       {"?from=b@x.example&to=romeo@localhost&to=%2B4917@localhost", multipartField, mcmtBody(mailAddrs), "b@x.example", []string{"romeo@localhost", "+4917@localhost"}},
		"a null sender in the query":               {"?from=", multipartField, mcmtBody(mailAddrs), "", juliet},
		"multipart without any address inside":     {"?from=b@x&to=juliet@localhost", multipartField, mcmtBody(""), "b@x", juliet},
		"a type in capitals, a quoted boundary":    {"", "Content-Type: Multipart/Vnd.Msys.MCMT; Boundary=\"b\"\n", mcmtBody(mailAddrs), "a@corp.example", juliet},
		"an ordinary mail":                         {"", mailField, goodMail, "a@corp.example", juliet},
		"a mail with LF only":                      {"", mailField, strings.ReplaceAll(goodMail, "\r", ""), "a@corp.example", juliet},
		"an MCMT message with its own header":      {"", mailField, mailAddrs + "Content-Type: multipart/vnd.msys.mcmt; boundary=b\r\n\r\n" + mcmtBody(""), "a@corp.example", juliet},
		"Sender before From, RFC 5322 §3.6.2":      {"", mailField, "Sender: s@corp.example\r\n" + goodMail, "s@corp.example", juliet},
		"To, Cc and Bcc, each address once":        {"", mailField, "Cc: Nurse <nurse@localhost>,\r\n juliet@localhost\r\nBcc: peter@localhost\r\n" + goodMail, "a@corp.example", []string{"juliet@localhost", "nurse@localhost", "peter@localhost"}},
		"a group, RFC 5322 §3.4":                   {"", mailField, "From: a@b\r\nTo: capulets: juliet@localhost, nurse@localhost;\r\n\r\nx", "a@b", []string{"juliet@localhost", "nurse@localhost"}},
		"a quoted local part stays quoted":         {"", mailField, "From: a@b\r\nTo: \"a b\"@localhost\r\n\r\nx", "a@b", []string{`"a b"@localhost`}},
		"a display name in another charset":        {"", mailField, "From: a@b\r\nTo: =?koi8-r?B?8NLJ?= <juliet@localhost>\r\n\r\nx", "a@b", juliet},
		"JSON":                                     {"", jsonField, goodJSON, "a@corp.example", juliet},
		"JSON with a charset":                      {"", "Content-Type: application/json; charset=UTF-8\n", goodJSON, "a@corp.example", juliet},
		"JSON, null is absent":                     {"", jsonField, `{"from":"","to":["juliet@localhost"],"subject":"s","text":null}`, "", juliet},
		"JSON with a stanza":                       {"", jsonField, `{"from":"a@b","to":["juliet@localhost"],"xmpp":"<message><body>x</body></message>"}`, "a@b", juliet},
		"JSON with a mail":                         {"", jsonField, `{"email":` + quote(goodMail) + `}`, "a@corp.example", juliet},
		"JSON with a mail and an envelope":         {"", jsonField, `{"from":"b@x","to":["romeo@localhost"],"email":` + quote(goodMail) + `,"xmpp":"<message/>"}`, "b@x", []string{"romeo@localhost"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{}
			_, addr := start(t, Options{Sink: snk, Listener: "http_listener test"})
			got := post(t, addr, "/v1/messages"+tc.path, tc.fields, tc.body)
			if got.status != 202 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			env, raw := snk.one(t)
			if env.From != tc.from || !reflect.DeepEqual(addresses(env), tc.to) {
				t.Errorf("envelope %q to %q", env.From, addresses(env))
			}
			if env.Reception != mcmt.Allow || env.Listener != "http_listener test" || !env.Peer.IsValid() || env.Received.IsZero() || env.Trusted {
				t.Errorf("envelope %+v", env)
			}
			if _, err := mcmt.Parse([]byte(raw), mcmt.Limits{}); err != nil {
				t.Errorf("what is stored does not parse: %v", err)
			}
			var a answer
			if err := json.Unmarshal([]byte(got.body), &a); err != nil || a.ID != "id1" || len(a.Recipients) != len(tc.to) {
				t.Errorf("answer %s: %v", got.body, err)
			}
		})
	}
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// What is refused, with the status and the place.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		path, fields, body string
		status             int
		where              string
	}{
		"no content type":                   {"", "", "x", 415, "header Content-Type"},
		"a form's type: urlencoded":         {"", "Content-Type: application/x-www-form-urlencoded\n", "x", 415, "header Content-Type"},
		"a form's type: form-data":          {"", "Content-Type: multipart/form-data; boundary=b\n", "x", 415, "header Content-Type"},
		"a form's type: text":               {"", "Content-Type: text/plain\n", goodJSON, 415, "header Content-Type"},
		"two content types":                 {"", jsonField + mailField, goodJSON, 400, "header Content-Type"},
		"a broken content type":             {"", "Content-Type: multipart/vnd.msys.mcmt; boundary\n", "x", 400, "header Content-Type"},
		"no boundary":                       {"", "Content-Type: multipart/vnd.msys.mcmt\n", "x", 400, "header Content-Type"},
		"a boundary beyond RFC 2046 §5.1.1": {"", "Content-Type: multipart/vnd.msys.mcmt; boundary=" + strings.Repeat("b", 71) + "\n", "x", 400, "header Content-Type"},
		"JSON in another charset":           {"", "Content-Type: application/json; charset=iso-8859-1\n", goodJSON, 415, "header Content-Type"},
		"a content coding":                  {"", jsonField + "Content-Encoding: gzip\n", "x", 415, "header Content-Encoding"},
		"a body over the limit":             {"", mailField, goodMail + strings.Repeat("x", 20_000), 413, ""},
		"an unknown query parameter":        {"?rcpt=a@b", mailField, goodMail, 400, "query parameter rcpt"},
		"a query beside JSON":               {"?from=a@b", jsonField, goodJSON, 400, "query parameter from"},
		"two senders in the query":          {"?from=a@b&from=c@d", mailField, goodMail, 400, "query parameter from"},
		"a query that cannot be parsed":     {"?from=%zz", mailField, goodMail, 400, "query"},
		"a bad recipient in the query":      {"?to=juliet@localhost&to=a%0d%0ab@c", mailField, goodMail, 422, "query parameter to (2)"},
		"an empty recipient in the query":   {"?to=", mailField, goodMail, 422, "query parameter to (1)"},
		"a sender with brackets":            {"?from=%3Ca@b%3E", mailField, goodMail, 422, "query parameter from"},
		"no sender":                         {"", mailField, "To: juliet@localhost\r\n\r\nx", 422, "header From"},
		"no recipient":                      {"", mailField, "From: a@b\r\nTo: undisclosed-recipients:;\r\n\r\nx", 422, "header To"},
		"a recipient that cannot be read":   {"", mailField, "From: a@b\r\nTo: juliet@localhost, what is this\r\n\r\nx", 422, "header To"},
		"MCMT without its e-mail part":      {"", multipartField, "--b\r\nContent-Type: message/vnd.msys.xmpp\r\n\r\n<message/>\r\n--b--\r\n", 422, "body"},
		"an idempotency key too long":       {"", jsonField + "Idempotency-Key: " + strings.Repeat("k", 256) + "\n", goodJSON, 400, "header Idempotency-Key"},
		"an idempotency key not ASCII":      {"", jsonField + "Idempotency-Key: schlüssel\n", goodJSON, 400, "header Idempotency-Key"},
		"two idempotency keys":              {"", jsonField + "Idempotency-Key: a\nIdempotency-Key: b\n", goodJSON, 400, "header Idempotency-Key"},
		"empty JSON":                        {"", jsonField, "", 400, "offset 0"},
		"JSON that breaks off":              {"", jsonField, `{"from":"a@b"`, 400, "offset 13"},
		"JSON that is a list":               {"", jsonField, `[]`, 400, "body"},
		"JSON, then more":                   {"", jsonField, goodJSON + "{}", 400, "offset 63"},
		"JSON that is not UTF-8":            {"", jsonField, "{\"from\":\"\xff\"}", 400, "body"},
		"an unknown field":                  {"", jsonField, `{"from":"a@b","to":["c@d"],"text":"x","subjct":"s"}`, 400, "field subjct"},
		"a field in another case":           {"", jsonField, `{"From":"a@b","to":["c@d"],"text":"x"}`, 400, "field From"},
		"a field twice":                     {"", jsonField, `{"from":"a@b","to":["c@d"],"text":"x","text":"y"}`, 400, "field text"},
		"a field of another type":           {"", jsonField, `{"from":"a@b","to":"c@d","text":"x"}`, 400, "field to"},
		"JSON without sender":               {"", jsonField, `{"to":["c@d"],"text":"x"}`, 422, "field from"},
		"JSON without recipients":           {"", jsonField, `{"from":"a@b","to":[],"text":"x"}`, 422, "field to"},
		"JSON without content":              {"", jsonField, `{"from":"a@b","to":["c@d"]}`, 422, "field text"},
		"JSON with two texts":               {"", jsonField, `{"from":"a@b","to":["c@d"],"text":"x","email":"y"}`, 422, "field text"},
		"JSON with a bad recipient":         {"", jsonField, `{"from":"a@b","to":["c@d","e@f\r\nBcc: x@y"],"text":"x"}`, 422, "field to[1]"},
		"JSON with too many recipients":     {"", jsonField, `{"from":"a@b","to":["1@d","2@d","3@d","4@d"],"text":"x"}`, 422, "field to[3]"},
		"JSON with a mail without sender":   {"", jsonField, `{"email":"To: a@b\r\n\r\nx"}`, 422, "field email, header From"},
		"JSON that grows over the limit":    {"", jsonField, `{"from":"a@b","to":["c@d"],"text":"` + strings.Repeat("ü", 4000) + `"}`, 413, ""},
		"nobody is known":                   {"", jsonField, `{"from":"a@b","to":["nobody@localhost"],"text":"x"}`, 422, "recipients"},
		"one is for later":                  {"", jsonField, `{"from":"a@b","to":["nobody@localhost","later@localhost"],"text":"x"}`, 503, "recipients"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{}
			_, addr := start(t, Options{Sink: snk, Config: stranger(PeerOptions{MaxMessageSize: 10_000, MaxRecipients: 3})})
			got := post(t, addr, "/v1/messages"+tc.path, tc.fields, tc.body)
			if got.status != tc.status || snk.stored() != 0 {
				t.Fatalf("got %d %s, %d stored", got.status, got.body, snk.stored())
			}
			p := got.problem(t)
			if p.Where != tc.where || p.Detail == "" {
				t.Errorf("where %q, detail %q; want where %q", p.Where, p.Detail, tc.where)
			}
			if retry := got.header.Get("Retry-After"); (retry != "") != (got.status == 503) {
				t.Errorf("Retry-After %q", retry)
			}
		})
	}
}

// All mistakes of a message are in the answer, not only the first.
func TestEveryMistakeIsNamed(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{})
	got := post(t, addr, "/v1/messages", jsonField, `{"form":"a@b","to":7,"text":"x","x":{"deep":[1,2]}}`).problem(t)
	var where []string
	for _, f := range got.Errors {
		where = append(where, f.Where)
	}
	if want := []string{"field form", "field to", "field x"}; !reflect.DeepEqual(where, want) {
		t.Errorf("errors at %q, want %q", where, want)
	}
}

// One recipient is taken and one is not: 202, and the answer says which.
func TestSomeRecipients(t *testing.T) {
	t.Parallel()
	snk := &sink{}
	_, addr := start(t, Options{Sink: snk})
	got := post(t, addr, "/v1/messages", jsonField, `{"from":"a@b","to":["juliet@localhost","nobody@localhost","later@localhost"],"text":"x"}`)
	var a answer
	if err := json.Unmarshal([]byte(got.body), &a); err != nil || got.status != 202 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	want := answer{"id1", []recipient{
		{To: "juliet@localhost", Status: "accepted", ID: "id1"},
		{To: "nobody@localhost", Status: "refused", Reason: "no such user here"},
		{To: "later@localhost", Status: "refused", Reason: "no route now", Temporary: true},
	}}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v", a)
	}
	if env, _ := snk.one(t); !reflect.DeepEqual(addresses(env), []string{"juliet@localhost"}) {
		t.Errorf("stored for %q", addresses(env))
	}
}

// What the sink answers becomes a status; the text of an error that is not a
// Refusal stays here.
func TestSinkErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		put, sender error
		status      int
		detail      string
	}{
		"malformed":            {&mcmt.Refusal{Code: 554, Status: 422, Text: "bad part", Where: "part 2"}, nil, 422, "bad part"},
		"too large":            {&mcmt.Refusal{Code: 552, Status: 413, Text: "too large"}, nil, 413, "too large"},
		"full":                 {&mcmt.Refusal{Code: 452, Status: 503, Text: "no room"}, nil, 503, "no room"},
		"temporary, no status": {&mcmt.Refusal{Code: 451, Text: "later"}, nil, 503, "later"},
		"for good, no status":  {&mcmt.Refusal{Code: 550, Text: "no"}, nil, 422, "no"},
		"a status of its own":  {&mcmt.Refusal{Code: 550, Status: 418, Text: "no"}, nil, 422, "no"},
		"anything else":        {errors.New("disk /secret/path is gone"), nil, 503, "try again later"},
		"the sender":           {nil, &mcmt.Refusal{Code: 550, Status: 403, Text: "authenticate first"}, 403, "authenticate first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{
				put:    func(context.Context, mcmt.Envelope, []byte) error { return tc.put },
				sender: func(mcmt.Envelope) error { return tc.sender },
			}
			_, addr := start(t, Options{Sink: snk})
			got := post(t, addr, "/v1/messages", jsonField, goodJSON)
			if p := got.problem(t); p.Status != tc.status || p.Detail != tc.detail {
				t.Errorf("%+v", p)
			}
			if strings.Contains(got.body, "secret") {
				t.Errorf("internals are told: %s", got.body)
			}
		})
	}
}

// curl is a client that nobody here wrote: it posts a file, waits for 100
// Continue where the file is large, and reads the answer.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	snk := &sink{}
	_, addr := start(t, Options{Sink: snk, Config: stranger(PeerOptions{Authenticator: Tokens{"t0k"}})})
	large := mcmtBody(mailAddrs) + strings.Repeat("after the end\r\n", 150_000) // over 1 MiB: curl asks first
	for name, tc := range map[string]struct {
		args  []string
		stdin string
		want  string // status
	}{
		"JSON":            {[]string{"-H", "Content-Type: application/json", "--data-binary", "@-"}, goodJSON, "202"},
		"multipart":       {[]string{"-H", "Content-Type: multipart/vnd.msys.mcmt; boundary=b", "--data-binary", "@-"}, large, "202"},
		"chunked":         {[]string{"-H", "Content-Type: message/rfc822", "-H", "Transfer-Encoding: chunked", "--data-binary", "@-"}, goodMail, "202"},
		"bearer":          {[]string{"-H", "Content-Type: application/json", "-H", "Authorization: Bearer t0k", "--data-binary", "@-"}, goodJSON, "202"},
		"wrong password":  {[]string{"-u", "a:b", "-H", "Content-Type: application/json", "--data-binary", "@-"}, goodJSON, "401"},
		"what -d sends":   {[]string{"-d", "from=a@b"}, "", "415"},
		"what -F sends":   {[]string{"-F", "from=a@b"}, "", "415"},
		"the wrong thing": {nil, "", "405"},
	} {
		cmd := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", (&url.URL{Scheme: "http", Host: addr, Path: "/v1/messages"}).String()}, tc.args...)...)
		cmd.Stdin = strings.NewReader(tc.stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if out, err := cmd.Output(); err != nil || string(out) != tc.want {
			t.Errorf("%s: %s, %v %s; want %s", name, out, err, stderr.String(), tc.want)
		}
	}
	if snk.stored() != 4 {
		t.Errorf("%d stored", snk.stored())
	}
}

func BenchmarkPost(b *testing.B) {
	for name, tc := range map[string]struct{ fields, body string }{
		"json":      {jsonField, goodJSON},
		"multipart": {multipartField, mcmtBody(mailAddrs)},
	} {
		b.Run(name, func(b *testing.B) {
			_, addr := start(b, Options{Sink: discard{}})
			w := dial(b, addr)
			_ = w.SetDeadline(noDeadline)
			req := request("/v1/messages", tc.fields, tc.body)
			b.ReportAllocs()
			for b.Loop() {
				w.send(req)
				if got := w.read(); got.status != 202 {
					b.Fatal(got)
				}
			}
		})
	}
}
