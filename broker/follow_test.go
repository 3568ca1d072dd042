package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// writeRecords puts records into the journal in one go.
func writeRecords(t *testing.T, b *Broker, rs ...Record) {
	t.Helper()
	items := make([]*item, len(rs))
	for i := range rs {
		items[i] = &item{due: due{record: &rs[i]}}
	}
	if err := b.write(testContext(t), items); err != nil {
		t.Fatal(err)
	}
}

// numbered are n records, which are bundled where they are many.
func numbered(id string, n int) []Record {
	rs := make([]Record, n)
	for i := range rs {
		rs[i] = Record{ID: fmt.Sprint(id, i), Recipient: "r", Data: []byte("x")}
	}
	return rs
}

// From each mark the journal goes on with the next record, in and between bundles.
func TestRecordsFrom(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	from := func(m Mark, limit int) []Record {
		t.Helper()
		rs, err := b.RecordsFrom(ctx, m, limit)
		if err != nil {
			t.Fatal(err)
		}
		return rs
	}
	if rs := from(Mark{}, 10); len(rs) != 0 {
		t.Errorf("an empty journal: %+v", rs)
	}
	first, last, err := b.JournalEnds(ctx)
	if err != nil || first != (Mark{Seq: 1}) || last != first {
		t.Errorf("ends of an empty journal %+v, %+v, %v", first, last, err)
	}
	writeRecords(t, b, numbered("a", 2)...)
	writeRecords(t, b, numbered("b", 7)...)
	between := time.Now()
	writeRecords(t, b, numbered("c", 1)...)
	want := strings.Fields("a0 a1 b0 b1 b2 b3 b4 b5 b6 c0")
	all := from(Mark{}, 100)
	for i, r := range all {
		if i >= len(want) || r.ID != want[i] || r.At.IsZero() {
			t.Fatalf("record %d is %+v, want %s", i, r, want[min(i, len(want)-1)])
		}
		rest := from(r.Next, 100)
		if len(rest) != len(want)-i-1 || len(rest) > 0 && rest[0].ID != want[i+1] {
			t.Errorf("behind %s: %+v", r.ID, rest)
		}
		if i > 0 && !all[i-1].Next.Before(r.Next) {
			t.Errorf("the mark behind %s is %+v, after %+v", r.ID, r.Next, all[i-1].Next)
		}
	}
	if len(all) != len(want) {
		t.Errorf("%d records, want %d", len(all), len(want))
	}
	if some := from(Mark{}, 2); len(some) != 2 || some[1].ID != "a1" {
		t.Errorf("the first two: %+v", some)
	}
	if _, last, err = b.JournalEnds(ctx); err != nil || last != all[len(all)-1].Next {
		t.Errorf("end %+v, %v, want %+v", last, err, all[len(all)-1].Next)
	}
	if m, err := b.JournalAt(ctx, between); err != nil || m != (Mark{Seq: 4}) {
		t.Errorf("mark of a time: %+v, %v", m, err)
	}
	if m, err := b.JournalAt(ctx, time.Now().Add(time.Hour)); err != nil || m != last {
		t.Errorf("mark of the future: %+v, %v", m, err)
	}
	// One that takes the place of another comes at the end.
	writeRecords(t, b, Record{ID: "a0", Recipient: "r", Data: []byte("again")})
	if rs := from(Mark{}, 100); len(rs) != len(want) || rs[0].ID != "a1" || string(rs[len(rs)-1].Data) != "again" {
		t.Errorf("after one was replaced: %+v", rs)
	}
	if rs := from(Mark{Seq: 3, Part: 99}, 100); len(rs) != 2 {
		t.Errorf("a mark behind the end of its entry: %+v", rs)
	}
}
