package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/s2s"
)

func s2sCommand() *cobra.Command {
	where := new(target)
	cmd := &cobra.Command{
		Use:   "s2s",
		Short: "Show, test, retry and block streams with other servers",
		Long: `Streams of a running gateway with other servers, and why there is none.

  mcmt2xmpp s2s list
  mcmt2xmpp s2s check example.org    dns, tcp, tls, certificate, and whether they take us
  mcmt2xmpp s2s retry example.org    now, not when its time comes
  mcmt2xmpp s2s block example.org    no streams with it, until unblock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	where.flags(cmd)
	cmd.AddCommand(where.s2sList(), where.s2sCheck(),
		where.s2sChange("retry", "Try a domain at once that is waited for", "tried at once"),
		where.s2sChange("block", "End all streams with a domain, and allow none", "blocked"),
		where.s2sChange("unblock", "Allow streams with a domain again", "not blocked any more"))
	return cmd
}

// s2s runs do against the gateway.
func (t *target) s2s(cmd *cobra.Command, do func(context.Context, apiCall) error) error {
	return t.running(cmd.Context(), func(ctx context.Context, c adminClient) error {
		asJSON, _ := cmd.Flags().GetBool("json")
		return do(ctx, apiCall{c, asJSON, cmd.OutOrStdout()})
	})
}

func jsonFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Bool("json", false, "print what the admin HTTP answers")
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

func (t *target) s2sList() *cobra.Command {
	return jsonFlag(&cobra.Command{
		Use: "list", Short: "List streams, and domains that cannot be reached", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.s2s(cmd, func(ctx context.Context, c apiCall) error {
				var streams []admin.ServerStream
				if err := c.print(ctx, http.MethodGet, "/v1/s2s", nil, &streams); err != nil || c.json {
					return err
				}
				if len(streams) == 0 {
					_, err := fmt.Fprintln(c.out, "no streams with other servers")
					return err
				}
				return printStreams(c.out, streams, time.Now())
			})
		},
	})
}

// printStreams prints one line per stream, and below it why the last one failed.
func printStreams(out io.Writer, streams []admin.ServerStream, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tDIRECTION\tSTATE\tPROVEN BY\tTLS\tSINCE\tSENT\tRECEIVED\tQUEUE\tADDRESS")
	for _, s := range streams {
		state, since, tls := s.State.State, "-", "-"
		if s.Blocked {
			state += ", blocked"
		}
		if !s.Since.IsZero() {
			since, tls = span(now.Sub(s.Since)), cmp.Or(s.TLS, "none")
		}
		domain := cmp.Or(s.Domain, "?")
		if s.Link != "" {
			domain += " by link " + s.Link
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", printable(domain), cmp.Or(s.Direction, "-"), state, cmp.Or(s.Authenticated, "-"),
			tls, since, s.Sent, s.Received, s.Queue, cmp.Or(s.Address, "-"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range streams {
		f := s.Failure
		if f == nil {
			continue
		}
		next := ""
		if !s.NextTry.IsZero() {
			next = "; tried again " + when(s.NextTry, now)
		}
		if _, err := fmt.Fprintf(out, "\n%s failed at %s, %s ago%s:\n  %s\n", printable(s.Domain), f.Step, span(now.Sub(f.At)), next, printable(f.Text)); err != nil {
			return err
		}
	}
	return nil
}

// errUnreachable makes the command fail where the domain is not reached: the words were
// printed.
var errUnreachable = errors.New("stanzas cannot be sent to the domain")

func (t *target) s2sCheck() *cobra.Command {
	var from string
	cmd := jsonFlag(&cobra.Command{
		Use: "check DOMAIN", Short: "Test every step of the way to a domain", Args: exactly("DOMAIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.s2s(cmd, func(ctx context.Context, c apiCall) error {
				path := "/v1/s2s/" + url.PathEscape(args[0]) + "/check?from=" + url.QueryEscape(from)
				var check s2s.Check
				if err := c.print(ctx, http.MethodPost, path, nil, &check); err != nil {
					return err
				}
				if !c.json {
					printCheck(c.out, check)
				}
				if !check.OK {
					return errUnreachable
				}
				return nil
			})
		},
	})
	cmd.Flags().StringVar(&from, "from", "", "`DOMAIN` of ours to test for; the first one where it is not given")
	return cmd
}

// printCheck prints each step, and what to do where one fails.
func printCheck(out io.Writer, check s2s.Check) {
	fmt.Fprintf(out, "from %s to %s\n", printable(check.From), printable(check.Domain))
	target := ""
	for _, s := range check.Steps {
		if s.Target != "" && s.Target != target {
			target = s.Target
			fmt.Fprintf(out, "%s\n", printable(target))
		}
		mark := "ok  "
		if !s.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(out, "  %s %-11s %s\n", mark, s.Step, printable(s.Text))
		if s.Advice != "" {
			fmt.Fprintf(out, "                   %s\n", s.Advice)
		}
	}
	if check.OK {
		fmt.Fprintln(out, "stanzas can be sent")
	}
}

func (t *target) s2sChange(action, short, become string) *cobra.Command {
	return jsonFlag(&cobra.Command{
		Use: action + " DOMAIN", Short: short, Args: exactly("DOMAIN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.s2s(cmd, func(ctx context.Context, c apiCall) error {
				var change admin.ServerChange
				err := c.print(ctx, http.MethodPost, "/v1/s2s/"+url.PathEscape(args[0])+"/"+action, nil, &change)
				switch {
				case err != nil || c.json:
					return err
				case !change.Changed:
					_, err = fmt.Fprintf(c.out, "%s is not waited for\n", printable(change.Domain))
				default:
					_, err = fmt.Fprintf(c.out, "%s is %s\n", printable(change.Domain), become)
				}
				return err
			})
		},
	})
}
