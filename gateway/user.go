package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mcmt2xmpp/xmpp/jid"
)

func userCommand() *cobra.Command {
	where := new(target)
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, change, remove and list accounts of the built-in store",
		Long: `Accounts of the built-in store. The commands talk to a running gateway by the
admin address of its configuration, or open the data folder of a stopped one. A
password is asked for on a terminal, or read as one line from stdin; it is never
an argument.

  echo secret | mcmt2xmpp user add alice@localhost`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	where.flags(cmd)
	cmd.AddCommand(
		where.withPassword("add JID", "Add an account", true, accounts.Add),
		where.withPassword("passwd JID", "Change the password of an account", false, accounts.SetPassword),
		where.removeCommand(),
		where.listCommand(),
	)
	return cmd
}

// withPassword is a command that gives an account a password.
func (t *target) withPassword(use, short string, fresh bool, do func(accounts, context.Context, jid.JID, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: exactly("JID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			user, err := account(args[0])
			if err != nil {
				return err
			}
			password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return t.with(cmd.Context(), fresh, func(ctx context.Context, a accounts) error { return do(a, ctx, user, password) })
		},
	}
}

func (t *target) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove JID", Short: "Remove an account and end its sessions", Args: exactly("JID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			user, err := account(args[0])
			if err != nil {
				return err
			}
			return t.with(cmd.Context(), false, func(ctx context.Context, a accounts) error { return a.Remove(ctx, user) })
		},
	}
}

func (t *target) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List accounts, one per line", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd.Context(), false, func(ctx context.Context, a accounts) error {
				return listUsers(ctx, a, cmd.OutOrStdout(), asJSON)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list")
	return cmd
}

// exactly wants the arguments that are named.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s is missing: %s", names[len(args)], cmd.UseLine())
		}
		return atMost(len(names))(cmd, args)
	}
}

// atMost wants no more than n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return fmt.Errorf("%q is too much: %s", args[n], cmd.UseLine())
		}
		return nil
	}
}

// account reads the address of an account.
func account(s string) (jid.JID, error) {
	user, err := jid.Parse(s)
	if err != nil {
		return jid.JID{}, fmt.Errorf("%q is not of the form user@domain: %w", s, err)
	}
	if user.Local() == "" || !user.IsBare() {
		return jid.JID{}, fmt.Errorf("%q is not of the form user@domain", s)
	}
	return user, nil
}

func listUsers(ctx context.Context, a accounts, out io.Writer, asJSON bool) error {
	all, err := a.List(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(all))
	for i, j := range all {
		names[i] = j.String()
	}
	if asJSON {
		return json.NewEncoder(out).Encode(names)
	}
	for _, name := range names {
		fmt.Fprintln(out, name)
	}
	return nil
}

// readPassword asks twice on a terminal, and reads one line elsewhere.
func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	if fd, ok := terminal(in); ok {
		return askPassword(fd, prompt)
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("no password: give it as one line on stdin")
	}
	return line, nil
}

// terminal returns the descriptor of a terminal, and false where in is none.
func terminal(in io.Reader) (fd int, ok bool) {
	f, ok := in.(*os.File)
	if !ok {
		return 0, false
	}
	fd = int(f.Fd())
	return fd, term.IsTerminal(fd)
}

func askPassword(fd int, prompt io.Writer) (string, error) {
	ask := func(question string) (string, error) {
		fmt.Fprint(prompt, question)
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(prompt)
		return string(b), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask("Again: ")
	switch {
	case err != nil:
		return "", err
	case first != second:
		return "", errors.New("the passwords differ")
	case first == "":
		return "", errors.New("no password")
	}
	return first, nil
}
