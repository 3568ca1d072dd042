package app

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/trace"
)

// TestOutcomeLines: what the bus says becomes a line of its kind, in the default format,
// or none.
func TestOutcomeLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "outcomes.log")
	cfg, err := config.LoadBytes(filepath.Join(dir, "x.conf"), []byte(`xmpp_logger { logfile = "outcomes.log"
		log_filtered = true log_failed = true log_deferred = true log_relayed = true log_expired = true }`))
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Config: cfg})
	if err := a.openStanzaLog(); err != nil {
		t.Fatal(err)
	}
	event := trace.Event{
		Time: time.Unix(1385596800, 0), ID: "q1", StanzaID: "s1", From: "a@corp.example", To: "bob@sms.example", JID: "bob@localhost",
		Filter: "states", Verdict: "drop", Reason: "why", Attempt: 2,
	}
	for _, change := range []func(*trace.Event){
		func(e *trace.Event) { e.Stage = trace.Filtered },
		func(e *trace.Event) { e.Stage, e.Shadow = trace.Filtered, true },
		func(e *trace.Event) { e.Stage, e.Verdict = trace.Filtered, "pass" },
		func(e *trace.Event) { e.Stage = trace.Failed },
		func(e *trace.Event) { e.Stage = trace.Deferred },
		func(e *trace.Event) { e.Stage, e.JID = trace.Relayed, "mailto:bob@sms.example" },
		func(e *trace.Event) { e.Stage = trace.Expired },
		func(e *trace.Event) { e.Stage = trace.Delivered }, // the streams tell
		func(e *trace.Event) { e.Stage, e.JID, e.StanzaID, e.Attempt = trace.Deferred, "", "", 0 },
	} {
		e := event
		change(&e)
		a.logOutcome(e)
	}
	a.closeStanzaLog(t.Context())
	const want = `1385596800+F+message+bob@localhost+a@corp.example+s1+++states+why
1385596800+P+message+bob@localhost+a@corp.example+s1+++why
1385596800+T+message+bob@localhost+a@corp.example+s1+++2+why
1385596800+L+message+bob@sms.example+a@corp.example+s1++
1385596800+E+message+bob@localhost+a@corp.example+s1+++why
1385596800+T+message+bob@sms.example+a@corp.example+++++why
`
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, got, want)
	}
}
