package broker

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

const (
	// syncInterval is how often the server flushes files to the disk. A PubAck
	// is sent after the write, so only a power cut can lose this much.
	syncInterval = time.Second

	// startTimeout bounds the recovery of the store. Reading back many gigabytes
	// after a crash takes a while.
	startTimeout = 5 * time.Minute
)

// maxServerStore is no limit in effect. Each stream has its own; one over all
// that is below what the streams of an older configuration have reserved would
// make the server refuse every change of them.
const maxServerStore = 1 << 50

// embedded is the server inside this process. It can be started anew under the
// connections to it, which then come back by themselves.
type embedded struct {
	o       Options
	name    string
	trouble chan struct{}         // gets something when a write has failed
	failure atomic.Pointer[error] // the first one

	mu sync.RWMutex
	s  *server.Server // nil while there is none
}

// startEmbedded starts the server on the data folder.
func startEmbedded(o Options, name string) (*embedded, error) {
	e := &embedded{o: o, name: name, trouble: make(chan struct{}, 1)}
	if err := e.start(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *embedded) start() error {
	e.failure.Store(nil)
	s, err := startServer(e.o, e.name, e.failed)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.s = s
	return nil
}

// failed takes note of a write that has failed.
func (e *embedded) failed(err error) {
	e.failure.CompareAndSwap(nil, &err)
	select {
	case e.trouble <- struct{}{}:
	default:
	}
}

// stop stops the server and waits for it.
func (e *embedded) stop() {
	e.mu.Lock()
	s := e.s
	e.s = nil
	e.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// now is the server, nil while there is none.
func (e *embedded) now() *server.Server {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.s
}

// InProcessConn connects to the server of this moment.
func (e *embedded) InProcessConn() (net.Conn, error) {
	if s := e.now(); s != nil {
		return s.InProcessConn()
	}
	return nil, errStopped
}

var errStopped = errors.New("the server does not run")

// writeError is what the server's texts hold about a write that has failed: those
// of its log, which come first and know of removals too, and those of its health.
const writeError = "write error"

// broken returns why the server can store nothing any more, or nil. A write that
// has failed ends all writing of that stream, and the server does not answer who
// waits for it.
func (e *embedded) broken() error {
	s := e.now()
	switch {
	case s == nil:
		return errStopped
	case e.failure.Load() != nil:
		return *e.failure.Load()
	case !s.JetStreamEnabled():
		return errStopped
	}
	if h := s.Healthz(nil); strings.Contains(h.Error, writeError) {
		return errors.New(h.Error)
	}
	return nil
}

// startServer runs a NATS server inside this process: no listener, no signal
// handler, JetStream below dir.
func startServer(o Options, name string, failed func(error)) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{
		ServerName:         name,
		DontListen:         true,
		NoSigs:             true,
		NoLog:              true,
		MaxPayload:         int32(maxPayload),
		JetStream:          true,
		StoreDir:           o.Dir,
		SyncInterval:       syncInterval,
		JetStreamMaxMemory: o.MaxMemory,
		JetStreamMaxStore:  maxServerStore,
		// Publishes above these are dropped with an error. The semaphore of
		// Store stays far below.
		StreamMaxBufferedMsgs: 4 * window,
		StreamMaxBufferedSize: 4 * window * windowUnit,
	})
	if err != nil {
		return nil, fmt.Errorf("broker: server: %w", err)
	}
	s.SetLoggerV2(serverLog{o.Log.With().Str("part", "nats").Logger(), failed}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("broker: server did not start, see the log")
	}
	return s, nil
}

// serverLog passes on what the server says at warning and above, and tells of writes
// that have failed.
type serverLog struct {
	log    zerolog.Logger
	failed func(error)
}

func (l serverLog) Noticef(string, ...any)         {}
func (l serverLog) Debugf(string, ...any)          {}
func (l serverLog) Tracef(string, ...any)          {}
func (l serverLog) Warnf(format string, v ...any)  { l.log.Warn().Msgf(format, v...) }
func (l serverLog) Fatalf(format string, v ...any) { l.Errorf(format, v...) } // a library does not exit

func (l serverLog) Errorf(format string, v ...any) {
	l.log.Error().Msgf(format, v...)
	if strings.Contains(format, writeError) {
		l.failed(fmt.Errorf(format, v...))
	}
}

func diskLevel(low bool) zerolog.Level {
	if low {
		return zerolog.ErrorLevel
	}
	return zerolog.InfoLevel
}
