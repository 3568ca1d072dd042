package dns

import (
	"math"
	"math/rand/v2"
	"testing"
)

func rec(priority, weight uint16, host string) record {
	return record{Target{Host: host, Port: 5269}, priority, weight}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	all := []record{rec(20, 0, "last"), rec(10, 5, "five"), rec(10, 0, "zero"), rec(10, 15, "fifteen"), rec(0, 0, "first")}
	for name, tt := range map[string]struct {
		drawn []int // what the random source says at each draw
		want  string
	}{
		// RFC 2782, "Weight": the records of weight 0 stand first, so that 0 draws them.
		"lowest":  {[]int{0, 0, 0, 0, 0}, "first:5269 zero:5269 fifteen:5269 five:5269 last:5269"},
		"highest": {[]int{0, 20, 5, 0, 0}, "first:5269 five:5269 fifteen:5269 zero:5269 last:5269"},
		"middle":  {[]int{0, 15, 1, 0, 0}, "first:5269 fifteen:5269 five:5269 zero:5269 last:5269"},
	} {
		drawn := tt.drawn
		got := order(all, func(n int) int {
			d := drawn[0]
			drawn = drawn[1:]
			if d >= n {
				t.Errorf("%s: %d is drawn out of %d", name, d, n)
			}
			return d
		})
		if written(got) != tt.want {
			t.Errorf("%s: %s", name, written(got))
		}
	}
}

// The chance of coming first is by weight, with a fixed seed.
func TestOrderWeights(t *testing.T) {
	t.Parallel()
	const rounds = 20000
	all := []record{rec(0, 10, "ten"), rec(0, 30, "thirty"), rec(0, 60, "sixty"), rec(0, 0, "zero")}
	source := rand.New(rand.NewPCG(1, 2))
	first := make(map[string]int)
	for range rounds {
		first[order(all, source.IntN)[0].Host]++
	}
	for host, weight := range map[string]float64{"ten": 10, "thirty": 30, "sixty": 60, "zero": 1} {
		want := rounds * weight / 101
		if got := float64(first[host]); math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("%s came first %v times, expected about %v", host, got, want)
		}
	}
}
