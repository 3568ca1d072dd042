package events

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// answerBytes is what is read of an answer, so that its connection can be used
	// again. Of a longer one the connection is closed.
	answerBytes = 64 << 10

	// quoteBytes is what an operator sees of the body of a refusal.
	quoteBytes = 160

	// longestRetryAfter bounds what a receiver may ask for.
	longestRetryAfter = 24 * time.Hour
)

// refusal is an answer by which a receiver has not taken events.
type refusal struct {
	text  string
	gone  bool          // it wants no more
	after time.Duration // how long it wants to be left alone; zero: it does not say
}

func (r *refusal) Error() string { return r.text }

// verdict makes of an answer what it means: 2xx and nothing else is success. The body
// says nothing then, and one that breaks off changes nothing.
func verdict(resp *http.Response, now time.Time) (answer string, err error) {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	answer = fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	answer = strings.TrimSpace(answer)
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return answer, nil
	}
	if quote := printable(body); quote != "" {
		answer += ": " + quote
	}
	return answer, &refusal{
		text: answer, gone: resp.StatusCode == http.StatusGone, after: retryAfter(resp.Header.Get("Retry-After"), now),
	}
}

// retryAfter reads the field (RFC 9110 §10.2.3), which may be a date. Zero: there is
// nothing that can be read.
func retryAfter(field string, now time.Time) time.Duration {
	var after time.Duration
	if seconds, err := strconv.ParseUint(field, 10, 32); err == nil {
		after = time.Duration(seconds) * time.Second //nolint:gosec // of 32 bits
	} else if at, err := http.ParseTime(field); err == nil {
		after = at.Sub(now)
	}
	return min(max(after, 0), longestRetryAfter)
}

// printable is the beginning of a text on one line.
func printable(body []byte) string {
	cut := len(body) > quoteBytes
	text := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, string(body[:min(len(body), quoteBytes)]))
	text = strings.Join(strings.Fields(text), " ")
	if cut {
		text += "…"
	}
	return text
}
