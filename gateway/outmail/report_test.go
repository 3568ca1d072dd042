package outmail

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

var accepted = time.Date(2026, 3, 2, 9, 0, 30, 0, time.UTC)

// mailed is a letter that came as mail, on its way to a Jabber user.
func mailed(change func(*custody.Letter)) custody.Letter {
	stanza := "<message/>"
	l := custody.Letter{Record: custody.Record{ID: "q1", From: "news@corp.example", To: mcmt.Recipient{Address: "bob@jabber.example"},
		Accepted: accepted, JID: jid.MustParse("bob@jabber.example"), MessageID: "m1@corp.example", Part: "email", Stanza: len(stanza)},
		Key: "d.q1.0", Body: []byte(stanza + "From: news@corp.example\r\nSubject: Hi\r\nMessage-ID: <m1@corp.example>\r\n\r\nhello\r\n")}
	if change != nil {
		change(&l)
	}
	return l
}

// dsn is a notification as others read it.
type dsn struct {
	header    mail.Header
	human     string
	message   textproto.MIMEHeader
	recipient textproto.MIMEHeader
	kind      string // of the third part
	third     string
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

// readDSN reads a notification with the standard library, and checks its form.
func readDSN(t failer, raw []byte) dsn {
	t.Helper()
	if !transportable(raw) {
		t.Fatalf("cannot be sent:\n%q", raw)
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("%s %v %v", kind, params, err)
	}
	d := dsn{header: m.Header}
	r := multipart.NewReader(m.Body, params["boundary"])
	var kinds, bodies []string
	for {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		kinds, bodies = append(kinds, kind), append(bodies, string(b))
	}
	if len(kinds) != 3 || kinds[0] != "text/plain" || kinds[1] != "message/delivery-status" {
		t.Fatalf("parts %q\n%s", kinds, raw)
	}
	if !isASCII(bodies[1]) {
		t.Fatalf("fields that are not ASCII: %q", bodies[1])
	}
	d.human, d.kind, d.third = bodies[0], kinds[2], bodies[2]
	fields := textproto.NewReader(bufio.NewReader(strings.NewReader(bodies[1])))
	if d.message, err = fields.ReadMIMEHeader(); err != nil {
		t.Fatalf("%v\n%s", err, bodies[1])
	}
	if d.recipient, err = fields.ReadMIMEHeader(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("%v\n%s", err, bodies[1])
	}
	return d
}

// report makes the one notification of an ending and reads it.
func (d *desk) report(t testing.TB, l custody.Letter, e custody.Ending) (broker.Message, dsn) {
	t.Helper()
	msgs, told := d.Report(t.Context(), l, e)
	if len(msgs) != 1 || told {
		t.Fatalf("%d messages, told %t", len(msgs), told)
	}
	return msgs[0], readDSN(t, msgs[0].Body)
}

func TestReport(t *testing.T) {
	t.Parallel()
	d := open(t)
	l := mailed(func(l *custody.Letter) {
		l.EnvelopeID, l.To.ORCPT = "env 1", "rfc822;robert@corp.example"
	})
	m, got := d.report(t, l, custody.Ending{End: custody.Failed, Err: fmt.Errorf("send: %w", &stanza.Error{Condition: stanza.ItemNotFound, Text: "nobody hére"})})
	if m.Stage != broker.Mail || m.Recipient != "mailto:news@corp.example" {
		t.Errorf("%+v", m)
	}
	rec := letter(t, m)
	if rec.From != "" || rec.To.Address != "news@corp.example" || rec.Author != "" {
		t.Errorf("%+v", rec.Record)
	}
	for field, want := range map[string]string{"Auto-Submitted": "auto-replied", "To": "<news@corp.example>", "From": "Mail Delivery System <postmaster@gw.jabber.example>",
		"In-Reply-To": "<m1@corp.example>", "Message-Id": "<" + rec.MessageID + ">", "Subject": "Message not delivered"} {
		if got.header.Get(field) != want {
			t.Errorf("%s: %q, want %q", field, got.header.Get(field), want)
		}
	}
	for field, want := range map[string]string{"Original-Envelope-Id": "env 1", "Reporting-Mta": "dns; gw.jabber.example", "Arrival-Date": "Mon, 02 Mar 2026 09:00:30 +0000"} {
		if got.message.Get(field) != want {
			t.Errorf("%s: %q, want %q", field, got.message.Get(field), want)
		}
	}
	for field, want := range map[string]string{"Original-Recipient": "rfc822; robert@corp.example", "Final-Recipient": "rfc822; bob@jabber.example", "Action": "failed",
		"Status": "5.1.1", "Diagnostic-Code": "x-xmpp; item-not-found: nobody h?re", "Remote-Mta": "x-xmpp; jabber.example", "Will-Retry-Until": ""} {
		if got.recipient.Get(field) != want {
			t.Errorf("%s: %q, want %q", field, got.recipient.Get(field), want)
		}
	}
	if got.kind != "text/rfc822-headers" || got.third != "From: news@corp.example\r\nSubject: Hi\r\nMessage-ID: <m1@corp.example>\r\n" {
		t.Errorf("%s %q", got.kind, got.third)
	}
	if !strings.Contains(got.human, "nobody hére") {
		t.Error(got.human)
	}
	again, _ := d.Report(t.Context(), l, custody.Ending{End: custody.Failed})
	if again[0].ID != m.ID {
		t.Errorf("ids %q and %q of the same report", again[0].ID, m.ID)
	}
	l.Key = "d.q1.1"
	if other, _ := d.Report(t.Context(), l, custody.Ending{End: custody.Failed}); other[0].ID == m.ID {
		t.Error("one id for the reports of two recipients")
	}
}

// TestWhoIsTold: who wants to hear of what (RFC 3461 §4.1, §5.2, §6).
func TestWhoIsTold(t *testing.T) {
	t.Parallel()
	refused := &mcmt.Refusal{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no"}
	for _, tt := range []struct {
		name, reason string
		change       func(*custody.Letter)
		end          custody.Ending
		action       action
		status       string
	}{
		{"failure", "the default", nil, custody.Ending{End: custody.Failed, Err: refused}, failed, "5.1.1"},
		{"failure asked for", "NOTIFY=FAILURE", notify("FAILURE"), custody.Ending{End: custody.Failed, Err: refused}, failed, "5.1.1"},
		{"failure not asked for", "NOTIFY=SUCCESS", notify("SUCCESS"), custody.Ending{End: custody.Failed, Err: refused}, "", ""},
		{"never", "NOTIFY=NEVER", notify("NEVER"), custody.Ending{End: custody.Failed, Err: refused}, "", ""},
		{"null path", "no report of a report", func(l *custody.Letter) { l.From = "" }, custody.Ending{End: custody.Failed, Err: refused}, "", ""},
		{"expired", "with the last reason", nil, custody.Ending{End: custody.Expired, Err: &mcmt.Refusal{Code: 450, Text: "later"}}, failed, "4.4.7"},
		{"no status", "a server without enhanced codes", nil, custody.Ending{End: custody.Failed, Err: &mcmt.Refusal{Code: 550, Text: "no"}}, failed, "5.0.0"},
		{"no reason", "nothing is known", nil, custody.Ending{End: custody.Failed}, failed, "5.0.0"},
		{"delivered", "nobody has asked", nil, custody.Ending{End: custody.Delivered, Proof: "stream management ack"}, "", ""},
		{"delivery asked for", "NOTIFY=SUCCESS", notify("SUCCESS", "FAILURE"), custody.Ending{End: custody.Delivered, Proof: string(router.ProofAck)}, delivered, "2.1.5"},
		{"delivered elsewhere", "the other server has it, its client is not known", elsewhere, custody.Ending{End: custody.Delivered, Proof: string(router.ProofWritten)}, relayed, "2.1.9"},
		{"receipt from elsewhere", "the client itself has sent it", elsewhere, custody.Ending{End: custody.Delivered, Proof: "a receipt of the client (XEP-0184)", Client: true}, delivered, "2.1.5"},
		{"no proof from elsewhere", "its server has taken it", elsewhere, custody.Ending{End: custody.Delivered}, relayed, "2.1.9"},
		{"relayed", "the next server does not report", notify("SUCCESS"), custody.Ending{End: custody.Relayed, Proof: "250 ok"}, relayed, "2.1.9"},
		{"relayed with DSN", "the next server reports", notify("SUCCESS"), custody.Ending{End: custody.Relayed, Reports: true}, "", ""},
		{"relayed, not asked", "nobody has asked", nil, custody.Ending{End: custody.Relayed}, "", ""},
		{"dropped", "an operator knows", nil, custody.Ending{End: custody.Dropped}, "", ""},
		{"filtered", "silent", nil, custody.Ending{End: custody.Filtered}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			l := mailed(tt.change)
			if tt.action == "" {
				if msgs, told := d.Report(t.Context(), l, tt.end); len(msgs) > 0 || told {
					t.Errorf("%s: %d messages, told %t", tt.reason, len(msgs), told)
				}
				return
			}
			_, got := d.report(t, l, tt.end)
			if got.recipient.Get("Action") != string(tt.action) || got.recipient.Get("Status") != tt.status {
				t.Errorf("%s: %v", tt.reason, got.recipient)
			}
			if tt.end.Proof != "" && !strings.Contains(got.human, cmp.Or(proofs[tt.end.Proof], tt.end.Proof)) {
				t.Errorf("does not say which proof: %s", got.human)
			}
			s := d.Stats()
			if n := map[action]uint64{failed: s.Failures, delivered: s.Successes, relayed: s.Relays}[tt.action]; n != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func notify(what ...string) func(*custody.Letter) {
	return func(l *custody.Letter) { l.To.Notify = what }
}

func elsewhere(l *custody.Letter) {
	l.To.Address, l.To.Notify, l.JID = "x@remote.example", []string{"SUCCESS"}, jid.MustParse("x@remote.example")
}

func TestDelayed(t *testing.T) {
	t.Parallel()
	d := open(t)
	if msgs := d.Delayed(mailed(nil), io.EOF, accepted); msgs != nil {
		t.Error("nobody has asked")
	}
	if msgs := d.Delayed(mailed(func(l *custody.Letter) { notify("DELAY")(l); l.From = "" }), io.EOF, accepted); msgs != nil {
		t.Error("to the null path")
	}
	msgs := d.Delayed(mailed(notify("DELAY")), &mcmt.Refusal{Code: 450, Text: "busy"}, accepted.Add(time.Hour))
	if len(msgs) != 1 {
		t.Fatal(len(msgs))
	}
	got := readDSN(t, msgs[0].Body)
	if got.recipient.Get("Action") != "delayed" || got.recipient.Get("Status") != "4.0.0" || got.recipient.Get("Will-Retry-Until") != "Mon, 02 Mar 2026 10:00:30 +0000" {
		t.Errorf("%v", got.recipient)
	}
	failure, _ := d.Report(t.Context(), mailed(notify("DELAY", "FAILURE")), custody.Ending{End: custody.Expired})
	if failure[0].ID == msgs[0].ID {
		t.Error("the failure would pass for a copy of the delay")
	}
}

// TestReturned: as much of the message as was asked for and is at hand.
func TestReturned(t *testing.T) {
	t.Parallel()
	raw := "Subject: Hi\r\n\r\nhello\r\n"
	for _, tt := range []struct {
		name, reason string
		change       func(*custody.Letter)
		end          custody.End
		kind, want   string
	}{
		{"full", "RET=FULL", func(l *custody.Letter) { l.Return = "FULL" }, custody.Failed, "message/rfc822", "From: news@corp.example\r\nSubject: Hi\r\nMessage-ID: <m1@corp.example>\r\n\r\nhello\r\n"},
		{"full of success", "RFC 3461 §4.3: only with failures", func(l *custody.Letter) { l.Return = "FULL"; notify("SUCCESS")(l) }, custody.Delivered, "text/rfc822-headers", "From: news@corp.example\r\nSubject: Hi\r\nMessage-ID: <m1@corp.example>\r\n"},
		{"not converted", "all is the message", func(l *custody.Letter) { l.Part, l.Stanza, l.Return, l.Body = "", 0, "FULL", []byte(raw) }, custody.Failed, "message/rfc822", raw},
		{"mail out", "all is the message", func(l *custody.Letter) { l.JID, l.Stanza, l.Return, l.Body = jid.JID{}, 0, "FULL", []byte(raw) }, custody.Failed, "message/rfc822", raw},
		{"stanza alone", "what is known", func(l *custody.Letter) { l.Stanza, l.Return, l.Body = 0, "FULL", []byte("<message/>") }, custody.Failed, "text/rfc822-headers", "Message-ID: <m1@corp.example>\r\n"},
		{"nothing known", "an empty part", func(l *custody.Letter) { l.Stanza, l.MessageID = 0, "" }, custody.Failed, "text/rfc822-headers", ""},
		{"LF", "cannot go back as it is", func(l *custody.Letter) {
			l.Part, l.Return, l.Body = "", "FULL", []byte("Subject: Hi\n\nhello\n")
		}, custody.Failed, "text/rfc822-headers", "Subject: Hi\r\n"},
		{"8 bit", "whole", func(l *custody.Letter) {
			l.Part, l.Return, l.Body = "", "FULL", []byte("Subject: Hi\r\n\r\nZürich\r\n")
		}, custody.Failed, "message/rfc822", "Subject: Hi\r\n\r\nZürich\r\n"},
		{"too large", "the header does", func(l *custody.Letter) {
			l.Part, l.Return, l.Body = "", "FULL", []byte(raw+strings.Repeat("x\r\n", maxReturned/3))
		}, custody.Failed, "text/rfc822-headers", "Subject: Hi\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, got := open(t).report(t, mailed(tt.change), custody.Ending{End: tt.end})
			if got.kind != tt.kind || got.third != tt.want {
				t.Errorf("%s: %s %q", tt.reason, got.kind, got.third)
			}
		})
	}
}

// TestRecipientTypes: the type of the address says how to read it.
func TestRecipientTypes(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"bob@jabber.example":      "rfc822; bob@jabber.example",
		`"b b"@jabber.example`:    `rfc822; "b b"@jabber.example`,
		"+4915112345678":          "x-phone; +4915112345678",
		"jürgen@jabber.example":   `utf-8; j\x{FC}rgen@jabber.example`,
		"a\r\nStatus: 2.0.0@x.ex": "rfc822; a  Status: 2.0.0@x.ex",
	} {
		if got := addressField(addr); got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}

// TestReportToJabber: a sender who is a Jabber user gets it there.
func TestReportToJabber(t *testing.T) {
	t.Parallel()
	d := open(t)
	m, _ := d.report(t, mailed(func(l *custody.Letter) { l.From = "carol@jabber.example" }), custody.Ending{End: custody.Failed})
	if m.Stage != broker.Ingest || m.Recipient != "carol@jabber.example" {
		t.Fatalf("%+v", m)
	}
	l := letter(t, m)
	msg, err := mcmt.ParseMail(m.Body, mcmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.o.Converter().Convert(convert.Input{ID: string(l.ID), From: l.From, To: l.To.Address, Message: msg, Received: accepted, Now: accepted})
	if err != nil || !strings.Contains(res.Stanza.Child("body").Text(), "The message to bob@jabber.example could not be delivered.") || res.Stanza.From != d.o.Converter().Gateway() {
		t.Errorf("%v, %v", res.Stanza, err)
	}
}

// TestTold: who wrote in Jabber hears it there, with what the server said.
func TestTold(t *testing.T) {
	t.Parallel()
	d := open(t)
	l := d.take(t, "<body>x</body>")
	for _, tt := range []struct {
		name string
		end  custody.Ending
		want stanza.Condition
		typ  stanza.ErrorType
		text string
	}{
		{"no mailbox", custody.Ending{End: custody.Failed, Err: fmt.Errorf("x: %w", &mcmt.Refusal{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no\nsuch user"})}, stanza.ItemNotFound, stanza.Cancel, "the mail was refused: 550 5.1.1 no such user"},
		{"mailbox full", custody.Ending{End: custody.Failed, Err: &mcmt.Refusal{Code: 552, Enhanced: [3]int{5, 2, 2}}}, stanza.ResourceConstraint, stanza.Cancel, ""},
		{"detail that has no row", custody.Ending{End: custody.Failed, Err: &mcmt.Refusal{Code: 554, Enhanced: [3]int{5, 7, 26}}}, stanza.Forbidden, stanza.Cancel, ""},
		{"no enhanced code", custody.Ending{End: custody.Failed, Err: &mcmt.Refusal{Code: 550}}, stanza.ItemNotFound, stanza.Cancel, ""},
		{"no code of use", custody.Ending{End: custody.Failed, Err: &mcmt.Refusal{Code: 554}}, stanza.ServiceUnavailable, stanza.Cancel, ""},
		{"too late", custody.Ending{End: custody.Expired, Err: &mcmt.Refusal{Code: 450, Enhanced: [3]int{4, 2, 0}, Text: "busy"}}, stanza.RemoteServerTimeout, stanza.Wait, "the mail could not be sent in time: the mail was refused: 450 4.2.0 busy"},
		{"internals", custody.Ending{End: custody.Failed, Err: errors.New("dial 10.0.0.1")}, stanza.UndefinedCondition, stanza.Cancel, ""},
		{"internals that are final", custody.Ending{End: custody.Failed, Err: &custody.Error{Err: errors.New("x")}}, stanza.UndefinedCondition, stanza.Cancel, ""},
		{"content", custody.Ending{End: custody.Failed, Err: &convert.ContentError{Text: "nothing in it"}}, stanza.UndefinedCondition, stanza.Cancel, "nothing in it"},
		{"an error of XMPP", custody.Ending{End: custody.Failed, Err: &stanza.Error{Condition: stanza.Gone}}, stanza.Gone, stanza.Cancel, ""},
	} {
		d.forwarded = nil
		msgs, told := d.Report(t.Context(), l, tt.end)
		if len(msgs) > 0 || !told || len(d.forwarded) != 1 {
			t.Fatalf("%s: %d messages, told %t, %d forwarded", tt.name, len(msgs), told, len(d.forwarded))
		}
		st := d.forwarded[0]
		e := stanza.ParseError(st.Child("error"))
		if e.Condition != tt.want || typeOf(e) != tt.typ || tt.text != "" && e.Text != tt.text || strings.HasPrefix(tt.name, "internals") && e.Text != "" {
			t.Errorf("%s: %v", tt.name, e)
		}
		if st.To.String() != "bob@jabber.example/phone" || st.From.String() != alice || st.ID != "1" || st.Type != stanza.TypeError {
			t.Errorf("%s: %s", tt.name, st)
		}
	}
	if _, told := d.Report(t.Context(), l, custody.Ending{End: custody.Relayed}); told {
		t.Error("told of success")
	}
	d.refuse = errors.New("he is gone")
	if _, told := d.Report(t.Context(), l, custody.Ending{End: custody.Failed}); told {
		t.Error("told though he is gone")
	}
	l.Body = []byte("<message")
	if _, told := d.Report(t.Context(), l, custody.Ending{End: custody.Failed}); told || !strings.Contains(d.log.String(), string(l.ID)) {
		t.Errorf("told what nobody can read; log %s", d.log.String())
	}
}

// TestStatusesWhole: no condition is forgotten.
func TestStatusesWhole(t *testing.T) {
	t.Parallel()
	for _, c := range []stanza.Condition{stanza.BadRequest, stanza.Conflict, stanza.FeatureNotImplemented, stanza.Forbidden, stanza.Gone, stanza.InternalServerError,
		stanza.ItemNotFound, stanza.JIDMalformed, stanza.NotAcceptable, stanza.NotAllowed, stanza.NotAuthorized, stanza.PolicyViolation, stanza.RecipientUnavailable,
		stanza.Redirect, stanza.RegistrationRequired, stanza.RemoteServerNotFound, stanza.RemoteServerTimeout, stanza.ResourceConstraint, stanza.ServiceUnavailable,
		stanza.SubscriptionRequired, stanza.UndefinedCondition, stanza.UnexpectedRequest} {
		if s, ok := statuses[c]; !ok || !s.valid() || s[0] != 5 {
			t.Errorf("%s: %v", c, s)
		}
	}
}

// TestPythonReads: the parser of another language agrees.
func TestPythonReads(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("install python3")
		}
		t.Skip("python3 is not there")
	}
	const script = `
import email, email.policy, json, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
human, status, third = m.iter_parts()
blocks = status.get_payload()
print(json.dumps({
  "type": m.get_content_type(), "auto": m["Auto-Submitted"], "defects": [str(d) for p in m.walk() for d in p.defects],
  "human": human.get_content(), "mta": blocks[0]["Reporting-MTA"], "blocks": len(blocks),
  "action": blocks[1]["Action"], "status": blocks[1]["Status"], "final": blocks[1]["Final-Recipient"],
  "third": third.get_content_type(), "subject": third.get_content()["Subject"]}))
`
	m, _ := open(t).report(t, mailed(func(l *custody.Letter) {
		l.Return, l.Part, l.Body = "FULL", "", []byte("Subject: Hi\r\n\r\nZürich\r\n")
	}), custody.Ending{End: custody.Failed, Err: &mcmt.Refusal{Code: 550, Enhanced: [3]int{5, 2, 1}, Text: "Zürich is closed"}})
	cmd := exec.CommandContext(t.Context(), python, "-c", script)
	cmd.Stdin = bytes.NewReader(m.Body)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Body)
	}
	var got struct {
		Type, Auto, Human, MTA, Action, Status, Final, Third, Subject string
		Defects                                                       []string
		Blocks                                                        int
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.Human, "550 Zürich is closed") {
		t.Errorf("human part %q", got.Human)
	}
	got.Human = ""
	if want := `{multipart/report auto-replied  dns; gw.jabber.example failed 5.2.1 rfc822; bob@jabber.example message/rfc822 Hi [] 2}`; fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}

// FuzzDSN: whatever texts come from elsewhere, a notification has the fields that it is to
// have and no others, and each is told only what it is to be told.
func FuzzDSN(f *testing.F) {
	f.Add("a\r\nBcc: x@y", "b\x00@x", "rfc822;c\r\nAction: delivered", "smtp; 550 x\r\n\r\n--", "m@x>\r\nX: y", []byte("Subject: x\n\ny"), true, 1)
	f.Add("a@x", "jürgen@x", "utf-8;ü", "", "", []byte(strings.Repeat("x", 2000)), false, 2)
	f.Fuzz(func(t *testing.T, to, rcpt, orcpt, text, id string, raw []byte, full bool, n int) {
		act := []action{failed, delayed, delivered, relayed}[max(n, 0)%4]
		d := notification{Host: "gw.example", To: to, ID: "dsn@gw.example", Date: accepted, Action: act, Status: enhanced{5, 0, 0}, Explain: []string{text},
			EnvelopeID: text, Arrival: accepted, Original: orcpt, Recipient: rcpt, Remote: "x-xmpp; " + text, Diagnostic: "smtp; " + text, MessageID: id, Message: raw, Full: full}
		if n < 0 {
			d.Host, d.Remote, d.Diagnostic = text, text, text
		}
		if to == "" {
			return
		}
		b := d.build()
		m := readDSN(t, b)
		for field := range m.header {
			if !slices.Contains([]string{"Date", "From", "To", "Subject", "Message-Id", "In-Reply-To", "References", "Auto-Submitted", "Mime-Version", "Content-Type"}, field) {
				t.Fatalf("field %q\n%s", field, b)
			}
		}
		for field, v := range m.recipient {
			if len(v) != 1 || !slices.Contains([]string{"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-Mta", "Diagnostic-Code", "Last-Attempt-Date"}, field) {
				t.Fatalf("field %q %q\n%s", field, v, b)
			}
		}
		if m.recipient.Get("Action") != string(act) || len(m.message) > 3 || len(b) > maxReturned+4*maxHeaders+20*maxText {
			t.Fatalf("%v\n%s", m.message, b)
		}
		if p, err := mcmt.ParseMail(b, mcmt.Limits{}); err != nil || len(p.Parts) != 3 {
			t.Fatalf("%v\n%s", err, b)
		}
	})
}
