package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/admin"
)

// queueChange is a command that does a to what it is told, and only to that.
func (t *target) queueChange(a admin.QueueAction, use, short string, flags []string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.queue(cmd, args, func(ctx context.Context, q *queueCall) error { return q.change(ctx, a, all) })
		},
	}
	addFilter(cmd, flags)
	cmd.Flags().BoolVar(&all, "all", false, "no filter: everything is meant")
	return cmd
}

// done says what has become of so many messages or routes.
func done(a admin.QueueAction, n int) string {
	what, is := "message", "is"
	if a == admin.Hold || a == admin.Release {
		what = "route"
	}
	if n != 1 {
		what, is = what+"s", "are"
	}
	become := map[admin.QueueAction]string{admin.Retry: "tried again", admin.Hold: "held", admin.Release: "released", admin.Drop: "dropped"}
	return fmt.Sprintf("%d %s %s %s", n, what, is, become[a])
}

// change does a to what the filter selects.
func (q *queueCall) change(ctx context.Context, a admin.QueueAction, all bool) error {
	if err := q.chosen(all); err != nil {
		return err
	}
	body := make(map[string]any)
	for name, value := range q.filter {
		body[name] = value
	}
	if all {
		body["all"] = true
	}
	var answer admin.QueueAffected
	if err := q.print(ctx, http.MethodPost, "/v1/queue:"+string(a), body, &answer); err != nil {
		return err
	}
	if answer.Affected == 0 {
		return q.untouched(a)
	}
	if !q.json {
		fmt.Fprintln(q.out, done(a, answer.Affected))
	}
	return nil
}

// chosen wants either a filter or that everything is meant.
func (q *queueCall) chosen(all bool) error {
	if all != (len(q.filter) == 0) {
		if all {
			return fmt.Errorf("--all and %s: give one of them", q.sought())
		}
		return errors.New("say what is meant, by an argument or a flag; --all for everything")
	}
	return nil
}

// untouched is the error of a change that concerned nothing.
func (q *queueCall) untouched(a admin.QueueAction) error {
	what := map[admin.QueueAction]string{admin.Retry: "is deferred", admin.Hold: "is in the queue", admin.Release: "is held", admin.Drop: "is in the queue"}[a]
	if q.filter["state"] != "" || q.filter["id"] != "" {
		what = "is in the queue"
	}
	if len(q.filter) > 0 {
		what += " that has " + q.sought()
	}
	if a == admin.Retry && q.filter["state"] == "" && q.filter["id"] == "" {
		what += "; for what is dead give --state dead"
	}
	return errors.New("nothing " + what)
}

func (t *target) queueDrop() *cobra.Command {
	var yes bool
	cmd := t.queueChange(admin.Drop, "drop [ID or RECIPIENT]", "Delete messages for good; nobody is told", messageFlags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		all, _ := cmd.Flags().GetBool("all")
		return t.queue(cmd, args, func(ctx context.Context, q *queueCall) error {
			if err := q.chosen(all); err != nil {
				return err
			}
			if !yes {
				if err := q.confirm(ctx); err != nil {
					return err
				}
			}
			return q.change(ctx, admin.Drop, all)
		})
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// confirm asks on a terminal whether the messages are really meant. Elsewhere one
// message needs no answer, and several need --yes.
func (q *queueCall) confirm(ctx context.Context) error {
	quiet := *q
	quiet.json = false
	var answer admin.QueueRoutes
	if err := quiet.get(ctx, "/v1/queue", nil, &answer); err != nil {
		return err
	}
	n := 0
	for _, r := range answer.Routes {
		n += r.Messages
	}
	_, asks := terminal(q.in)
	switch {
	case n == 0:
		return q.untouched(admin.Drop)
	case !asks && n > 1:
		return fmt.Errorf("%s: --yes says that this is meant", summary(answer.Routes))
	case !asks:
		return nil
	}
	signal.Reset(os.Interrupt) // nothing has begun: Ctrl-C ends the program, which is about to wait for a line
	fmt.Fprintf(q.errs, "%s. Drop for good? [y/N] ", summary(answer.Routes))
	line, err := bufio.NewReader(io.LimitReader(q.in, 1<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if reply := strings.ToLower(strings.TrimSpace(line)); reply != "y" && reply != "yes" {
		return errors.New("nothing was dropped")
	}
	return nil
}
