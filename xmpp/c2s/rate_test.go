package c2s

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// locked is a log that may be read while it is written.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// pings sends n pings to the server at once and waits for all answers.
func pings(t *testing.T, c *stream.Client, n int) {
	t.Helper()
	ctx := within(t)
	go func() {
		for i := range n {
			ping := stanza.NewIQ(jid.MustParse("localhost"), jid.JID{}, stanza.TypeGet, fmt.Sprint(i), xmlwire.New("urn:xmpp:ping", "ping"))
			if c.Send(ctx, ping) != nil {
				return // and no answer comes
			}
		}
	}()
	for i := range n {
		st, err := c.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.ID != fmt.Sprint(i) || st.Type != stanza.TypeResult {
			t.Fatalf("got %s", st)
		}
	}
}

// TestStanzaRate: a client that sends too fast waits; it loses nothing, and an
// operator sees it.
func TestStanzaRate(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]stream.Limits{
		"stanzas": {Stanzas: stream.Rate{N: 5, Per: 50 * time.Millisecond}},
		"bytes":   {Bytes: stream.Rate{N: 1000, Per: 50 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log locked
			f := serve(t, router.Options{}, Options{Log: zerolog.New(&log)}, ConnOptions{Limits: limits})
			pings(t, f.login(t, "alice@localhost/a"), 50)
			if n := f.server.Stats().Throttled; n == 0 {
				t.Error("no pause is counted")
			}
			if n := strings.Count(log.String(), "throttled"); n != 1 {
				t.Errorf("said %d times in the log:\n%s", n, log.String())
			}
		})
	}
}

// TestRateNotReached: who keeps to the rate, the request to bind included, is not
// held up.
func TestRateNotReached(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{Limits: stream.Limits{
		Stanzas: stream.Rate{N: 51, Per: time.Hour}, Bytes: stream.Rate{N: 100_000, Per: time.Hour},
	}})
	pings(t, f.login(t, "alice@localhost/a"), 50)
	if n := f.server.Stats().Throttled; n != 0 {
		t.Errorf("%d pauses", n)
	}
}

// TestThrottledWhiteSpace: white space is no stanza, but costs bytes, and a client that
// has to wait for long is still told that the server stops.
func TestThrottledWhiteSpace(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{AllowPlainWithoutTLS: true, Limits: stream.Limits{Bytes: stream.Rate{N: 1000, Per: time.Hour}}})
	c, err := stream.Dial(t.Context(), stream.ClientOptions{JID: jid.MustParse("alice@localhost/a"), Password: "secret", Address: f.addr, ClearText: true})
	if err != nil {
		t.Fatal(err)
	}
	blank := xmlwire.New(stream.NSClient, "message").AddText(strings.Repeat(" ", 5000))
	if err := c.Stream().Send(within(t), blank); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return f.server.Stats().Throttled > 0 }, "the client is throttled")
	f.session(t, c).Close(stream.Shutdown)
	_, err = c.Receive(within(t))
	var theirs *stream.PeerError
	if !errors.As(err, &theirs) || theirs.Err.Condition != stream.SystemShutdown {
		t.Errorf("got %v", err)
	}
	_ = c.Close(context.Background())
}
