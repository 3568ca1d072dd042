package delivery

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const mail = "From: news@corp.example\r\nSubject: Hi\r\n\r\nfrom the mail\r\n"

// draft is an MCMT message with an XMPP part.
func draft(t testing.TB, xmpp string) []byte {
	t.Helper()
	raw, err := mcmt.Build(mcmt.Draft{Email: []byte(mail), XMPP: []byte(xmpp)})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// same compares dispositions but for what they record.
func same(got, want broker.Disposition) bool {
	return reflect.DeepEqual(got.Recorded("", "", nil), want.Recorded("", "", nil))
}

// end is what a disposition records, zero for nothing.
func end(t testing.TB, d broker.Disposition) custody.Outcome {
	t.Helper()
	r := d.Record()
	if r == nil {
		return custody.Outcome{}
	}
	o, err := custody.DecodeOutcome(r.Data)
	if err != nil || r.ID != string(o.ID) || r.Recipient != o.Address || o.Ended.IsZero() {
		t.Errorf("record %+v of %+v: %v", r, o, err)
	}
	return o
}

func rules(t testing.TB, specs ...filters.Spec) Rules {
	t.Helper()
	c, err := convert.New(convert.Options{MailGatewayDomain: "mail.localhost", Roles: func(domain string) convert.Role {
		if ours(domain) {
			return convert.Server
		}
		return convert.NoRole
	}})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := filters.Build(specs)
	if err != nil {
		t.Fatal(err)
	}
	return Rules{Converter: c, Filters: chain}
}

// accepted is a message as the broker hands it to conversion.
func accepted(t testing.TB, raw []byte, change ...func(*custody.Record)) *broker.Delivery {
	t.Helper()
	rec := custody.Record{ID: "q1", From: "news@corp.example", To: mcmt.Recipient{Address: "alice@localhost"},
		Reception: mcmt.Allow, Accepted: time.Now(), JID: alice}
	for _, f := range change {
		f(&rec)
	}
	msg, err := custody.Ingest(rec, 0, raw)
	if err != nil {
		t.Fatal(err)
	}
	return &broker.Delivery{Stage: msg.Stage, Route: msg.Route, Recipient: msg.Recipient, ID: msg.ID, Header: msg.Header, Body: msg.Body, Attempt: 1}
}

// converter returns a Conversion with what it tells.
func converter(r Rules) (*Conversion, *recorder) {
	events, bus := newRecorder(), new(trace.Bus)
	bus.Subscribe(events.add)
	return &Conversion{Rules: func() Rules { return r }, Trace: bus, Node: "here"}, events
}

// moved is the stanza of a disposition that moves one, nil for another one.
func moved(t testing.TB, d broker.Disposition) (*stanza.Stanza, broker.Message) {
	t.Helper()
	field := reflect.ValueOf(d).FieldByName("msgs")
	if field.Len() != 1 {
		return nil, broker.Message{}
	}
	// The broker's own business, and read here instead of through a stage.
	msg := field.Index(0)
	st, err := stanza.ParseBytes(msg.FieldByName("Body").Bytes(), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return st, broker.Message{
		Stage: broker.Stage(msg.FieldByName("Stage").String()), Route: msg.FieldByName("Route").String(),
		Recipient: msg.FieldByName("Recipient").String(), ID: msg.FieldByName("ID").String(),
	}
}

// TestReception: an MCMT message is taken apart where the listener allows it, and
// is ordinary mail where it passes through.
func TestReception(t *testing.T) {
	t.Parallel()
	raw := draft(t, `<message><body>from the stanza</body></message>`)
	for name, tc := range map[string]struct {
		reception  mcmt.Reception
		part, body string
	}{
		"allow":    {mcmt.Allow, "xmpp", "from the stanza"},
		"passthru": {mcmt.PassThrough, "email", "from the mail"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, events := converter(rules(t))
			out := c.Handle(t.Context(), []*broker.Delivery{accepted(t, raw, func(r *custody.Record) { r.Reception = tc.reception })})
			st, msg := moved(t, out[0])
			if st == nil || st.Child("body").Text() != tc.body {
				t.Fatalf("stanza %v, want the body %q", st, tc.body)
			}
			if msg.Stage != broker.Deliver || msg.Route != "alice@localhost" || msg.ID != "d.q1.0" {
				t.Errorf("moved to %+v", msg)
			}
			if e := events.of(trace.Converted); len(e) != 1 || e[0].Part != tc.part || e[0].StanzaID != st.ID {
				t.Errorf("told %+v, want the part %s", e, tc.part)
			}
		})
	}
}

const composing = `<message><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`

// TestFilters: what each action of a filter makes of a message.
func TestFilters(t *testing.T) {
	t.Parallel()
	const receipt = `<message><body>hello</body><request xmlns='urn:xmpp:receipts'/></message>`
	receipts := xmlwire.Name{Space: "urn:xmpp:receipts", Local: "request"}
	spec := func(action, mode string) filters.Spec {
		return filters.Spec{Name: "receipts", Type: "element", Namespace: receipts.Space, Action: action, Mode: mode}
	}
	for name, tc := range map[string]struct {
		raw    string
		spec   filters.Spec
		want   broker.Disposition // zero: it goes on
		strips bool
		told   trace.Event // the verdict of the last filter
	}{
		"a chat state alone is noise":   {raw: composing, want: broker.Ack(), told: trace.Event{Filter: "chat-states", Verdict: "drop"}},
		"drop ends a message":           {raw: receipt, spec: spec("drop", ""), want: broker.Ack(), told: trace.Event{Filter: "receipts", Verdict: "drop"}},
		"defer gives it again":          {raw: receipt, spec: spec("defer", ""), want: broker.Retry(filterRetry), told: trace.Event{Filter: "receipts", Verdict: "defer"}},
		"strip removes the element":     {raw: receipt, spec: spec("strip", ""), strips: true, told: trace.Event{Filter: "receipts", Verdict: "strip"}},
		"pass lets it through":          {raw: receipt, spec: spec("pass", ""), told: trace.Event{Filter: "receipts", Verdict: "pass"}},
		"shadow only tells":             {raw: receipt, spec: spec("drop", "shadow"), told: trace.Event{Filter: "receipts", Verdict: "drop", Shadow: true}},
		"a shadow of defer delays none": {raw: receipt, spec: spec("defer", "shadow"), told: trace.Event{Filter: "receipts", Verdict: "defer", Shadow: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var specs []filters.Spec
			if tc.spec.Type != "" {
				specs = append(specs, tc.spec)
			}
			c, events := converter(rules(t, specs...))
			out := c.Handle(t.Context(), []*broker.Delivery{accepted(t, draft(t, tc.raw))})
			st, _ := moved(t, out[0])
			if st == nil && !same(out[0], tc.want) || st != nil && !reflect.DeepEqual(tc.want, broker.Disposition{}) {
				t.Fatalf("disposition %+v, want %+v", out[0], tc.want)
			}
			if o := end(t, out[0]); same(tc.want, broker.Ack()) && (o.End != custody.Filtered || !strings.HasPrefix(o.Why, tc.told.Filter+": ")) || st != nil && o.End != "" {
				t.Errorf("recorded as %+v", o)
			}
			if st != nil && (st.Element.Child(receipts) == nil) != tc.strips {
				t.Errorf("stanza %s, stripped: want %v", st, tc.strips)
			}
			verdicts := events.of(trace.Filtered)
			got := verdicts[len(verdicts)-1]
			for _, v := range verdicts { // the chain of the outward direction follows
				if v.Filter == tc.told.Filter {
					got = v
				}
			}
			if got.Filter != tc.told.Filter || got.Verdict != tc.told.Verdict || got.Shadow != tc.told.Shadow || got.Reason == "" {
				t.Errorf("told %+v, want %+v with a reason", got, tc.told)
			}
			if n := len(events.of(trace.Failed)); n != 0 {
				t.Errorf("%d failures told", n)
			}
		})
	}
}

// TestDeferredRun: nothing of a run overtakes a message that a filter put off, and
// nothing is converted in vain; the wait is told once.
func TestDeferredRun(t *testing.T) {
	t.Parallel()
	c, events := converter(rules(t, filters.Spec{Name: "big", Type: "size", Action: "defer", Max: 1000}))
	big := accepted(t, draft(t, `<message><body>`+strings.Repeat("x", 2000)+`</body></message>`))
	small := accepted(t, draft(t, `<message><body>x</body></message>`))
	for attempt := range 3 {
		big.Attempt = attempt + 1
		out := c.Handle(t.Context(), []*broker.Delivery{small, big, small})
		if st, _ := moved(t, out[0]); len(out) != 2 || st == nil || !reflect.DeepEqual(out[1], broker.Retry(filterRetry)) {
			t.Fatalf("dispositions %+v, want a move and a retry", out)
		}
	}
	if n := len(events.of(trace.Deferred)); n != 1 {
		t.Errorf("told %d times that it waits, want once", n)
	}
	if got := c.Stats(); got.Converted != 3 || got.Filtered != 0 || got.Failed != 0 {
		t.Errorf("stats %+v", got)
	}
}

// TestPutOffIsMarked: a message that a filter put off says since when it is on its
// way, however short the wait.
func TestPutOffIsMarked(t *testing.T) {
	t.Parallel()
	c, _ := converter(rules(t))
	for attempt, marked := range map[int]bool{1: false, 2: true} {
		d := accepted(t, []byte(mail))
		d.Attempt = attempt
		st, _ := moved(t, c.Handle(t.Context(), []*broker.Delivery{d})[0])
		if mark := st.Element.Child(nameDelay); (mark != nil) != marked || marked && mark.Attr("from") != "mail.localhost" {
			t.Errorf("attempt %d: %s, want it marked: %v", attempt, st, marked)
		}
	}
}

// TestNotConverted: what cannot become a stanza is a dead message with a reason of
// its kind, which holds nothing of the text.
func TestNotConverted(t *testing.T) {
	t.Parallel()
	const secret = "secret words"
	for name, tc := range map[string]struct {
		d      *broker.Delivery
		reason string
	}{
		"no record":                        {&broker.Delivery{Stage: broker.Ingest, ID: "x", Recipient: "alice@localhost"}, "unreadable: custody: message 0 of in: there is no record"},
		"the domain is no XMPP domain now": {accepted(t, []byte(mail), func(r *custody.Record) { r.To.Address = "a@gone.example" }), "not converted: address"},
		"nothing in it can be sent":        {accepted(t, []byte("From: a@b\r\n\r\n")), "not converted: message has no part that can be sent"},
		"not a message":                    {accepted(t, []byte(secret+"\r\n")), `not converted: 554 5.6.0 at "header line 1"`},
		"MCMT without its mail":            {accepted(t, []byte("Content-Type: multipart/vnd.msys.mcmt; boundary=b\r\n\r\n--b\r\n\r\n"+secret+"\r\n--b--\r\n")), "not converted: 554 5.6.0"},
		"empty":                            {accepted(t, nil), "not converted: 554 5.6.0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, events := converter(rules(t))
			out := c.Handle(t.Context(), []*broker.Delivery{tc.d})
			failed := events.of(trace.Failed)
			if len(failed) != 1 || !strings.HasPrefix(failed[0].Reason, tc.reason) || failed[0].ID == "" {
				t.Fatalf("told %+v, want the reason %q", failed, tc.reason)
			}
			if strings.Contains(failed[0].Reason, secret) {
				t.Errorf("the reason tells the text: %s", failed[0].Reason)
			}
			if len(out) != 1 || !same(out[0], broker.Term(failed[0].Reason)) || c.Stats().Failed != 1 {
				t.Errorf("disposition %+v, stats %+v", out, c.Stats())
			}
			if o := end(t, out[0]); o.End != custody.Failed || o.Why != failed[0].Reason || string(o.ID) != failed[0].ID || o.Node != "here" {
				t.Errorf("recorded as %+v", o)
			}
		})
	}
}

