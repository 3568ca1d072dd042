package main

import (
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"mcmt2xmpp/gateway/config"
)

// newLogger writes to stderr: for people on a terminal, JSON lines otherwise,
// unless the configuration says which.
func newLogger(c config.Log) zerolog.Logger {
	zerolog.TimeFieldFormat = time.RFC3339Nano
	zerolog.DurationFieldUnit = time.Millisecond
	level := map[config.LogLevel]zerolog.Level{
		config.LogDebug: zerolog.DebugLevel, config.LogInfo: zerolog.InfoLevel,
		config.LogWarn: zerolog.WarnLevel, config.LogError: zerolog.ErrorLevel,
	}[c.Level]
	people := c.Format == config.LogConsole ||
		c.Format == config.LogAuto && term.IsTerminal(int(os.Stderr.Fd()))
	log := zerolog.New(os.Stderr)
	if people {
		log = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly + ".000"})
	}
	return log.Level(level).With().Timestamp().Logger()
}
