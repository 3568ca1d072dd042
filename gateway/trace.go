package main

import (
	"context"
	"errors"
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
	s := search{fields: make(url.Values)}
	cmd := &cobra.Command{
		Use:   "trace [ID]",
		Short: "Show the life of a message, or find messages",
		Long: `The life of a message step by step, for each of its recipients, as a running
gateway knows it. ID is a queue id (the one in the answer to whoever handed the
message in), a Message-ID, a stanza id, or a recipient's JID or address for all that
is known of theirs.

  mcmt2xmpp trace 1j1730fe4pjq506j3pi5d7t
  mcmt2xmpp trace '<20260301.7@corp.example>'
  mcmt2xmpp trace alice@localhost

Without an ID messages are listed that were under way in a window in time, those that
have ended in the order of their end and then the others. The status is 1 when there
are none.

  mcmt2xmpp trace --since 1h --domain chat.example.com --outcome failed
  mcmt2xmpp trace --from news@corp.example --since 2026-03-01T12:00:00Z --until 2026-03-01T13:00:00Z`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.read(cmd)
			switch {
			case len(args) == 0 && len(s.fields) == 0:
				return errors.New("ID is missing: mcmt2xmpp trace ID, or say which messages: --since 1h")
			case len(args) == 1 && len(s.fields) > 0:
				return errors.New("an ID and flags that say which messages exclude each other")
			case len(args) == 1 && args[0] == "":
				return errors.New("ID is empty") // an unset variable; the path would be another
			}
			return where.running(cmd.Context(), func(ctx context.Context, c adminClient) error {
				call := apiCall{c, asJSON, cmd.OutOrStdout()}
				if len(args) == 0 {
					return s.print(ctx, call)
				}
				var answer admin.Outcomes
				if err := call.print(ctx, http.MethodGet, "/v1/messages/"+url.PathEscape(args[0]), nil, &answer); err != nil || asJSON {
					return err
				}
				return printOutcomes(cmd.OutOrStdout(), answer.Outcomes, time.Now())
			})
		},
	}
	where.flags(cmd)
	s.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the admin HTTP answers")
	return cmd
}

// search says which messages are looked for.
type search struct{ fields url.Values }

// searchFlags are the parameters of the search, and what help says of them.
var searchFlags = []struct{ name, doc string }{
	{"since", "under way at or after this `TIME`: 2026-03-01T12:00:00Z, or how long ago, such as 90m, 12h or 7d"},
	{"until", "accepted before this `TIME`"},
	{"domain", "recipient's `DOMAIN`"},
	{"outcome", "`OUTCOME`: delivered, filtered, relayed, failed, expired, dropped; or waiting, deferred, held"},
	{"from", "sender's `ADDRESS` or JID"},
	{"to", "recipient's `ADDRESS` or JID"},
	{"limit", "list at most this `NUMBER`; default 100"},
	{"after", "go on where an earlier answer says `NEXT`"},
}

func (s search) flags(cmd *cobra.Command) {
	for _, f := range searchFlags {
		cmd.Flags().String(f.name, "", f.doc)
	}
}

// read takes the flags that were given.
func (s search) read(cmd *cobra.Command) {
	for _, f := range searchFlags {
		if cmd.Flags().Changed(f.name) {
			s.fields.Set(f.name, cmd.Flags().Lookup(f.name).Value.String())
		}
	}
}

// print lists the messages that are found. A gateway that has looked at many and found
// few is asked to go on.
func (s search) print(ctx context.Context, call apiCall) error {
	var all admin.Outcomes
	if call.json {
		return call.print(ctx, http.MethodGet, "/v1/messages?"+s.fields.Encode(), nil, &all)
	}
	limit := 100
	if n, err := strconv.Atoi(s.fields.Get("limit")); err == nil {
		limit = n
	}
	for {
		var answer admin.Outcomes
		if err := call.print(ctx, http.MethodGet, "/v1/messages?"+s.fields.Encode(), nil, &answer); err != nil {
			return err
		}
		all.Outcomes, all.Next = append(all.Outcomes, answer.Outcomes...), answer.Next
		if left := limit - len(all.Outcomes); left <= 0 || answer.Next == "" {
			break
		}
		s.fields.Set("after", answer.Next)
		s.fields.Set("limit", strconv.Itoa(limit-len(all.Outcomes)))
	}
	if len(all.Outcomes) == 0 {
		return errors.New("no such message is known")
	}
	return printFound(call.out, all, time.Now())
}
