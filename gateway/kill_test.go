package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

var kills = flag.Int("kills", 50, "how often TestKill kills the gateway")

// inbox collects what one recipient received, over any number of sessions.
type inbox struct {
	mu     sync.Mutex
	bodies []string          // in the order of arrival
	ids    map[string]string // body to stanza id
	copies int               // messages that came again under the same id
	faults []string
	news   chan struct{}
}

func newInbox() *inbox { return &inbox{ids: make(map[string]string), news: make(chan struct{}, 1)} }

func (b *inbox) add(st *stanza.Stanza) {
	body := st.Element.Child(nameBody)
	if st.Kind != stanza.Message || body == nil {
		return
	}
	text := strings.TrimSpace(body.Text())
	b.mu.Lock()
	defer b.mu.Unlock()
	switch id, again := b.ids[text]; {
	case !again:
		b.ids[text] = st.ID
		b.bodies = append(b.bodies, text)
	case id == st.ID:
		b.copies++
	default:
		b.faults = append(b.faults, fmt.Sprintf("%q came as %s and again as %s", text, id, st.ID))
	}
	select {
	case b.news <- struct{}{}:
	default:
	}
}

func (b *inbox) has(body string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.ids[body]
	return ok
}

// dial logs in and sends presence.
func dial(ctx context.Context, addr, user, password string) (*stream.Client, error) {
	c, err := stream.Dial(ctx, stream.ClientOptions{JID: jid.MustParse(user), Password: password, Address: addr,
		TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}})
	if err != nil {
		return nil, err
	}
	if err := c.Available(ctx, 0); err != nil {
		_ = c.Close(ctx)
		return nil, err
	}
	return c, nil
}

// stay keeps a client logged in until ctx ends, whatever happens to the gateway.
func (b *inbox) stay(ctx context.Context, addr func() string, user string) {
	for ctx.Err() == nil {
		b.session(ctx, addr(), user)
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // the gateway may be down
		}
	}
}

func (b *inbox) session(ctx context.Context, addr, user string) {
	c, err := dial(ctx, addr, user, "secret")
	if err != nil {
		return
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = c.Close(end)
	}()
	for {
		st, err := c.Receive(ctx)
		if err != nil {
			return
		}
		b.add(st)
	}
}

// TestKill kills the gateway at random moments while messages flow in over SMTP
// and HTTP. Every message that was answered 250 or 202 arrives, in the order
// of acceptance, and a copy bears the same stanza id.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := *kills
	if testing.Short() {
		rounds = min(rounds, 10)
	}
	g := newGateway(t, "")
	g.start()
	// Two are online throughout, two only at the end.
	users := []string{"online1@localhost", "online2@localhost", "offline1@localhost", "offline2@localhost"}
	inboxes := make(map[string]*inbox)
	for _, u := range users {
		g.addUser(u, "secret")
		inboxes[u] = newInbox()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var clients, injectors sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	for _, u := range users[:2] {
		clients.Go(func() { inboxes[u].stay(ctx, g.xmpp, u) })
	}

	// One injector per recipient, so that the order of acceptance is known.
	accepted := make(map[string]*[]string)
	var total atomic.Int64
	stop := make(chan struct{})
	for i, u := range users {
		list := new([]string)
		accepted[u] = list
		injectors.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				body := fmt.Sprintf("%s message %d", u, n)
				if inject(ctx, g, i%2 == 0, u, body) == nil {
					*list = append(*list, body)
					total.Add(1)
				}
			}
		})
	}
	for range rounds {
		before := total.Load()
		deadline := time.Now().Add(patience)
		for total.Load() < before+5 && time.Now().Before(deadline) {
			<-time.After(time.Millisecond)
		}
		<-time.After(rand.N(150 * time.Millisecond)) // the random moment
		g.kill()
		g.start()
	}
	close(stop)
	injectors.Wait()
	for _, u := range users[2:] {
		clients.Go(func() { inboxes[u].stay(ctx, g.xmpp, u) })
	}

	copies := 0
	for _, u := range users {
		b := inboxes[u]
		deadline := time.After(2 * patience)
		for _, body := range *accepted[u] {
			for !b.has(body) {
				select {
				case <-b.news:
				case <-time.After(time.Second):
				case <-deadline:
					t.Fatalf("%q was accepted and did not arrive (%d of %d did)", body, len(b.bodies), len(*accepted[u]))
				}
			}
		}
		b.mu.Lock()
		copies += b.copies
		for _, f := range b.faults {
			t.Error(f)
		}
		checkOrder(t, *accepted[u], b.bodies)
		b.mu.Unlock()
	}
	t.Logf("%d kills, %d messages accepted, none lost, %d copies", rounds, total.Load(), copies)
	if total.Load() < int64(rounds) {
		t.Errorf("only %d messages were accepted: the test proves nothing", total.Load())
	}
}

// checkOrder compares the accepted messages with those that arrived, which may
// hold others whose answer was lost.
func checkOrder(t *testing.T, accepted, arrived []string) {
	t.Helper()
	next := 0
	for _, body := range arrived {
		if next < len(accepted) && body == accepted[next] {
			next++
		}
	}
	if next < len(accepted) {
		t.Errorf("%q did not arrive in the order of acceptance", accepted[next])
	}
}

// inject sends one message and returns nil when it was answered 250 or 202.
func inject(ctx context.Context, g *gateway, smtp bool, to, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if smtp {
		_, err := relay.Submit(ctx, g.smtp(), "news@corp.example", []string{to}, []byte(sample(to, text)))
		return err
	}
	body := fmt.Sprintf(`{"from":"news@corp.example","to":[%q],"text":%q}`, to, text)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.http()+"/v1/messages", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%s", resp.Status)
	}
	return nil
}
