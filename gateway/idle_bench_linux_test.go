package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stream"
)

// procOf returns the fields of a file of /proc of the gateway.
func (g *gateway) procOf(b *testing.B, file string) []string {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", g.cmd.Process.Pid, file))
	if err != nil {
		b.Fatal(err)
	}
	return strings.Fields(string(text))
}

// resident is the resident memory of the gateway in bytes.
func (g *gateway) resident(b *testing.B) float64 {
	pages, err := strconv.Atoi(g.procOf(b, "statm")[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(pages * os.Getpagesize())
}

// computed is the time that the gateway has computed.
func (g *gateway) computed(b *testing.B) time.Duration {
	ticks := 0
	for _, f := range g.procOf(b, "stat")[13:15] { // utime and stime; the name of a test binary has no blank
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// BenchmarkIdleGateway tells what sessions over TLS cost that do nothing, in the whole
// program with its broker: resident memory for each, and its part of a core. It has ten
// thousand of them, each of another account, logged in by SCRAM with STARTTLS, with stream
// management and presence, and each answers what it is asked.
//
//	go test ./gateway -run - -bench IdleGateway -benchtime 1x
func BenchmarkIdleGateway(b *testing.B) {
	sessions := 10_000
	if testing.Short() {
		sessions = 500
	}
	passwd := filepath.Join(b.TempDir(), "passwd")
	var lines strings.Builder
	for i := range sessions {
		fmt.Fprintf(&lines, "u%d:secret\n", i)
	}
	if err := os.WriteFile(passwd, []byte(lines.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	g := newGatewayOf(b, fmt.Sprintf(`data_dir = "data"
log_format = "json"
xmpp {}
xmpp_listener {
  AuthPlainParameters = [ uri = "file://%s" ]
  max_connections_per_address = %d
  Listen "127.0.0.1:0" { stream = "client" }
}
control_listener { Listen "127.0.0.1:0" {} }
domain "localhost" { xmpp_role = "server" }
`, passwd, 2*sessions))
	g.start()
	// What a burst has left goes back within two looks at it.
	settle := 2*memoryInterval + 10*time.Second
	time.Sleep(settle)
	before := g.resident(b)
	conns := make([]*stream.Client, sessions)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Stream().Abort()
			}
		}
	}()
	var all sync.WaitGroup
	var next, lost atomic.Int64
	start := time.Now()
	for range 4 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < sessions; i = int(next.Add(1)) - 1 {
				c, err := stream.Dial(context.Background(), stream.ClientOptions{
					JID: jid.MustParse(fmt.Sprintf("u%d@localhost/x", i)), Password: "secret", Address: g.xmpp(),
					TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, Manage: true,
				})
				if err == nil {
					err = c.Available(context.Background(), 0)
				}
				if err != nil {
					b.Errorf("session %d: %v", i, err)
					return
				}
				conns[i] = c
				go func() {
					for {
						if _, err := c.Receive(context.Background()); err != nil {
							lost.Add(1)
							return
						}
					}
				}()
			}
		})
	}
	all.Wait()
	rate := float64(sessions) / time.Since(start).Seconds()
	if b.Failed() {
		return
	}
	peak := g.resident(b) - before
	time.Sleep(settle)
	b.ResetTimer()
	watched := memoryInterval
	used := g.computed(b)
	time.Sleep(watched)
	used = g.computed(b) - used
	if n := lost.Load(); n > 0 {
		b.Fatalf("%d sessions are lost", n)
	}
	per := float64(sessions) * 1024
	b.ReportMetric(float64(used)/float64(watched)*100, "%core")
	b.ReportMetric((g.resident(b)-before)/per, "KiB/session")
	b.ReportMetric(peak/per, "KiB/session-at-login")
	b.ReportMetric(rate, "logins/s")
	b.ReportMetric(0, "ns/op")
}
