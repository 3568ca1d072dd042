package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

// desk is a Receipts that is made up, and notes what happens.
type desk struct {
	mu       sync.Mutex
	happened []string
	away     bool            // remembers nothing
	told     map[string]bool // by stanza id: whose authors have had a receipt
}

func (d *desk) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.happened = append(d.happened, fmt.Sprintf(format, args...))
}

func (d *desk) Expect(_ context.Context, l custody.Letter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		d.happened = append(d.happened, "away")
		return errors.New("the store is away")
	}
	d.happened = append(d.happened, "expects "+l.StanzaID)
	return nil
}

func (d *desk) Settle(_ context.Context, l custody.Letter) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.told[l.StanzaID], nil
}

func (d *desk) Sent(custody.Letter) {}

func (d *desk) Taken(custody.Letter) *stanza.Error { return nil }

// TestReceiptExpected: that somebody wants to hear of its arrival is remembered before a
// message is sent, or it is not sent; who has heard of it by then, by a receipt that was
// faster than the proof, does not hear it again.
func TestReceiptExpected(t *testing.T) {
	t.Parallel()
	w, p, d := newWorld(t), new(post), &desk{away: true, told: make(map[string]bool)}
	w.dl.o.Receipts, w.dl.o.Reporter = d, p
	w.run()
	client := w.login("alice@localhost/a", func(c *client) {
		c.sent = func(id string) {
			d.note("sent %s", id)
			d.mu.Lock()
			d.told["early"] = true
			d.mu.Unlock()
		}
	})
	for _, id := range []string{"early", "late"} {
		st := stanza.NewMessage(alice, news, stanza.TypeChat, "hello")
		st.ID = id
		rec := custody.Record{ID: mcmt.ID(id), From: "news@corp.example", To: mcmt.Recipient{Address: alice.String(), Notify: []string{"SUCCESS"}},
			Accepted: time.Now(), JID: alice, StanzaID: id, Part: "xmpp"}
		msg, err := custody.Deliver(rec, id, st.Append(nil, ""))
		if err != nil {
			t.Fatal(err)
		}
		w.store(msg)
	}
	eventually(t, "it cannot be remembered", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return len(d.happened) > 0 })
	d.mu.Lock()
	d.away = false
	d.mu.Unlock()
	eventually(t, "both are delivered", func() bool { w.due(); return w.events.counted(trace.Delivered, "") == 2 })
	client.expect(t, []string{"early", "late"})
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range []string{"early", "late"} {
		if at := slices.Index(d.happened, "expects "+id); at < 0 || at > slices.Index(d.happened, "sent "+id) {
			t.Errorf("%s is sent before it is remembered: %q", id, d.happened)
		}
	}
	if p.mu.Lock(); !slices.Equal(p.endings, []string{"late delivered"}) {
		t.Errorf("the author hears %q", p.endings)
	}
	p.mu.Unlock()
}
