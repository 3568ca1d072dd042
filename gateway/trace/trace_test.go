package trace

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// TestBus: everyone who listens hears everything, with the time; who has left
// hears nothing.
func TestBus(t *testing.T) {
	t.Parallel()
	var none *Bus
	none.Emit(Event{Stage: Stored}) // nobody wants to know

	var b Bus
	b.Emit(Event{Stage: Stored})
	var first, second []Event
	cancel := b.Subscribe(func(e Event) { first = append(first, e) })
	b.Subscribe(func(e Event) { second = append(second, e) })
	b.Emit(Event{Stage: Stored, ID: "a"})
	cancel()
	cancel()
	at := time.Unix(1, 0)
	b.Emit(Event{Stage: Delivered, ID: "b", Time: at})
	if len(first) != 1 || first[0].ID != "a" || first[0].Time.IsZero() {
		t.Errorf("the first heard %+v, want a with its time", first)
	}
	if len(second) != 2 || !second[1].Time.Equal(at) {
		t.Errorf("the second heard %+v, want a and b, which had a time", second)
	}
}

// TestBusCancel: after cancel has returned the function does not run, whoever
// emits at that moment.
func TestBusCancel(t *testing.T) {
	t.Parallel()
	var b Bus
	var emitting sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		emitting.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					b.Emit(Event{Stage: Stored})
				}
			}
		})
	}
	for range 200 {
		var mu sync.Mutex
		gone := false
		cancel := b.Subscribe(func(Event) {
			mu.Lock()
			defer mu.Unlock()
			if gone {
				t.Error("called after cancel")
			}
		})
		cancel()
		mu.Lock()
		gone = true
		mu.Unlock()
	}
	close(stop)
	emitting.Wait()
}

// TestLog: outcomes are seen, steps only by who looks for them.
func TestLog(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		event Event
		level zerolog.Level
	}{
		"accepted is a step":            {Event{Stage: Accepted}, zerolog.DebugLevel},
		"custody begins":                {Event{Stage: Stored}, zerolog.InfoLevel},
		"converted is a step":           {Event{Stage: Converted}, zerolog.DebugLevel},
		"a pass is a step":              {Event{Stage: Filtered, Verdict: "pass"}, zerolog.DebugLevel},
		"a strip is a step":             {Event{Stage: Filtered, Verdict: "strip"}, zerolog.DebugLevel},
		"a drop is an end":              {Event{Stage: Filtered, Verdict: "drop"}, zerolog.InfoLevel},
		"a drop that does not count":    {Event{Stage: Filtered, Verdict: "drop", Shadow: true}, zerolog.DebugLevel},
		"it waits":                      {Event{Stage: Deferred}, zerolog.InfoLevel},
		"it has arrived":                {Event{Stage: Delivered}, zerolog.InfoLevel},
		"it never will: somebody looks": {Event{Stage: Failed}, zerolog.WarnLevel},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			Log(zerolog.New(&out))(tc.event)
			if strings.Count(out.String(), "\n") != 1 {
				t.Fatalf("want one line: %q", out.String())
			}
			var line struct{ Level, Message string }
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			if line.Level != tc.level.String() || line.Message != string(tc.event.Stage) {
				t.Errorf("%s, want %s at level %s", out.String(), tc.event.Stage, tc.level)
			}
		})
	}
}

// TestLogFields: the words are those of STYLE, and what is not known is left out.
func TestLogFields(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	write := Log(zerolog.New(&out))
	write(Event{Stage: Delivered, ID: "q1", StanzaID: "s1", Listener: "l", Peer: "192.0.2.1:9", From: "a@b", To: "c@d", JID: "c@d/r",
		Part: "xmpp", Filter: "f", Verdict: "pass", Shadow: true, Reason: "why", Proof: "ping", Since: 1500 * time.Millisecond, Attempt: 2, Size: 7})
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"level": "info", "message": "delivered", "id": "q1", "sid": "s1", "listener": "l", "peer": "192.0.2.1:9",
		"from": "a@b", "to": "c@d", "jid": "c@d/r", "part": "xmpp", "filter": "f", "verdict": "pass", "shadow": true, "reason": "why",
		"proof": "ping", "age": 1500.0, "attempt": 2.0, "size": 7.0}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	out.Reset()
	write(Event{Stage: Stored, ID: "q1", Attempt: 1})
	if got := out.String(); got != `{"level":"info","id":"q1","message":"stored"}`+"\n" {
		t.Errorf("got %s", got)
	}
}

// TestNoText: an event has no field that could hold the text of a message, unless
// somebody adds one and this test's list, and thinks about it.
func TestNoText(t *testing.T) {
	t.Parallel()
	known := strings.Fields("Time Stage ID StanzaID Listener Peer From To JID Part Filter Verdict Shadow Reason Proof Since Took Attempt Size")
	kind := reflect.TypeFor[Event]()
	var fields []string
	for i := range kind.NumField() {
		fields = append(fields, kind.Field(i).Name)
	}
	if !reflect.DeepEqual(fields, known) {
		t.Errorf("fields %v, want %v", fields, known)
	}
}

func BenchmarkEmit(b *testing.B) {
	var bus Bus
	bus.Subscribe(Log(zerolog.Nop()))
	bus.Subscribe(func(Event) {})
	e := Event{Stage: Delivered, ID: "q1", JID: "alice@localhost"}
	b.ReportAllocs()
	for b.Loop() {
		bus.Emit(e)
	}
}
