package custody

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

var alice = jid.MustParse("alice@localhost/home")

// full is a record with every field set.
func full() Record {
	at := time.Date(2026, 11, 23, 8, 0, 0, 123456789, time.UTC)
	return Record{
		ID: "q1", From: "né\"ws@corp.example", To: mcmt.Recipient{Address: "alice@localhost", Notify: []string{"NEVER"}, ORCPT: "rfc822;a\nb"},
		Reception: mcmt.Allow, Listener: "esmtp_listener [::1]:25", Peer: "[2001:db8::1]:9", User: "app", Trusted: true, PartFrom: true,
		EnvelopeID: "E\x01", Return: "FULL", Accepted: at, Same: "m1", JID: alice, Sent: at.Add(-time.Hour), MessageID: "m@corp", StanzaID: "s1", Part: "smpp",
		Parked: at.Add(time.Minute), Deferred: true, Revived: at.Add(time.Hour), Source: 6, Reason: "away",
		Stanza: 4, Author: "bob@localhost", Origin: "carol@localhost", Rerouted: 2, Of: 3,
		Steps: Begun(at, "N1").With(Step{At: at, Kind: StepStored}),
	}
}

// handed is m as the broker hands it over.
func handed(m broker.Message) *broker.Delivery {
	return &broker.Delivery{Stage: m.Stage, Route: m.Route, Recipient: m.Recipient, ID: m.ID, Header: m.Header, Body: m.Body, Seq: 7}
}

// TestRoundTrip: what one stage writes the next one reads, whole.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	want := full()
	for i := range reflect.TypeFor[Record]().NumField() {
		if reflect.ValueOf(want).Field(i).IsZero() {
			t.Fatalf("field %s is not set", reflect.TypeFor[Record]().Field(i).Name)
		}
	}
	msg, err := Deliver(want, "q1.0", []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(handed(msg))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestStages: where the message of each stage lies, and by which id a second copy
// is recognised. These forms are in the streams of running gateways.
func TestStages(t *testing.T) {
	t.Parallel()
	r := full()
	ingest, err := Ingest(r, 3, []byte("raw"))
	if err != nil {
		t.Fatal(err)
	}
	deliver, err := Deliver(r, ingest.ID, []byte("stanza"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(5, 0).UTC()
	park, err := Park(handed(deliver), r, "gone", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		got   broker.Message
		stage broker.Stage
		id    string
		body  string
	}{
		{ingest, broker.Ingest, "q1.3", "raw"},
		{deliver, broker.Deliver, "d.q1.3", "stanza"},
		{park, broker.Park, "p.d.q1.3", "stanza"},
	} {
		if m := tc.got; m.Stage != tc.stage || m.ID != tc.id || string(m.Body) != tc.body || m.Route != "alice@localhost" || m.Recipient != "alice@localhost/home" {
			t.Errorf("%s: %+v", tc.stage, m)
		}
	}
	got, err := Read(handed(park))
	if err != nil || !got.Parked.Equal(now) || got.Reason != "gone" || got.Source != 7 {
		t.Errorf("parked: %+v, %v", got, err)
	}
	mail, err := Mail(r, "q1.3", []byte("raw"))
	if err != nil || mail.Stage != broker.Mail || mail.ID != "m.q1.3" || mail.Route != "mailto:alice@localhost" || mail.Recipient != mail.Route || !IsMail(mail.Route) {
		t.Errorf("mail: %+v, %v", mail, err)
	}
	if got, err := Read(handed(mail)); err != nil || !got.JID.IsZero() || got.Recipient() != mail.Recipient || got.Domain() != "localhost" || got.Stanza != 0 {
		t.Errorf("mail: %+v, %v", got, err)
	}
	elsewhere := handed(deliver)
	elsewhere.Route = "localhost"
	if park, err = Park(elsewhere, r, "gone", now); err != nil || park.Route != "localhost" {
		t.Errorf("parked on the route %q, %v, want that of the delivery", park.Route, err)
	}
}

// TestReasonBounded: an error that quotes much must not make a message that
// cannot be stored.
func TestReasonBounded(t *testing.T) {
	t.Parallel()
	m, err := Deliver(full(), "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, reason := range map[string]string{"ascii": strings.Repeat("x", 1<<20), "cut inside a character": "x" + strings.Repeat("é", 1<<20)} {
		p, err := Park(handed(m), full(), reason, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(handed(p))
		if err != nil || len(got.Reason) > maxReason || len(got.Reason) < maxReason-1 || !utf8.ValidString(got.Reason) {
			t.Errorf("%s: %d bytes of reason, %v", name, len(got.Reason), err)
		}
	}
}

// TestReadRefuses: what no stage has written is an error for good.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(d *broker.Delivery){
		"no header":            func(d *broker.Delivery) { d.Header = nil },
		"not JSON":             func(d *broker.Delivery) { d.Header = map[string]string{header: "x"} },
		"something behind it":  func(d *broker.Delivery) { d.Header = map[string]string{header: d.Header[header] + "{}"} },
		"no id of the message": func(d *broker.Delivery) { d.Header = map[string]string{header: `{"from":"a@b"}`} },
		"no id in the broker":  func(d *broker.Delivery) { d.ID = "" },
		"no recipient":         func(d *broker.Delivery) { d.Recipient = "" },
		"bad recipient":        func(d *broker.Delivery) { d.Recipient = "a@@b" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := Deliver(full(), "x", nil)
			if err != nil {
				t.Fatal(err)
			}
			d := handed(m)
			change(d)
			_, err = Read(d)
			var bad *Error
			if !errors.As(err, &bad) || bad.Temporary() || bad.Seq != 7 || bad.Stage != broker.Deliver {
				t.Errorf("error %v, want a permanent one with the place", err)
			}
		})
	}
}

// TestStamp: a message without a date was sent when it was accepted.
func TestStamp(t *testing.T) {
	t.Parallel()
	r := full()
	if !r.Stamp().Equal(r.Sent) {
		t.Error("want the time of sending")
	}
	r.Sent = time.Time{}
	if !r.Stamp().Equal(r.Accepted) {
		t.Error("want the time of acceptance")
	}
}

// FuzzRead: whatever is in a stream, reading it ends in a record or an error, and
// a record is read the same when it is written again.
func FuzzRead(f *testing.F) {
	m, err := Deliver(full(), "x", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Header[header], m.Recipient, m.ID)
	f.Add(`{"id":"a","accepted":"9999-12-31T23:59:59Z"}`, "a@b", "x")
	f.Fuzz(func(t *testing.T, record, recipient, id string) {
		got, err := Read(&broker.Delivery{Header: map[string]string{header: record}, Recipient: recipient, ID: id})
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, err := Deliver(got, "x", nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Read(handed(again))
		if err != nil {
			t.Fatal(err)
		}
		third, err := Deliver(second, "x", nil)
		if err != nil || third.Header[header] != again.Header[header] || third.Recipient != again.Recipient {
			t.Errorf("%s became %s: %v", again.Header, third.Header, err)
		}
	})
}

// TestDomainOf: of what routes are made of.
func TestDomainOf(t *testing.T) {
	t.Parallel()
	for route, want := range map[string]string{
		"alice@localhost":            "localhost",
		"localhost":                  "localhost",
		`mailto:"a@b"@corp.example`:  "corp.example",
		"mailto:bob@corp.example":    "corp.example",
		`a\40b.example@mail.gateway`: "mail.gateway",
	} {
		if got := DomainOf(route); got != want {
			t.Errorf("%s: %q, want %q", route, got, want)
		}
	}
}
