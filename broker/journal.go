package broker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Record is an entry of the journal: what became of a message for a recipient.
type Record struct {
	ID, Recipient string
	Data          []byte    // for the broker any bytes, 64 KiB at most
	At            time.Time // when it was stored; set by Records and RecordsFrom
	Next          Mark      // the place behind it; set by RecordsFrom
}

// maxRecord bounds the Data of a Record in bytes.
const maxRecord = 64 << 10

// journalCounts are about the journal, since the process started.
type journalCounts struct {
	written, refused atomic.Uint64
}

// Record writes a record by itself: the end of a message that is not the
// decision of a handler. It takes the place of one of the same ID and Recipient.
// The errors are those of Store.
func (b *Broker) Record(ctx context.Context, r Record) error {
	if err := b.begin(); err != nil {
		return fmt.Errorf("broker: record: %w", err)
	}
	defer b.calls.Done()
	err := r.check()
	if err == nil {
		_, err = b.publish(ctx, r.wire())
	}
	if err == nil {
		err = b.onDisk(ctx)
	}
	if err != nil {
		return fmt.Errorf("broker: record: %w", err)
	}
	b.journal.written.Add(1)
	return nil
}

// Records returns records of the journal, in the order in which they were
// stored: those of one id ("": any) and one recipient ("": any) that were stored
// at since or later (zero: all), at most limit of them. One that took the place of
// another may come after it where neither is named. To look for a name takes
// reading all bundles since then: some 200,000 records in half a second. On a
// cluster the newest may be missing for a moment.
func (b *Broker) Records(ctx context.Context, id, recipient string, since time.Time, limit int) ([]Record, error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: records: %w", err)
	}
	defer b.calls.Done()
	s := search{id: id, recipient: recipient, since: since}
	var err error
	if id == "" && recipient == "" {
		err = b.search(ctx, &s, "", limit)
	} else if err = b.search(ctx, &s, recordFilter(id, recipient), math.MaxInt); err == nil {
		err = b.search(ctx, &s, bundles, math.MaxInt)
		slices.SortStableFunc(s.found, func(a, b Record) int { return a.At.Compare(b.At) })
	}
	if err != nil {
		return nil, fmt.Errorf("broker: records: %w", err)
	}
	s.supersede()
	return s.found[:min(len(s.found), limit)], nil
}

// search is one call of Records.
type search struct {
	id, recipient string
	since         time.Time
	found         []Record
}

// search reads the messages of the journal under filter until enough is found.
func (b *Broker) search(ctx context.Context, s *search, filter string, enough int) error {
	q := query{stream: streamTrace, filter: filter, limit: readMessages}
	if !s.since.IsZero() {
		q.since = s.since.Add(-maxBundle) // the last records of a bundle count as later, see expand
	}
	read := b.readSome
	if filter == bundles {
		read = b.read // most of what there is
	}
	for len(s.found) < enough {
		if filter == "" {
			q.limit = min(enough-len(s.found), readMessages)
		}
		msgs, left, err := read(ctx, q)
		if err != nil {
			return err
		}
		for _, m := range msgs {
			s.take(m)
		}
		if left == 0 {
			return nil
		}
		q.from = msgs[len(msgs)-1].seq + 1
	}
	return nil
}

// take adds what m holds of what is looked for.
func (s *search) take(m storedMsg) {
	for r := range expand(m) {
		if (s.id == "" || r.ID == s.id) && (s.recipient == "" || r.Recipient == s.recipient) && !r.At.Before(s.since) {
			s.found = append(s.found, r)
		}
	}
}

// supersede leaves out those that a later one has taken the place of.
func (s *search) supersede() {
	type key struct{ id, recipient string }
	last := make(map[key]int, len(s.found))
	for i, r := range s.found {
		last[key{r.ID, r.Recipient}] = i
	}
	if len(last) == len(s.found) {
		return
	}
	kept := s.found[:0]
	for i, r := range s.found {
		if last[key{r.ID, r.Recipient}] == i {
			kept = append(kept, r)
		}
	}
	s.found = kept
}

// A bundle is many records in one message: a message for each took the server
// five times as long as one for forty, most of it for the subject, of which it
// keeps an index. It is named by chance. Few records go one by one, and are found
// by their subject.
const (
	bundleToken = "%j" // in place of the id; see emptyToken
	bundles     = "trace." + bundleToken + ".*"
	fewRecords  = 4   // go by themselves
	maxBundle   = 512 // records
	bundleBytes = 64 << 10
)

// bundle is the message that holds records.
func bundle(records []*Record) *nats.Msg {
	size := 0
	for _, r := range records {
		size += r.size()
	}
	data := make([]byte, 0, size)
	for _, r := range records {
		data = appendText(appendText(appendText(data, r.ID), r.Recipient), r.Data)
	}
	return &nats.Msg{Subject: "trace." + bundleToken + "." + rand.Text(), Data: data}
}

func appendText[T string | []byte](data []byte, v T) []byte {
	return append(binary.AppendUvarint(data, uint64(len(v))), v...)
}

// size is about what r takes in a bundle.
func (r *Record) size() int {
	return len(r.ID) + len(r.Recipient) + len(r.Data) + 3*binary.MaxVarintLen16
}

