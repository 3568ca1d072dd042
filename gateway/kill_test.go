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
	testKill(t, *kills, "")
}

// TestKillPowerSafe: the same with every answer and acknowledgement behind a
// sync of the disk.
func TestKillPowerSafe(t *testing.T) {
	t.Parallel()
	testKill(t, min(*kills, 10), `nats { durability = "power" }`)
}

func testKill(t *testing.T, rounds int, extra string) {
	if testing.Short() {
		t.Skip("kills processes again and again")
	}
	g := newGateway(t, extra)
	g.start()
	c := newRegulars(t, g, onAndOff...)
	traffic := startTraffic(t.Context(), g, c.users)
	for range rounds {
		before := traffic.total.Load()
		g.eventually("some messages", func() bool { return traffic.total.Load() >= before+5 })
		<-time.After(rand.N(150 * time.Millisecond)) // the random moment
		g.kill()
		g.start()
	}
	accepted := traffic.stop()
	copies := c.await(accepted)
	t.Logf("%d kills, %d messages accepted, none lost, %d copies", rounds, traffic.total.Load(), copies)
	if traffic.total.Load() < int64(rounds) {
		t.Errorf("only %d messages were accepted: the test proves nothing", traffic.total.Load())
	}
}

// regulars are a crowd of which the first two are logged in throughout, and the others
// only at the end.
type regulars struct {
	*crowd
	t       *testing.T
	g       *gateway
	ctx     context.Context // of their clients
	clients sync.WaitGroup
}

// newRegulars has the first two log in until the end of the test.
func newRegulars(t *testing.T, g *gateway, users ...string) *regulars {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &regulars{crowd: newCrowd(g, users), t: t, g: g, ctx: ctx}
	t.Cleanup(r.clients.Wait)
	t.Cleanup(cancel)
	r.enter(users[:2])
	return r
}

func (r *regulars) enter(users []string) {
	r.online(r.ctx, &r.clients, users, func(int) string { return r.g.xmpp() })
}

// await has the others log in too, and waits until all have what was accepted for them, in
// order. It returns how many copies came.
func (r *regulars) await(accepted map[string][]string) (copies int) {
	r.t.Helper()
	r.enter(r.users[2:])
	return r.check(r.t, accepted)
}

// onAndOff are the accounts of most tests.
var onAndOff = []string{"online1@localhost", "online2@localhost", "offline1@localhost", "offline2@localhost"}

// traffic are injectors, one per recipient, so that the order of acceptance is
// known.
type traffic struct {
	total    atomic.Int64 // accepted so far
	end      chan struct{}
	running  sync.WaitGroup
	accepted map[string]*[]string
}

// startTraffic injects messages over SMTP and HTTP for each of the users until
// stop, whatever happens to the gateway.
func startTraffic(ctx context.Context, g *gateway, users []string) *traffic {
	tr := &traffic{end: make(chan struct{}), accepted: make(map[string]*[]string)}
	for i, u := range users {
		list := new([]string)
		tr.accepted[u] = list
		tr.running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				select {
				case <-tr.end:
					return
				default:
				}
				body := fmt.Sprintf("%s message %d", u, n)
				if inject(ctx, g, i%2 == 0, u, body) == nil {
					*list = append(*list, body)
					tr.total.Add(1)
				}
			}
		})
	}
	return tr
}

// stop ends the traffic and returns what was answered 250 or 202, by recipient.
func (tr *traffic) stop() map[string][]string {
	close(tr.end)
	tr.running.Wait()
	all := make(map[string][]string)
	for u, list := range tr.accepted {
		all[u] = *list
	}
	return all
}

// await waits until all that was accepted has arrived. It checks the order and
// returns how many copies came under the same id.
func (b *inbox) await(t *testing.T, accepted []string) (copies int) {
	t.Helper()
	deadline := time.After(2 * patience)
	for _, body := range accepted {
		for !b.has(body) {
			select {
			case <-b.news:
			case <-time.After(time.Second):
			case <-deadline:
				t.Fatalf("%q was accepted and did not arrive (%d of %d did)", body, len(b.bodies), len(accepted))
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		t.Error(f)
	}
	checkOrder(t, accepted, b.bodies)
	return b.copies
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

// refused is an answer that takes nothing.
type refused struct {
	status     int    // of HTTP
	retryAfter string // likewise
}

func (r *refused) Error() string { return fmt.Sprintf("HTTP status %d", r.status) }

// inject sends one message and returns nil when it was answered 250 or 202. A
// refusal is a *mcmt.Refusal or a *refused.
func inject(ctx context.Context, g *gateway, smtp bool, to, text string) error {
	ctx, cancel := context.WithTimeout(ctx, patience/2)
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
		return &refused{resp.StatusCode, resp.Header.Get("Retry-After")}
	}
	return nil
}
