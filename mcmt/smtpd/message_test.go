package smtpd

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/mcmt"
)

// The trace field (RFC 5321 §4.4) is the first thing of the message, is made of
// harmless characters, and names a recipient only where there is one.
func TestReceived(t *testing.T) {
	t.Parallel()
	r := start(t, Options{}, PeerOptions{})
	p := dial(t, r.addr)
	p.expect("220 *")
	p.do("EHLO (x)evil;", "250 *")
	p.deliver("250 2.0.0 *")
	p.do("MAIL FROM:<a@example.org> SMTPUTF8", "250 *")
	p.do("RCPT TO:<b@example.com>", "250 *")
	p.do("RCPT TO:<c@example.com>", "250 *")
	p.do("DATA", "354 *")
	p.do(".", "250 *")

	puts := r.sink.taken()
	want := regexp.MustCompile(`^Received: from \?x\?evil\? \(\[127\.0\.0\.1\]\)\r\n` +
		`\tby mx\.example with ESMTP\r\n\tfor <b@example\.com>;\r\n` +
		`\t(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n$`)
	if got := puts[0].trace(); !want.MatchString(got) {
		t.Errorf("trace field %q", got)
	}
	if got := puts[1].trace(); strings.Contains(got, "for <") || !strings.Contains(got, "with UTF8SMTP;\r\n") {
		t.Errorf("trace field %q", got)
	}
	if strings.Contains(string(puts[0].raw), "Return-Path") {
		t.Error("Return-Path is for the final delivery (RFC 5321 §4.4)")
	}
	env := puts[0].env
	if env.Listener != "esmtp_listener test" || env.Hello != "(x)evil;" || env.Received.IsZero() || env.Peer.Addr().String() != "127.0.0.1" {
		t.Errorf("envelope %+v", env)
	}
}

// RFC 5321 §6.3: more than 50 Received fields are a loop; fields of a message
// within the message are not counted.
func TestLoop(t *testing.T) {
	t.Parallel()
	r := start(t, Options{}, PeerOptions{})
	for _, tt := range []struct {
		name, head, want string
		n                int
	}{
		{"at the limit", "", "250 2.0.0 *", 50},
		{"above it", "", "554 5.4.6 *", 51},
		{"in the body", "Subject: x\r\n\r\n", "250 2.0.0 *", 60},
	} {
		p := dial(t, r.addr)
		p.expect("220 *")
		p.do("HELO c.example", "250 *")
		p.do("MAIL FROM:<a@example.org>", "250 *")
		p.do("RCPT TO:<b@example.com>", "250 *")
		p.do("DATA", "354 *")
		t.Log(tt.name)
		p.do(tt.head+strings.Repeat("rEceived: from x\r\n\tby y\r\n", tt.n)+"\r\ntext\r\n.", tt.want)
	}
}

// Bodies wait for memory that others hold, and all of it comes back.
func TestMemoryIsSharedAndReturned(t *testing.T) {
	t.Parallel()
	sink := &testSink{gate: make(chan struct{}), in: make(chan struct{}, 4)}
	r := start(t, Options{Sink: sink, Memory: firstSpool, MemoryWait: patience}, PeerOptions{})
	begin := func() *peer {
		p := dial(t, r.addr)
		p.expect("220 *")
		p.do("HELO c.example", "250 *")
		p.do("MAIL FROM:<a@example.org>", "250 *")
		p.do("RCPT TO:<b@example.com>", "250 *")
		p.do("DATA", "354 *")
		p.send("text\r\n.\r\n")
		return p
	}
	first := begin()
	<-sink.in
	// The 354 comes before memory is asked for, so the second waits with its text.
	second := dial(t, r.addr)
	second.expect("220 *")
	second.send("HELO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\ntext\r\n.\r\n")
	select {
	case <-sink.in:
		t.Fatal("two bodies where there is memory for one")
	case <-time.After(50 * time.Millisecond):
	}
	close(sink.gate)
	first.expect("250 2.0.0 *")
	<-sink.in
	second.expect("250 mx.example")
	second.expect("250 2.1.0 *")
	second.expect("250 2.1.5 *")
	second.expect("354 *")
	second.expect("250 2.0.0 *")
	r.stop()
	if !r.memory.TryAcquire(firstSpool) {
		t.Error("memory is gone")
	}
}

// A Sink that hangs is left after SinkTimeout, with 451.
func TestSinkTimeout(t *testing.T) {
	t.Parallel()
	sink := &testSink{gate: make(chan struct{})}
	r := start(t, Options{Sink: sink, SinkTimeout: 20 * time.Millisecond}, PeerOptions{})
	p := dial(t, r.addr)
	p.expect("220 *")
	p.do("HELO c.example", "250 *")
	p.deliver("451 4.3.0 *")
}

// One log line per message, without its text.
func TestLog(t *testing.T) {
	t.Parallel()
	r := start(t, Options{}, PeerOptions{Reception: mcmt.Allow})
	p := dial(t, r.addr)
	p.expect("220 *")
	p.do("HELO c.example", "250 *")
	p.deliver("250 2.0.0 *")
	p.do("MAIL FROM:<a@example.org>", "250 *")
	p.do("RCPT TO:<b@example.com>", "250 *")
	p.do("DATA", "354 *")
	p.do("Behave: unknown\r\n\r\nconfidential\r\n.", "550 *")
	p.do("QUIT", "221 *")
	log := r.log.String()
	if n := strings.Count(log, `"message":"message"`); n != 2 {
		t.Errorf("%d lines for 2 messages", n)
	}
	for _, want := range []string{`"outcome":"accepted"`, `"outcome":"refused"`, `"rcpts":1`, `"peer":"127.0.0.1:`, `"took":`, `"size":`} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
	if strings.Contains(log, "confidential") {
		t.Error("message text in the log")
	}
	st := r.Stats()
	if st.Accepted != 1 || st.Refused != 1 || st.Connections != 1 {
		t.Errorf("stats %+v", st)
	}
	if r.sink.taken()[0].env.Reception != mcmt.Allow {
		t.Error("mcmt_reception did not reach the envelope")
	}
}

// Replies to a pipelined group leave in one write (RFC 2920 §3.2).
func TestRepliesAreGathered(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Sink: &testSink{}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	c := newScript("HELO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nQUIT\r\n")
	s.run(context.Background(), context.Background(), c, netip.MustParseAddrPort("192.0.2.1:25"))
	if c.writes != 2 { // greeting, replies
		t.Errorf("%d writes: %q", c.writes, c.out.String())
	}
	if n := strings.Count(c.out.String(), "\r\n"); n != 6 {
		t.Errorf("%d replies: %q", n, c.out.String())
	}
}

// A message that trickles in steadily: each byte comes in time, the whole does
// not (slow loris). The rest is not run.
func TestTrickle(t *testing.T) {
	t.Parallel()
	r := start(t, Options{DataTimeout: 100 * time.Millisecond}, PeerOptions{})
	p := dial(t, r.addr)
	p.expect("220 *")
	p.do("HELO c.example", "250 *")
	p.do("MAIL FROM:<a@example.org>", "250 *")
	p.do("RCPT TO:<b@example.com>", "250 *")
	p.do("DATA", "354 *")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range time.Tick(5 * time.Millisecond) {
			if _, err := p.c.Write([]byte("RSET\r\n")); err != nil {
				return
			}
		}
	}()
	p.expect("421 4.4.2 *")
	p.closed()
	_ = p.c.Close()
	<-done
	if len(r.sink.taken()) != 0 {
		t.Error("a message was taken")
	}
}
