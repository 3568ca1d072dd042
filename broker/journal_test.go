package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// records returns what the journal holds, as "id recipient data".
func records(t *testing.T, b *Broker, id, recipient string, since time.Time, limit int) []string {
	t.Helper()
	rs, err := b.Records(testContext(t), id, recipient, since, limit)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range rs {
		if r.At.IsZero() {
			t.Errorf("%s has no time", r.ID)
		}
		out = append(out, fmt.Sprintf("%s %s %s", r.ID, r.Recipient, r.Data))
	}
	return out
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	long := strings.Repeat("x.", 100) + "\r\nend " // kept as a hash in the subject
	put := func(id, recipient, data string) {
		t.Helper()
		if err := b.Record(ctx, Record{ID: id, Recipient: recipient, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "an empty journal", records(t, b, "", "", time.Time{}, 10))
	put("1", "a@b.c", "first")
	put("1", "b@b.c", "x")
	put("2", "a@b.c", "y")
	put(long, long, "z")
	put("", "", "nobody")
	put("1", "a@b.c", "last")
	all := []string{"1 b@b.c x", "2 a@b.c y", long + " " + long + " z", "  nobody", "1 a@b.c last"}
	same(t, "all", records(t, b, "", "", time.Time{}, 10), all...)
	same(t, "the first two", records(t, b, "", "", time.Time{}, 2), all[:2]...)
	same(t, "of one id", records(t, b, "1", "", time.Time{}, 10), all[0], all[4])
	same(t, "of one recipient", records(t, b, "", "a@b.c", time.Time{}, 10), all[1], all[4])
	same(t, "of both", records(t, b, long, long, time.Time{}, 10), all[2])
	same(t, "of none", records(t, b, "1", "c@b.c", time.Time{}, 10))
	rs, err := b.Records(ctx, "", "", time.Time{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "since", records(t, b, "", "", rs[3].At, 10), all[3:]...)
	same(t, "from the future", records(t, b, "", "", time.Now().Add(time.Hour), 10))
	if err := b.Record(ctx, Record{ID: "1", Data: make([]byte, maxRecord+1)}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a record that is too large: %v", err)
	}
	if st := b.Stats().Journal; st.Written != 6 || st.Entries != 5 || st.Bytes == 0 || st.Oldest.IsZero() {
		t.Errorf("stats %+v", st)
	}
}

// More records than one read returns come back whole and in order.
func TestRecordsMany(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const n = 3*readMessages + 1
	items := make([]*item, n)
	var want []string
	for i := range items {
		items[i] = &item{due: due{record: &Record{ID: fmt.Sprint(i), Recipient: "r", Data: bytes.Repeat([]byte("x"), 10<<10)}}}
		want = append(want, fmt.Sprint(i))
	}
	if err := b.write(testContext(t), items); err != nil {
		t.Fatal(err)
	}
	rs, err := b.Records(testContext(t), "", "", time.Time{}, n+1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rs {
		got = append(got, r.ID)
	}
	same(t, "ids", got, want...)
}

// Records of one go are stored together, and each is found as though it were by
// itself.
func TestBundles(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	long := strings.Repeat("x.", 100) + "\r\nend "
	write := func(rs ...Record) {
		t.Helper()
		items := make([]*item, len(rs))
		for i := range rs {
			items[i] = &item{due: due{record: &rs[i]}}
		}
		if err := b.write(ctx, items); err != nil {
			t.Fatal(err)
		}
		for i, it := range items {
			if it.due.record != nil {
				t.Errorf("record %d is still to be written", i)
			}
		}
	}
	of := func(id, recipient, data string) Record {
		return Record{ID: id, Recipient: recipient, Data: []byte(data)}
	}
	write(of("1", "a", "alone"), of("2", "a", "alone too"))
	write(of("1", "b", "x"), of("1", "a", "again"), of(long, long, ""), of("3", "a", "y"), of("", "", "z"))
	write(of("4", "a", "x"), of("2", "b", "x"), of("3", "a", "again"), of("5", "c", "x"), of("6", "c", "x"))
	write(of("5", "c", "alone"))
	if n := messages(t, b, streamTrace); n != 5 {
		t.Errorf("%d messages", n)
	}
	want := []string{"2 a alone too", "1 b x", "1 a again", long + " " + long + " ", "  z", "4 a x", "2 b x", "3 a again", "6 c x", "5 c alone"}
	same(t, "all", records(t, b, "", "", time.Time{}, 100), want...)
	same(t, "of one id", records(t, b, "1", "", time.Time{}, 100), want[1], want[2])
	same(t, "of one recipient", records(t, b, "", "a", time.Time{}, 100), want[0], want[2], want[5], want[7])
	same(t, "two of them", records(t, b, "", "a", time.Time{}, 2), want[0], want[2])
	same(t, "of both", records(t, b, long, long, time.Time{}, 100), want[3])
	same(t, "of none", records(t, b, "1", "c", time.Time{}, 100))

	var paged []string
	for since := (time.Time{}); ; {
		rs, err := b.Records(ctx, "", "", since, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			paged = append(paged, r.ID+" "+r.Recipient+" "+string(r.Data))
		}
		if len(rs) < 2 {
			break
		}
		since = rs[1].At.Add(1)
	}
	slices.Sort(paged)
	for _, r := range want {
		if _, ok := slices.BinarySearch(paged, r); !ok {
			t.Errorf("%q is on no page", r)
		}
	}
	if st := b.Stats().Journal; st.Written != 13 || st.Entries != 5 {
		t.Errorf("stats %+v", st)
	}
}

// What is damaged yields what stands before the damage.
func TestBundleDamaged(t *testing.T) {
	t.Parallel()
	whole := bundle([]*Record{{ID: "1", Recipient: "a", Data: []byte("x")}, {ID: "2", Recipient: "b", Data: []byte("y")}})
	for n := range len(whole.Data) + 1 {
		got := 0
		for r := range expand(storedMsg{subject: whole.Subject, data: whole.Data[:n]}) {
			if got++; r.ID != fmt.Sprint(got) || len(r.Data) != 1 {
				t.Errorf("%d bytes: %+v", n, r)
			}
		}
		if want := n / (len(whole.Data) / 2); got != want {
			t.Errorf("%d bytes: %d records, want %d", n, got, want)
		}
	}
}

// A bundle is bounded in bytes and in records.
func TestDivide(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ n, size, want int }{
		"few":       {fewRecords, 100, fewRecords},
		"more":      {fewRecords + 1, 100, 1},
		"very many": {2*maxBundle + 1, 0, 3},
		"large":     {10, bundleBytes / 2, 10},
		"too large": {10, bundleBytes, 10},
	} {
		items := make([]*item, tc.n)
		for i := range items {
			items[i] = &item{due: due{record: &Record{Data: make([]byte, tc.size)}}}
		}
		parts, total := divide(items), 0
		for _, part := range parts {
			total += len(part)
		}
		if len(parts) != tc.want || total != tc.n {
			t.Errorf("%s: %d parts with %d records, want %d with %d", name, len(parts), total, tc.want, tc.n)
		}
	}
}

// recorder decides by the position, and records what it has decided under it.
func recorder(_ context.Context, ds []*Delivery) []Disposition {
	var out []Disposition
	for _, d := range ds {
		switch {
		case d.Seq%5 == 0:
			out = append(out, Term("bad").Recorded(fmt.Sprint(d.Seq), d.Recipient, []byte("dead")))
		case d.Seq%5 == 1:
			out = append(out, Move(Message{Stage: Mail, Route: d.Route, ID: d.ID, BodyOf: d}).Recorded(fmt.Sprint(d.Seq), d.Recipient, []byte("mail")))
		case d.Seq%5 == 2 && d.Attempt == 1:
			return append(out, Retry(0).Recorded(fmt.Sprint(d.Seq), d.Recipient, []byte("later")))
		default:
			out = append(out, Ack().Recorded(fmt.Sprint(d.Seq), d.Recipient, []byte("done")))
		}
	}
	return out
}

// What became of a message is in the journal before the message is let go.
func TestRecorded(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const routes, per = 10, 30
	fill(t, b, Deliver, routes, per)
	ctx := testContext(t)
	acked := make(map[uint64]bool)
	all := make(chan struct{})
	acks(t, b, streamDeliver, func(seq uint64) {
		if acked[seq] {
			return // once more, to be sure
		}
		if acked[seq] = true; len(acked) == routes*per {
			defer close(all)
		}
		if rs, err := b.Records(ctx, fmt.Sprint(seq), "", time.Time{}, 1); len(rs) != 1 || err != nil {
			t.Errorf("%d acknowledged with %d records, %v", seq, len(rs), err)
		}
	})
	stop := consume(t, b, Deliver, recorder, ConsumeOptions{})
	await(t, "all acknowledgements", all)
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for _, r := range records(t, b, "", "", time.Time{}, 2*routes*per) {
		counts[r[strings.LastIndexByte(r, ' ')+1:]]++
	}
	const fifth = routes * per / 5
	if counts["dead"] != fifth || counts["mail"] != fifth || counts["done"] != 3*fifth || len(counts) != 3 {
		t.Errorf("records %v", counts)
	}
}

// subjectsOf makes a stream listen to other subjects than its own.
func subjectsOf(t *testing.T, b *Broker, stream string, subjects ...string) {
	t.Helper()
	s, err := b.admin.js.Stream(testContext(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Subjects = subjects
	if _, err := b.admin.js.UpdateStream(testContext(t), cfg); err != nil {
		t.Fatal(err)
	}
}

// While the journal cannot be written the messages stay and their routes go on;
// a Consume that ends then gives up on them.
func TestJournalAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openTest(t, small(dir))
	const per = 20
	fill(t, b, Deliver, 1, per)
	subjectsOf(t, b, streamTrace, "elsewhere.*.*")
	acks(t, b, streamDeliver, func(seq uint64) {
		if b.journal.written.Load() == 0 {
			t.Errorf("%d acknowledged", seq)
		}
	})
	handler := func(c *collector) HandlerFunc {
		return func(ctx context.Context, ds []*Delivery) []Disposition {
			out := c.handle(ctx, ds)
			for i, d := range ds {
				out[i] = out[i].Recorded(d.ID, d.Recipient, []byte("done"))
			}
			return out
		}
	}
	c := collect(per)
	stop := consume(t, b, Deliver, handler(c), ConsumeOptions{Batch: 3, Grace: time.Millisecond})
	await(t, "the whole route", c.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := messages(t, b, streamDeliver); n != per {
		t.Fatalf("%d messages are left", n)
	}

	c = collect(per)
	consume(t, b, Deliver, handler(c), ConsumeOptions{Batch: 3})
	await(t, "the whole route again", c.all)
	subjectsOf(t, b, streamTrace, "trace.*.*")
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	if got := records(t, b, "", "", time.Time{}, 2*per); len(got) != per {
		t.Errorf("records %q", got)
	}
}

// A record that can never be written does not hold up the message, nor the
// records that go with it.
func TestRecordRefused(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	s, err := b.admin.js.Stream(testContext(t), streamTrace)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgSize = 100
	if _, err := b.admin.js.UpdateStream(testContext(t), cfg); err != nil {
		t.Fatal(err)
	}
	const per = 9
	fill(t, b, Deliver, 1, per)
	consume(t, b, Deliver, func(_ context.Context, ds []*Delivery) []Disposition {
		var out []Disposition
		for _, d := range ds {
			size := map[uint64]int{0: maxRecord + 1, 1: 200, 2: 10}[d.Seq%3]
			out = append(out, Ack().Recorded(d.ID, d.Recipient, make([]byte, size)))
		}
		return out
	}, ConsumeOptions{})
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	if st := b.Stats().Journal; st.Refused != 2*per/3 || st.Written != per/3 || st.Entries != per/3 {
		t.Errorf("stats %+v", st)
	}
}

// Connections that break cost no record.
func TestRecordedReconnect(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const routes, per = 10, 100
	fill(t, b, Deliver, routes, per)
	c := collect(routes * per)
	var mu sync.Mutex
	runs := 0
	stop := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		mu.Lock()
		runs++
		if runs%20 == 10 {
			if err := b.pub.nc.ForceReconnect(); err != nil {
				t.Error(err)
			}
		}
		mu.Unlock()
		out := c.handle(ctx, ds)
		for i, d := range ds {
			out[i] = out[i].Recorded(d.ID, d.Recipient, []byte("done"))
		}
		return out
	}, ConsumeOptions{Batch: 5, Workers: 4})
	await(t, "all messages", c.all)
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if got := records(t, b, "", "", time.Time{}, 2*routes*per); len(got) != routes*per {
		t.Errorf("%d records", len(got))
	}
}

// The body of a message that is recorded is released all the same, after it.
func TestRecordedBody(t *testing.T) {
	t.Parallel()
	for _, durability := range []Durability{DurabilityProcess, DurabilityPower} {
		t.Run(string(durability), func(t *testing.T) {
			t.Parallel()
			o := small(t.TempDir())
			o.Durability = durability
			b := openTest(t, o)
			b.opened = time.Now().Add(-time.Hour) // bodies are purged at once
			body := pattern(maxInline + 1)
			if err := b.Store(testContext(t), Message{Stage: Deliver, Route: "r", ID: "1", Body: body}); err != nil {
				t.Fatal(err)
			}
			stop := consume(t, b, Deliver, func(_ context.Context, ds []*Delivery) []Disposition {
				if !bytes.Equal(ds[0].Body, body) {
					t.Error("another body")
				}
				return []Disposition{Ack().Recorded("1", "r", []byte("done"))}
			}, ConsumeOptions{})
			await(t, "an empty stage", emptied(t, b, streamDeliver))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if n := messages(t, b, streamBody); n != 0 {
				t.Errorf("%d pieces of the body are left", n)
			}
			same(t, "the journal", records(t, b, "", "", time.Time{}, 2), "1 r done")
		})
	}
}

// With DurabilityPower the record is on the disk before the message is let go.
func TestPowerRecorded(t *testing.T) {
	t.Parallel()
	d := new(disk)
	b := openPower(t, d)
	const n = 20
	fill(t, b, Deliver, 1, n)
	id := func(seq uint64) string { return fmt.Sprint(seq) }
	acks(t, b, streamDeliver, func(seq uint64) {
		if !d.has(Record{ID: id(seq), Recipient: "r"}.subject()) {
			t.Errorf("%d acknowledged, and its record is not on the disk", seq)
		}
	})
	consume(t, b, Deliver, func(_ context.Context, ds []*Delivery) []Disposition {
		var out []Disposition
		for _, del := range ds {
			out = append(out, Ack().Recorded(id(del.Seq), "r", nil))
		}
		return out
	}, ConsumeOptions{Batch: 3})
	await(t, "an empty stage", emptied(t, b, streamDeliver))
}

// A journal of the layout without recipients becomes one of the present layout.
func TestJournalLayout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openTest(t, small(dir))
	ctx := testContext(t)
	if err := b.admin.js.DeleteStream(ctx, streamTrace); err != nil {
		t.Fatal(err)
	}
	if _, err := b.admin.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: streamTrace, Subjects: []string{"trace.*"}, MaxBytes: b.o.MaxStore / 100 * 3,
		MaxAge: traceAge, Duplicates: 2 * time.Minute, AllowDirect: true,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.publish(ctx, &nats.Msg{Subject: "trace.1", Data: []byte("old")}); err != nil {
		t.Fatal(err)
	}
	closeTest(t, b)

	b = openTest(t, small(dir))
	for _, data := range []string{"first", "last"} {
		if err := b.Record(testContext(t), Record{ID: "1", Recipient: "r", Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "the journal", records(t, b, "", "", time.Time{}, 10), "1 r last")
	if n := messages(t, b, streamTrace); n != 1 {
		t.Errorf("%d records are stored", n)
	}
}

// TestFind: the records of one id are found among those that went by themselves and in
// bundles, and no more is read once it is enough.
func TestFind(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	write := func(n int, rs ...Record) {
		t.Helper()
		items := make([]*item, n, n+len(rs))
		for i := range items {
			items[i] = &item{due: due{record: &Record{ID: fmt.Sprint("other", i), Recipient: "r", Data: bytes.Repeat([]byte("x"), 4<<10)}}}
		}
		for i := range rs {
			items = append(items, &item{due: due{record: &rs[i]}})
		}
		if err := b.write(ctx, items); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	write(300, Record{ID: "1", Recipient: "a", Data: []byte("first")})
	between := time.Now()
	write(300, Record{ID: "1", Recipient: "b", Data: []byte("second")})
	find := func(since, until time.Time, enough int) (s string) {
		t.Helper()
		found, err := b.Find(ctx, "1", since, until, func(found []Record) bool { return len(found) >= enough })
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			s += string(r.Data) + " "
		}
		return s
	}
	if got := find(time.Time{}, time.Time{}, 3); got != "first second " {
		t.Errorf("all: %s", got)
	}
	if got := find(time.Time{}, time.Time{}, 1); got != "first " {
		t.Errorf("one is enough: %s", got)
	}
	if got := find(between, time.Time{}, 3); got != "second " {
		t.Errorf("the later: %s", got)
	}
	if got := find(start, between, 3); !strings.HasPrefix(got, "first ") {
		t.Errorf("the earlier: %s", got)
	}
	if err := b.Record(ctx, Record{ID: "1", Recipient: "a", Data: []byte("last")}); err != nil {
		t.Fatal(err)
	}
	if got := find(time.Time{}, time.Time{}, 1); got != "last " {
		t.Errorf("by itself: %s", got)
	}
	if got := find(time.Time{}, time.Time{}, 3); got != "second last " {
		t.Errorf("in place of another: %s", got)
	}
}

// TestScan: what is in the journal is read in order, from a time on, for as long as it is
// wanted.
func TestScan(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	const n = 2*readMessages + 10
	items := make([]*item, n)
	for i := range items {
		items[i] = &item{due: due{record: &Record{ID: fmt.Sprint(i), Recipient: "r", Data: bytes.Repeat([]byte("x"), 10<<10)}}}
	}
	if err := b.write(ctx, items); err != nil {
		t.Fatal(err)
	}
	scan := func(since time.Time, most int) (all []Record) {
		t.Helper()
		if err := b.Scan(ctx, since, func(r Record) bool { all = append(all, r); return len(all) < most }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := scan(time.Time{}, n+1)
	if len(all) != n {
		t.Fatalf("%d records, want %d", len(all), n)
	}
	for i, r := range all {
		if r.ID != fmt.Sprint(i) || i > 0 && !r.At.After(all[i-1].At) {
			t.Fatalf("record %d is %s of %s", i, r.ID, r.At)
		}
	}
	if got := scan(time.Time{}, 3); len(got) != 3 {
		t.Errorf("%d records, want 3", len(got))
	}
	if got := scan(all[n-3].At.Add(1), n); len(got) != 2 || got[0].ID != all[n-2].ID {
		t.Errorf("the last two: %d", len(got))
	}
	if got := scan(time.Now().Add(time.Hour), n); len(got) != 0 {
		t.Errorf("of the future: %d", len(got))
	}
}
