package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

const deferredMessages = 100_000

// BenchmarkDeferred is the pipeline beside one in which messages wait for recipients
// who are away, whose retries fall due all the while: its rate, and how long it
// takes from nothing to the first message delivered, when the process starts, and
// when a Delivery takes the stage over from another.
//
//	go test ./gateway/delivery -run - -bench Deferred -benchtime 7x
func BenchmarkDeferred(b *testing.B) {
	const starts = 5
	with, without := openPipeline(b), openPipeline(b)
	with.stop()
	without.stop()
	deferMany(b, with.world, deferredMessages)

	type durations struct{ start, takeover []float64 }
	took := make(map[*pipeline]*durations)
	for range starts {
		for _, p := range []*pipeline{with, without} {
			if took[p] == nil {
				took[p] = new(durations)
			}
			p.world.close(p.world.broker)
			took[p].start = append(took[p].start, milliseconds(func() { p.world.open(); p.restart() }))
			p.stop()
			took[p].takeover = append(took[p].takeover, milliseconds(p.restart))
			p.stop()
		}
	}
	with.restart()
	without.restart()
	defer with.stop()
	defer without.stop()
	if n := with.world.dl.Stats().Parked; n != deferredMessages {
		b.Errorf("%d messages wait", n)
	}

	var r rates
	for n := 0; b.Loop(); n += turn {
		for p, speeds := range map[*pipeline]*[]speed{with: &r.ours, without: &r.bare} {
			*speeds = append(*speeds, measure(turn, func() {
				inject(b, n, turn, p.put)
				p.recorded(n + turn + 1) // and that of the restart
			}))
		}
	}
	r.report(b, "clear")
	b.ReportMetric(median(took[with].start), "start-ms")
	b.ReportMetric(median(took[without].start), "clear-start-ms")
	b.ReportMetric(median(took[with].takeover), "takeover-ms")
	b.ReportMetric(median(took[without].takeover), "clear-takeover-ms")
}

func milliseconds(work func()) float64 {
	start := time.Now()
	work()
	return time.Since(start).Seconds() * 1e3
}

// restart runs the pipeline in its world, and returns when it has delivered a
// message.
func (p *pipeline) restart() {
	p.b.Helper()
	p.start()
	st := stanza.NewMessage(benchUser(0), news, stanza.TypeChat, "000000000")
	st.ID = string(mcmt.NewID(time.Now()))
	p.world.putStanza(st)
	eventually(p.b, "a message delivered", func() bool { return p.world.dl.Stats().Delivered > 0 })
}

// deferMany has messages wait in PARK, ten for each of their recipients, with the schedules
// of their routes.
func deferMany(b *testing.B, w *world, messages int) {
	b.Helper()
	users := make([]jid.JID, messages/10)
	for i := range users {
		users[i] = jid.MustParse(fmt.Sprintf("away%d@localhost", i))
	}
	now := time.Now()
	body := stanza.NewMessage(users[0], news, stanza.TypeChat, strings.Repeat("x", 600)).Append(nil, "")
	var filling sync.WaitGroup
	for some := range slices.Chunk(users, len(users)/4) {
		filling.Go(func() {
			var msgs []broker.Message
			for i := range messages / 4 {
				to := some[i%len(some)]
				rec := custody.Record{ID: mcmt.NewID(now), From: "news@corp.example", To: mcmt.Recipient{Address: to.String()}, Accepted: now, JID: to}
				msg, err := custody.Park(&broker.Delivery{Stage: broker.Deliver, Route: to.String(), Recipient: to.String(), ID: string(rec.ID),
					Body: slices.Clone(body)}, rec, "recipient is offline", now)
				if err != nil {
					b.Error(err)
					return
				}
				if msgs = append(msgs, msg); len(msgs) == 500 {
					if err := w.broker.Store(context.Background(), msgs...); err != nil {
						b.Error(err)
						return
					}
					msgs = msgs[:0]
				}
			}
		})
	}
	filling.Wait()
	routes, err := store.OpenRoutes(context.Background(), w.broker, func(err error) { b.Error(err) })
	if err != nil {
		b.Fatal(err)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for some := range slices.Chunk(users, 500) {
		for _, to := range some {
			routes.Save(to.String(), store.RouteState{Attempts: 7, First: now, Next: now.Add(rand.N(30 * time.Minute)), Reason: "recipient is offline"})
		}
		routes.Run(over) // writes them
	}
}
