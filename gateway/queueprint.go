package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"mcmt2xmpp/gateway/admin"
)

// printRoutes prints one line per route.
func printRoutes(out io.Writer, routes []admin.QueueRoute, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROUTE\tSTATE\tMESSAGES\tOLDEST\tATTEMPTS\tNEXT\tWHY")
	for _, r := range routes {
		oldest, next := "-", "-"
		if !r.Oldest.IsZero() {
			oldest = span(now.Sub(r.Oldest))
		}
		if !r.Next.IsZero() {
			next = "now"
			if r.Next.After(now) {
				next = "in " + span(r.Next.Sub(now))
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\t%s\n", printable(r.Route), printable(string(r.State)), r.Messages, oldest, r.Attempts, next,
			cmp.Or(printable(r.Reason), "-"))
	}
	return w.Flush()
}

// summary counts the messages of routes, by state where there are several.
func summary(routes []admin.QueueRoute) string {
	total, byState := 0, make(map[admin.QueueState]int)
	for _, r := range routes {
		total += r.Messages
		byState[r.State] += r.Messages
	}
	var states []string
	for _, s := range []admin.QueueState{admin.Deferred, admin.Held, admin.Dead} {
		if byState[s] > 0 {
			states = append(states, fmt.Sprintf("%d %s", byState[s], s))
		}
	}
	if total == 1 {
		return "1 message, " + strings.TrimPrefix(states[0], "1 ")
	}
	return fmt.Sprintf("%d messages, %s", total, strings.Join(states, ", "))
}

// printMessages prints one block per message.
func printMessages(out io.Writer, messages []admin.QueueMessage, now time.Time) error {
	for i, m := range messages {
		fields := []field{
			{"from", cmp.Or(m.From, "<>")}, {"to", m.To}, {"jid", unless(m.JID, m.To)}, {"stanza id", unless(m.StanzaID, m.ID)},
			{"accepted", when(m.Accepted, now)}, {"since", when(m.Since, now)}, {"attempts", strconv.Itoa(m.Attempts)}, {"next", when(m.Next, now)},
			{"size", fmt.Sprintf("%d bytes", m.Size)}, {"stage", m.Stage}, {"why", m.Reason},
		}
		if err := printBlock(out, i, m.ID+" "+string(m.State), fields); err != nil {
			return err
		}
	}
	return nil
}

// field is a line of a block.
type field struct{ name, value string }

// printBlock prints a title and below it the fields that say something. Blocks
// after the first, which is number zero, stand apart.
func printBlock(out io.Writer, number int, title string, fields []field) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if number > 0 {
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, printable(title))
	for _, f := range fields {
		if f.value != "" {
			fmt.Fprintf(w, "  %s\t%s\n", f.name, printable(f.value))
		}
	}
	return w.Flush()
}

// unless is s, and empty where that is what has been said already.
func unless(s, said string) string {
	if s == said {
		return ""
	}
	return s
}

// when is a moment on this machine's clock and how far away it is.
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	stamp := t.Local().Format("2006-01-02 15:04:05 -0700")
	if t.After(now) {
		return stamp + ", in " + span(t.Sub(now))
	}
	return stamp + ", " + span(now.Sub(t)) + " ago"
}

// span is a time in its two largest units.
func span(d time.Duration) string { return admin.Span(d) }

// printable keeps what a remote server or a sender wrote from moving the cursor
// or breaking a table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
