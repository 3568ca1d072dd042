package app

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
)

// A start says what is in custody, and after damage to a file what is lost.
func TestSayCustody(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	open := func() *broker.Broker {
		t.Helper()
		b, err := broker.Open(ctx, broker.Options{Dir: dir, MaxStore: 512 << 20, DiskReserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	said := func(b *broker.Broker) string {
		var out bytes.Buffer
		sayCustody(ctx, b, zerolog.New(&out))
		return out.String()
	}
	b := open()
	if got := said(b); got != "" {
		t.Errorf("of nothing: %s", got)
	}
	for range 50 { // more than one file
		if err := b.Store(ctx, broker.Message{Stage: broker.Park, Route: "r", Body: make([]byte, 250<<10)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := said(b); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"level":"info","stage":"park","messages":50,"bytes":`) {
		t.Errorf("of 50 messages: %s", got)
	}
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "PARK", "msgs", "*.blk"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	b = open()
	if got := said(b); !strings.Contains(got, `"level":"error","stage":"park","messages":`) {
		t.Errorf("of a damaged store: %s", got)
	}
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if got := said(b); !strings.Contains(got, `"level":"warn"`) {
		t.Errorf("of a closed store: %s", got)
	}
}
