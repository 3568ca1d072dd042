package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// notifier tells the service manager how the program is doing, by the protocol of
// systemd's sd_notify(3). The zero notifier, where nobody wants to know, says nothing.
type notifier struct {
	conn net.Conn
	// watchdog is how often the service manager wants to hear that the program lives.
	// Zero: never.
	watchdog time.Duration
}

// newNotifier reads the environment that the service manager has made.
func newNotifier() (notifier, error) {
	var n notifier
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return n, nil
	}
	conn, err := net.Dial("unixgram", path) // a leading @ is the abstract namespace to both
	if err != nil {
		return n, fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	n.conn = conn
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := os.Getenv("WATCHDOG_PID")
	if err == nil && usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n, nil
}

func (n notifier) ready(status string) { n.say("READY=1\nSTATUS=" + status) }

// reloading says that a reload begins; ready ends it. The time is what a service of the
// type notify-reload has to tell, to be believed about this reload and not another.
func (n notifier) reloading() {
	n.say(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d\nSTATUS=reloading", monotonic().Microseconds()))
}

func (n notifier) stopping() { n.say("STOPPING=1\nSTATUS=stopping") }

func (n notifier) alive() { n.say("WATCHDOG=1") }

// say sends one datagram. A service manager that does not read cannot be told: it will
// find out by itself.
func (n notifier) say(state string) {
	if n.conn == nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = n.conn.Write([]byte(state))
}

// beats is when to call alive: at half of the time that the service manager waits. stop
// ends it.
func (n notifier) beats() (c <-chan time.Time, stop func()) {
	if n.watchdog < 2 {
		return nil, func() {}
	}
	t := time.NewTicker(n.watchdog / 2)
	return t.C, t.Stop
}

func (n notifier) close() {
	if n.conn != nil {
		_ = n.conn.Close()
	}
}
