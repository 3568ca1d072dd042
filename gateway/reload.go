package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
)

func reloadCommand() *cobra.Command {
	where := new(target)
	cmd := jsonFlag(&cobra.Command{
		Use:   "reload",
		Short: "Have a running gateway read its configuration and certificates again",
		Long: `Have a running gateway read its configuration and its certificates again, as SIGHUP does, and
print what has changed, where, and what of it takes effect only after a restart. No session ends.
A configuration with mistakes is refused: all of them are printed, and the one before stays.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return where.running(cmd.Context(), func(ctx context.Context, c adminClient) error {
				asJSON, _ := cmd.Flags().GetBool("json")
				var done admin.Reloaded
				err := apiCall{c, asJSON, cmd.OutOrStdout()}.print(ctx, http.MethodPost, "/v1/reload", nil, &done)
				if err != nil || asJSON {
					return err
				}
				return printReloaded(cmd.OutOrStdout(), done)
			})
		},
	})
	where.flags(cmd)
	return cmd
}

// printReloaded prints a line per change, and what is not well.
func printReloaded(out io.Writer, done admin.Reloaded) error {
	if len(done.Changes) == 0 {
		fmt.Fprintln(out, "the configuration has not changed")
	}
	if err := printChanges(out, done.Changes); err != nil {
		return err
	}
	earlier := slices.DeleteFunc(slices.Clone(done.Pending), func(c admin.ConfigChange) bool {
		return slices.ContainsFunc(done.Changes, func(o admin.ConfigChange) bool { return o.Scope == c.Scope && o.Option == c.Option })
	})
	if len(earlier) > 0 {
		fmt.Fprintln(out, "\nFrom before, and waiting for a restart:")
	}
	if err := printChanges(out, earlier); err != nil {
		return err
	}
	for _, f := range done.Warnings {
		fmt.Fprintf(out, "warning: %s\n", findingText(f))
	}
	for _, c := range done.Certificates {
		switch {
		case c.Error != "":
			fmt.Fprintf(out, "certificate %s was not read again, the one before stays: %s\n", printable(c.File), printable(c.Error))
		case c.Replaced:
			fmt.Fprintf(out, "certificate %s is another one, until %s\n", printable(c.File), c.Expires.Format(time.DateOnly))
		}
	}
	return nil
}

// printChanges prints a line per change, under a head.
func printChanges(out io.Writer, changes []admin.ConfigChange) error {
	if len(changes) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SCOPE\tOPTION\tWAS\tIS\tAT\tTAKES EFFECT")
	for _, c := range changes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(c.Scope), cmp.Or(c.Option, "-"), printable(cmp.Or(c.Was, "-")), printable(cmp.Or(c.Is, "-")),
			printable(c.At), effect(c.Restart))
	}
	return w.Flush()
}

// effect says when a change is in effect.
func effect(restart string) string {
	switch restart {
	case "":
		return "now"
	case config.WholeRestart:
		return "after a restart"
	default:
		return "now; after a restart: " + printable(restart)
	}
}

// findingText is a finding as a person reads it, without the line that it is about.
func findingText(f admin.Finding) string {
	text := printable(f.Message)
	if f.At != "" {
		text = printable(f.At) + ": " + text
	}
	if f.Hint != "" {
		text += " (" + printable(f.Hint) + ")"
	}
	return text
}
