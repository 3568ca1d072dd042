package custody

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestOutcome: what is written about the end of a message is read again, whole.
func TestOutcome(t *testing.T) {
	t.Parallel()
	want := Outcome{Record: full(), End: Expired, Proof: "p", Why: "w", Ended: time.Unix(9, 0).UTC(), Attempts: 3, Node: "N1", Via: "alice@localhost/a", Next: time.Unix(10, 0).UTC()}
	got, err := DecodeOutcome(want.Encode())
	want.Address, want.JID = alice.String(), got.JID
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

// TestOutcomeIsJSON: it is written as encoding/json would.
func TestOutcomeIsJSON(t *testing.T) {
	t.Parallel()
	for _, o := range []Outcome{
		{Record: full(), End: Failed, Why: "a \"b\" <c> ü\n", Ended: time.Unix(9, 5).UTC(), Attempts: 3, Node: "N1", Next: time.Unix(10, 5).UTC()},
		{End: Delivered, Proof: "ack"},
		{},
	} {
		o.Address = o.JID.String()
		want, err := json.Marshal(o)
		if got := o.Encode(); err != nil || string(got) != string(want) {
			t.Errorf("got  %s\nwant %s, %v", got, want, err)
		}
	}
}

// TestOutcomeBounded: neither a long reason nor a date that JSON does not know
// keeps the end of a message from being written.
func TestOutcomeBounded(t *testing.T) {
	t.Parallel()
	o := Outcome{Record: full(), End: Failed, Why: strings.Repeat("x", 1<<20)}
	o.Next = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)
	o.Sent = time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)
	got, err := DecodeOutcome(o.Encode())
	if err != nil || got.End != Failed || len(got.Why) != maxReason || got.ID != o.ID {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := DecodeOutcome([]byte("{")); err == nil {
		t.Error("no error for half a record")
	}
}

// TestExpires: the time begins with the acceptance, or anew when an operator
// sends the message once more.
func TestExpires(t *testing.T) {
	t.Parallel()
	at := time.Unix(100, 0)
	if got := (Record{Accepted: at}).Expires(time.Minute); !got.Equal(at.Add(time.Minute)) {
		t.Error(got)
	}
	if got := (Record{Accepted: at, Revived: at.Add(time.Hour)}).Expires(time.Minute); !got.Equal(at.Add(time.Hour + time.Minute)) {
		t.Error(got)
	}
}
