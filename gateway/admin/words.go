package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Span is a time in its two largest units.
func Span(d time.Duration) string {
	units := []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.unit {
			continue
		}
		s := fmt.Sprint(int64(d/u.unit), u.name)
		if i+1 < len(units) {
			if rest := d % u.unit / units[i+1].unit; rest > 0 {
				s += fmt.Sprint(int64(rest), units[i+1].name)
			}
		}
		return s
	}
	return "0s"
}

// ago is how long t lies back, and a dash where there is no t.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return Span(now.Sub(t))
}

// until is how far away t is, and a dash where there is no t.
func until(now, t time.Time) string {
	switch {
	case t.IsZero():
		return "–"
	case !t.After(now):
		return "now"
	}
	return "in " + Span(t.Sub(now))
}

// grouped is a number with a narrow space after each three digits.
func grouped(n any) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// ratePerSecond is a number of messages a second, with one decimal where it is small.
func ratePerSecond(perSecond float64) string {
	if perSecond > 0 && perSecond < 9.95 {
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return grouped(strconv.FormatFloat(perSecond, 'f', 0, 64))
}

// maxShown is how much a page shows of a text, in characters.
const maxShown = 400

// shown is what a sender, a server or a script wrote, without characters that a person
// does not see or that move others, and not too long.
func shown(v any) string {
	n := 0
	return strings.Map(func(r rune) rune {
		switch n++; {
		case n > maxShown+1:
			return -1
		case n > maxShown:
			return '…'
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, fmt.Sprint(v))
}
