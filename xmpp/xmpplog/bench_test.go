package xmpplog

import (
	"path/filepath"
	"testing"

	"mcmt2xmpp/xmpp/stream"
)

const benchmarked = `<message xmlns='jabber:client' from='romeo@example.net/orchard' to='juliet@im.example.com/balcony' id='ju2ba41c' type='chat'><body>Art thou not Romeo, and a Montague?</body><origin-id xmlns='urn:xmpp:sid:0' id='ju2ba41c'/></message>`

// BenchmarkObserve is the cost of a logger for one stanza, for who sends it: nothing
// where there is none.
func BenchmarkObserve(b *testing.B) {
	for _, bm := range []struct{ name, format string }{{"off", ""}, {"on", delivery}, {"obfuscated", "%t+%so"}, {"raw", "%t+%sr"}} {
		b.Run(bm.name, func(b *testing.B) {
			l := New()
			if bm.format != "" {
				o := options(b, filepath.Join(b.TempDir(), "log"))
				o.Formats[Delivery] = format(b, Delivery, bm.format)
				use(b, l, o)
			}
			var observer stream.Observer = l
			r := sent(b, benchmarked)
			b.ReportAllocs()
			for b.Loop() {
				observer.Observe(r.passage)
			}
			b.StopTimer()
			closeLog(b, l)
			b.ReportMetric(float64(l.Stats().Loggers["a"].Dropped)/float64(b.N), "dropped/op")
		})
	}
}

// TestOffCostsNothing: without a logger no stanza costs an allocation.
func TestOffCostsNothing(t *testing.T) {
	l := New()
	defer closeLog(t, l)
	var observer stream.Observer = l
	r := sent(t, benchmarked)
	if n := testing.AllocsPerRun(100, func() { observer.Observe(r.passage) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
