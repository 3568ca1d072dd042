package custody

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
)

// TestPassed: a value is handed on once, to who has the very bytes that it stands for.
func TestPassed(t *testing.T) {
	t.Parallel()
	var c Passed[string, int]
	of := []byte("hello")
	take := func(key, bytes string) int { v, _ := c.Take(key, []byte(bytes)); return v }
	c.Keep("a", of, 1)
	if got := take("b", "hello"); got != 0 {
		t.Error("another value was taken")
	}
	if got := take("a", "hello"); got != 1 {
		t.Errorf("%v was taken", got)
	}
	if got := take("a", "hello"); got != 0 {
		t.Error("it was taken twice")
	}
	c.Keep("a", of, 1)
	if got := take("a", "hell"); got != 0 {
		t.Error("it was taken for other bytes")
	}
	if s := c.Stats(); s.Taken != 1 || s.Missed != 3 || c.size != 0 || len(c.all) != 0 || c.ages.Len() != 0 {
		t.Errorf("%+v, %d bytes, %d values, %d ages left", s, c.size, len(c.all), c.ages.Len())
	}
	var none *Passed[string, int]
	none.Keep("a", of, 1)
	if _, ok := none.Take("a", of); ok || none.Stats() != (PassedStats{}) {
		t.Error("nothing has taken something")
	}
}

// TestParsing: what was read as MCMT is not taken for mail.
func TestParsing(t *testing.T) {
	t.Parallel()
	if (Record{ID: "a", Reception: mcmt.Allow}).Parsing() == (Record{ID: "a", Reception: mcmt.PassThrough}).Parsing() {
		t.Error("one name for both")
	}
}

// TestPassedBounded: the youngest stay where there is no room for all.
func TestPassedBounded(t *testing.T) {
	t.Parallel()
	var c Passed[string, bool]
	big := []byte(strings.Repeat("x", 1<<20))
	for i := range 100 {
		c.Keep(fmt.Sprint(i), big, true)
		c.Keep(fmt.Sprint(i), big, true) // again under its name
	}
	c.Keep("100", make([]byte, maxPassed), true) // too large for itself
	const fit = maxPassed / (1<<20 + passedSpread)
	if c.size > maxPassed || len(c.all) != fit || c.ages.Len() != fit {
		t.Errorf("%d bytes, %d values, %d ages, want %d", c.size, len(c.all), c.ages.Len(), fit)
	}
	for i, want := range map[int]bool{0: false, 99 - fit: false, 100 - fit: true, 99: true, 100: false} {
		if _, got := c.Take(fmt.Sprint(i), big); got != want {
			t.Errorf("value %d is there: %v", i, got)
		}
	}
}
