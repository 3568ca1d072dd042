package roster

import (
	"strings"
	"testing"
)

// appendixA is RFC 6121 §A.2 and §A.3 as the standard has them: for each section
// the direction and the kind, then existing state, whether the stanza MUST or MUST
// NOT be routed or delivered, and the new state. A star marks where the server
// answers subscribed (§A.3.1, note 2), a plus where the stanza can be a pre-approval
// (§A.2.3, note 1), a minus where it takes one back (§A.2.4, note 1).
const appendixA = `
§A.2.1 out subscribe
None                  | MUST      | None + Pending Out
None + Pending Out    | MUST      | no state change
None + Pending In     | MUST      | None + Pending Out+In
None + Pending Out+In | MUST      | no state change
To                    | MUST      | no state change
To + Pending In       | MUST      | no state change
From                  | MUST      | From + Pending Out
From + Pending Out    | MUST      | no state change
Both                  | MUST      | no state change
§A.2.2 out unsubscribe
None                  | MUST      | no state change
None + Pending Out    | MUST      | None
None + Pending In     | MUST      | no state change
None + Pending Out+In | MUST      | None + Pending In
To                    | MUST      | None
To + Pending In       | MUST      | None + Pending In
From                  | MUST      | no state change
From + Pending Out    | MUST      | From
Both                  | MUST      | From
§A.2.3 out subscribed
None                  | MUST NOT+ | no state change
None + Pending Out    | MUST NOT+ | no state change
None + Pending In     | MUST      | From
None + Pending Out+In | MUST      | From + Pending Out
To                    | MUST NOT+ | no state change
To + Pending In       | MUST      | Both
From                  | MUST NOT  | no state change
From + Pending Out    | MUST NOT  | no state change
Both                  | MUST NOT  | no state change
§A.2.4 out unsubscribed
None                  | MUST NOT- | no state change
None + Pending Out    | MUST NOT- | no state change
None + Pending In     | MUST-     | None
None + Pending Out+In | MUST-     | None + Pending Out
To                    | MUST NOT- | no state change
To + Pending In       | MUST-     | To
From                  | MUST-     | None
From + Pending Out    | MUST-     | None + Pending Out
Both                  | MUST-     | To
§A.3.1 in subscribe
None                  | MUST      | None + Pending In
None + Pending Out    | MUST      | None + Pending Out+In
None + Pending In     | MUST NOT  | no state change
None + Pending Out+In | MUST NOT  | no state change
To                    | MUST      | To + Pending In
To + Pending In       | MUST NOT  | no state change
From                  | MUST NOT* | no state change
From + Pending Out    | MUST NOT* | no state change
Both                  | MUST NOT* | no state change
§A.3.2 in unsubscribe
None                  | MUST NOT  | no state change
None + Pending Out    | MUST NOT  | no state change
None + Pending In     | MUST      | None
None + Pending Out+In | MUST      | None + Pending Out
To                    | MUST NOT  | no state change
To + Pending In       | MUST      | To
From                  | MUST      | None
From + Pending Out    | MUST      | None + Pending Out
Both                  | MUST      | To
§A.3.3 in subscribed
None                  | MUST NOT  | no state change
None + Pending Out    | MUST      | To
None + Pending In     | MUST NOT  | no state change
None + Pending Out+In | MUST      | To + Pending In
To                    | MUST NOT  | no state change
To + Pending In       | MUST NOT  | no state change
From                  | MUST NOT  | no state change
From + Pending Out    | MUST      | Both
Both                  | MUST NOT  | no state change
§A.3.4 in unsubscribed
None                  | MUST NOT  | no state change
None + Pending Out    | MUST      | None
None + Pending In     | MUST NOT  | no state change
None + Pending Out+In | MUST      | None + Pending In
To                    | MUST      | None
To + Pending In       | MUST      | None + Pending In
From                  | MUST NOT  | no state change
From + Pending Out    | MUST      | From
Both                  | MUST      | From
`

// named finds a state by its name in the standard.
func named(t *testing.T, name string) State {
	t.Helper()
	for s, p := range parts {
		if p.name == name {
			return State(s)
		}
	}
	t.Fatalf("no state %q", name)
	return None
}

// TestAppendixA holds the tables to each cell of the standard's.
func TestAppendixA(t *testing.T) {
	t.Parallel()
	var section, way string
	var kind Kind
	cells := 0
	for line := range strings.Lines(appendixA) {
		line = strings.TrimSpace(line)
		if head := strings.Fields(line); strings.HasPrefix(line, "§") {
			section, way, kind = head[0], head[1], Kind(head[2])
		}
		column := strings.Split(line, "|")
		if len(column) != 3 {
			continue
		}
		cells++
		for i := range column {
			column[i] = strings.TrimSpace(column[i])
		}
		s := named(t, column[0])
		must := column[1]
		want := Transition{Next: s, Pass: !strings.Contains(must, "NOT"), Reply: strings.HasSuffix(must, "*"),
			Approve: strings.HasSuffix(must, "+"), Withdraw: strings.HasSuffix(must, "-")}
		if column[2] != "no state change" {
			want.Next = named(t, column[2])
		}
		var got Transition
		if way == "out" {
			got = Outbound(s, kind)
		} else {
			got = Inbound(s, kind, false)
		}
		if got != want {
			t.Errorf("%s: %s %s in %q: got %+v, want %+v", section, way, kind, s, got, want)
		}
	}
	if cells != 8*9 {
		t.Errorf("%d cells, want 72", cells)
	}
}

// TestPreApproved is RFC 6121 §3.4.2, §A.3.1 note 1: a request that was approved
// before it came is answered, and not shown.
func TestPreApproved(t *testing.T) {
	t.Parallel()
	for was, next := range map[State]State{
		None: From, NonePendingOut: FromPendingOut, To: Both,
		// As good as these, from a record.
		NonePendingIn: From, NonePendingOutIn: FromPendingOut, ToPendingIn: Both,
		From: From, FromPendingOut: FromPendingOut, Both: Both,
	} {
		if got := Inbound(was, Subscribe, true); got != (Transition{Next: next, Reply: true}) {
			t.Errorf("in %q: %+v, want %q", was, got, next)
		}
	}
	for s := range State(states) {
		for _, k := range []Kind{Subscribed, Unsubscribe, Unsubscribed} {
			if Inbound(s, k, true) != Inbound(s, k, false) {
				t.Errorf("%s in %q depends on a pre-approval", k, s)
			}
		}
	}
}

func TestStateParts(t *testing.T) {
	t.Parallel()
	seen := map[State]bool{}
	for n := range 16 {
		to, from, out, in := n&1 != 0, n&2 != 0, n&4 != 0, n&8 != 0
		s := stateOf(to, from, out, in)
		seen[s] = true
		// §A.1 has no state in which somebody asks for what he has.
		if s.HasTo() != to || s.HasFrom() != from || s.PendingOut() != (out && !to) || s.PendingIn() != (in && !from) {
			t.Errorf("to %v from %v out %v in %v is %q", to, from, out, in, s)
		}
	}
	if len(seen) != states {
		t.Errorf("%d states can be reached, want %d", len(seen), states)
	}
	for _, typ := range []string{"", "unavailable", "probe", "error", "Subscribe"} {
		if k, ok := KindOf(typ); ok {
			t.Errorf("presence of type %q is about subscriptions: %q", typ, k)
		}
	}
}
