// Command mcmt2xmpp takes multi-channel messages (MCMT) over SMTP and HTTP,
// keeps custody of them in NATS JetStream, converts them to XMPP, filters
// chat-state noise and delivers them to Jabber clients.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main with the exit code as a value, so that deferred calls run.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends a program that does not come to its end
	cmd := root()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	var reported reportedError
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &reported):
		return 1 // the command has said everything already
	case errors.As(err, &exit):
		return exit.status
	default:
		fmt.Fprintln(os.Stderr, "mcmt2xmpp:", err)
		return 1
	}
}

// reportedError is a failure that the command has shown to the user in its own
// words.
type reportedError struct{ error }

// exitError is an end with a status of its own, of which all has been said.
type exitError struct{ status int }

func (e exitError) Error() string { return fmt.Sprintf("status %d", e.status) }

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "mcmt2xmpp",
		Short:         "Gateway from multi-channel mobile messages (MCMT) to Jabber (XMPP)",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.AddCommand(demoCommand(), serveCommand(), checkCommand(), convertCommand(), sendCommand(), traceCommand(), queueCommand(), userCommand(),
		rosterCommand(), s2sCommand(), filtersCommand(), webhookCommand(), benchCommand(), reloadCommand(), migrateCommand(), healthCommand(),
		versionCommand(), manCommand())
	completeNames(cmd)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
	for _, c := range cmd.Commands() {
		c.DisableFlagsInUseLine = true // the usage lines name those that matter
		for _, sub := range c.Commands() {
			sub.DisableFlagsInUseLine = true
		}
	}
	return cmd
}
