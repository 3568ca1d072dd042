package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// oracle decides by the id of a message.
type oracle struct{ before, failed map[string]policy.Decision }

func (o oracle) Has(policy.Hook) bool { return true }

func (o oracle) BeforeSend(_ context.Context, m *policy.Message, _ *stanza.Stanza) (policy.Decision, error) {
	d := o.before[m.ID]
	if m.ID == "circle" && m.To == "bob@localhost" {
		d.Recipient = "alice@localhost"
	}
	return d, nil
}

func (o oracle) OnFailure(_ context.Context, m *policy.Message, _ *stanza.Stanza, reason string) (policy.Decision, error) {
	if reason == "" {
		panic("no reason")
	}
	return o.failed[m.ID], nil
}

// hooked is a world whose messages scripts are asked about.
func hooked(t *testing.T, o oracle) (*world, *post) {
	t.Helper()
	w, p := newWorldOf(t, falling(time.Hour)), new(post)
	w.dl.o.Hooks = func() Hooks { return o }
	w.dl.o.Resolve = func(address string) (jid.JID, error) {
		if strings.HasSuffix(address, "@localhost") {
			return jid.Parse(address)
		}
		return jid.JID{}, nil
	}
	w.dl.o.Reporter = p
	w.run()
	w.start(w.mailing(p))
	return w, p
}

// TestHooks: scripts send messages elsewhere, to Jabber and as mail, deal with them, and
// refuse them; each ends once, under the recipient it was for at first.
func TestHooks(t *testing.T) {
	t.Parallel()
	nobody := jid.MustParse("nobody@localhost")
	w, p := hooked(t, oracle{
		before: map[string]policy.Decision{
			"moved":   {Script: "s", Recipient: "bob@localhost"},
			"dealt":   {Script: "s", Verdict: policy.Done},
			"refused": {Script: "s", Verdict: policy.Refuse},
			"circle":  {Script: "s", Recipient: "bob@localhost"},
		},
		failed: map[string]policy.Decision{
			"mailed":   {Script: "s", Recipient: "duty@corp.example"},
			"rescued":  {Script: "s", Recipient: "bob@localhost"},
			"swallow":  {Script: "s", Verdict: policy.Done},
			"hopeless": {Script: "s", Recipient: "nobody@localhost"},
		},
	})
	bob, alicia := w.login("bob@localhost/b"), w.login("alice@localhost/a")
	put := func(id string, to jid.JID) {
		_, msg := both(t, id, to)
		w.store(msg)
	}
	for _, id := range []string{"moved", "dealt", "refused", "circle", "plain"} {
		put(id, alice)
	}
	for _, id := range []string{"mailed", "rescued", "swallow", "hopeless"} {
		put(id, nobody)
	}
	w.events.wait(t, trace.Delivered, 3)
	w.events.wait(t, trace.Failed, 2)
	w.events.wait(t, trace.Relayed, 4) // two of them, and two reports
	alicia.expect(t, []string{"plain"})
	got := bob.ids()
	if slices.Sort(got); !slices.Equal(got, []string{"moved", "rescued"}) {
		t.Errorf("bob got %q", got)
	}
	if !slices.Contains(p.bodies, "mail mailed") {
		t.Errorf("mails %q", p.bodies)
	}
	for id, want := range map[string]custody.End{"moved": custody.Delivered, "dealt": custody.Filtered, "refused": custody.Failed, "circle": custody.Failed} {
		eventually(t, id+" is "+string(want), func() bool { return slices.Equal(w.ends(id, "alice@localhost"), []custody.End{want}) })
	}
	for id, want := range map[string]custody.End{"mailed": custody.Relayed, "rescued": custody.Delivered, "swallow": custody.Filtered, "hopeless": custody.Relayed} {
		eventually(t, id+" is "+string(want), func() bool { return slices.Equal(w.ends(id, "nobody@localhost"), []custody.End{want}) })
	}
	for _, e := range w.events.of(trace.Failed) {
		if e.ID == "circle" && !strings.Contains(e.Reason, fmt.Sprintf("%d times", maxReroutes)) {
			t.Errorf("the circle ends for %q", e.Reason)
		}
	}
}
