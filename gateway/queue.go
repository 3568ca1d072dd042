package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/admin"
)

func queueCommand() *cobra.Command {
	where := new(target)
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Show, retry, hold, release and drop messages that wait or are dead",
		Long: `The queue of a running gateway: messages that wait for their next attempt
(deferred), that an operator keeps back (held), or that were given up (dead).

What a command is about is said by its flags; where there are several, all of them
hold. An argument is a recipient where it has an @, else an id: the queue id, the
stanza id, or a Message-ID in its angle brackets.

  mcmt2xmpp queue list                             routes, the one with the oldest message first
  mcmt2xmpp queue show alice@localhost             each message with its times
  mcmt2xmpp queue retry --domain chat.example.com  now, not when its time comes
  mcmt2xmpp queue retry --state dead alice@localhost
  mcmt2xmpp queue hold --domain chat.example.com   keep everything for it, also what comes later
  mcmt2xmpp queue drop '<20260301.7@corp.example>'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	where.flags(cmd)
	cmd.AddCommand(
		where.queueList(),
		where.queueShow(),
		where.queueChange(admin.Retry, "retry [ID or RECIPIENT]", "Try what is deferred at once; with --state dead, or an id, what is dead again", messageFlags),
		where.queueChange(admin.Hold, "hold [RECIPIENT]", "Keep back what is for a recipient or domain, now and later", routeFlags),
		where.queueChange(admin.Release, "release [RECIPIENT]", "End a hold, and try at once what it kept back", routeFlags),
		where.queueDrop(),
	)
	return cmd
}

// The fields of a filter that a command takes, each as a flag of that name.
var (
	routeFlags   = []string{"recipient", "domain"}
	messageFlags = append([]string{"id", "state", "reason"}, routeFlags...)
)

// addFilter adds the flags of a filter.
func addFilter(cmd *cobra.Command, names []string) {
	usage := map[string]string{
		"id":        "queue `ID`, stanza id or Message-ID",
		"recipient": "`JID` of the recipient, user@domain",
		"domain":    "`DOMAIN` of the recipients",
		"state":     "`STATE`: deferred, held or dead",
		"reason":    "`TEXT` that the reason holds",
	}
	for _, name := range names {
		cmd.Flags().String(name, "", usage[name])
	}
	if cmd.Flags().Lookup("state") != nil {
		_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"deferred", "held", "dead"}, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.Flags().Bool("json", false, "print what the admin HTTP answers")
	cmd.Args = atMost(1)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
}

// queueCall is a queue command as it was given.
type queueCall struct {
	apiCall
	filter map[string]string // by the names of the flags, which are those of the API
	in     io.Reader
	errs   io.Writer
}

// queue runs do with what the command's flags and argument say.
func (t *target) queue(cmd *cobra.Command, args []string, do func(context.Context, *queueCall) error) error {
	q := &queueCall{filter: make(map[string]string), in: cmd.InOrStdin(), errs: cmd.ErrOrStderr()}
	for _, name := range messageFlags {
		// An empty value is passed on, and refused: it is that of an unset variable.
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			q.filter[name] = f.Value.String()
		}
	}
	if len(args) > 0 {
		name := "id"
		if strings.Contains(args[0], "@") && !strings.HasPrefix(args[0], "<") {
			name = "recipient"
		}
		switch _, twice := q.filter[name]; {
		case twice:
			return fmt.Errorf("%q and --%s: give one %s", args[0], name, name)
		case cmd.Flags().Lookup(name) == nil:
			return fmt.Errorf("%q is not of the form user@domain; a domain is given with --domain", args[0])
		}
		q.filter[name] = args[0]
	}
	return t.running(cmd.Context(), func(ctx context.Context, c adminClient) error {
		asJSON, _ := cmd.Flags().GetBool("json")
		q.apiCall = apiCall{c, asJSON, cmd.OutOrStdout()}
		return do(ctx, q)
	})
}

func (t *target) queueList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list [ID or RECIPIENT]", Short: "List routes, one per line, the one with the oldest message first",
		RunE: func(cmd *cobra.Command, args []string) error { return t.queue(cmd, args, listQueue) },
	}
	addFilter(cmd, messageFlags)
	return cmd
}

func listQueue(ctx context.Context, q *queueCall) error {
	var answer admin.QueueRoutes
	if err := q.get(ctx, "/v1/queue", nil, &answer); err != nil {
		return err
	}
	if len(answer.Routes) > 0 && !q.json {
		return printRoutes(q.out, answer.Routes, time.Now())
	}
	return q.found(len(answer.Routes))
}

func (t *target) queueShow() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "show [ID or RECIPIENT]", Short: "Show messages with their times, the oldest first",
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.queue(cmd, args, func(ctx context.Context, q *queueCall) error { return showQueue(ctx, q, limit) })
		},
	}
	addFilter(cmd, messageFlags)
	cmd.Flags().IntVar(&limit, "limit", 100, "show at most `N` messages, up to 1000")
	return cmd
}

func showQueue(ctx context.Context, q *queueCall, limit int) error {
	var answer admin.QueueMessages
	if err := q.get(ctx, "/v1/queue/messages", url.Values{"limit": {strconv.Itoa(limit)}}, &answer); err != nil {
		return err
	}
	if !q.json {
		if err := printMessages(q.out, answer.Messages, time.Now()); err != nil {
			return err
		}
		if answer.More {
			fmt.Fprintf(q.errs, "these are the first %d, there are more: see --limit\n", len(answer.Messages))
		}
	}
	return q.found(len(answer.Messages))
}

// get reads a path for the filter, and prints the answer for --json.
func (q *queueCall) get(ctx context.Context, path string, query url.Values, answer any) error {
	if query == nil {
		query = make(url.Values)
	}
	for name, value := range q.filter {
		query.Set(name, value)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return q.print(ctx, http.MethodGet, path, nil, answer)
}

// found is the error of a command that found n: that there is nothing, where
// something was sought. That the whole queue is empty is good news.
func (q *queueCall) found(n int) error {
	switch {
	case n > 0:
		return nil
	case len(q.filter) > 0:
		return fmt.Errorf("nothing in the queue has %s", q.sought())
	case !q.json:
		fmt.Fprintln(q.errs, "the queue is empty")
	}
	return nil
}

// sought is the filter in words.
func (q *queueCall) sought() string {
	var all []string
	for _, name := range messageFlags {
		if value, ok := q.filter[name]; ok {
			all = append(all, name+" "+value)
		}
	}
	return strings.Join(all, ", ")
}
