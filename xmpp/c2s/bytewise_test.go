package c2s

import (
	"net"
	"testing"

	"mcmt2xmpp/xmpp/xmpptest"
)

// bytewise has the server read its connections one byte at a time, as slow
// networks and hostile clients have it.
type bytewise struct{ net.Listener }

func (b bytewise) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return oneByte{c.(*net.TCPConn)}, nil
}

type oneByte struct{ *net.TCPConn }

func (c oneByte) Read(p []byte) (int, error) { return c.TCPConn.Read(p[:min(len(p), 1)]) }

// TestBytewise plays the transcripts of streams, logins and stanzas to a server that
// gets each byte by itself: how the network cuts the input changes nothing.
func TestBytewise(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"header-*", "xml-*", "sasl-*", "sasl2-*", "bind-*", "close*", "stanza-*", "message-*", "starttls-features", "starttls-not*", "starttls-required", "starttls-twice", "sm-*", "limit-[bd]*"} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			xmpptest.Run(t, "testdata/"+pattern+".txt", func(t *testing.T, uses []string) string {
				return transcriptServer(t, uses, func(ln net.Listener) net.Listener { return bytewise{ln} })
			})
		})
	}
}
