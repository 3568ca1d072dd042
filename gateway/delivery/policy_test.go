package delivery

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// host takes what scripts send, or does not.
type host struct {
	sent []string
	fail error
}

func (h *host) Online(jid.JID) (policy.Presence, bool) { return policy.Presence{}, false }
func (h *host) Connected(jid.JID) bool                 { return false }
func (h *host) ValidDomain(string) bool                { return true }

func (h *host) Send(_ context.Context, st *stanza.Stanza, once string) error {
	h.sent = append(h.sent, once+" "+st.To.String())
	return h.fail
}

func (h *host) Inject(context.Context, string, string, []byte, string) error { return h.fail }

// withScript are rules with one script, whose module is m.
func withScript(t *testing.T, h *host, text string) Rules {
	t.Helper()
	p, err := policy.Load(policy.Options{Host: h, States: 1, Scripts: []policy.Source{
		{Name: "house", File: "house.lua", Text: "local m = {}\n" + text + "\nmsys.registerModule('m', m)"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := rules(t)
	r.Policy = p
	return r
}

const greeting = `<message><body>hello</body></message>`

// Each row is a script and what becomes of an MCMT message with it.
func TestPolicy(t *testing.T) {
	t.Parallel()
	send := `xmpp:send("<message to='bob@localhost'><body>x</body></message>")`
	for _, row := range []struct {
		name, script string
		fail         error
		change       func(*custody.Record)
		end          custody.End // empty: it goes on, or is given again
		why, to      string
		body         string
		sent         int
	}{
		{name: "no word about it", script: `function m:core_ec_message_enqueue(msg) end`, to: "alice@localhost", body: "hello"},
		{name: "dealt with", script: `function m:core_ec_message_enqueue(msg) ` + send + ` return EC_MESSAGE_ENQUEUE_HOOK_OK end`,
			end: custody.Filtered, why: "script house", sent: 1},
		{name: "dealt with, but what was sent cannot be taken now", script: `function m:core_ec_message_enqueue(msg) ` + send + ` return EC_MESSAGE_ENQUEUE_HOOK_OK end`,
			fail: errors.New("broker is away"), sent: 1},
		{name: "dealt with, but what was sent will never be taken", script: `function m:core_ec_message_enqueue(msg) ` + send + ` return EC_MESSAGE_ENQUEUE_HOOK_OK end`,
			fail: &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}, end: custody.Failed, why: "not converted: script house: ", sent: 1},
		{name: "refused", script: `function m:core_ec_message_enqueue(msg) return EC_MESSAGE_ENQUEUE_HOOK_ERR end`, end: custody.Failed, why: "not converted: script house refuses it"},
		{name: "refused before the fix-up", script: `function m:mcmt_pre_fixup(msg) return EC_MSG_MCMT_INVALID end`, end: custody.Failed, why: "not converted: script house refuses it"},
		{name: "another recipient", script: `function m:mcmt_pre_fixup(msg) msg:rcptto("bob@localhost") end
			function m:core_ec_message_enqueue(msg) if msg:rcptto() ~= "bob@localhost" then return EC_MESSAGE_ENQUEUE_HOOK_ERR end end`, to: "bob@localhost", body: "hello"},
		{name: "a recipient who has no JID", script: `function m:core_ec_message_enqueue(msg) msg:rcptto("bob@nowhere.example") end`, end: custody.Failed, why: "not converted: "},
		{name: "another body", script: `function m:mcmt_fixup(msg, stanza) for n in stanza:children() do if n:name() == "body" then n:contents("hello from " .. msg:mailfrom()) end end end`,
			to: "alice@localhost", body: "hello from news@corp.example"},
		{name: "fails half way", script: `function m:mcmt_fixup(msg, stanza) stanza:contents("") error("no") end`, to: "alice@localhost", body: "hello"},
		{name: "made by a script", script: `function m:core_ec_message_enqueue(msg) return EC_MESSAGE_ENQUEUE_HOOK_ERR end`, to: "alice@localhost", body: "hello",
			change: func(r *custody.Record) { r.Listener = policy.Listener }},
		{name: "no MCMT message where it passes through", script: `function m:mcmt_pre_fixup(msg) return EC_MSG_MCMT_INVALID end
			function m:mcmt_fixup(msg, stanza) return EC_MSG_MCMT_INVALID end`, to: "alice@localhost", body: "from the mail", change: func(r *custody.Record) { r.Reception = 0 }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			h := &host{fail: row.fail}
			c, events := converter(withScript(t, h, row.script))
			if row.change == nil {
				row.change = func(*custody.Record) {}
			}
			out := c.Handle(t.Context(), []*broker.Delivery{accepted(t, draft(t, greeting), row.change)})
			o := end(t, out[0])
			if o.End != row.end || !strings.HasPrefix(o.Why, row.why) || len(h.sent) != row.sent {
				t.Fatalf("ended %+v, sent %q", o, h.sent)
			}
			st, msg := moved(t, out[0])
			switch {
			case row.to == "" && st != nil:
				t.Errorf("moved %s", st)
			case row.to != "" && (st == nil || st.To.String() != row.to || msg.Route != row.to || st.Child("body").Text() != row.body):
				t.Errorf("moved %s on %s, want %q to %s", st, msg.Route, row.body, row.to)
			}
			if row.to == "" && row.end == "" && !reflect.ValueOf(out[0]).FieldByName("kind").IsZero() {
				t.Errorf("disposition %+v, want a retry", out[0])
			}
			if told := events.of(trace.Filtered); row.end == custody.Filtered && (len(told) != 1 || told[0].Filter != "script house" || told[0].Verdict != "drop") {
				t.Errorf("told %+v", told)
			}
		})
	}
}

// A message that is given again sends under the same name.
func TestPolicySendsOnce(t *testing.T) {
	t.Parallel()
	h := new(host)
	c, _ := converter(withScript(t, h, `function m:core_ec_message_enqueue(msg) xmpp:send("<message to='bob@localhost'/>") end`))
	for range 2 {
		c.Handle(t.Context(), []*broker.Delivery{accepted(t, draft(t, greeting))})
	}
	if len(h.sent) != 2 || h.sent[0] != h.sent[1] {
		t.Errorf("sent %q", h.sent)
	}
}
