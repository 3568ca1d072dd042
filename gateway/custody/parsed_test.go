package custody

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
)

func parsedMail(t *testing.T, text string) *mcmt.Message {
	t.Helper()
	m, err := mcmt.Parse([]byte("Subject: s\r\n\r\n"+text+"\r\n"), mcmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestParsed: a message is handed on once, to who has the very bytes, and read the same way.
func TestParsed(t *testing.T) {
	t.Parallel()
	var c Parsed
	m := parsedMail(t, "hello")
	r := Record{ID: "a", Reception: mcmt.Allow}
	c.Keep(r, m)
	if got := c.Take(Record{ID: "b", Reception: mcmt.Allow}, m.Raw); got != nil {
		t.Error("another message was taken")
	}
	if got := c.Take(r, append([]byte(nil), m.Raw...)); got != m {
		t.Errorf("%v was taken", got)
	}
	if got := c.Take(r, m.Raw); got != nil {
		t.Error("it was taken twice")
	}
	c.Keep(r, m)
	if got := c.Take(r, append([]byte("X: y\r\n"), m.Raw...)); got != nil {
		t.Error("other bytes were taken for it")
	}
	c.Keep(r, m)
	if got := c.Take(Record{ID: "a", Reception: mcmt.PassThrough}, m.Raw); got != nil {
		t.Error("what was read as MCMT was taken for mail")
	}
	if s := c.Stats(); s.Taken != 1 || s.Missed != 4 || c.size != 0 || len(c.all) != 0 || c.ages.Len() != 0 {
		t.Errorf("%+v, %d bytes, %d messages, %d ages left", s, c.size, len(c.all), c.ages.Len())
	}
	var none *Parsed
	none.Keep(r, m)
	if got := none.Take(r, m.Raw); got != nil || none.Stats() != (ParsedStats{}) {
		t.Error("nothing has taken something")
	}
}

// TestParsedBounded: the youngest stay where there is no room for all.
func TestParsedBounded(t *testing.T) {
	t.Parallel()
	var c Parsed
	big := parsedMail(t, strings.Repeat("x", 1<<20))
	name := func(i int) Record { return Record{ID: mcmt.ID(fmt.Sprint(i))} }
	for i := range 100 {
		c.Keep(name(i), big)
		c.Keep(name(i), big) // again under its name
	}
	c.Keep(name(100), &mcmt.Message{Raw: make([]byte, maxParsed)}) // too large for itself
	const fit = maxParsed / (1<<20 + parsedSpread + 20)
	if c.size > maxParsed || len(c.all) != fit || c.ages.Len() != fit {
		t.Errorf("%d bytes, %d messages, %d ages, want %d", c.size, len(c.all), c.ages.Len(), fit)
	}
	for i, want := range map[int]bool{0: false, 99 - fit: false, 100 - fit: true, 99: true, 100: false} {
		if got := c.Take(name(i), big.Raw) != nil; got != want {
			t.Errorf("message %d is there: %v", i, got)
		}
	}
}
