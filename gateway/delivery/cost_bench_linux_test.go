package delivery

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkCost tells how the cost of a message grows with what the pipeline has to do
// with: time of processors and bytes written for each delivered message, at three sizes of
// one thing, which take turns, while the others are as in BenchmarkRate.
//
//	go test ./gateway/delivery -run - -bench Cost -benchtime 3x
func BenchmarkCost(b *testing.B) {
	for _, thing := range []struct {
		name  string
		sizes [3]int
		open  func(b *testing.B, size int) *pipeline
	}{
		{"recipients", [3]int{100, 1000, 10_000}, func(b *testing.B, n int) *pipeline {
			return openPipelineOf(b, shape{users: n, domains: 1, slices: 1, fan: 1})
		}},
		{"recipients-of-a-message", [3]int{1, 10, 100}, func(b *testing.B, n int) *pipeline {
			return openPipelineOf(b, shape{users: benchUsers, domains: 1, slices: 1, fan: n})
		}},
		{"slices", [3]int{1, 8, 64}, func(b *testing.B, n int) *pipeline {
			return openPipelineOf(b, shape{users: benchUsers, domains: 1, slices: n, fan: 1})
		}},
		{"domains", [3]int{1, 100, 1000}, func(b *testing.B, n int) *pipeline {
			return openPipelineOf(b, shape{users: benchUsers, domains: n, slices: 1, fan: 1})
		}},
		{"deferred", [3]int{1000, 10_000, 100_000}, func(b *testing.B, n int) *pipeline {
			p := openPipeline(b)
			p.stop()
			deferMany(b, p.world, n)
			p.start()
			return p
		}},
	} {
		b.Run(thing.name, func(b *testing.B) {
			var all [3]*pipeline
			for i, n := range thing.sizes {
				all[i] = thing.open(b, n)
				defer all[i].stop()
			}
			var cost, wrote [3][]float64
			for n := 0; b.Loop(); n += turn {
				for i, p := range all {
					before := written(b)
					s := measure(turn, func() {
						inject(b, n/p.shape.fan, turn/p.shape.fan, p.put)
						p.recorded(n + turn)
					})
					cost[i] = append(cost[i], s.cpu)
					wrote[i] = append(wrote[i], (written(b)-before)/turn)
				}
			}
			for i, n := range thing.sizes {
				b.ReportMetric(median(cost[i]), fmt.Sprintf("cpu-µs@%d", n))
				b.ReportMetric(median(wrote[i]), fmt.Sprintf("bytes@%d", n))
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// written is how many bytes this process has written.
func written(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "wchar: "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(n), 64)
			if err != nil {
				b.Fatal(err)
			}
			return v
		}
	}
	b.Fatal("no wchar in /proc/self/io")
	return 0
}
