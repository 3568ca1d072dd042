// Package xmpplog is the xmpp_logger: it writes a line for each stanza that streams
// receive and send, and for what becomes of messages, in formats that the operator
// chooses.
//
//	xmpplog.go    Log, its loggers, heartbeats
//	record.go     what a line tells, obfuscate.go without what people have written
//	format.go     macros; escape.go what keeps a record one line
//	file.go       the way to the disk, on which no stanza ever waits; open.go
package xmpplog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/stream"
)

// Options describe one logger.
type Options struct {
	Name string // counts are by it
	// Where is the place in the configuration, for errors.
	Where string
	File  string
	// Mode is the access rights of File.
	Mode fs.FileMode
	// Heartbeat is the time between two heartbeats. Zero: there are none.
	Heartbeat time.Duration
	// Formats are those of the kinds that are logged.
	Formats map[Kind]*Format
	Log     zerolog.Logger
}

// Log is the loggers of a process. All methods may be called from any goroutine, and
// on a nil Log those that write do nothing.
type Log struct {
	born    time.Time
	loggers atomic.Pointer[loggers]

	mu      sync.Mutex
	closed  bool
	options []Options // in effect
	files   map[string]*file
	counts  map[string]*counts // by name, over all changes
	errors  uint64             // of files that are gone
	gone    []*file            // which may still write
	quiet   context.CancelFunc // ends what beats
	beating sync.WaitGroup
}

// loggers are those in effect. They do not change.
type loggers struct {
	all   []*logger
	wants [kinds]bool
}

type logger struct {
	*counts
	formats [kinds]*Format
	file    *file
}

type counts struct{ written, dropped atomic.Uint64 }

// New returns a Log without loggers. Close ends it.
func New() *Log {
	return &Log{born: time.Now(), files: make(map[string]*file), counts: make(map[string]*counts), quiet: func() {}}
}

// Observing implements stream.Observer.
func (l *Log) Observing() bool { return l.wants(Delivery) || l.wants(Reception) }

// Observe implements stream.Observer.
func (l *Log) Observe(p stream.Passage) {
	kind := Reception
	if p.Out {
		kind = Delivery
	}
	if l.wants(kind) {
		l.write(recordOf(p))
	}
}

// Record writes the lines of a record.
func (l *Log) Record(r Record) {
	if l.wants(r.Kind) {
		l.write(r)
	}
}

func (l *Log) wants(k Kind) bool {
	if l == nil {
		return false
	}
	now := l.loggers.Load()
	return now != nil && now.wants[k]
}

func (l *Log) write(r Record) {
	if now := l.loggers.Load(); now != nil {
		for _, g := range now.all {
			g.write(&r)
		}
	}
}

// lines are buffers for one line each.
var lines = sync.Pool{New: func() any { return new([]byte) }}

func (g *logger) write(r *Record) {
	f := g.formats[r.Kind]
	if f == nil {
		return
	}
	line := lines.Get().(*[]byte)
	*line = f.Append((*line)[:0], r)
	if g.file.put(*line) {
		g.written.Add(1)
	} else {
		g.dropped.Add(1)
	}
	if cap(*line) <= much {
		lines.Put(line)
	}
}

// Change is a set of loggers whose files are open, and who write nothing yet. It ends
// with Use or Drop.
type Change struct {
	log     *Log
	options []Options
	opened  map[string]disk
}

// Prepare opens the files of loggers, those that are open already anew: whoever rotates
// logs has moved them. Its errors name the loggers.
func (l *Log) Prepare(options []Options) (*Change, error) {
	c := &Change{log: l, options: options, opened: make(map[string]disk)}
	var errs []error
	for _, o := range options {
		if c.opened[o.File] != nil {
			continue
		}
		f, err := open(o.File, o.Mode)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: xmpp_logger %s: %w", o.Where, o.Name, err))
			continue
		}
		c.opened[o.File] = f
	}
	if err := errors.Join(errs...); err != nil {
		c.Drop()
		return nil, err
	}
	return c, nil
}

// Drop closes what was opened; all stays as it is.
func (c *Change) Drop() {
	for _, f := range c.opened {
		_ = f.Close() // nothing was written to it
	}
}

