package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/admin"
)

func traceCommand() *cobra.Command {
	where := new(target)
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "trace ID",
		Short: "Show what became of a message",
		Long: `What became of a message, for each of its recipients, as a running gateway knows
it. ID is a queue id (the one in the answer to whoever handed the message in), a
Message-ID, a stanza id, or a recipient's JID for all that is known of theirs.

  mcmt2xmpp trace 1j1730fe4pjq506j3pi5d7t
  mcmt2xmpp trace '<20260301.7@corp.example>'
  mcmt2xmpp trace alice@localhost`,
		Args: exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return errors.New("ID is empty") // an unset variable; the path would be another
			}
			return where.running(cmd.Context(), func(ctx context.Context, c adminClient) error {
				var answer admin.Outcomes
				call := apiCall{c, asJSON, cmd.OutOrStdout()}
				if err := call.print(ctx, http.MethodGet, "/v1/messages/"+url.PathEscape(args[0]), nil, &answer); err != nil || asJSON {
					return err
				}
				return printOutcomes(cmd.OutOrStdout(), answer.Outcomes, time.Now())
			})
		},
	}
	where.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the admin HTTP answers")
	return cmd
}

// printOutcomes prints one block per recipient.
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
			{"id", o.ID}, {"message id", message}, {"stanza id", unless(o.StanzaID, o.ID)}, {"from", cmp.Or(o.From, "<>")}, {"to", unless(o.To, o.JID)},
			{"accepted", accepted}, {"listener", o.Listener}, {"made from", o.Part}, {"attempts", strconv.Itoa(o.Attempts)},
			{"ended", ended}, {"node", o.Node}, {"proof", o.Proof}, {"why", o.Reason},
		}
		if err := printBlock(out, i, fmt.Sprintf("%s %s", cmp.Or(o.JID, o.To), o.Outcome), fields); err != nil {
			return err
		}
	}
	return nil
}
