package delivery

import (
	"testing"
	"time"

	"mcmt2xmpp/broker"
)

// TestKeeping: a message counts until it is settled, or so long that another process must
// have it.
func TestKeeping(t *testing.T) {
	t.Parallel()
	var k keeping
	now := time.Now()
	run := []*broker.Delivery{{Route: "a@b", ID: "1"}, {Route: "a@b", ID: "2"}}
	for _, d := range run {
		k.add(d.Route, d.ID, now)
	}
	k.add("c@d", "3", now)
	k.seen(run, []broker.Disposition{broker.Ack(), broker.Retry(0)})
	if !k.any("a@b", now) {
		t.Error("one that is to be tried again is forgotten")
	}
	k.seen(run, []broker.Disposition{broker.Ack(), broker.Term("dead")})
	if k.any("a@b", now) || !k.any("c@d", now) {
		t.Error("those of one route are settled, those of another are not")
	}
	if k.any("c@d", now.Add(keepingTime)) || k.any("c@d", now) {
		t.Error("one that is never seen again counts for ever")
	}
}
