package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"mcmt2xmpp/gateway/admin"
)

// printOutcomes prints one block per recipient, and in it the steps of the message.
func printOutcomes(out io.Writer, outcomes []admin.Outcome, now time.Time) error {
	for i, o := range outcomes {
		accepted, ended, message := when(o.Accepted, now), when(o.Ended, now), o.MessageID
		if !o.Accepted.IsZero() && !o.Ended.IsZero() {
			ended += ", after " + o.Ended.Sub(o.Accepted).Round(time.Millisecond).String()
		}
		if message != "" {
			message = "<" + message + ">"
		}
		fields := []field{
			{"id", o.ID}, {"message id", message}, {"stanza id", unless(o.StanzaID, o.ID)}, {"from", cmp.Or(o.From, "<>")}, {"author", o.Author},
			{"to", unless(o.To, o.JID)}, {"accepted", accepted}, {"listener", o.Listener}, {"peer", o.Peer}, {"user", o.User}, {"made from", o.Part},
			{"attempts", strconv.Itoa(o.Attempts)}, {"next", when(o.Next, now)}, {"stage", stageNames[o.Stage]}, {"ended", ended}, {"node", o.Node},
			{"proof", o.Proof}, {"why", o.Reason},
		}
		if err := printBlock(out, i, fmt.Sprintf("%s %s", cmp.Or(o.JID, o.To), o.Outcome), fields); err != nil {
			return err
		}
		if lines := timeline(o); len(lines) > 0 {
			if err := printLines(out, lines); err != nil {
				return err
			}
		}
	}
	return nil
}

// stageNames say where a message lies.
var stageNames = map[string]string{"in": "to be converted", "dlv": "to be delivered", "mail": "to be sent as mail", "park": "waits for its next attempt"}

// printLines prints the steps below a block.
func printLines(out io.Writer, lines []field) error {
	for _, l := range lines {
		if _, err := fmt.Fprintf(out, "    %s  %s\n", l.name, printable(l.value)); err != nil {
			return err
		}
	}
	return nil
}

// printFound prints one line per message.
func printFound(out io.Writer, found admin.Outcomes, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ACCEPTED\tOUTCOME\tFROM\tTO\tID\tWHY")
	for _, o := range found.Outcomes {
		accepted := "-"
		if !o.Accepted.IsZero() {
			accepted = span(now.Sub(o.Accepted)) + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", accepted, printable(string(o.Outcome)), printable(cmp.Or(o.Author, o.From, "<>")), printable(cmp.Or(o.JID, o.To)),
			printable(o.ID), printable(cmp.Or(o.Reason, o.Proof, "-")))
	}
	if found.Next != "" {
		fmt.Fprintf(w, "there may be more: --after %s\n", printable(found.Next))
	}
	return w.Flush()
}

// timeline is the life of a message as the fields of a block: when, and what.
func timeline(o admin.Outcome) (lines []field) {
	node := ""
	for _, s := range o.Steps {
		what := describe(s)
		if s.Node != "" && s.Node != node {
			what += " (node " + s.Node + ")"
			node = s.Node
		}
		lines = append(lines, field{s.At.Local().Format("01-02 15:04:05.000"), what})
	}
	return lines
}

// describe is a step in one line.
func describe(s admin.Step) string {
	line := s.Step
	add := func(before, text string) {
		if text != "" {
			line += before + text
		}
	}
	if s.Step == "omitted" {
		return fmt.Sprintf("%d steps are left out", s.Count)
	}
	add(" ", s.Name)
	add(" from ", s.Peer)
	add(": ", s.Verdict)
	if s.Shadow {
		line += " in shadow mode, without effect"
	}
	add(" to ", s.Route)
	if s.Step == "filter" && s.Answer != "" {
		return line + " (" + s.Answer + ")" + repeated(s)
	}
	add(": ", s.Answer)
	return line + repeated(s)
}

// repeated says how often a step was taken.
func repeated(s admin.Step) string {
	if s.Count < 2 {
		return ""
	}
	return fmt.Sprintf(", %d times until %s", s.Count, s.Until.Local().Format("01-02 15:04:05"))
}
