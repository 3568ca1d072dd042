package broker

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Record is an entry of the journal: what became of a message for a recipient.
type Record struct {
	ID, Recipient string
	Data          []byte    // for the broker any bytes, 64 KiB at most
	At            time.Time // when it was stored; set by Records
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
	m, err := r.encode()
	if err == nil {
		_, err = b.publish(ctx, m)
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
// at since or later (zero: all), at most limit of them. On a cluster the newest
// may be missing for a moment.
func (b *Broker) Records(ctx context.Context, id, recipient string, since time.Time, limit int) ([]Record, error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: records: %w", err)
	}
	defer b.calls.Done()
	var found []Record
	q := query{stream: streamTrace, since: since}
	if id != "" || recipient != "" {
		q.filter = recordFilter(id, recipient)
	}
	for len(found) < limit {
		q.limit = min(limit-len(found), readMessages)
		msgs, left, err := b.readSome(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("broker: records: %w", err)
		}
		for _, m := range msgs {
			if !m.at.Before(since) {
				found = append(found, readRecord(m))
			}
		}
		if left == 0 {
			break
		}
		q.from = msgs[len(msgs)-1].seq + 1
	}
	return found, nil
}

// readRecord is the reverse of encode.
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

// encode builds the wire message. What the subject cannot hold in a form that
// can be read back goes into the header.
func (r Record) encode() (*nats.Msg, error) {
	if len(r.Data) > maxRecord {
		return nil, refuse(ErrInvalid, fmt.Errorf("record of %d bytes", len(r.Data)))
	}
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
	return m, nil
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

// write puts the records of items into the journal, all in one go: one after the
// other would cost each its own way to the server and back, and the server's
// batches are slower than that window (100,000 records a second against 30,000
// in batches of 500). A record that is written, or that the server refuses for
// good, is taken off its item; an error says that some are left.
func (b *Broker) write(ctx context.Context, items []*item) error {
	var msgs []*nats.Msg
	var of []*item
	weight := int64(0)
	for _, it := range items {
		if it.due.record != nil {
			msgs, of = append(msgs, it.due.record), append(of, it)
			weight += max(1, int64(len(it.due.record.Data))/windowUnit)
		}
	}
	if len(msgs) == 0 {
		return nil
	}
	if err := b.damage(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.StoreTimeout)
	defer cancel()
	weight = min(weight, window)
	if err := b.window.Acquire(ctx, weight); err != nil {
		return refuse(ErrUnavailable, err)
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
			b.journal.written.Add(1)
		case permanent(aerr):
			b.refused(aerr, of[i].due.record.Subject)
		default:
			err = aerr
			continue
		}
		of[i].due.record = nil
	}
	return err
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
