package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// named is a mail with a Message-ID, behind the trace fields of one way here.
const named = "Message-ID: <m1@corp.example>\r\n" + mail

// smtp is an envelope of a listener that sees whether its answers arrive.
func smtp(addrs ...string) mcmt.Envelope {
	env := to(addrs...)
	env.Confirms = true
	return env
}

// TestRepeated: which submission counts as the same as the first one, whose
// answer was not seen, so that it gets the first's id and is not stored.
func TestRepeated(t *testing.T) {
	t.Parallel()
	received := func(by string) string {
		return "Received: from x\r\n\tby " + by + ";\r\n\tMon, 2 Mar 2026 10:20:00 +0000\r\n"
	}
	change := func(f func(*mcmt.Envelope)) mcmt.Envelope {
		env := smtp("alice@localhost")
		f(&env)
		return env
	}
	inMCMT, err := mcmt.Build(mcmt.Draft{Email: []byte(named), XMPP: []byte("<message><body>hello</body></message>")})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		first, again string
		env          mcmt.Envelope
		same         bool
	}{
		"the same again":                         {named, named, smtp("alice@localhost"), true},
		"the recipient by another address":       {named, named, smtp("ALICE@localhost"), true},
		"from another place":                     {named, named, change(func(e *mcmt.Envelope) { e.Listener, e.Hello = "esmtp_listener 127.0.0.2:25", "other" }), true},
		"received by us at another time":         {received("a") + named, received("b") + named, smtp("alice@localhost"), true},
		"by another way":                         {received("a") + named, received("b") + received("c") + "Return-Path: <x@y>\r\n" + named, smtp("alice@localhost"), true},
		"MCMT, named in its e-mail part":         {string(inMCMT), string(inMCMT), smtp("alice@localhost"), true},
		"MCMT that is not taken apart, the same": {string(inMCMT), string(inMCMT), change(func(e *mcmt.Envelope) { e.Reception = mcmt.PassThrough }), false},
		"without a Message-ID":                   {mail, mail, smtp("alice@localhost"), false},
		"another text":                           {named, named + "more\r\n", smtp("alice@localhost"), false},
		"with a field more, as lists add them":   {named, "X-List: l\r\n" + named, smtp("alice@localhost"), false},
		"resent by a person":                     {named, "Resent-From: bob@localhost\r\n" + named, smtp("alice@localhost"), false},
		"another Message-ID":                     {named, strings.Replace(named, "m1", "m2", 1), smtp("alice@localhost"), false},
		"another sender":                         {named, named, change(func(e *mcmt.Envelope) { e.From = "other@corp.example" }), false},
		"another user":                           {named, named, change(func(e *mcmt.Envelope) { e.User = "app" }), false},
		"one who is trusted":                     {named, named, change(func(e *mcmt.Envelope) { e.Trusted = true }), false},
		"by HTTP, which has the Idempotency-Key": {named, named, to("alice@localhost"), false},
		"a trace field in the text is text":      {named + "Received: a\r\n", named + "Received: b\r\n", smtp("alice@localhost"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			first, err := d.Put(t.Context(), smtp("alice@localhost"), []byte(tc.first))
			if err != nil {
				t.Fatal(err)
			}
			again, err := d.Put(t.Context(), tc.env, []byte(tc.again))
			if err != nil || (again == first) != tc.same {
				t.Errorf("id %q, then %q, %v", first, again, err)
			}
			want := Stats{Stored: 2}
			if tc.same {
				want = Stats{Stored: 1, Repeated: 1}
			}
			if n := len(d.stored()); n != int(want.Stored) || d.Stats() != want || d.told(trace.Stored) != n {
				t.Errorf("%d stored, %+v, %d told, want %+v", n, d.Stats(), d.told(trace.Stored), want)
			}
			if logged := strings.Contains(d.log.String(), "again"); logged != tc.same {
				t.Errorf("log: %s", d.log.String())
			}
		})
	}
}

// TestRepeatedSeen: a client that has seen its answer and sends the message again
// means it. The two are stored, as copies of one message.
func TestRepeatedSeen(t *testing.T) {
	t.Parallel()
	d := open(t)
	var ids []mcmt.ID
	for range 3 {
		id, err := d.Put(t.Context(), smtp("alice@localhost", "bob@localhost"), []byte(named))
		if err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, id); len(ids) == 1 {
			d.Confirm("unknown", id, id)
		}
	}
	if ids[0] == ids[1] || ids[1] != ids[2] {
		t.Errorf("ids %q, want another for the second, whose answer was not seen, and that for the third", ids)
	}
	same := make(map[string]int)
	for _, m := range d.stored() {
		rec, err := custody.Read(m)
		if err != nil || rec.Same == "" {
			t.Errorf("record %+v, %v", rec, err)
		}
		same[rec.Same]++
	}
	if len(same) != 1 || d.Stats() != (Stats{Stored: 4, Repeated: 2}) {
		t.Errorf("stored %v, %+v", same, d.Stats())
	}
}

