package app

import (
	"errors"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// TestCursor: the place of a search is read as it is written, and nothing else is one.
func TestCursor(t *testing.T) {
	t.Parallel()
	for _, c := range []cursor{{at: time.Unix(0, 1234567890123456789)}, {stage: broker.Park, seq: 77}, {stage: broker.Ingest}} {
		if got, err := readCursor(c.String()); err != nil || !got.at.Equal(c.at) || got.stage != c.stage || got.seq != c.seq {
			t.Errorf("%s: %+v, %v", c, got, err)
		}
	}
	if got, err := readCursor(""); err != nil || !got.at.IsZero() || got.stage != "" {
		t.Errorf("the beginning: %+v, %v", got, err)
	}
	for _, s := range []string{"ended", "ended.", "ended.-1", "ended.!", "dead.1", "park.zzzzzzzzzzzzzzzz", "x"} {
		if _, err := readCursor(s); !errors.Is(err, admin.ErrAfter) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// ended is the record of a message in the journal.
func ended(o custody.Outcome) broker.Record {
	o.ID, o.Ended = "q1", time.Unix(9, 0)
	return broker.Record{ID: "q1", Recipient: o.Name(), Data: o.Encode(), At: o.Ended}
}

// TestFinal: a look-up ends only where nothing else can be found.
func TestFinal(t *testing.T) {
	t.Parallel()
	steps := custody.Begun(time.Unix(1, 0), "N1")
	a, b := jid.MustParse("a@localhost"), jid.MustParse("b@localhost")
	one := func(to jid.JID, end custody.End, of int) broker.Record {
		return ended(custody.Outcome{Record: custody.Record{JID: to, Of: of, Steps: steps}, End: end})
	}
	for name, c := range map[string]struct {
		found []broker.Record
		want  bool
	}{
		"nothing":                         {nil, false},
		"delivered":                       {[]broker.Record{one(a, custody.Delivered, 0)}, true},
		"may be revived":                  {[]broker.Record{one(a, custody.Expired, 0)}, false},
		"its e-mail is under way":         {[]broker.Record{one(a, custody.Diverted, 0)}, false},
		"one of two":                      {[]broker.Record{one(a, custody.Filtered, 2)}, false},
		"twice the same of two":           {[]broker.Record{one(a, custody.Filtered, 2), one(a, custody.Relayed, 2)}, false},
		"both":                            {[]broker.Record{one(a, custody.Filtered, 2), one(b, custody.Dropped, 2)}, true},
		"one of them may be revived":      {[]broker.Record{one(a, custody.Delivered, 2), one(b, custody.Failed, 2)}, false},
		"how many there are is not known": {[]broker.Record{ended(custody.Outcome{Record: custody.Record{JID: a}, End: custody.Delivered})}, false},
		"unreadable":                      {[]broker.Record{{ID: "q1", Data: []byte("{")}}, false},
	} {
		if got := final(c.found); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestSince: the id of a message says from when on to look for it, unless it is none.
func TestSince(t *testing.T) {
	t.Parallel()
	now := time.Now()
	if got := since(string(mcmt.NewID(now))); got.After(now.Add(-clockSkew)) || got.Before(now.Add(-clockSkew-time.Second)) {
		t.Errorf("%s, want a minute before %s", got, now)
	}
	for _, id := range []string{"", "q1", "ee8t7fdggtb3dpnnpdtie9g", "track7@corp.example"} {
		if got := since(id); !got.IsZero() {
			t.Errorf("%s: %s", id, got)
		}
	}
}

// TestSelection: what a search asks for, and what it does not.
func TestSelection(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	o := custody.Outcome{End: custody.Failed, Record: custody.Record{From: "News@corp.example", To: mcmt.Recipient{Address: "+491@sms.example"},
		JID: jid.MustParse("alice@localhost/a"), Author: "bob@localhost/b", Accepted: at(5)}}
	for name, c := range map[string]struct {
		f    admin.MessageFilter
		want bool
	}{
		"all":                   {admin.MessageFilter{}, true},
		"its end":               {admin.MessageFilter{Outcome: "failed"}, true},
		"another end":           {admin.MessageFilter{Outcome: "expired"}, false},
		"it ended then":         {admin.MessageFilter{Since: at(9)}, true},
		"it had ended":          {admin.MessageFilter{Since: at(10)}, false},
		"it was under way":      {admin.MessageFilter{Since: at(6), Until: at(7)}, true},
		"it was not there yet":  {admin.MessageFilter{Until: at(5)}, false},
		"domain of the JID":     {admin.MessageFilter{Domain: "localhost"}, true},
		"domain of the address": {admin.MessageFilter{Domain: "sms.example"}, true},
		"a sender's domain":     {admin.MessageFilter{Domain: "corp.example"}, false},
		"sender":                {admin.MessageFilter{From: "news@CORP.example"}, true},
		"author":                {admin.MessageFilter{From: "bob@localhost"}, true},
		"another sender":        {admin.MessageFilter{From: "alice@localhost"}, false},
		"recipient":             {admin.MessageFilter{To: "Alice@localhost"}, true},
		"recipient's number":    {admin.MessageFilter{To: "+491@SMS.example"}, true},
		"another recipient":     {admin.MessageFilter{To: "alice@localhos"}, false},
		"both":                  {admin.MessageFilter{From: "news@corp.example", To: "carol@localhost"}, false},
	} {
		s := newSelection(c.f)
		if got := s.may(ended(o)); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	o.End = custody.Diverted
	if s := newSelection(admin.MessageFilter{}); s.may(ended(o)) {
		t.Error("what has not ended is found as ended")
	}
}
