package smtpd

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
)

// nullSink takes everything at once.
type nullSink struct{}

func (nullSink) Sender(context.Context, mcmt.Envelope) error            { return nil }
func (nullSink) Recipient(context.Context, mcmt.Envelope, string) error { return nil }
func (nullSink) Put(context.Context, mcmt.Envelope, []byte) (mcmt.ID, error) {
	return "id", nil
}

// BenchmarkSession is one message of 4 kB over a TCP connection that stays open,
// with both sides in this process: lockstep as most clients do it, pipelined
// (RFC 2920), and by BDAT in one round trip.
func BenchmarkSession(b *testing.B) {
	body := strings.Repeat("text of a message, on a line of its own, of 64 octets in all\r\n", 64)
	for _, bb := range []struct {
		name   string
		groups []string // sent at once; how many replies follow
		n      []int
	}{
		{"lockstep", []string{"MAIL FROM:<a@x>\r\n", "RCPT TO:<b@y>\r\n", "DATA\r\n", body + ".\r\n"}, []int{1, 1, 1, 1}},
		{"pipelined", []string{"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n", body + ".\r\n"}, []int{3, 1}},
		{"bdat", []string{"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nBDAT 3968 LAST\r\n" + body}, []int{3}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := start(b, Options{Sink: nullSink{}}, PeerOptions{})
			p := dial(b, r.addr)
			p.expect("220 *")
			p.do("HELO c", "250 *")
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				for i, group := range bb.groups {
					if _, err := io.WriteString(p.c, group); err != nil {
						b.Fatal(err)
					}
					for range bb.n[i] {
						line, err := p.br.ReadSlice('\n')
						if err != nil || line[0] > '3' {
							b.Fatalf("%s %v", line, err)
						}
					}
				}
			}
		})
	}
}

// BenchmarkDotReader is the reader alone, on text and on base64 lines.
func BenchmarkDotReader(b *testing.B) {
	text := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), 1000)
	text = append(text, ".\r\n"...)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var d dotReader
		n := 0
		if _, err := d.next(text, func(p []byte) { n += len(p) }); err != nil || d.state != finished {
			b.Fatal(err)
		}
	}
}
