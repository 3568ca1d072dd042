package c2s

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// resting is how many sessions' goroutines of this process wait with little stack.
func resting() int {
	buf := make([]byte, 8<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "stream.(*Stream).Await(")
}

// TestSilentClient: a client that has been silent for a while is answered as before, is
// asked whether it lives when its time has come, and is told of the end.
func TestSilentClient(t *testing.T) {
	t.Parallel()
	for name, co := range map[string]ConnOptions{"TLS": {}, "WebSocket": {AllowPlainWithoutTLS: true, WebSocket: new(WebSocketOptions)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			co.IdleTime = 2 * time.Second
			f := serve(t, router.Options{}, Options{ProofTime: time.Minute}, co)
			addr := f.addr
			if co.WebSocket != nil {
				addr = bridge(t, addr)
			}
			asked := make(chan struct{}, 10)
			c, err := stream.Dial(t.Context(), stream.ClientOptions{JID: jid.MustParse("alice@localhost/a"), Password: "secret",
				Address: addr, TLS: f.tls, ClearText: co.WebSocket != nil, Wire: func(out bool, e *xmlwire.Element) {
					if !out && e.Name.Local == "iq" && e.Attr("type") == "get" {
						asked <- struct{}{}
					}
				}})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			pings(t, c, 2)
			eventually(t, func() bool { return resting() > 0 }, "the session rests")
			pings(t, c, 2)
			go func() {
				_, err := c.Receive(context.Background())
				ended <- err
			}()
			<-asked // and answers
			eventually(t, func() bool { return resting() > 0 }, "the session rests again")
			f.session(t, c).Close(stream.Shutdown)
			var theirs *stream.PeerError
			if err := <-ended; !errors.As(err, &theirs) || theirs.Err.Condition != stream.SystemShutdown {
				t.Errorf("got %v", err)
			}
			_ = c.Close(context.Background())
			eventually(t, func() bool { return f.server.Stats().Open == 0 }, "the connection is gone")
		})
	}
}