// Use puts the loggers in the place of the former ones. What those have taken is still
// written. After Close it is Drop.
func (c *Change) Use() {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Drop()
		return
	}
	now := new(loggers)
	files := make(map[string]*file)
	for _, o := range c.options {
		f := files[o.File]
		if f == nil {
			f = l.file(o, c.opened[o.File])
			files[o.File] = f
		}
		now.add(l.logger(o, f))
	}
	l.loggers.Store(now)
	for path, f := range l.files {
		if files[path] == nil {
			f.end()
			l.gone = append(l.gone, f)
		}
	}
	l.gone = slices.DeleteFunc(l.gone, l.over)
	l.files, l.options = files, c.options
	l.beat()
}

// file is that of a path, which goes on in out.
func (l *Log) file(o Options, out disk) *file {
	f := l.files[o.File]
	if f != nil {
		f.reopen(out)
		return f
	}
	f = newFile(o.File, out, o.Log)
	go f.run()
	return f
}

// over says whether a file that is gone has ended.
func (l *Log) over(f *file) bool {
	select {
	case <-f.done:
		l.errors += f.errors.Load()
		return true
	default:
		return false
	}
}

func (l *Log) logger(o Options, f *file) *logger {
	g := &logger{counts: l.counts[o.Name], file: f}
	if g.counts == nil {
		g.counts = new(counts)
		l.counts[o.Name] = g.counts
	}
	for k, format := range o.Formats {
		g.formats[k] = format
	}
	return g
}

func (now *loggers) add(g *logger) {
	now.all = append(now.all, g)
	for k, f := range g.formats {
		now.wants[k] = now.wants[k] || f != nil
	}
}

// Reopen opens the files anew.
func (l *Log) Reopen() error {
	l.mu.Lock()
	options := l.options
	l.mu.Unlock()
	c, err := l.Prepare(options)
	if err != nil {
		return err
	}
	c.Use()
	return nil
}

// beat starts the heartbeats of the loggers in effect, in place of the former ones, and
// what says now and then that lines were dropped. l.mu is held.
func (l *Log) beat() {
	l.quiet()
	l.beating.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	l.quiet = cancel
	for i, g := range l.loggers.Load().all {
		if every := l.options[i].Heartbeat; every > 0 && g.formats[Heartbeat] != nil {
			l.every(ctx, every, func() { g.write(&Record{Kind: Heartbeat}) })
		}
	}
	for _, f := range l.files {
		l.every(ctx, saying/6, f.say)
	}
}

// every does something at each multiple of a time since the Log is there, so that a
// change does not put off what is due.
func (l *Log) every(ctx context.Context, d time.Duration, do func()) {
	l.beating.Go(func() {
		t := time.NewTimer(d - time.Since(l.born)%d)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				do()
				t.Reset(d - time.Since(l.born)%d)
			case <-ctx.Done():
				return
			}
		}
	})
}

// Close writes what waits and closes the files. Where a disk does not take it before
// ctx ends, the error says so, and the goroutine that waits for the disk is left behind.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.loggers.Store(nil)
	l.quiet()
	l.beating.Wait()
	for _, f := range l.files {
		f.end()
		l.gone = append(l.gone, f)
	}
	l.files = nil
	var errs []error
	for _, f := range l.gone {
		select {
		case <-f.done:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("xmpp_logger: %s takes no more: its last lines are lost: %w", f.path, ctx.Err()))
		}
	}
	return errors.Join(errs...)
}

// Stats are the counts of the loggers since New.
type Stats struct {
	Loggers map[string]Lines // by name
	Errors  uint64           // writes that failed
}

// Lines are the counts of one logger.
type Lines struct{ Written, Dropped uint64 }

// Stats returns them as they are now.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Loggers: make(map[string]Lines), Errors: l.errors}
	for name, c := range l.counts {
		s.Loggers[name] = Lines{c.written.Load(), c.dropped.Load()}
	}
	for _, f := range l.files {
		s.Errors += f.errors.Load()
	}
	for _, f := range l.gone {
		s.Errors += f.errors.Load()
	}
	return s
}
