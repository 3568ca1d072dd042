package store

import (
	"errors"
	"testing"
	"time"

	"mcmt2xmpp/broker"
)

// TestPositions: what one process has written the next reads; the older of two does not
// write over what the newer has, except for what is its own.
func TestPositions(t *testing.T) {
	t.Parallel()
	p, err := OpenPositions(t.Context(), openBroker(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	pos, rev, err := p.Load(t.Context(), "crm")
	if err != nil || rev != 0 || pos != (Position{Name: "crm"}) {
		t.Fatalf("of nobody: %+v at %d, %v", pos, rev, err)
	}
	at := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	pos = Position{Name: "crm", Node: "A", Next: broker.Mark{Seq: 7, Part: 3}, Attempts: 2, Retry: at, Sent: 5}
	if rev, err = p.Save(t.Context(), pos, 0); err != nil {
		t.Fatal(err)
	}
	got, again, err := p.Load(t.Context(), "crm")
	if err != nil || again != rev || got != pos {
		t.Errorf("read %+v at %d, %v, want %+v at %d", got, again, err, pos, rev)
	}
	// The answer to the first write was lost.
	if rev, err = p.Save(t.Context(), pos, 0); err != nil {
		t.Errorf("our own once more: %v", err)
	}
	newer := pos
	newer.Node, newer.Next.Seq = "B", 9
	if _, err := p.Save(t.Context(), newer, rev); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Save(t.Context(), pos, rev); !errors.Is(err, ErrOtherNode) {
		t.Errorf("the older after the newer: %v", err)
	}
	if got, _, err := p.Load(t.Context(), "crm"); err != nil || got != newer {
		t.Errorf("left is %+v, %v", got, err)
	}
	if _, rev, err := p.Load(t.Context(), "other"); err != nil || rev != 0 {
		t.Errorf("another is there at %d, %v", rev, err)
	}
}
