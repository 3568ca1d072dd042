package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestCensus(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	die(t, b, Term("bad"), Message{Stage: Ingest, Route: "r"})
	for i := range 3 {
		m := Message{Stage: Park, Route: "r", ID: fmt.Sprint(i), Body: []byte("text")}
		if i == 2 {
			m.Body = pattern(maxInline + 1)
		}
		if err := b.Store(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Record(ctx, Record{ID: "1"}); err != nil {
		t.Fatal(err)
	}
	got, err := b.Census(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := map[Stage]uint64{Ingest: 0, Deliver: 0, Park: 3, Mail: 0, Dead: 1, Bodies: 1, Journal: 1}
	if len(got) != len(want) {
		t.Errorf("census %+v", got)
	}
	for s, n := range want {
		c := got[s]
		if c.Messages != n || (c.Bytes == 0) != (n == 0) || (n == 0) != c.Oldest.IsZero() || c.Lost != 0 || c.LostBytes != 0 {
			t.Errorf("stage %s: %+v, want %d messages", s, c, n)
		}
		if n > 0 && time.Since(c.Oldest) > patience {
			t.Errorf("stage %s: the oldest is of %v", s, c.Oldest)
		}
	}
}

// A store of which a file was damaged opens, says what is lost, and hands on the
// rest.
func TestCensusDamage(t *testing.T) {
	t.Parallel()
	const n = 40
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, file string, data []byte)
		told   bool // how many are lost, beside how much
	}{
		{"the end is missing", func(t *testing.T, file string, data []byte) {
			if err := os.Truncate(file, int64(len(data))-1000); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"other bytes in the middle", func(t *testing.T, file string, data []byte) {
			copy(data[len(data)/2:], "damaged.damaged.damaged.")
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the file is missing", func(t *testing.T, file string, _ []byte) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the index too", func(t *testing.T, file string, data []byte) {
			if err := os.Remove(filepath.Join(filepath.Dir(file), "index.db")); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, int64(len(data))-1000); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := openTest(t, small(dir))
			for i := range n {
				if err := b.Store(testContext(t), Message{Stage: Park, Route: "r", ID: fmt.Sprintf("r-%d", i), Body: pattern(250 << 10)}); err != nil {
					t.Fatal(err)
				}
			}
			closeTest(t, b)
			files, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", streamPark, "msgs", "*.blk"))
			if err != nil || len(files) < 2 {
				t.Fatalf("%d files, %v", len(files), err)
			}
			last := slices.Max(files)
			data, err := os.ReadFile(last)
			if err != nil {
				t.Fatal(err)
			}
			tc.damage(t, last, data)

			b = openTest(t, small(dir))
			census, err := b.Census(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			c := census[Park]
			if c.Messages == 0 || c.Messages >= n || c.LostBytes == 0 {
				t.Errorf("census %+v", c)
			}
			if tc.told && c.Messages+c.Lost != n {
				t.Errorf("%d messages and %d lost, of %d", c.Messages, c.Lost, n)
			}
			got := collect(int(c.Messages))                                                                                //nolint:gosec // a few
			if k, err := b.Drain(testContext(t), Park, "r", HandlerFunc(got.handle)); k != int(c.Messages) || err != nil { //nolint:gosec // likewise
				t.Errorf("drained %d, %v", k, err)
			}
			got.inOrder(t)
		})
	}
}
