package broker

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker/natstest"
)

// lines is a log that tells how often something was said.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.text.Bytes(), []byte(what))
}

// A server of a cluster goes and comes back while members leave: each message is
// handled, once and in order.
func TestReplicatedSlices(t *testing.T) {
	t.Parallel()
	const slices = 4
	c := natstest.New(t, 3, natstest.Options{})
	o := clusterOptions(c, zerolog.Nop())
	o.Slices, o.lease = slices, patient
	a, b := openTest(t, o), openTest(t, o)
	w, h := watchOwners(t, Deliver), newOnce()
	consumeOn := func(br *Broker) func() error {
		return consume(t, br, Deliver, h.handle, ConsumeOptions{Own: w.own(br.members.name())})
	}
	stopA := consumeOn(a)
	consumeOn(b)
	eventually(t, "both with their slices", func() bool { return w.asWanted(slices, a, b) })
	stop := feed(t, b, Deliver, 12)
	messages := func() {
		before, _ := h.count()
		eventually(t, "messages", func() bool { n, _ := h.count(); return n > before+50 })
	}
	messages()
	c.Kill(0)
	messages()
	c.Start(0)
	if err := stopA(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other with all slices", func() bool { return w.asWanted(slices, b) })
	messages()
	total := sum(stop())
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n >= total })
	h.inOrder(t)
	if n, _ := h.count(); n != total {
		t.Errorf("%d of %d messages", n, total)
	}
	if st := b.Stats().Stages[Deliver]; st.Losses > 0 {
		t.Errorf("stats %+v", st)
	}
}

// While nothing happens to the servers no delivery is lost: slices that come and
// go leave the consumers of the others alone.
func TestHealthyCluster(t *testing.T) {
	t.Parallel()
	const routes, per = 40, 100
	var log lines
	o := clusterOptions(natstest.New(t, 3, natstest.Options{}), zerolog.New(&log))
	o.lease = patient
	b := openTest(t, o)
	got := collect(routes * per)
	stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	stopOut := consume(t, b, Deliver, got.handle, ConsumeOptions{})
	fill(t, b, Ingest, routes, per)
	await(t, "all messages", got.all)
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		t.Error(err)
	}
	got.inOrder(t)
	if n := log.count("slice has to be taken over anew"); n > 0 {
		t.Errorf("%d times a slice had to be taken over anew", n)
	}
}
