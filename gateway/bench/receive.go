package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// receivers are the clients of the recipients.
type receivers struct {
	clients []*receiver
	run     string // of messages of this process
	arrived atomic.Int64
	reading sync.WaitGroup
	stop    context.CancelFunc

	mu    sync.Mutex
	count *count
	first error // by which clients have ended
}

// receiver is one client.
type receiver struct {
	user   User
	client *stream.Client
	next   atomic.Int64 // number of the next message for it
}

// count is what has arrived in one phase.
type count struct {
	r               *receivers
	want, got       int
	twice, disorder int
	seen            []map[int64]bool // by recipient
	from            []int64          // first number of the phase, by recipient
	highest         []int64
	last            time.Time
	latency         *hdrhistogram.Histogram
	all             chan struct{}
}

// logins is how many clients log in at the same time.
const logins = 8

// openReceivers logs everybody in.
func openReceivers(ctx context.Context, o Options) (*receivers, error) {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &receivers{run: strconv.FormatInt(time.Now().UnixNano(), 36), stop: stop, clients: make([]*receiver, len(o.Target.Users))}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, ready atomic.Int64
	var entering sync.WaitGroup
	for range logins {
		entering.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(o.Target.Users) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				c, err := login(ctx, o.Target, o.Target.Users[i], receiving)
				if err != nil {
					cancel(fmt.Errorf("%s: %w", o.Target.Users[i].JID, err))
					return
				}
				r.clients[i] = &receiver{user: o.Target.Users[i], client: c}
				ready.Add(1)
			}
		})
	}
	entering.Wait()
	o.Progress("logins", 1)
	if err := context.Cause(ctx); err != nil {
		r.close()
		return nil, fmt.Errorf("log in: %w", err)
	}
	for i := range r.clients {
		r.reading.Go(func() { r.read(reading, i) })
	}
	return r, nil
}

// The resources of clients that receive, and of those that send.
const (
	receiving = "bench"
	sending   = "sender"
)

// login logs a client in, over TLS with stream management, as most clients do.
func login(ctx context.Context, t Target, u User, resource string) (*stream.Client, error) {
	user, err := jid.Parse(u.JID)
	if err != nil {
		return nil, err
	}
	full, err := user.WithResource(resource)
	if err != nil {
		return nil, err
	}
	c, err := stream.Dial(ctx, stream.ClientOptions{JID: full, Password: u.Password, Address: t.XMPP, Manage: true,
		TLS: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}) //nolint:gosec // a benchmark sends nothing that is secret
	if err != nil {
		return nil, err
	}
	return c, c.Available(ctx, 0)
}

// read counts what a client receives until its stream ends.
func (r *receivers) read(ctx context.Context, i int) {
	for {
		st, err := r.clients[i].client.Receive(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.mu.Lock()
				r.first = errors.Join(r.first, fmt.Errorf("%s: %w", r.clients[i].user.JID, err))
				r.mu.Unlock()
			}
			return
		}
		if st.Kind != stanza.Message {
			continue
		}
		if e := st.Element.Child(xmlwire.Name{Space: stanza.Client, Local: "body"}); e != nil {
			r.took(i, e.Text(), time.Now())
		}
	}
}

// text is the next message for a recipient, that is due at some time.
func (r *receivers) text(i int, due time.Time, size int) string {
	head := fmt.Sprintf("%s %d %d ", r.run, r.clients[i].next.Add(1)-1, due.UnixNano())
	return head + strings.Repeat("x", max(0, size-len(head)))
}

// took counts a message.
func (r *receivers) took(i int, text string, at time.Time) {
	f := strings.SplitN(text, " ", 4)
	if len(f) != 4 || f[0] != r.run {
		return // somebody else's
	}
	n, err := strconv.ParseInt(f[1], 10, 64)
	due, err2 := strconv.ParseInt(f[2], 10, 64)
	if err != nil || err2 != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.count; c != nil && n >= c.from[i] {
		c.took(i, n, at, time.Unix(0, due))
	}
}

func (c *count) took(i int, n int64, at, due time.Time) {
	if c.seen[i][n] {
		c.twice++
		return
	}
	c.seen[i][n] = true
	if n < c.highest[i] {
		c.disorder++
	}
	c.highest[i] = max(c.highest[i], n)
	if c.latency != nil {
		_ = c.latency.RecordValue(max(1, at.Sub(due).Microseconds()))
	}
	c.got++
	c.last = at
	c.r.arrived.Store(int64(c.got))
	if c.got == c.want {
		close(c.all)
	}
}

// begin begins a phase of n messages; h may be nil.
func (r *receivers) begin(n int, h *hdrhistogram.Histogram) *count {
	c := &count{r: r, want: n, latency: h, all: make(chan struct{}), seen: make([]map[int64]bool, len(r.clients)), from: make([]int64, len(r.clients)), highest: make([]int64, len(r.clients))}
	for i, rc := range r.clients {
		c.seen[i], c.from[i], c.highest[i] = make(map[int64]bool), rc.next.Load(), -1
	}
	r.mu.Lock()
	r.count = c
	r.mu.Unlock()
	r.arrived.Store(0)
	return c
}

// broken is the error by which a client has ended, nil while all are there.
func (r *receivers) broken() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

// wait waits until all have arrived, or none has for as long as patience. It returns when
// the last has, and how many are missing.
func (c *count) wait(ctx context.Context, patience time.Duration) (last time.Time, missing int) {
	tick := time.NewTicker(max(patience/20, time.Millisecond))
	defer tick.Stop()
	before, since := int64(-1), time.Now()
	for {
		select {
		case <-c.all:
		case <-ctx.Done():
		case <-tick.C:
			if got := c.r.arrived.Load(); got != before {
				before, since = got, time.Now()
				continue
			}
			if time.Since(since) < patience {
				continue
			}
		}
		c.r.mu.Lock()
		defer c.r.mu.Unlock()
		c.r.count = nil
		return c.last, c.want - c.got
	}
}

// close logs everybody out.
func (r *receivers) close() {
	r.stop()
	r.reading.Wait() // a stream has one reader, and Close is one
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var leaving sync.WaitGroup
	for _, c := range r.clients {
		if c != nil {
			leaving.Go(func() { _ = c.client.Close(ctx) })
		}
	}
	leaving.Wait()
}
