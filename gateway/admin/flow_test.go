package admin

import (
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/gateway/trace"
)

// TestFlow: what passes is counted by whole seconds, and forgotten after a minute.
func TestFlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f flow
		of := func(stage trace.Stage) StageFlow {
			for _, s := range f.report() {
				if s.Stage == stage {
					return s
				}
			}
			t.Fatalf("no %s", stage)
			return StageFlow{}
		}
		for range 30 {
			f.note(trace.Event{Stage: trace.Stored})
		}
		if s := of(trace.Stored); s.Total != 30 || s.Rate != 0 || len(s.Recent) != 60 {
			t.Errorf("before the second is over: %+v", s)
		}
		time.Sleep(time.Second)
		f.note(trace.Event{Stage: trace.Stored})
		if s := of(trace.Stored); s.Total != 31 || s.Rate != 3 || s.Recent[59] != 30 || s.Recent[58] != 0 {
			t.Errorf("after a second: %+v", s)
		}
		time.Sleep(10 * time.Second)
		if s := of(trace.Stored); s.Rate != 0.1 || s.Recent[49] != 30 || s.Recent[50] != 1 {
			t.Errorf("after ten more: %+v", s)
		}
		time.Sleep(time.Minute)
		f.note(trace.Event{Stage: trace.Stored})
		if s := of(trace.Stored); s.Total != 32 || s.Rate != 0 || s.Recent[0] != 0 || s.Recent[59] != 0 {
			t.Errorf("after a minute: %+v", s)
		}
	})
}

// TestFlowOfVerdicts: of the verdicts of filters only those count that end a message.
func TestFlowOfVerdicts(t *testing.T) {
	t.Parallel()
	var f flow
	for _, e := range []trace.Event{
		{Stage: trace.Filtered, Verdict: "drop"}, {Stage: trace.Filtered, Verdict: "pass"}, {Stage: trace.Filtered, Verdict: "strip"},
		{Stage: trace.Filtered, Verdict: "drop", Shadow: true}, {Stage: "another"},
	} {
		f.note(e)
	}
	for _, s := range f.report() {
		if want := map[bool]uint64{true: 1}[s.Stage == trace.Filtered]; s.Total != want {
			t.Errorf("%s: %d, want %d", s.Stage, s.Total, want)
		}
	}
}
