package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestLog: entries come back in their order, by any of their names, from a position or
// a time on, with the number of those that follow; and what is stored once is.
func TestLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openTest(t, small(dir))
	ctx := testContext(t)
	open := func(b *Broker) *Log {
		t.Helper()
		l, err := b.Log(ctx, LogOptions{Name: "BOOK", Prefix: "book", Age: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open(b)
	add := func(once, text string, names ...string) (uint64, bool) {
		t.Helper()
		seq, again, err := l.Append(ctx, Entry{Names: names, Header: map[string]string{"Key": "k " + text}, Data: []byte(text), Once: once})
		if err != nil {
			t.Fatal(err)
		}
		return seq, again
	}
	var seqs []uint64
	for i := range 10 {
		seq, _ := add("", fmt.Sprint(i), "alice.x@y", []string{"even", "odd"}[i%2])
		add("", "noise", "bob@y", "even")
		seqs = append(seqs, seq)
	}
	texts := func(l *Log, names []string, from uint64, since time.Time, limit int) (all []string, left int) {
		t.Helper()
		found, left, err := l.Read(ctx, names, from, since, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			if e.Header["Key"] != "k "+string(e.Data) || e.At.IsZero() || e.Seq == 0 || e.Names[0] == "" {
				t.Errorf("entry %+v", e)
			}
			all = append(all, string(e.Data))
		}
		return all, left
	}
	for _, c := range []struct {
		names []string
		from  uint64
		limit int
		want  string
		left  int
	}{
		{[]string{"alice.x@y", ""}, 1, 3, "[0 1 2]", 7},
		{[]string{"alice.x@y", "odd"}, 1, 100, "[1 3 5 7 9]", 0},
		{[]string{"alice.x@y", ""}, seqs[8], 100, "[8 9]", 0},
		{[]string{"alice.x@y", ""}, seqs[8] + 1, 1, "[9]", 0},
		{[]string{"alice.x@y", "odd"}, seqs[4], 1, "[5]", 2},
		{[]string{"alice.x@y", ""}, seqs[9] + 1, 1, "[]", 0},
		{[]string{"nobody", ""}, 1, 1, "[]", 0},
	} {
		if got, left := texts(l, c.names, c.from, time.Time{}, c.limit); fmt.Sprint(got) != c.want || left != c.left {
			t.Errorf("%v from %d: %v and %d, want %s and %d", c.names, c.from, got, left, c.want, c.left)
		}
	}
	found, _, err := l.Read(ctx, []string{"alice.x@y", ""}, seqs[6], time.Time{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := texts(l, []string{"alice.x@y", ""}, 0, found[0].At, 100); !slices.Equal(got, []string{"6", "7", "8", "9"}) {
		t.Errorf("since the seventh: %v", got)
	}
	if got, _ := texts(l, []string{"alice.x@y", ""}, 0, time.Now().Add(time.Hour), 100); len(got) != 0 {
		t.Errorf("of the future: %v", got)
	}

	first, again := add("id", "once", "carol@y", "x")
	if again {
		t.Error("the first counts as stored before")
	}
	if second, again := add("id", "once", "carol@y", "x"); !again || second != first {
		t.Errorf("stored again at %d, %v; the first is at %d", second, again, first)
	}
	if _, again := add("id", "once", "dave@y", "x"); again {
		t.Error("what is another's counts as stored")
	}

	closeTest(t, b)
	b = openTest(t, small(dir))
	l = open(b)
	if err := l.Purge(ctx, []string{"alice.x@y", ""}); err != nil {
		t.Fatal(err)
	}
	if got, _ := texts(l, []string{"alice.x@y", ""}, 1, time.Time{}, 1); len(got) != 0 {
		t.Errorf("after a purge: %v", got)
	}
	if got, left := texts(l, []string{"bob@y", ""}, 1, time.Time{}, 1); len(got) != 1 || left != 9 {
		t.Errorf("others' are %v and %d, after a restart", got, left)
	}
}
