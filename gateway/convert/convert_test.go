package convert

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

var update = flag.Bool("update", false, "write the golden file anew")

var received = time.Date(2026, 3, 2, 9, 0, 30, 0, time.UTC)

func testRoles(domain string) Role {
	switch domain {
	case "jabber.example", "münchen.example":
		return Server
	case "remote.example":
		return Client
	}
	return NoRole
}

func newConverter(t testing.TB, change func(*Options)) *Converter {
	t.Helper()
	o := Options{
		Roles:             testRoles,
		MailGatewayDomain: "mail.jabber.example",
		Maps: []RecipientMap{
			{"phones", regexp.MustCompile(`^\+(\d+)(?:@mms\.example)?$`), "$1@remote.example"},
			{"staff", regexp.MustCompile(`^(?P<user>[^@]+)@corp\.example$`), "${user}@jabber.example"},
		},
	}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t testing.TB, raw string) *mcmt.Message {
	t.Helper()
	m, err := mcmt.Parse([]byte(raw), mcmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func build(t testing.TB, d mcmt.Draft) *mcmt.Message {
	t.Helper()
	raw, err := mcmt.Build(d)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(raw))
}

func input(m *mcmt.Message) Input {
	return Input{ID: "q1", From: "alerts@corp.example", To: "bob@jabber.example", Message: m, Received: received, Now: received, Explain: true}
}

// TestCorpus converts every message that mcmt has as a test; testdata/corpus.golden
// holds the stanzas and the steps.
func TestCorpus(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../mcmt/testdata/*.eml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d messages (%v)", len(files), err)
	}
	c := newConverter(t, nil)
	var b strings.Builder
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := mcmt.Parse(raw, mcmt.Limits{})
		if err != nil {
			continue // refused at reception
		}
		in := input(m)
		in.Place = place
		r, err := c.Convert(in)
		fmt.Fprintf(&b, "== %s\n", strings.TrimSuffix(filepath.Base(file), ".eml"))
		for _, s := range r.Steps {
			fmt.Fprintf(&b, "%s: %s\n", s.Topic, s.Note)
		}
		if err != nil {
			fmt.Fprintf(&b, "error: %s\n", err)
			continue
		}
		fmt.Fprintf(&b, "%s\n", r.Stanza.Append(nil, stanza.Client))
	}
	const golden = "testdata/corpus.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPreference(t *testing.T) {
	t.Parallel()
	full := mcmt.Draft{Subject: "s", Text: "mail", SMS: "sms", XMPP: []byte("<message><body>xmpp</body></message>"),
		Parts: []mcmt.RawPart{{ContentType: "message/vnd.msys.mm7", Body: []byte("Content-Type: text/plain\r\n\r\nmms")}}}
	for _, tt := range []struct {
		name, reason string
		preference   []string
		change       func(*mcmt.Draft)
		part, body   string
	}{
		{name: "default", reason: "the stanza comes first", part: "xmpp", body: "xmpp"},
		{name: "no stanza", reason: "then the short message", change: func(d *mcmt.Draft) { d.XMPP = nil }, part: "smpp", body: "sms"},
		{name: "neither", reason: "then the text of the MMS", change: func(d *mcmt.Draft) { d.XMPP, d.SMS = nil, "" }, part: "mm7", body: "mms"},
		{name: "mail only", reason: "then the mail", change: func(d *mcmt.Draft) { d.XMPP, d.SMS, d.Parts = nil, "", nil }, part: "email", body: "mail"},
		{name: "blank sms", reason: "blank text says nothing", change: func(d *mcmt.Draft) { d.XMPP, d.SMS, d.Parts = nil, " \n", nil }, part: "email", body: "mail"},
		{name: "mail first", reason: "the order is configurable", preference: []string{"email", "xmpp"}, part: "email", body: "mail"},
		{name: "sms only", reason: "a part that is not named is not used", preference: []string{"smpp"}, part: "smpp", body: "sms"},
		{name: "nothing", reason: "named parts only, and they are not there", preference: []string{"smpp"}, change: func(d *mcmt.Draft) { d.SMS = "" }},
		{name: "empty mail", reason: "no text and no subject", change: func(d *mcmt.Draft) { *d = mcmt.Draft{} }},
		{name: "subject only", reason: "a subject alone is shown as the body", change: func(d *mcmt.Draft) { *d = mcmt.Draft{Subject: "late"} }, part: "email", body: "late"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := full
			if tt.change != nil {
				tt.change(&d)
			}
			c := newConverter(t, func(o *Options) { o.Preference = tt.preference })
			r, err := c.Convert(input(build(t, d)))
			if tt.part == "" {
				var ce *ContentError
				if !errors.As(err, &ce) || ce.Temporary() || len(r.Steps) == 0 {
					t.Errorf("%s: got %v after %v", tt.reason, err, r.Steps)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if body := r.Stanza.Child("body").Text(); r.Part != tt.part || body != tt.body {
				t.Errorf("%s: got %q from %s", tt.reason, body, r.Part)
			}
			if subject := r.Stanza.Child("subject"); (subject != nil) != (tt.part == "email" && tt.body != "late") {
				t.Errorf("subject %v beside the body of %s", subject, r.Part)
			}
		})
	}
}

func TestMessageType(t *testing.T) {
	t.Parallel()
	c := newConverter(t, func(o *Options) { o.MessageType = "headline" })
	for _, d := range []mcmt.Draft{{Text: "mail"}, {XMPP: []byte("<message><body>x</body></message>")}} {
		if r, err := c.Convert(input(build(t, d))); err != nil || r.Stanza.Type != "headline" {
			t.Errorf("%v %v", r.Stanza, err)
		}
	}
}

// TestRetryIsTheSame: a second attempt gives the same bytes, another recipient
// or message another id.
func TestRetryIsTheSame(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	in := input(build(t, mcmt.Draft{Text: "x", MessageID: "m1@corp.example"}))
	once := func(in Input) []byte {
		r, err := c.Convert(in)
		if err != nil {
			t.Fatal(err)
		}
		return r.Stanza.Append(nil, stanza.Client)
	}
	first := once(in)
	if second := once(in); !bytes.Equal(first, second) {
		t.Errorf("%s\n%s", first, second)
	}
	ids := map[string]bool{}
	for _, change := range []func(*Input){func(*Input) {}, func(in *Input) { in.ID = "q2" }, func(in *Input) { in.To = "eve@jabber.example" }} {
		other := in
		change(&other)
		r, err := c.Convert(other)
		if err != nil {
			t.Fatal(err)
		}
		origin := r.Stanza.Element.Child(stanza.OriginID)
		if ids[r.Stanza.ID] || origin.Attr("id") != r.Stanza.ID {
			t.Errorf("id %q, origin id %q", r.Stanza.ID, origin.Attr("id"))
		}
		ids[r.Stanza.ID] = true
	}
}

func TestOriginIDOfPart(t *testing.T) {
	t.Parallel()
	const own = `<origin-id xmlns='urn:xmpp:sid:0' id='mine'/>`
	in := input(build(t, mcmt.Draft{XMPP: []byte("<message><body>x</body>" + own + "</message>")}))
	r, err := newConverter(t, nil).Convert(in)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Stanza.String(); strings.Count(s, "<origin-id") != 1 || !strings.Contains(s, "mine") {
		t.Errorf("XEP-0359 §2.2: the content of an origin id is preserved: %s", s)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		change     func(*Options)
	}{
		{"preference", "mcmt_preference", func(o *Options) { o.Preference = []string{"fax"} }},
		{"preference twice", "mcmt_preference", func(o *Options) { o.Preference = []string{"email", "email"} }},
		{"type", "xmpp_message_type", func(o *Options) { o.MessageType = "error" }},
		{"gateway", "mail_gateway_domain", func(o *Options) { o.MailGatewayDomain = "" }},
		{"group", `recipient_map "m"`, func(o *Options) { o.Maps = []RecipientMap{{"m", regexp.MustCompile(`(a)`), "$2@x"}} }},
		{"name", `recipient_map "m"`, func(o *Options) { o.Maps = []RecipientMap{{"m", regexp.MustCompile(`(a)`), "${user}@x"}} }},
		{"brace", `recipient_map "m"`, func(o *Options) { o.Maps = []RecipientMap{{"m", regexp.MustCompile(`(a)`), "${1@x"}} }},
		{"no jid", `recipient_map "m"`, func(o *Options) { o.Maps = []RecipientMap{{"m", regexp.MustCompile(`(a)`), ""}} }},
		{"no match", `recipient_map "m"`, func(o *Options) { o.Maps = []RecipientMap{{"m", nil, "a@x"}} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := Options{MailGatewayDomain: "mail.x.example"}
			tt.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestUnexplained: who does not ask for steps does not pay for them.
func TestUnexplained(t *testing.T) {
	t.Parallel()
	m, err := mcmt.Parse([]byte("Subject: x\r\n\r\nhello\r\n"), mcmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	in := input(m)
	in.Explain = false
	r, err := newConverter(t, func(*Options) {}).Convert(in)
	if err != nil || r.Stanza == nil || r.Steps != nil {
		t.Errorf("%+v, %v", r, err)
	}
}