// TestConversionRetries: an error that does not call itself permanent is tried
// again.
func TestConversionRetries(t *testing.T) {
	t.Parallel()
	c, events := converter(rules(t))
	d := accepted(t, []byte(mail))
	err := errors.New("not now")
	if out, again := c.fail(t.Context(), custody.Record{ID: "q1"}, d, err); !again || !reflect.DeepEqual(out, broker.Retry(0).Because(err)) {
		t.Errorf("disposition %+v, again %v", out, again)
	}
	if len(events.of(trace.Failed)) != 0 || len(events.of(trace.Deferred)) != 1 {
		t.Error("want it told as deferred")
	}
}

// TestConversionPanic: a message that brings out a bug is a dead one, with a line
// in the log that says where; the process and the rest of the run go on.
func TestConversionPanic(t *testing.T) {
	t.Parallel()
	r := rules(t)
	var calls atomic.Int64
	conv, err := convert.New(convert.Options{MailGatewayDomain: "mail.localhost", Roles: func(string) convert.Role {
		if calls.Add(1) == 1 {
			panic("bug")
		}
		return convert.Server
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.Converter = conv
	c, events := converter(r)
	var log bytes.Buffer
	c.Log = zerolog.New(&log)
	out := c.Handle(t.Context(), []*broker.Delivery{accepted(t, []byte(mail)), accepted(t, []byte(mail))})
	if len(out) != 2 || !same(out[0], broker.Term("panic: bug")) {
		t.Fatalf("dispositions %+v, want the first dead", out)
	}
	if st, _ := moved(t, out[1]); st == nil {
		t.Error("the second message is not converted")
	}
	if failed := events.of(trace.Failed); len(failed) != 1 || failed[0].Reason != "panic: bug" || failed[0].ID != "q1" {
		t.Errorf("told %+v", failed)
	}
	if !strings.Contains(log.String(), "TestConversionPanic") {
		t.Errorf("the log does not say where: %s", log.String())
	}
}

// TestConversionStops: the end of the gateway does not wait for a long run.
func TestConversionStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, _ := converter(rules(t))
	if out := c.Handle(ctx, []*broker.Delivery{accepted(t, []byte(mail))}); len(out) != 0 {
		t.Errorf("%d dispositions after the end", len(out))
	}
}

// TestPipeline sends messages through both stages, with the kinds of outcome
// mixed, and finds each where it belongs.
func TestPipeline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	ctx, cancel := context.WithCancel(t.Context())
	c := &Conversion{Rules: func() Rules { return rules(t) }, Trace: w.dl.trace}
	done := make(chan error, 1)
	go func() { done <- w.broker.Consume(ctx, broker.Ingest, c, broker.ConsumeOptions{}) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	client := w.login("alice@localhost/a")
	ingest := func(id mcmt.ID, raw []byte) {
		rec := custody.Record{ID: id, From: "news@corp.example", To: mcmt.Recipient{Address: "alice@localhost"}, Reception: mcmt.Allow,
			Accepted: time.Now().Add(-time.Hour), JID: alice}
		msg, err := custody.Ingest(rec, 0, raw)
		if err != nil {
			t.Fatal(err)
		}
		w.store(msg)
	}
	ingest("q1", []byte(mail))
	ingest("q2", []byte("not a message\r\n"))
	ingest("q3", draft(t, composing))
	ingest("q4", []byte(mail))
	w.events.wait(t, trace.Delivered, 2)
	client.expect(t, []string{convert.StanzaID("q1", alice), convert.StanzaID("q4", alice)})
	if st := client.got[0]; st.From != jid.MustParse(`news\40corp.example@mail.localhost`) || st.Child("subject") == nil {
		t.Errorf("got %s", st)
	}
	if n := len(w.events.of(trace.Failed)); n != 1 {
		t.Errorf("%d failures, want 1", n)
	}
	eventually(t, "one is among the dead", func() bool { return w.dead() == 1 })
	if s := c.Stats(); s != (ConversionStats{Converted: 2, Filtered: 1, Failed: 1}) {
		t.Errorf("stats %+v", s)
	}
}

// TestSameMessage: two submissions of one message become stanzas of one id, each
// with a place of its own in the next stage; another message gets another id.
func TestSameMessage(t *testing.T) {
	t.Parallel()
	c, _ := converter(rules(t))
	raw := draft(t, "<message><body>hello</body></message>")
	of := func(id mcmt.ID, same string) (stanzaID, messageID string) {
		d := accepted(t, raw, func(r *custody.Record) { r.ID, r.Same = id, same })
		d.ID = string(id) + ".0"
		st, msg := moved(t, c.Handle(t.Context(), []*broker.Delivery{d})[0])
		return st.ID, msg.ID
	}
	first, firstAt := of("q1", "m")
	second, secondAt := of("q2", "m")
	other, _ := of("q3", "n")
	none, _ := of("q1", "")
	if first != second || firstAt == secondAt || other == first || none == first {
		t.Errorf("%s (%s) and %s (%s), then %s and %s", first, firstAt, second, secondAt, other, none)
	}
}

// TestMade: the delivery of the same process gets the stanza itself, which is what custody
// holds, and another one parses that.
func TestMade(t *testing.T) {
	t.Parallel()
	for name, made := range map[string]*Made{"same process": new(Made), "another": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := converter(rules(t))
			c.Made = made
			out := c.Handle(t.Context(), []*broker.Delivery{accepted(t, draft(t, `<message><body>one &amp; two</body><x xmlns='urn:x' a='"'/></message>`))})
			_, msg := moved(t, out[0])
			body := reflect.ValueOf(out[0]).FieldByName("msgs").Index(0).FieldByName("Body").Bytes()
			d := &broker.Delivery{Stage: msg.Stage, ID: msg.ID, Body: slices.Clone(body), Attempt: 1}
			dl := New(Options{Made: made})
			for want := range 2 { // it is handed on once
				st, err := dl.read(d, custody.Record{JID: alice, Accepted: time.Now()}, time.Now())
				if err != nil || !bytes.Equal(st.Append(nil, ""), body) {
					t.Errorf("read %v, %v; custody holds %s", st, err, body)
				}
				if s := made.Stats(); made != nil && s != (custody.PassedStats{Taken: 1, Missed: uint64(want)}) {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}
