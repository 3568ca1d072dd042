package broker

import (
	"errors"
	"fmt"
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

// startServer runs a NATS server inside this process: no listener, no signal
// handler, JetStream below dir.
func startServer(o Options, name string) (*server.Server, error) {
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
	s.SetLoggerV2(serverLog{o.Log.With().Str("part", "nats").Logger()}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("broker: server did not start, see the log")
	}
	return s, nil
}

// serverLog passes on what the server says at warning and above.
type serverLog struct{ log zerolog.Logger }

func (l serverLog) Noticef(string, ...any)         {}
func (l serverLog) Debugf(string, ...any)          {}
func (l serverLog) Tracef(string, ...any)          {}
func (l serverLog) Warnf(format string, v ...any)  { l.log.Warn().Msgf(format, v...) }
func (l serverLog) Errorf(format string, v ...any) { l.log.Error().Msgf(format, v...) }
func (l serverLog) Fatalf(format string, v ...any) { l.log.Error().Msgf(format, v...) } // a library does not exit

func diskLevel(low bool) zerolog.Level {
	if low {
		return zerolog.ErrorLevel
	}
	return zerolog.InfoLevel
}
