package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// sink is a session that has always received everything at once.
type sink struct {
	*client
	n atomic.Int64
}

func (s *sink) Send(context.Context, *stanza.Stanza) error { s.n.Add(1); return nil }
func (s *sink) SendKept(ctx context.Context, st *stanza.Stanza) (bool, error) {
	return false, s.Send(ctx, st)
}
func (s *sink) Prove(context.Context) (router.Proof, error) { return router.ProofAnswer, nil }

const benchUsers = 1000

func benchUser(i int) jid.JID { return plain.user(i) }

// benchMessage is an MCMT message of about 1 KiB.
func benchMessage(b *testing.B) []byte {
	b.Helper()
	raw, err := mcmt.Build(mcmt.Draft{Email: []byte(mail), XMPP: []byte("<message><body>" + strings.Repeat("x", 600) + "</body></message>")})
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// fill stores n messages for many recipients in a stage.
func fill(b *testing.B, w *world, n int, raw []byte, message func(r custody.Record, i int) (broker.Message, error)) {
	b.Helper()
	var filling sync.WaitGroup
	const fillers = 4
	for f := range fillers {
		filling.Go(func() {
			var msgs []broker.Message
			for i := f; i < n; i += fillers {
				r := custody.Record{ID: mcmt.ID(fmt.Sprintf("q%d", i)), From: "news@corp.example", To: mcmt.Recipient{Address: benchUser(i).String()},
					Reception: mcmt.Allow, Accepted: time.Now(), JID: benchUser(i)}
				m, err := message(r, i)
				if err != nil {
					b.Error(err)
					return
				}
				m.Body = slices.Clone(m.Body) // each has its own, as in life
				msgs = append(msgs, m)
			}
			for some := range slices.Chunk(msgs, 500) {
				if err := w.broker.Store(context.Background(), some...); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	filling.Wait()
}

// consume runs a stage until stop.
func consume(b *testing.B, w *world, stage broker.Stage, h broker.HandlerFunc) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.broker.Consume(ctx, stage, h, broker.ConsumeOptions{}) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkPipeline takes messages that are in custody through conversion and
// delivery to sessions. "raw" is the same way through the broker with nothing
// done to them: the ceiling.
func BenchmarkPipeline(b *testing.B) {
	raw := benchMessage(b)
	ingest := func(r custody.Record, _ int) (broker.Message, error) { return custody.Ingest(r, 0, raw) }
	b.Run("raw", func(b *testing.B) {
		w := newWorld(b)
		fill(b, w, b.N, raw, ingest)
		arrived := make(chan struct{})
		var n atomic.Int64
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		b.ResetTimer()
		defer consume(b, w, broker.Deliver, func(_ context.Context, ds []*broker.Delivery) []broker.Disposition {
			if n.Add(int64(len(ds))) == int64(b.N) {
				close(arrived)
			}
			return slices.Repeat([]broker.Disposition{broker.Ack()}, len(ds))
		})()
		defer consume(b, w, broker.Ingest, func(_ context.Context, ds []*broker.Delivery) []broker.Disposition {
			out := make([]broker.Disposition, len(ds))
			for i, d := range ds {
				out[i] = broker.Move(broker.Message{Stage: broker.Deliver, Route: d.Route, Recipient: d.Recipient, ID: d.ID, Header: d.Header, Body: d.Body})
			}
			return out
		})()
		<-arrived
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
	b.Run("ours", func(b *testing.B) {
		w := newWorld(b)
		fill(b, w, b.N, raw, ingest)
		w.bench(b)
		rules := rules(b)
		c := &Conversion{Rules: func() Rules { return rules }, Trace: w.dl.trace}
		arrived := make(chan struct{})
		var n atomic.Int64
		w.dl.trace.Subscribe(func(e trace.Event) {
			if e.Stage == trace.Delivered && n.Add(1) == int64(b.N) {
				close(arrived)
			}
		})
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		b.ResetTimer()
		w.run()
		defer consume(b, w, broker.Ingest, c.Handle)()
		<-arrived
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}

// bench logs everyone in and takes the recorder off.
func (w *world) bench(b *testing.B) {
	b.Helper()
	w.dl.trace = new(trace.Bus)
	for i := range benchUsers {
		full, err := benchUser(i).WithResource("a")
		if err != nil {
			b.Fatal(err)
		}
		if err := w.router.Bind(&sink{client: newClient(full.String())}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPark parks messages for one recipient who is away and delivers them
// when they are back.
func BenchmarkPark(b *testing.B) {
	w := newWorld(b)
	st := stanza.NewMessage(alice, news, stanza.TypeChat, strings.Repeat("x", 600)).Append(nil, "")
	fill(b, w, b.N, nil, func(r custody.Record, i int) (broker.Message, error) {
		r.JID = alice
		return custody.Deliver(r, string(r.ID), st)
	})
	w.dl.trace = new(trace.Bus)
	parked, arrived := make(chan struct{}), make(chan struct{})
	var in, out atomic.Int64
	w.dl.trace.Subscribe(func(e trace.Event) {
		if e.Stage == trace.Deferred && in.Add(1) == int64(b.N) {
			close(parked)
		}
		if e.Stage == trace.Delivered && out.Add(1) == int64(b.N) {
			close(arrived)
		}
	})
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	w.run()
	<-parked
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "parked/s")
	start = time.Now()
	s := &sink{client: newClient("alice@localhost/a")}
	if err := w.router.Bind(s); err != nil {
		b.Fatal(err)
	}
	w.router.Available(s)
	<-arrived
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "drained/s")
}

// BenchmarkHandle is delivery without the broker: a run of 64 for one session.
func BenchmarkHandle(b *testing.B) {
	s := &sink{client: newClient("alice@localhost/a")}
	dl := stubbed(func(st *stanza.Stanza) ([]router.Session, error) { return []router.Session{s}, s.Send(b.Context(), st) })
	var run []*broker.Delivery
	for i := range 64 {
		run = append(run, given(b, fmt.Sprintf("m%d", i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := dl.Handle(b.Context(), run); len(got) != len(run) {
			b.Fatal("not all delivered")
		}
	}
	b.ReportMetric(float64(b.N*len(run))/b.Elapsed().Seconds(), "msg/s")
}
