package broker

import (
	"errors"
	"testing"
)

func TestLast(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	if d, err := b.Last(ctx, Park, "nobody"); d != nil || err != nil {
		t.Errorf("of an empty stage: %v, %v", d, err)
	}
	for _, m := range []Message{
		{Stage: Park, Route: "r", Recipient: "r/1", ID: "a", Header: map[string]string{"N": "1"}},
		{Stage: Park, Route: "r", Recipient: "r/2", ID: "b", Header: map[string]string{"N": "2"}}, // another subject
		{Stage: Park, Route: "other", Recipient: "r", ID: "c"},
	} {
		if err := b.Store(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	d, err := b.Last(ctx, Park, "r")
	if err != nil || d == nil {
		t.Fatalf("got %v, %v", d, err)
	}
	if d.ID != "b" || d.Route != "r" || d.Recipient != "r/2" || d.Header["N"] != "2" || d.Seq != 2 || d.Stored.IsZero() {
		t.Errorf("got %+v", d)
	}
	if _, err := b.Last(ctx, Dead, "r"); !errors.Is(err, ErrInvalid) {
		t.Errorf("of the dead: %v", err)
	}
}
