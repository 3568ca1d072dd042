package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/stream"
)

// TestStop ends the gateway by SIGTERM while messages flow in and out: it ends in
// time and without an error, everybody is told, and what was accepted is there
// after the next start.
func TestStop(t *testing.T) {
	t.Parallel()
	sockets, err := os.MkdirTemp("", "gw") // the path of a Unix socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	socket := filepath.Join(sockets, "smtp")
	g := newGateway(t, `esmtp_listener { listen "`+socket+`" {} }`)
	g.start()
	c := newRegulars(t, g, onAndOff...)
	g.addUser("idle@localhost", "secret")
	traffic := startTraffic(t.Context(), g, c.users)
	const rounds = 3
	for round := range rounds {
		idle := login(t, g.xmpp(), "idle@localhost/i", 0)
		polite := dialSMTP(t, g.smtp())
		polite.say("EHLO client.example", "250")
		before := traffic.total.Load()
		g.eventually("some messages", func() bool { return traffic.total.Load() > before+50 })
		began := time.Now()
		if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		polite.want("421")
		streamError(t, idle.ended(), stream.SystemShutdown)
		idle.close()
		select {
		case <-g.done:
		case <-time.After(patience):
			t.Fatal("the gateway does not end")
		}
		took := time.Since(began)
		if code := g.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("round %d: ended with status %d after %s", round, code, took)
		}
		t.Logf("ended after %s", took)
		if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket file is still there: %v", err)
		}
		g.start()
	}
	accepted := traffic.stop()
	copies := c.await(accepted)
	t.Logf("%d stops, %d messages accepted, %d copies", rounds, traffic.total.Load(), copies)
}

// TestStopAtOnce: SIGTERM at the very moment of readiness is an ordinary end too.
func TestStopAtOnce(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	for round := range 8 {
		g.start()
		g.stop()
		if code := g.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("round %d: status %d, want 0: %s", round, code, g.logFrom(0))
		}
	}
}