// expand yields the records that m holds. Those of a bundle are a nanosecond
// apart, so that whoever reads on from the last that he has seen misses none. What
// is damaged ends it.
func expand(m storedMsg) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		if !strings.HasPrefix(m.subject, "trace."+bundleToken+".") {
			yield(readRecord(m))
			return
		}
		data := m.data
		next := func() []byte {
			n, k := binary.Uvarint(data)
			if k <= 0 || n > uint64(len(data)-k) {
				data = nil
				return nil
			}
			v := data[k : k+int(n)] //nolint:gosec // at most that
			data = data[k+int(n):]  //nolint:gosec // likewise
			return v
		}
		for at := m.at; len(data) > 0; at = at.Add(1) {
			r := Record{ID: string(next()), Recipient: string(next()), At: at}
			if r.Data = next(); r.Data == nil || !yield(r) {
				return
			}
		}
	}
}

// readRecord is the reverse of wire.
func readRecord(m storedMsg) Record {
	r := Record{Data: m.data, At: m.at}
	read := func(v *string, name, tok string) {
		var ok bool
		if *v, ok = untoken(tok); !ok {
			*v = unescape(m.header.Get(name))
		}
	}
	if t := strings.Split(m.subject, "."); len(t) == 3 {
		read(&r.ID, hdrID, t[1])
		read(&r.Recipient, hdrRecipient, t[2])
	}
	return r
}

// check returns why r cannot be written, or nil.
func (r Record) check() error {
	if len(r.Data) > maxRecord {
		return refuse(ErrInvalid, fmt.Errorf("record of %d bytes", len(r.Data)))
	}
	return nil
}

// wire builds the message of one record. What the subject cannot hold in a form
// that can be read back goes into the header.
func (r Record) wire() *nats.Msg {
	m := &nats.Msg{Subject: r.subject(), Data: r.Data}
	note := func(name, v string) {
		if _, ok := untoken(token(v)); ok {
			return
		}
		if m.Header == nil {
			m.Header = make(nats.Header, 2)
		}
		m.Header[name] = []string{escapeValue(v)}
	}
	note(hdrID, r.ID)
	note(hdrRecipient, r.Recipient)
	return m
}

func (r Record) subject() string { return "trace." + token(r.ID) + "." + token(r.Recipient) }

// recordFilter returns the subject filter for records of one id and recipient,
// "" for any.
func recordFilter(id, recipient string) string {
	tok := func(s string) string {
		if s == "" {
			return "*"
		}
		return token(s)
	}
	return "trace." + tok(id) + "." + tok(recipient)
}

// write puts the records of items into the journal, all in one go: one message
// after the other would cost each its own way to the server and back, and the
// server's batches are slower than that window (100,000 records a second against
// 30,000 in batches of 500). A record that is written, or that the server refuses
// for good, is taken off its item; an error says that some are left.
func (b *Broker) write(ctx context.Context, items []*item) error {
	ctx, cancel := context.WithTimeout(ctx, b.o.StoreTimeout)
	defer cancel()
	due := make([]*item, 0, len(items))
	for _, it := range items {
		if it.due.record != nil {
			due = append(due, it)
		}
	}
	if len(due) == 0 {
		return nil
	}
	if err := b.damage(); err != nil {
		return err
	}
	apart, err := b.writeEntries(ctx, divide(due))
	if err == nil && len(apart) > 0 {
		// One of a bundle is what the server does not take: the others are not to
		// suffer for it.
		_, err = b.writeEntries(ctx, single(apart))
	}
	return err
}

// divide sorts items into messages: bundles, or one each where they are few.
func divide(items []*item) [][]*item {
	if len(items) <= fewRecords {
		return single(items)
	}
	var parts [][]*item
	first, size := 0, 0
	for i, it := range items {
		n := it.due.record.size()
		if i > first && (size+n > bundleBytes || i-first == maxBundle) {
			parts = append(parts, items[first:i])
			first, size = i, 0
		}
		size += n
	}
	return append(parts, items[first:])
}

func single(items []*item) [][]*item {
	parts := make([][]*item, len(items))
	for i := range items {
		parts[i] = items[i : i+1]
	}
	return parts
}

// writeEntries writes a message for each part. apart are the items of bundles that
// the server refuses.
func (b *Broker) writeEntries(ctx context.Context, parts [][]*item) (apart []*item, err error) {
	if len(parts) == 0 {
		return nil, nil
	}
	msgs := make([]*nats.Msg, len(parts))
	weight := int64(0)
	for i, part := range parts {
		if len(part) > 1 {
			records := make([]*Record, len(part))
			for j, it := range part {
				records[j] = it.due.record
			}
			msgs[i] = bundle(records)
		} else {
			msgs[i] = part[0].due.record.wire()
		}
		weight += max(1, int64(len(msgs[i].Data))/windowUnit)
	}
	weight = min(weight, window)
	if err := b.window.Acquire(ctx, weight); err != nil {
		return nil, refuse(ErrUnavailable, err)
	}
	defer b.window.Release(weight)
	answers, err := b.pub.in.requestAll(ctx, msgs, b.o.StoreTimeout)
	if err != nil {
		err = requestRefusal(err)
	}
	for i, m := range answers {
		if m == nil {
			continue
		}
		switch aerr := recordAnswer(m); {
		case aerr == nil:
			b.journal.written.Add(uint64(len(parts[i])))
		case !permanent(aerr):
			err = aerr
			continue
		case len(parts[i]) > 1:
			apart = append(apart, parts[i]...)
			continue
		default:
			b.refused(aerr, msgs[i].Subject)
		}
		for _, it := range parts[i] {
			it.due.record = nil
		}
	}
	return apart, err
}

// refused counts a record that can never be written.
func (b *Broker) refused(err error, subject string) {
	b.journal.refused.Add(1)
	b.log.Error().Err(err).Str("record", subject).Msg("record refused, the journal does without it")
}

func recordAnswer(m *nats.Msg) error {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return refuse(ErrUnavailable, nats.ErrNoResponders)
	}
	_, err := parseAck(m.Data)
	return err
}
