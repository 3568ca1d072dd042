package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LogOptions say what a Log keeps. Name and Prefix are needed.
type LogOptions struct {
	Name   string // of the stream
	Prefix string // the first token of its subjects
	Bytes  int64  // what it holds at most; the oldest entries make room. Zero: no bound
	// Age is how long an entry stays. Zero: for ever.
	Age time.Duration
	// Window is how long the Once of an entry is remembered. Zero: 2 minutes.
	Window time.Duration
}

// Log is a stream of entries that stay for a while, each under some names, in the
// order in which they were stored. Its methods may be called from any goroutine.
type Log struct {
	b      *Broker
	name   string
	prefix string
}

// Entry is one entry of a Log.
type Entry struct {
	Names  []string // as many in each entry of a log. What is long is not read back
	Header map[string]string
	Data   []byte
	// Once names what is stored once only, however often it is appended within the
	// log's window. Empty: each time.
	Once string

	Seq uint64    // its position; set by Read
	At  time.Time // when it was stored; set by Read
}

// Log opens a log, making its stream or bringing it to o as needed.
func (b *Broker) Log(ctx context.Context, o LogOptions) (*Log, error) {
	cfg := jetstream.StreamConfig{
		Name: o.Name, Subjects: []string{o.Prefix + ".>"}, Storage: jetstream.FileStorage, Replicas: b.o.Replicas,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxBytes: o.Bytes, MaxAge: o.Age,
		Duplicates: orDuration(o.Window, 2*time.Minute), AllowDirect: true,
	}
	if o.Age > 0 {
		cfg.Duplicates = min(cfg.Duplicates, o.Age)
	}
	if _, err := b.admin.js.CreateOrUpdateStream(ctx, cfg); err != nil {
		return nil, fmt.Errorf("broker: log %s: %w", o.Name, requestRefusal(err))
	}
	return &Log{b, o.Name, o.Prefix}, nil
}

func orDuration(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Append stores an entry and returns its position; of one with a Once that was stored
// before, that of the first, and again is true. The errors are those of Store.
func (l *Log) Append(ctx context.Context, e Entry) (seq uint64, again bool, err error) {
	if err := l.b.begin(); err != nil {
		return 0, false, fmt.Errorf("broker: append: %w", err)
	}
	defer l.b.calls.Done()
	m := &nats.Msg{Subject: l.subject(e.Names), Data: e.Data, Header: make(nats.Header, len(e.Header)+1)}
	for k, v := range e.Header {
		m.Header[k] = []string{escapeValue(v)}
	}
	if e.Once != "" {
		m.Header[jetstream.MsgIDHeader] = []string{token(m.Subject + " " + e.Once)}
	}
	// Custody has the room that is kept in reserve for itself.
	if err := l.b.room(l.b.o.DiskReserve); err != nil {
		return 0, false, fmt.Errorf("broker: append: %w", err)
	}
	resp, err := l.b.askStream(ctx, m)
	var ack pubAck
	if err == nil {
		ack, err = readAck(resp.Data)
	}
	if err != nil {
		return 0, false, fmt.Errorf("broker: append: %w", err)
	}
	return ack.Sequence, ack.Duplicate, nil
}

// Read returns the first entries under some names ("" is any) from a position on, or
// where that is zero, stored at since or later; limit of them at most, and fewer when
// they are large. left is how many others follow. On a cluster the newest may be
// missing for a moment.
func (l *Log) Read(ctx context.Context, names []string, from uint64, since time.Time, limit int) (found []Entry, left int, err error) {
	if err := l.b.begin(); err != nil {
		return nil, 0, fmt.Errorf("broker: read log: %w", err)
	}
	defer l.b.calls.Done()
	msgs, left, err := l.b.readSome(ctx, query{stream: l.name, filter: l.filter(names), from: from, since: since, limit: min(limit, readMessages)})
	if err != nil {
		return nil, 0, fmt.Errorf("broker: read log: %w", err)
	}
	for _, m := range msgs {
		if from == 0 && m.at.Before(since) {
			continue // the server's start is no later than asked for
		}
		found = append(found, l.entry(m))
	}
	return found, left, nil
}

// entry is the reverse of Append.
func (l *Log) entry(m storedMsg) Entry {
	e := Entry{Data: m.data, Seq: m.seq, At: m.at, Header: make(map[string]string)}
	for _, tok := range strings.Split(m.subject, ".")[1:] {
		name, _ := untoken(tok)
		e.Names = append(e.Names, name)
	}
	for k := range m.header {
		if !strings.HasPrefix(k, "Nats-") {
			e.Header[k] = unescape(m.header.Get(k))
		}
	}
	return e
}

// Purge removes the entries under some names ("" is any).
func (l *Log) Purge(ctx context.Context, names []string) error {
	if err := l.b.begin(); err != nil {
		return fmt.Errorf("broker: purge log: %w", err)
	}
	defer l.b.calls.Done()
	s, err := l.b.admin.js.Stream(ctx, l.name)
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(l.filter(names)))
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("broker: purge log: %w", requestRefusal(err))
	}
	return nil
}

func (l *Log) subject(names []string) string {
	s := l.prefix
	for _, n := range names {
		s += "." + token(n)
	}
	return s
}

func (l *Log) filter(names []string) string {
	s := l.prefix
	for _, n := range names {
		if n == "" {
			s += ".*"
			continue
		}
		s += "." + token(n)
	}
	return s
}

// Objects opens a store of files, making it or bringing it to cfg as needed. Zero
// Replicas are those of the broker.
func (b *Broker) Objects(ctx context.Context, cfg jetstream.ObjectStoreConfig) (jetstream.ObjectStore, error) {
	if cfg.Replicas == 0 {
		cfg.Replicas = b.o.Replicas
	}
	s, err := b.admin.js.CreateOrUpdateObjectStore(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("broker: objects %s: %w", cfg.Bucket, requestRefusal(err))
	}
	return s, nil
}
