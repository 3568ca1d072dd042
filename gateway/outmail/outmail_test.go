package outmail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is an Outmail whose store, relay and router are played by the test.
type desk struct {
	*Outmail
	stored    []broker.Message
	sent      []relay.Message
	forwarded []*stanza.Stanza
	refuse    error // of the store, the relay and the router
	result    relay.Result
	mail      config.Mail
	log       bytes.Buffer
}

func (d *desk) Store(_ context.Context, msgs ...broker.Message) error {
	if d.refuse == nil {
		d.stored = append(d.stored, msgs...)
	}
	return d.refuse
}

func open(t testing.TB) *desk {
	t.Helper()
	conv, err := convert.New(convert.Options{MailGatewayDomain: "mail.jabber.example", Roles: func(domain string) convert.Role {
		switch domain {
		case "jabber.example":
			return convert.Server
		case "remote.example":
			return convert.Client
		}
		return convert.NoRole
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{mail: config.Mail{Subject: "Chat"}, result: relay.Result{Host: "mx.corp.example:25", Reply: "250 2.0.0 queued as 7", DSN: true}}
	d.Outmail = New(Options{
		Store: d, Converter: func() *convert.Converter { return conv }, Hostname: "gw.jabber.example",
		Forward: func(_ context.Context, st *stanza.Stanza) error {
			if d.refuse == nil {
				d.forwarded = append(d.forwarded, st)
			}
			return d.refuse
		},
		Send: func(_ context.Context, m relay.Message) (relay.Result, error) {
			if d.refuse != nil {
				return relay.Result{}, d.refuse
			}
			d.sent = append(d.sent, m)
			return d.result, nil
		},
		Settings: func(string) config.Mail { return d.mail },
		May:      func(author jid.JID) bool { return author.Domain() != "spam.example" },
		Serves:   func(domain string) bool { return domain == "jabber.example" },
		Tickets:  convert.Tickets{Key: []byte("key")},
		Log:      zerolog.New(&d.log),
	})
	return d
}

func message(t testing.TB, to, attrs, children string) *stanza.Stanza {
	t.Helper()
	st, err := stanza.ParseBytes([]byte(`<message xmlns='jabber:client' from='bob@jabber.example/phone' to='`+to+`' `+attrs+`>`+children+`</message>`), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

const alice = `alice\40corp.example@mail.jabber.example`

// letter is what the MAIL stage gives of a stored message.
func letter(t testing.TB, m broker.Message) custody.Letter {
	t.Helper()
	rec, err := custody.Read(&broker.Delivery{Stage: m.Stage, Route: m.Route, Recipient: m.Recipient, ID: m.ID, Header: m.Header, Body: m.Body})
	if err != nil {
		t.Fatal(err)
	}
	return custody.Letter{Record: rec, Key: m.ID, Body: m.Body}
}

// take takes a message and returns its letter.
func (d *desk) take(t testing.TB, children string) custody.Letter {
	t.Helper()
	if err := d.Take(t.Context(), message(t, alice, "id='1'", children)); err != nil {
		t.Fatal(err)
	}
	return letter(t, d.stored[len(d.stored)-1])
}

func TestTake(t *testing.T) {
	t.Parallel()
	d := open(t)
	if err := d.Take(t.Context(), message(t, alice, "type='chat'", "<body>hello</body><thread>t</thread>")); err != nil {
		t.Fatal(err)
	}
	m := d.stored[0]
	l := letter(t, m)
	if m.Stage != broker.Mail || m.Route != "mailto:alice@corp.example" || l.Part != "xmpp" || l.From != "bob@jabber.example" ||
		l.To.Address != "alice@corp.example" || l.Author != "bob@jabber.example/phone" || l.Listener != "xmpp_listener" {
		t.Errorf("%+v\n%+v", m, l.Record)
	}
	st, err := parse(l)
	if err != nil || st.ID == "" || st.ID != l.StanzaID || st.ID != string(l.ID) {
		t.Errorf("id %q, record has %q and %q, %v", st.ID, l.StanzaID, l.ID, err)
	}
	c, err := d.Carry(t.Context(), []custody.Letter{l})
	if err != nil || c.N != 1 || c.Wait != 0 || !c.Reports || c.Proof != "mx.corp.example:25 250 2.0.0 queued as 7" {
		t.Fatalf("%+v, %v", c, err)
	}
	sent := d.sent[0]
	mail, err := mcmt.ParseMail(sent.Raw, mcmt.Limits{})
	if err != nil || sent.From != l.From || sent.To.Address != l.To.Address || sent.UTF8 {
		t.Fatalf("%+v, %v", sent, err)
	}
	if mail.Email.Text != "hello\n" || mail.Email.Subject != "Chat" || mail.Email.MessageID != l.MessageID {
		t.Errorf("%s", sent.Raw)
	}
	if want := "by gw.jabber.example (mcmt2xmpp) with XMPP id " + string(l.ID) + " for <alice@corp.example>; "; !strings.HasPrefix(mail.Header.Get("Received"), want) {
		t.Errorf("trace field %q", mail.Header.Get("Received"))
	}
	if got := d.Stats(); got != (Stats{Taken: 1, Mails: 1, Lines: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestTakeRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reason, to, attrs, children string
		store                             error
		want                              stanza.Condition
		typ                               stanza.ErrorType
		stats                             Stats
		from                              string // empty: a user
	}{
		{"no address", "nothing is there", "x@mail.jabber.example", "", "<body>x</body>", nil, stanza.ItemNotFound, stanza.Cancel, Stats{NoAddress: 1}, ""},
		{"number", "there is no way for short messages", "+4915112345678@mail.jabber.example", "", "<body>x</body>", nil, stanza.FeatureNotImplemented, "", Stats{NoAddress: 1}, ""},
		{"room", "an address has no occupants", alice, "type='groupchat'", "<body>x</body>", nil, stanza.NotAcceptable, "", Stats{NoAddress: 1}, ""},
		{"no sender", "a server has no mailbox", alice, "", "<body>x</body>", nil, stanza.NotAllowed, "", Stats{NoAddress: 1}, "jabber.example"},
		{"stranger", "no open relay", alice, "", "<body>x</body>", nil, stanza.Forbidden, stanza.Auth, Stats{NotAllowed: 1}, "x@spam.example"},
		{"nothing to read", "a receipt", alice, "", "<received xmlns='urn:xmpp:receipts' id='1'/>", nil, stanza.NotAcceptable, "", Stats{NoContent: 1}, ""},
		{"encrypted", "nobody could read it", alice, "", "<encrypted xmlns='urn:xmpp:omemo:2'/><body>x</body>", nil, stanza.NotAcceptable, "", Stats{NoContent: 1}, ""},
		{"answer to an automatic mail", "a loop", alice + "/automatic", "", "<body>x</body>", nil, stanza.PolicyViolation, stanza.Cancel, Stats{Loops: 1}, ""},
		{"too many answers", "a loop", alice + "/hop-20", "", "<body>x</body>", nil, stanza.PolicyViolation, stanza.Cancel, Stats{Loops: 1}, ""},
		{"full", "later", alice, "", "<body>x</body>", fmt.Errorf("x: %w", broker.ErrFull), stanza.ResourceConstraint, stanza.Wait, Stats{NotStored: 1}, ""},
		{"away", "later", alice, "", "<body>x</body>", broker.ErrUnavailable, stanza.ResourceConstraint, stanza.Wait, Stats{NotStored: 1}, ""},
		{"silent error", "later", alice, "", "<body>x</body>", errors.New("x"), stanza.ResourceConstraint, stanza.Wait, Stats{NotStored: 1}, ""},
		{"cannot be stored", "never", alice, "", "<body>x</body>", broker.ErrInvalid, stanza.NotAcceptable, stanza.Modify, Stats{NotStored: 1}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			d.refuse = tt.store
			st := message(t, tt.to, tt.attrs, tt.children)
			st.From = jid.MustParse(cmp.Or(tt.from, st.From.String()))
			err := d.Take(t.Context(), st)
			var se *stanza.Error
			if !errors.As(err, &se) || se.Condition != tt.want || tt.typ != "" && typeOf(se) != tt.typ || se.Text == "" {
				t.Errorf("%s: %v", tt.reason, err)
			}
			if d.Stats() != tt.stats || len(d.stored) > 0 {
				t.Errorf("%+v", d.Stats())
			}
		})
	}
}

func typeOf(e *stanza.Error) stanza.ErrorType { return cmp.Or(e.Type, e.Condition.DefaultType()) }

// TestTakeError: what answers something is not answered.
func TestTakeError(t *testing.T) {
	t.Parallel()
	d := open(t)
	if err := d.Take(t.Context(), message(t, alice, "type='error'", "<body>x</body><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")); err != nil || len(d.stored) > 0 {
		t.Errorf("%v, %d stored", err, len(d.stored))
	}
}

// TestDigest: nothing goes before the window of the first line has passed, then all that
// came within it and joins it, in order.
func TestDigest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := open(t)
		d.mail.DigestWindow = 30 * time.Second
		run := []custody.Letter{d.take(t, "<body>1</body>")}
		wait := func(want time.Duration, n int) {
			t.Helper()
			if c, err := d.Carry(t.Context(), run); err != nil || c.Wait != want || c.N != n || len(d.sent) > 0 {
				t.Fatalf("%+v, %v, %d sent", c, err, len(d.sent))
			}
		}
		wait(30*time.Second, 1)
		time.Sleep(10 * time.Second)
		run = append(run, d.take(t, "<body>2</body>"))
		wait(20*time.Second, 2)
		time.Sleep(20*time.Second - time.Nanosecond)
		wait(1, 2)
		time.Sleep(2 * time.Nanosecond)
		run = append(run, d.take(t, "<body>3</body>"))
		c, err := d.Carry(t.Context(), run)
		if err != nil || c.N != 2 || c.Wait != 0 {
			t.Fatalf("%+v, %v", c, err)
		}
		mail, err := mcmt.ParseMail(d.sent[0].Raw, mcmt.Limits{})
		if err != nil || mail.Email.Text != "1\n2\n" {
			t.Errorf("%s", d.sent[0].Raw)
		}
		if got := d.Stats(); got != (Stats{Taken: 3, Mails: 1, Lines: 2, Waits: 3}) {
			t.Errorf("%+v", got)
		}
	})
}

// TestAsksForReport: what a client asks for is asked of the mail server, where the operator
// wants that, and not for several messages at once.
func TestAsksForReport(t *testing.T) {
	t.Parallel()
	const asks = "<request xmlns='urn:xmpp:receipts'/>"
	for _, tt := range []struct {
		name     string
		children []string
		off      bool
		notify   string
	}{
		{"asks", []string{"<body>1</body>" + asks}, false, "[SUCCESS FAILURE]"},
		{"does not ask", []string{"<body>1</body>"}, false, "[]"},
		{"not here", []string{"<body>1</body>" + asks}, true, "[]"},
		{"several", []string{"<body>1</body>" + asks, "<body>2</body>" + asks}, false, "[]"},
	} {
		d := open(t)
		d.mail.Receipts = !tt.off
		var run []custody.Letter
		for _, c := range tt.children {
			run = append(run, d.take(t, c))
		}
		if len(run) > 1 {
			d.mail.DigestWindow = time.Minute
			for i := range run {
				run[i].Accepted = time.Now().Add(-time.Hour)
			}
		}
		if c, err := d.Carry(t.Context(), run); err != nil || c.N != len(run) {
			t.Fatalf("%s: %+v, %v", tt.name, c, err)
		}
		m := d.sent[0]
		if asked := tt.notify != "[]"; fmt.Sprint(m.To.Notify) != tt.notify || (m.EnvelopeID != "") != asked || (m.To.ORCPT == "rfc822;alice@corp.example") != asked || (m.Return == "HDRS") != asked {
			t.Errorf("%s: %+v", tt.name, m)
		}
	}
}

// TestDigestEnds: what does not join the first sends it at once, and the order is kept.
func TestDigestEnds(t *testing.T) {
	t.Parallel()
	raw := custody.Letter{Record: custody.Record{ID: "q", From: "bob@jabber.example", To: mcmt.Recipient{Address: "alice@corp.example"}, Accepted: time.Now()}, Body: []byte("A: b\r\n\r\nc\r\n")}
	d := open(t)
	d.mail.DigestWindow = time.Hour
	first, second := d.take(t, "<body>1</body><thread>t</thread>"), d.take(t, "<body>2</body><thread>t</thread>")
	other := second
	other.From = "bob@other.example"
	damaged := second
	damaged.Body = []byte("<message")
	var many []custody.Letter
	for range maxDigest + 1 {
		many = append(many, second)
	}
	for _, tt := range []struct {
		reason string
		next   []custody.Letter
		n      int
	}{
		{"another thread", []custody.Letter{second, d.take(t, "<body>3</body>"), second}, 2},
		{"another address of the author", []custody.Letter{other}, 1},
		{"a mail", []custody.Letter{raw}, 1},
		{"one that cannot be read", []custody.Letter{damaged}, 1},
		{"enough lines", many, maxDigest},
	} {
		c, err := d.Carry(t.Context(), append([]custody.Letter{first}, tt.next...))
		if err != nil || c.N != tt.n || c.Wait != 0 {
			t.Errorf("%s: %+v, %v", tt.reason, c, err)
		}
	}
	if c, err := d.Carry(t.Context(), []custody.Letter{damaged}); !permanent(err) || c.N != 1 {
		t.Errorf("one that cannot be read: %+v, %v", c, err)
	}
	second.Accepted = first.Accepted
	d.mail.Format = "mcmt"
	if c, err := d.Carry(t.Context(), []custody.Letter{first, second}); err != nil || c.N != 1 || c.Wait != 0 {
		t.Errorf("an MCMT message holds one: %+v, %v", c, err)
	}
	if m, err := mcmt.Parse(d.sent[len(d.sent)-1].Raw, mcmt.Limits{}); err != nil || !m.MCMT || m.Header.Get("Received") == "" {
		t.Errorf("%v", err)
	}
	if c, err := d.Carry(t.Context(), nil); c != (custody.Carried{}) || err != nil {
		t.Errorf("nothing: %+v, %v", c, err)
	}
}

// TestRelay: a mail goes as it came, with what was asked.
func TestRelay(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.result.DSN = false
	l := custody.Letter{Record: custody.Record{ID: "q1", From: "jürgen@corp.example", To: mcmt.Recipient{Address: "x@y.example", Notify: []string{"SUCCESS"}, ORCPT: "rfc822;z@y.example"},
		Listener: "http_listener 127.0.0.1:8025", EnvelopeID: "e 1", Return: "FULL", Accepted: time.Date(2026, 3, 2, 9, 0, 30, 0, time.UTC), Origin: "bob@jabber.example", Part: "email"},
		Body: []byte("Subject: x\r\n\r\nhello\r\n")}
	c, err := d.Carry(t.Context(), []custody.Letter{l, l})
	if err != nil || c.N != 1 || c.Reports {
		t.Fatalf("%+v, %v", c, err)
	}
	m := d.sent[0]
	if m.From != l.From || m.To.ORCPT != l.To.ORCPT || m.To.Notify[0] != "SUCCESS" || m.EnvelopeID != "e 1" || m.Return != "FULL" || !m.UTF8 {
		t.Errorf("%+v", m)
	}
	want := "Received: by gw.jabber.example (mcmt2xmpp) with HTTP id q1\r\n\tfor <x@y.example>;\r\n\tMon, 02 Mar 2026 09:00:30 +0000\r\nSubject: x\r\n\r\nhello\r\n"
	if string(m.Raw) != want {
		t.Errorf("%s", m.Raw)
	}
	if string(l.Body) != "Subject: x\r\n\r\nhello\r\n" {
		t.Error("the letter was changed")
	}
}

// TestRefused: whether to try again is what the relay says.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err   error
		final bool
		want  Stats
	}{
		{&mcmt.Refusal{Code: 550, Enhanced: [3]int{5, 1, 1}}, true, Stats{Taken: 1, Refused: 1}},
		{&mcmt.Refusal{Code: 450}, false, Stats{Taken: 1, Deferred: 1}},
		{io.ErrUnexpectedEOF, false, Stats{Taken: 1, Deferred: 1}},
	} {
		d := open(t)
		l := d.take(t, "<body>x</body>")
		d.refuse = tt.err
		c, err := d.Carry(t.Context(), []custody.Letter{l})
		if c.N != 1 || !errors.Is(err, tt.err) || permanent(err) != tt.final || d.Stats() != tt.want {
			t.Errorf("%v: %+v, %v, %+v", tt.err, c, err, d.Stats())
		}
	}
}

// TestAttach: files that messages offer are attached to plain mail where they can be had,
// and to none that another gateway takes apart.
func TestAttach(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]bool{"plain": true, "mcmt": false} {
		d := open(t)
		d.mail.Format = format
		var asked []string
		d.o.Fetch = func(_ context.Context, urls []string) []mcmt.Media {
			asked = urls
			return []mcmt.Media{{Type: "image/png", Name: "cat.png", Body: []byte("a cat")}}
		}
		l := d.take(t, "<body>look</body><x xmlns='jabber:x:oob'><url>https://files.example/cat.png</url></x>")
		if c, err := d.Carry(t.Context(), []custody.Letter{l}); err != nil || c.N != 1 {
			t.Fatalf("%+v, %v", c, err)
		}
		raw := string(d.sent[0].Raw)
		if got := strings.Contains(raw, "cat.png"); !got || strings.Contains(raw, "image/png") != want || (len(asked) == 1) != want {
			t.Errorf("%s: asked for %q, sent %s", format, asked, raw)
		}
	}
}
