package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/filters"
)

func filtersCommand() *cobra.Command {
	where := new(target)
	cmd := jsonFlag(&cobra.Command{
		Use:   "filters",
		Short: "Show what the filters have dropped, and what that has saved",
		Long: `What the filters of a running gateway have done since they were written or changed, or since its
start: by filter, kind, direction, domain of the sender and client software, and what would have
gone out without them. Of filters in shadow mode it is what they would have done, with samples in
which letters and digits are replaced. Each process of a cluster counts for itself.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return where.running(cmd.Context(), func(ctx context.Context, c adminClient) error {
				asJSON, _ := cmd.Flags().GetBool("json")
				var r filters.Report
				err := apiCall{c, asJSON, cmd.OutOrStdout()}.print(ctx, http.MethodGet, "/v1/filters", nil, &r)
				if err != nil || asJSON {
					return err
				}
				return printFilters(cmd.OutOrStdout(), r, time.Now())
			})
		},
	})
	where.flags(cmd)
	return cmd
}

// printFilters prints a line per filter, what all have dropped, and samples.
func printFilters(out io.Writer, r filters.Report, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FILTER\tTYPE\tACTION\tDIRECTION\tMODE\tDROPPED\tSTRIPPED\tDEFERRED\tPASSED\tNO OPINION\tFAILED\tSINCE")
	for _, f := range r.Filters {
		v := f.Verdicts
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", printable(f.Filter), f.Type, f.Action, f.Direction, f.Mode,
			v["drop"], v["strip"], v["defer"], v["pass"], v["continue"], f.Errors, span(now.Sub(f.Since)))
	}
	n := r.Suppressed
	fmt.Fprintf(w, "\ndropped\t%d\nsaved\t%s\n", n.Messages, savings(n.Saved))
	for _, by := range []struct {
		name   string
		counts map[string]uint64
	}{{"KIND", n.ByKind}, {"DIRECTION", n.ByDirection}, {"DOMAIN", n.ByDomain}, {"CLIENT", n.ByClient}} {
		printCounts(w, by.name, by.counts)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range r.Filters {
		if err := printSamples(out, f); err != nil {
			return err
		}
	}
	return nil
}

// savings says what did not go out.
func savings(s filters.Saved) string {
	return fmt.Sprintf("mails %d, short messages %d, messages to Jabber %d, kept for later %d", s.Mails, s.SMS, s.Jabber, s.Stored)
}

// printCounts prints the counts, the highest first.
func printCounts(w io.Writer, name string, counts map[string]uint64) {
	if len(counts) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\tDROPPED\n", name)
	all := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	for _, of := range all {
		fmt.Fprintf(w, "%s\t%d\n", printable(of), counts[of])
	}
}

// printSamples prints what a filter in shadow mode would have done lately.
func printSamples(out io.Writer, f filters.Rule) error {
	if len(f.Samples) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "\nsamples of %s:\n", printable(f.Filter))
	for _, s := range f.Samples {
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "  %s %s %s: %s\n    %s\n", s.Time.Format(time.DateTime), s.Direction, s.Action, printable(s.Reason), printable(s.Stanza))
	}
	return err
}
