package events

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

func record(t *testing.T, change ...func(*custody.Outcome)) broker.Record {
	t.Helper()
	at := time.Date(2026, 11, 28, 1, 2, 3, 456789000, time.UTC)
	o := custody.Outcome{
		Record: custody.Record{
			ID: "q1", From: "news@corp.example", To: mcmt.Recipient{Address: "+49170@sms.example"}, JID: jid.MustParse("alice@chat.example/phone"),
			Listener: "esmtp_listener", Accepted: at.Add(-time.Minute), MessageID: "1@corp.example", StanzaID: "s1", Part: "xmpp",
		},
		End: custody.Delivered, Proof: "stream management", Ended: at, Attempts: 2, Node: "N",
	}
	for _, c := range change {
		c(&o)
	}
	return broker.Record{ID: string(o.ID), Recipient: o.Name(), Data: o.Encode()}
}

// TestEventForm: this is what receivers have been told, see README; who changes it
// changes Version, unless it only gets longer.
func TestEventForm(t *testing.T) {
	t.Parallel()
	e, err := newEvent(record(t))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"ID","type":"message.delivered","version":1,"timestamp":"2026-11-28T01:02:03.456789Z","data":{"id":"q1","stanza_id":"s1",` +
		`"message_id":"1@corp.example","from":"news@corp.example","to":"+49170@sms.example","jid":"alice@chat.example/phone","outcome":"delivered",` +
		`"proof":"stream management","part":"xmpp","listener":"esmtp_listener","node":"N","accepted":"2026-11-28T01:01:03.456789Z",` +
		`"ended":"2026-11-28T01:02:03.456789Z","attempts":2}}`
	if got := strings.Replace(string(e.body), e.ID, "ID", 1); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	tried := custody.Begun(time.Time{}, "N").With(custody.Step{Kind: custody.StepAttempt, Count: 3})
	if e, err = newEvent(record(t, func(o *custody.Outcome) { o.Steps = tried })); err != nil || e.Data.Attempts != 4 {
		t.Errorf("%d attempts, %v, want also those before the last stage: 4", e.Data.Attempts, err)
	}
	if !regexp.MustCompile(`^evt_[a-z2-7]{24}$`).MatchString(e.ID) {
		t.Errorf("id %q", e.ID)
	}
	if e, err := newEvent(record(t, func(o *custody.Outcome) { o.End = custody.Diverted })); e != nil || err != nil {
		t.Errorf("what is no end: %+v, %v", e, err)
	}
	e, err = newEvent(record(t, func(o *custody.Outcome) {
		o.End, o.Proof, o.Why, o.Next = custody.Deferred, "", "away", o.Ended.Add(30*time.Second)
	}))
	const wait = `{"id":"ID","type":"message.deferred","version":1,"timestamp":"2026-11-28T01:02:03.456789Z","data":{"id":"q1","stanza_id":"s1",` +
		`"message_id":"1@corp.example","from":"news@corp.example","to":"+49170@sms.example","jid":"alice@chat.example/phone","outcome":"deferred",` +
		`"reason":"away","part":"xmpp","listener":"esmtp_listener","node":"N","accepted":"2026-11-28T01:01:03.456789Z",` +
		`"attempts":2,"next":"2026-11-28T01:02:33.456789Z"}}`
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Replace(string(e.body), e.ID, "ID", 1); got != wait {
		t.Errorf("got  %s\nwant %s", got, wait)
	}
	if _, err := newEvent(broker.Record{Data: []byte("{")}); err == nil {
		t.Error("a damaged record has an event")
	}
}

// TestEventID: the same for each record of one end, and for no other.
func TestEventID(t *testing.T) {
	t.Parallel()
	id := func(change func(*custody.Outcome)) string {
		e, err := newEvent(record(t, change))
		if err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	first := id(func(*custody.Outcome) {})
	seen := map[string]string{first: "the first"}
	for name, tc := range map[string]struct {
		change func(*custody.Outcome)
		same   bool
	}{
		"recorded again after a crash": {func(o *custody.Outcome) { o.Ended, o.Attempts, o.Node = o.Ended.Add(time.Hour), 9, "M" }, true},
		"another message":              {func(o *custody.Outcome) { o.ID = "q2" }, false},
		"another recipient":            {func(o *custody.Outcome) { o.JID = jid.MustParse("bob@chat.example") }, false},
		"another end":                  {func(o *custody.Outcome) { o.End = custody.Failed }, false},
		"a deferral":                   {func(o *custody.Outcome) { o.End = custody.Deferred }, false},
		"sent on its way again":        {func(o *custody.Outcome) { o.Revived = o.Ended }, false},
		"and once more":                {func(o *custody.Outcome) { o.Revived = o.Ended.Add(1) }, false},
	} {
		got := id(tc.change)
		if (got == first) != tc.same {
			t.Errorf("%s: %s, the first is %s", name, got, first)
		}
		if other, ok := seen[got]; ok && !tc.same {
			t.Errorf("%s has the id of %s", name, other)
		}
		seen[got] = name
	}
}

// TestNoText: an event has no member that could hold text of a message, unless somebody
// adds one and this test's list, and thinks about it.
func TestNoText(t *testing.T) {
	t.Parallel()
	for kind, want := range map[reflect.Type]string{
		reflect.TypeFor[Event](): "ID Type Version Timestamp Data body",
		reflect.TypeFor[Data]():  "ID StanzaID MessageID From To JID Outcome Proof Reason Part Listener Node Accepted Ended Attempts Next",
	} {
		var fields []string
		for i := range kind.NumField() {
			fields = append(fields, kind.Field(i).Name)
		}
		if got := strings.Join(fields, " "); got != want {
			t.Errorf("%s has %s, want %s", kind.Name(), got, want)
		}
	}
}

// TestWants: a webhook gets what it has asked for.
func TestWants(t *testing.T) {
	t.Parallel()
	event := func(change func(*custody.Outcome)) *Event {
		e, err := newEvent(record(t, change))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	same := func(*custody.Outcome) {}
	waits := func(o *custody.Outcome) { o.End = custody.Deferred }
	for name, tc := range map[string]struct {
		outcomes, domains []string
		change            func(*custody.Outcome)
		want              bool
	}{
		"all":                           {nil, nil, same, true},
		"a deferral that is asked for":  {[]string{"failed", "deferred"}, nil, waits, true},
		"one among all":                 {nil, nil, waits, false},
		"of the outcome":                {[]string{"failed", "delivered"}, nil, same, true},
		"of another":                    {[]string{"failed"}, nil, same, false},
		"of the sender":                 {nil, []string{"corp.example"}, same, true},
		"of the address given":          {nil, []string{"sms.example"}, same, true},
		"of the JID, not its resource":  {nil, []string{"chat.example"}, same, true},
		"of nobody":                     {nil, []string{"example"}, same, false},
		"a subdomain":                   {nil, []string{".example"}, same, true},
		"the domain itself":             {nil, []string{".chat.example"}, same, true},
		"an end of it":                  {nil, []string{".hat.example"}, same, false},
		"a slash in a mail address":     {nil, []string{"b.example"}, func(o *custody.Outcome) { o.JID, o.To.Address = jid.JID{}, "a/x@B.example" }, true},
		"no sender, and none asked for": {nil, []string{""}, func(o *custody.Outcome) { o.From = "" }, false},
		"both":                          {[]string{"delivered"}, []string{"corp.example"}, same, true},
		"one of both":                   {[]string{"failed"}, []string{"corp.example"}, same, false},
	} {
		h := &webhook{conf: config.Webhook{Outcomes: tc.outcomes, Domains: tc.domains}}
		if got := h.wants(event(tc.change)); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	for _, deferred := range []bool{false, true} {
		s := newStream(nil, config.NATSEvents{Deferred: deferred})
		if !s.wants(event(same)) || s.wants(event(waits)) != deferred {
			t.Errorf("the stream, with events_deferred = %t", deferred)
		}
	}
}

// FuzzEvent: whatever a record holds, there is an event of it that can be read, or none.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"id":"1","from":"a@b","to":{"address":"c@d"},"accepted":"2026-11-28T01:02:03Z","jid":"c@d","end":"delivered","ended":"2026-11-28T01:02:03Z"}`))
	f.Add([]byte(`{"end":"\u0000"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := newEvent(broker.Record{ID: "1", Recipient: "c@d", Data: data})
		if err != nil || e == nil {
			return
		}
		var back Event
		if err := json.Unmarshal(e.body, &back); err != nil {
			t.Fatalf("%s: %v", e.body, err)
		}
		if back.ID != e.ID || back.Data.Attempts != e.Data.Attempts || !back.Timestamp.Equal(e.Timestamp) {
			t.Errorf("%+v became %+v", e, back)
		}
		_ = e.of([]string{".x", "y"})
	})
}
