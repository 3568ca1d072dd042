package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/admin"
)

func webhookCommand() *cobra.Command {
	where := new(target)
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Show, retry and replay what webhooks hear of messages",
		Long: `The receivers that a running gateway tells how messages end: how far each has got, and why
one does not get further.

  mcmt2xmpp webhook list
  mcmt2xmpp webhook retry crm              now, not when its time comes; also one that was given up
  mcmt2xmpp webhook replay crm --since 2h  what was recorded since then, once more`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	where.flags(cmd)
	cmd.AddCommand(where.webhookList(), where.webhookRetry(), where.webhookReplay())
	return cmd
}

func (t *target) webhookList() *cobra.Command {
	return jsonFlag(&cobra.Command{
		Use: "list", Short: "List receivers, how far each has got, and why no further", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.webhook(cmd, func(ctx context.Context, c apiCall) error {
				var list admin.WebhookList
				if err := c.print(ctx, http.MethodGet, "/v1/webhooks", nil, &list); err != nil || c.json {
					return err
				}
				all := list.Webhooks
				if list.Stream != nil {
					all = append([]admin.Webhook{*list.Stream}, all...)
				}
				if len(all) == 0 {
					_, err := fmt.Fprintln(c.out, "no webhooks")
					return err
				}
				return printWebhooks(c.out, all, time.Now())
			})
		},
	})
}

// webhook runs do against the gateway.
func (t *target) webhook(cmd *cobra.Command, do func(context.Context, apiCall) error) error {
	return t.running(cmd.Context(), func(ctx context.Context, c adminClient) error {
		asJSON, _ := cmd.Flags().GetBool("json")
		return do(ctx, apiCall{c, asJSON, cmd.OutOrStdout()})
	})
}

// printWebhooks prints one line per receiver, and below them why one gets nothing.
func printWebhooks(out io.Writer, all []admin.Webhook, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WEBHOOK\tSTATE\tSENT\tFAILED\tBEHIND\tOLDEST\tTAKEN\tURL")
	for _, h := range all {
		ago := func(t time.Time) string {
			if t.IsZero() {
				return "-"
			}
			return span(now.Sub(t))
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", printable(h.Name), h.State, h.Sent, h.Failed, h.Behind, ago(h.Oldest), ago(h.Took), cmp.Or(printable(h.URL), "-"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i, h := range all {
		if err := printTrouble(out, i, h, now); err != nil {
			return err
		}
	}
	return nil
}

// printTrouble prints what keeps a receiver from having everything.
func printTrouble(out io.Writer, number int, h admin.Webhook, now time.Time) error {
	if h.Tries == 0 && h.GivenUp == "" && h.Passed == 0 && h.Missed == 0 && h.Replay == 0 {
		return nil
	}
	count := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	fields := []field{
		{"failing since", when(h.Failing, now)}, {"given up", h.GivenUp},
		{"passed over", count(h.Passed)}, {"missed", count(h.Missed)}, {"to be replayed", count(h.Replay)},
	}
	if h.Tries > 0 {
		fields = append(fields, field{"attempts", strconv.Itoa(h.Tries)}, field{"answer", h.Answer}, field{"next", when(h.Next, now)})
	}
	return printBlock(out, number+1, h.Name, fields)
}

func (t *target) webhookRetry() *cobra.Command {
	return jsonFlag(&cobra.Command{
		Use: "retry NAME", Short: "Try a receiver now, also one that was given up", Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.callWebhook(cmd, args[0], "retry", nil, "is tried now")
		},
	})
}

func (t *target) webhookReplay() *cobra.Command {
	var since, until string
	cmd := jsonFlag(&cobra.Command{
		Use: "replay NAME", Short: "Send a receiver once more what was recorded in some time", Args: exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := make(url.Values)
			for name, text := range map[string]string{"since": since, "until": until} {
				at, err := moment(text, time.Now())
				if err != nil {
					return fmt.Errorf("--%s: %w", name, err)
				}
				if text != "" {
					query.Set(name, at.Format(time.RFC3339Nano))
				}
			}
			return t.callWebhook(cmd, args[0], "replay", query, "gets it once more")
		},
	})
	cmd.Flags().StringVar(&since, "since", "", "`TIME` of the first, as 2026-11-28T08:00:00Z or as 2h for two hours ago; where it is not given all that is recorded")
	cmd.Flags().StringVar(&until, "until", "", "`TIME` of the last; where it is not given now")
	return cmd
}

// moment reads a time, or how long ago it is. Zero: the text is empty.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time: write 2026-11-28T08:00:00Z, or 2h for two hours ago", text)
	}
	return at, nil
}

func (t *target) callWebhook(cmd *cobra.Command, name, action string, query url.Values, become string) error {
	return t.webhook(cmd, func(ctx context.Context, c apiCall) error {
		path := "/v1/webhooks/" + url.PathEscape(name) + ":" + action
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
		var h admin.Webhook
		if err := c.print(ctx, http.MethodPost, path, nil, &h); err != nil || c.json {
			return err
		}
		_, err := fmt.Fprintf(c.out, "%s %s\n", printable(h.Name), become)
		return err
	})
}