// TestRepeatedMayPretend: what a peer may do is part of what is the same.
func TestRepeatedMayPretend(t *testing.T) {
	t.Parallel()
	may := false
	d := open(t, func(o *Options) { o.PartFrom = func(mcmt.Envelope) bool { return may } })
	for _, may = range []bool{false, true, true} {
		if _, err := d.Put(t.Context(), smtp("alice@localhost"), []byte(named)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.stored()); n != 2 {
		t.Errorf("%d stored, want one without the right and one with it", n)
	}
}

// TestRepeatedRecipients: a message that comes in several transactions, as one
// to many does, reaches each recipient once, whoever is named with them.
func TestRepeatedRecipients(t *testing.T) {
	t.Parallel()
	d := open(t)
	put := func(addrs ...string) mcmt.ID {
		t.Helper()
		id, err := d.Put(t.Context(), smtp(addrs...), []byte(named))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	bob, alice := put("bob@localhost"), put("alice@localhost")
	if bob == alice {
		t.Error("two submissions have one id")
	}
	if id := put("alice@localhost", "bob@localhost"); id != alice && id != bob {
		t.Errorf("both again: id %q, want one of %q, %q", id, alice, bob)
	}
	if id := put("bob@localhost"); id != bob {
		t.Errorf("one again: id %q, want %q", id, bob)
	}
	four := put("bob@localhost", "x@near.example", "alice@localhost", "y@near.example")
	got := make(map[string]int)
	for _, m := range d.stored() {
		got[m.Recipient]++
	}
	if fmt.Sprint(got) != "map[alice@localhost:1 bob@localhost:1 x@near.example:1 y@near.example:1]" || d.Stats() != (Stats{Stored: 4, Repeated: 5}) {
		t.Errorf("stored for %v, %+v", got, d.Stats())
	}
	// The last answer was about all four: with it seen, nothing is open.
	d.Confirm(four)
	if id := put("bob@localhost"); id == bob || id == four {
		t.Errorf("after it was seen: id %q", id)
	}
}

// TestRepeatedAtOnce: many at the same time get one id, and one message is stored.
func TestRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	d := open(t)
	ids := make([]mcmt.ID, 16)
	var putting sync.WaitGroup
	for i := range ids {
		putting.Go(func() {
			var err error
			if ids[i], err = d.Put(t.Context(), smtp("alice@localhost"), []byte(named)); err != nil {
				t.Error(err)
			}
		})
	}
	putting.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Fatalf("ids %q", ids)
		}
	}
	if n := len(d.stored()); n != 1 || d.Stats() != (Stats{Stored: 1, Repeated: 15}) || d.told(trace.Stored) != 1 {
		t.Errorf("%d messages stored, %+v, %d told, want 1", n, d.Stats(), d.told(trace.Stored))
	}
}

