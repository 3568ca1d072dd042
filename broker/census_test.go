package broker

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestCensus: what a stage holds is counted when the store is opened again.
func TestCensus(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Ingest, 3, 5)
	fill(t, b, Park, 1, 2)
	all, err := b.Census(testContext(t))
	if err != nil || len(all) != 5 {
		t.Fatalf("%v, %v", all, err)
	}
	for s, want := range map[Stage]uint64{Ingest: 15, Deliver: 0, Park: 2, Mail: 0, Dead: 0} {
		if c := all[s]; c.Messages != want || c.Oldest.IsZero() != (want == 0) || (c.Bytes > 0) != (want > 0) || c.Lost != 0 {
			t.Errorf("%s: %+v, want %d", s, c, want)
		}
	}
}

// TestDamaged: a store whose file was damaged opens, says what it has lost, and
// hands on the rest in order.
func TestDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openTest(t, small(dir))
	const n = 200
	fill(t, b, Deliver, 1, n)
	if err := b.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	damage(t, dir, "DELIVER")

	b = openTest(t, small(dir))
	all, err := b.Census(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	c := all[Deliver]
	if c.Lost == 0 || c.Messages+c.Lost != n {
		t.Fatalf("%+v, want some lost and %d together", c, n)
	}
	got := make(chan uint64, n)
	stop := consume(t, b, Deliver, func(_ context.Context, ds []*Delivery) (out []Disposition) {
		for _, d := range ds {
			got <- d.Seq
			out = append(out, Ack())
		}
		return out
	}, ConsumeOptions{})
	last := uint64(0)
	for range c.Messages {
		seq := <-got
		if seq <= last {
			t.Errorf("%d after %d", seq, last)
		}
		last = seq
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// damage overwrites bytes in the middle of a stream's only file, and takes away
// what the server remembers of it, as after a crash.
func damage(t *testing.T, dir, stream string) {
	t.Helper()
	var blocks []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".blk" && filepath.Base(filepath.Dir(filepath.Dir(path))) == stream {
			blocks = append(blocks, path)
		}
		return err
	})
	if err != nil || len(blocks) != 1 {
		t.Fatalf("files of %s: %v, %v", stream, blocks, err)
	}
	data, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	copy(data[len(data)/2:], "damaged, damaged, damaged")
	if err := os.WriteFile(blocks[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(blocks[0]), "index.db")); err != nil {
		t.Fatal(err)
	}
}
