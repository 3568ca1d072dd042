package smtpd

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// script is a connection whose client sends what it has and then ends.
type script struct {
	in     io.Reader
	out    bytes.Buffer
	writes int
}

func newScript(s string) *script { return &script{in: strings.NewReader(s)} }

func (c *script) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *script) Write(p []byte) (int, error)      { c.writes++; return c.out.Write(p) }
func (c *script) Close() error                     { return nil }
func (c *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *script) SetDeadline(time.Time) error      { return nil }
func (c *script) SetReadDeadline(time.Time) error  { return nil }
func (c *script) SetWriteDeadline(time.Time) error { return nil }

var replyLine = regexp.MustCompile(`^[2-5]\d\d([ -][ -~]*)?$`)

// FuzzSession drives a session with any bytes. It does not panic, each line it
// answers is a well-formed reply, it says "queued" exactly as often as the sink
// took a message, and memory comes back.
func FuzzSession(f *testing.F) {
	const tx = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
	for _, s := range []string{
		tx + "DATA\r\ntext\r\n.\r\nQUIT\r\n",
		tx + "DATA\r\n.\n.\r\n",
		tx + "BDAT 3\r\nabcBDAT 2 LAST\r\nxyNOOP\r\n",
		tx + "BDAT 99999 LAST\r\nabc",
		tx + "BDAT 70000\r\n" + strings.Repeat("x", 70000) + "BDAT 0 LAST\r\n",
		"AUTH LOGIN\r\nYQ==\r\n*\r\n", "EHLO x\r\nAUTH LOGIN\r\nYQ==\r\n*\r\nAUTH X-STEP =\r\n\r\n",
		"EHLO x\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<bang>\r\nMAIL FROM:<bang@x>\r\n",
		"MAIL FROM:<\"\\\"@\"@[1]> SIZE=9 SIZE=9\r\nSTARTTLS\r\n\x16\x03",
		"RSET\r\nVRFY\r\nHELP\r\nNOOP\r\n\x00\r\n\r\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		sink := &testSink{}
		server, _ := testTLS()
		s, err := New(Options{
			Sink: sink, Log: zerolog.Nop(), Memory: 1 << 20, MemoryWait: time.Millisecond,
			Config: func(netip.AddrPort) PeerOptions {
				return PeerOptions{TLS: server, Authenticator: testAuth{}, AllowAuthWithoutTLS: true, MaxMessageSize: 60000, MaxRecipients: 5}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		c := newScript(in)
		s.run(context.Background(), context.Background(), c, netip.MustParseAddrPort("192.0.2.1:25"))

		out := c.out.String()
		clear, _, _ := strings.Cut(out, "220 2.0.0 ready to start TLS\r\n") // then an alert
		for line := range strings.SplitSeq(strings.TrimSuffix(clear, "\r\n"), "\r\n") {
			if !replyLine.MatchString(line) || len(line) > 510 {
				t.Errorf("malformed reply %q", line)
			}
		}
		if got, want := strings.Count(out, "250 2.0.0 Ok: queued as "), len(sink.taken()); got != want {
			t.Errorf("%d messages acknowledged, %d stored", got, want)
		}
		if strings.Contains(out, secret) {
			t.Errorf("internals in %q", out)
		}
		if !s.memory.TryAcquire(1 << 20) {
			t.Error("memory is gone")
		}
	})
}

// FuzzDotReader compares the reader with the definition: the message ends at the
// first CRLF dot CRLF (one CRLF is there before the message), whatever pieces it
// comes in, and stuffing is taken off.
func FuzzDotReader(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\nb", "..\r\n.\r\n", "\r\r\n.\r\n", "\n.\n", "a\r.\r", ".\r\r\n", ".a\r\n...\r\n.\r\n", "\n\r.\n"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		piece = max(1, piece%64)
		var d dotReader
		var got []byte
		var err error
		n := 0
		for n < len(in) && d.state != finished && err == nil {
			var m int
			m, err = d.next(in[n:min(n+piece, len(in))], func(p []byte) { got = append(got, p...) })
			n += m
		}
		text, _, ended := bytes.Cut(append([]byte("\r\n"), in...), []byte("\r\n.\r\n"))
		if err != nil {
			if !loneDot(in) {
				t.Errorf("%q refused", in)
			}
			return
		}
		if ended != (d.state == finished) {
			t.Fatalf("%q: end seen %t, is there %t", in, d.state == finished, ended)
		}
		if !ended {
			return
		}
		if n != min(len(text)+3, len(in)) {
			t.Errorf("%q: %d bytes consumed, end at %d", in, n, len(text)+3)
		}
		// Without the CRLF put before it; an empty message has only that one.
		var want []byte
		if len(text) > 0 {
			want = bytes.ReplaceAll(append(text, "\r\n"...), []byte("\r\n."), []byte("\r\n"))[2:]
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%q: content %q, want %q", in, got, want)
		}
		if loneDot(in[:n]) {
			t.Errorf("%q accepted", in)
		}
	})
}

// loneDot is the definition: a dot with CR or LF on both sides that is not
// CRLF dot CRLF. The start of the message counts as CRLF.
func loneDot(in []byte) bool {
	return regexp.MustCompile(`(^|[\r\n])\.[\r\n]`).Match(bytes.ReplaceAll(
		append([]byte("\r\n"), in...), []byte("\r\n.\r\n"), []byte("\r\nx\r\n")))
}

// FuzzPath: what is accepted is canonical, so it parses to itself, and it holds
// nothing that could end a header field or a command.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"<a@b>", "<>", "a@b SIZE=1", `<"a\"b\\"@[IPv6:::1]> X`, "<@x,@y:a@b>", "<postmaster>", "<ü@ü>", `<"a b"@c>`, "<a..b@c>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mailbox, rest, err := parsePath(s)
		if err != nil {
			return
		}
		if !strings.HasSuffix(s, rest) {
			t.Errorf("%q: rest %q", s, rest)
		}
		if strings.ContainsFunc(mailbox, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q: control character in %q", s, mailbox)
		}
		again, rest, err := parsePath("<" + mailbox + ">")
		if err != nil || again != mailbox || rest != "" {
			t.Errorf("%q: %q parses to %q, %q, %v", s, mailbox, again, rest, err)
		}
	})
}
