package filters

import (
	"fmt"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// TestThrottleIsBounded: any number of conversations costs bounded memory, and
// the latest are the ones that are remembered.
func TestThrottleIsBounded(t *testing.T) {
	t.Parallel()
	th := newThrottle(time.Hour)
	to := jid.MustParse("juliet@capulet.lit")
	var last *stanza.Stanza
	for i := range 3 * maxConversations {
		last = stanza.NewMessage(to, jid.MustParse(fmt.Sprintf("romeo%d@montague.lit", i)), stanza.TypeChat, "")
		if v := th.verdict(last, "composing"); v.Action != Pass {
			t.Fatalf("conversation %d: %+v", i, v)
		}
		if n := len(th.young) + len(th.old); n > maxConversations {
			t.Fatalf("%d conversations are remembered, more than %d", n, maxConversations)
		}
	}
	if v := th.verdict(last, "composing"); v.Action != Drop {
		t.Errorf("the latest conversation was forgotten: %+v", v)
	}
}
