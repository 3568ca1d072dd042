package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
)

func userCommand() *cobra.Command {
	where := new(target)
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Accounts of the built-in store",
		Long: `Accounts of the built-in store. The commands talk to a running gateway by its
admin address, or open the data folder of a stopped one. A password is asked for
on a terminal, or read as one line from stdin; it is never an argument.`,
	}
	where.flags(cmd)
	act := func(use, short string, do func(ctx context.Context, a accounts, user jid.JID, cmd *cobra.Command) error) *cobra.Command {
		return &cobra.Command{
			Use: use, Short: short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				user, err := jid.Parse(args[0])
				if err != nil || user.Local() == "" || !user.IsBare() {
					return fmt.Errorf("%q is not of the form user@domain", args[0])
				}
				return where.with(cmd.Context(), func(a accounts) error { return do(cmd.Context(), a, user, cmd) })
			},
		}
	}
	list := &cobra.Command{
		Use: "list", Short: "List accounts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return where.with(cmd.Context(), func(a accounts) error {
				return listUsers(cmd.Context(), a, cmd.OutOrStdout(), asJSON)
			})
		},
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(
		act("add JID", "Add an account", func(ctx context.Context, a accounts, user jid.JID, cmd *cobra.Command) error {
			password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return a.Add(ctx, user, password)
		}),
		act("passwd JID", "Change the password of an account", func(ctx context.Context, a accounts, user jid.JID, cmd *cobra.Command) error {
			password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return a.SetPassword(ctx, user, password)
		}),
		act("remove JID", "Remove an account", func(ctx context.Context, a accounts, user jid.JID, _ *cobra.Command) error {
			return a.Remove(ctx, user)
		}),
		list,
	)
	return cmd
}

type accounts = admin.Accounts

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
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		ask := func(question string) (string, error) {
			fmt.Fprint(prompt, question)
			b, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(prompt)
			return string(b), err
		}
		first, err := ask("Password: ")
		if err != nil {
			return "", err
		}
		second, err := ask("Again: ")
		if err != nil {
			return "", err
		}
		if first != second {
			return "", errors.New("the passwords differ")
		}
		return first, nil
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

// target says which gateway a command is about.
type target struct{ config, admin, token string }

func (t *target) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&t.config, "config", "c", "", "configuration file of the gateway")
	cmd.PersistentFlags().StringVar(&t.admin, "admin", "", "URL of the admin HTTP, such as http://127.0.0.1:8026")
	cmd.PersistentFlags().StringVar(&t.token, "token", "", "bearer token of the admin HTTP")
}

// with calls do with the accounts of a running gateway, or with those in the
// data folder when no gateway answers.
func (t *target) with(ctx context.Context, do func(accounts) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cfg, err := loadConfig(t.config)
	if err != nil {
		return reportDiagnostics(os.Stderr, err)
	}
	base := t.admin
	if base == "" {
		base = app.AdminURL(cfg)
	}
	if base != "" {
		client := adminClient{base: base, token: t.token}
		_, err := client.List(ctx)
		switch {
		case err == nil:
			return do(client)
		case t.admin != "" || !errors.Is(err, syscall.ECONNREFUSED):
			return err
		}
	}
	return app.WithAccounts(ctx, cfg, newLogger(cfg.Log), func(a *store.Builtin) error { return do(a) })
}

// adminClient are the accounts behind the admin HTTP.
type adminClient struct{ base, token string }

func (c adminClient) Add(ctx context.Context, user jid.JID, password string) error {
	return c.call(ctx, http.MethodPost, "", admin.User{JID: user.String(), Password: password}, nil)
}

func (c adminClient) SetPassword(ctx context.Context, user jid.JID, password string) error {
	return c.call(ctx, http.MethodPut, user.String(), admin.User{JID: user.String(), Password: password}, nil)
}

func (c adminClient) Remove(ctx context.Context, user jid.JID) error {
	return c.call(ctx, http.MethodDelete, user.String(), nil, nil)
}

func (c adminClient) List(ctx context.Context) ([]jid.JID, error) {
	var users []admin.User
	if err := c.call(ctx, http.MethodGet, "", nil, &users); err != nil {
		return nil, err
	}
	all := make([]jid.JID, len(users))
	for i, u := range users {
		j, err := jid.Parse(u.JID)
		if err != nil {
			return nil, fmt.Errorf("account %q: %w", u.JID, err)
		}
		all[i] = j
	}
	return all, nil
}

// call makes one request to /v1/users and decodes the answer into out unless
// that is nil.
func (c adminClient) call(ctx context.Context, method, user string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	target := strings.TrimRight(c.base, "/") + "/v1/users"
	if user != "" {
		target += "/" + url.PathEscape(user)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		var p struct {
			Detail string `json:"detail"`
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&p); err != nil || p.Detail == "" {
			p.Detail = resp.Status
		}
		return errors.New(p.Detail)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