// TestRepeatedBusy: who comes again while the first is being stored, and cannot
// wait, is told to come once more.
func TestRepeatedBusy(t *testing.T) {
	t.Parallel()
	storing, release := make(chan struct{}), make(chan struct{})
	d := open(t, func(o *Options) { o.Broker = slow{o.Broker, storing, release} })
	first := make(chan error, 1)
	go func() {
		_, err := d.Put(t.Context(), smtp("alice@localhost"), []byte(named))
		first <- err
	}()
	<-storing
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Put(ctx, smtp("alice@localhost"), []byte(named))
	check(t, err, away)
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// TestRepeatedAfterFailure: a submission that was not answered with success is
// stored when it comes again.
func TestRepeatedAfterFailure(t *testing.T) {
	t.Parallel()
	d := open(t, func(o *Options) { o.Broker = &onceFailing{Broker: o.Broker} })
	_, err := d.Put(t.Context(), smtp("alice@localhost"), []byte(named))
	check(t, err, away)
	if _, err := d.Put(t.Context(), smtp("alice@localhost"), []byte(named)); err != nil {
		t.Fatal(err)
	}
	if n := len(d.stored()); n != 1 || d.Stats() != (Stats{Stored: 1, TryLater: 1}) {
		t.Errorf("%d stored, %+v", n, d.Stats())
	}
}

// TestUnseen: answers are forgotten after a while, and their number is bounded.
func TestUnseen(t *testing.T) {
	t.Parallel()
	var u unseen
	now := time.Unix(1_000_000, 0)
	alice, bob := target{jid: jid.MustParse("alice@localhost")}, target{jid: jid.MustParse("bob@localhost")}
	name := func(i int) string { return strconv.Itoa(i) }
	add := func(i int, after time.Duration) {
		u.add(mcmt.ID(name(i)), identity(name(i)), []target{alice}, now.Add(after))
	}
	open := func(i int, after time.Duration) bool {
		id, rest := u.find(identity(name(i)), []target{bob, alice}, now.Add(after))
		if len(rest) == 1 && (rest[0].jid != bob.jid || id != mcmt.ID(name(i))) || len(rest) == 2 && id != "" {
			t.Errorf("found %q, to be stored for %v", id, rest)
		}
		return len(rest) == 1
	}
	add(0, 0)
	if !open(0, unseenFor-1) || open(0, unseenFor) {
		t.Errorf("not open for %v", unseenFor)
	}
	add(1, unseenFor) // takes the first away
	if len(u.byID) != 1 || len(u.byCopy) != 1 || u.oldest.Len() != 1 {
		t.Errorf("%d, %d and %d are remembered", len(u.byID), len(u.byCopy), u.oldest.Len())
	}
	for i := 2; i < 2*maxUnseen; i++ {
		add(i, unseenFor)
	}
	if len(u.byID) != maxUnseen || len(u.byCopy) != maxUnseen || u.oldest.Len() != maxUnseen {
		t.Errorf("%d, %d and %d are remembered", len(u.byID), len(u.byCopy), u.oldest.Len())
	}
	if open(maxUnseen-1, unseenFor) || !open(maxUnseen, unseenFor) || !open(2*maxUnseen-1, unseenFor) {
		t.Error("not the oldest are forgotten")
	}
	for i := range 2 * maxUnseen {
		u.remove([]mcmt.ID{mcmt.ID(name(i))})
	}
	if len(u.byID) != 0 || len(u.byCopy) != 0 || u.oldest.Len() != 0 {
		t.Errorf("%d, %d and %d are remembered after all were seen", len(u.byID), len(u.byCopy), u.oldest.Len())
	}
}

// TestUntraced: what of a message is the same on every way here.
func TestUntraced(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"Received: a\r\n b\r\n\tc\r\nA: b\r\n\r\ntext": "A: b\r\n\r\ntext",
		"A: b\nreceived:x\nRETURN-PATH: <>\n\ntext":    "A: b\n\ntext",
		"A: b\r\n\r\nReceived: text\r\n":               "A: b\r\n\r\nReceived: text\r\n",
		"Received: a\r\n":                              "",
		"Received: a":                                  "",
		"Received-SPF: a\r\nA: b\r\n Received: c":      "Received-SPF: a\r\nA: b\r\n Received: c",
		"": "",
	} {
		var b bytes.Buffer
		writeUntraced(&b, []byte(raw))
		if b.String() != want {
			t.Errorf("%q: %q, want %q", raw, b.String(), want)
		}
	}
}

// TestRepeatedKey: an Idempotency-Key says more than the message: another key is
// another submission.
func TestRepeatedKey(t *testing.T) {
	t.Parallel()
	d := open(t)
	var err error
	for _, key := range []string{"k1", "k2", "k1"} {
		_, e := d.Put(t.Context(), keyed("app", key), []byte(named))
		err = errors.Join(err, e)
	}
	if n := len(d.stored()); err != nil || n != 2 {
		t.Errorf("%d stored, %v, want one for each key", n, err)
	}
}

// BenchmarkAgain is what recognising a message of 1 KiB costs one that comes once.
func BenchmarkAgain(b *testing.B) {
	d := open(b)
	raw := []byte("Received: from x\r\n\tby y;\r\n\tMon, 2 Mar 2026 10:20:00 +0000\r\n" + named + strings.Repeat("x", 900))
	msg, err := mcmt.Parse(raw, mcmt.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	sub := submission{env: smtp("alice@localhost"), raw: raw}
	if sub.to, err = d.targets(b.Context(), sub.env); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		same, id := d.identify(sub, msg), mcmt.ID(strconv.Itoa(i))
		leave, err := d.repeats.enter(b.Context(), string(same))
		if err != nil {
			b.Fatal(err)
		}
		_, rest := d.unseen.find(same, sub.to, time.Now())
		d.unseen.add(id, same, rest, time.Now())
		leave()
		d.Confirm(id)
	}
}
