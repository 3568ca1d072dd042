package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkConverters tells what a second process that converts adds where conversion is
// what takes the time: newsletters of HTML, each process with one core, NATS servers and
// all on this machine. They are taken in while the processes stand still, so that only
// conversion is timed. One iteration is one turn of one process and one of two.
//
//	go test ./gateway -run - -bench Converters -benchtime 5x
func BenchmarkConverters(b *testing.B) {
	one, two := newConverters(b, 1), newConverters(b, 2)
	var alone, both time.Duration
	for b.Loop() {
		alone += one.convert(b)
		both += two.convert(b)
	}
	messages := float64(b.N * newsletters)
	b.ReportMetric(messages/alone.Seconds(), "msg/s-1")
	b.ReportMetric(messages/both.Seconds(), "msg/s-2")
	b.ReportMetric(alone.Seconds()/both.Seconds(), "ratio")
}

const (
	newsletters = 1000 // of 80 KB
	readers     = 64   // spread over the slices
)

// converters are processes that convert what another one takes in.
type converters struct {
	ingest *gateway
	all    []*gateway
	done   float64 // messages converted until now
}

func newConverters(b *testing.B, n int) *converters {
	b.Helper()
	nats := newNATS(b)
	join := func(role string, env ...string) *gateway {
		g := newGateway(b, fmt.Sprintf(`nats { urls = ( "nats://127.0.0.1:%d" ) }`, nats.o.Port))
		g.role, g.env = role, env
		g.start()
		return g
	}
	c := &converters{ingest: join("ingest")}
	for i := range readers {
		c.ingest.addUser(fmt.Sprintf("user%d@localhost", i), "secret")
	}
	for range n {
		c.all = append(c.all, join("convert", "GOMAXPROCS=1"))
	}
	c.ingest.eventually("each has its part of the slices", func() bool {
		for _, g := range c.all {
			if served(b, g) != 8/n {
				return false
			}
		}
		return true
	})
	return c
}

// convert takes the newsletters in and returns how long their conversion took.
func (c *converters) convert(b *testing.B) time.Duration {
	b.Helper()
	c.signal(b, syscall.SIGSTOP) // for less than a lease lasts
	html := "Subject: offers\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" +
		strings.Repeat("<p>The <b>10:15</b> to <a href=\"https://x.example/\">Cologne</a> is late.</p>\r\n", 1000)
	var injecting sync.WaitGroup
	for k := range 16 {
		injecting.Go(func() {
			for i := k; i < newsletters; i += 16 {
				a := c.ingest.post(fmt.Sprintf("/v1/messages?from=news@corp.example&to=user%d@localhost", i%readers), "message/rfc822", html)
				if a.status != http.StatusAccepted {
					b.Errorf("%s", a)
					return
				}
			}
		})
	}
	injecting.Wait()
	c.done += newsletters
	start := time.Now()
	c.signal(b, syscall.SIGCONT)
	c.ingest.eventually("all are converted", func() bool {
		time.Sleep(50 * time.Millisecond) // what is asked costs the process that answers
		n := 0.0
		for _, g := range c.all {
			n += metricsOf(b, g).value(b, `mcmt2xmpp_conversion_total{outcome="converted"}`)
		}
		return n >= c.done
	})
	return time.Since(start)
}

func (c *converters) signal(b *testing.B, sig syscall.Signal) {
	for _, g := range c.all {
		if err := g.cmd.Process.Signal(sig); err != nil {
			b.Fatal(err)
		}
	}
}
