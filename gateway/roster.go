package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/app"
)

func rosterCommand() *cobra.Command {
	where := new(target)
	cmd := &cobra.Command{
		Use:   "roster",
		Short: "Show and import the rosters of accounts",
		Long: `Rosters of accounts, as JSON records. The commands talk to a running gateway by
the admin address of its configuration. Resources that are online learn of each
change.

  echo '{"bob@localhost":{"name":"Bob","groups":["Work"],"subscription":"both"}}' |
    mcmt2xmpp roster import alice@localhost`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	where.flags(cmd)
	cmd.AddCommand(where.rosterGet(), where.rosterImport())
	return cmd
}

func (t *target) rosterGet() *cobra.Command {
	return &cobra.Command{
		Use: "get JID", Short: "Print the roster of an account", Args: exactly("JID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := t.roster(cmd.Context(), http.MethodGet, args[0], nil)
			if err != nil {
				return err
			}
			var out bytes.Buffer
			if err := json.Indent(&out, record, "", "  "); err != nil {
				return fmt.Errorf("the answer is not that of a gateway: %w", err)
			}
			_, err = out.WriteTo(cmd.OutOrStdout())
			return err
		},
	}
}

func (t *target) rosterImport() *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use: "import JID [FILE]", Short: "Add the contacts of a record to the roster of an account",
		Long: `Adds the contacts of a record, from FILE or stdin, to the roster of an account. A
contact that is there already becomes what the record says; others stay, unless
--replace is given.`,
		Args: cobra.MatchAll(cobra.MinimumNArgs(1), cobra.MaximumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := readRecord(cmd.InOrStdin(), args[1:])
			if err != nil {
				return err
			}
			method := http.MethodPost
			if replace {
				method = http.MethodPut
			}
			_, err = t.roster(cmd.Context(), method, args[0], record)
			return err
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "remove all other contacts")
	return cmd
}

// readRecord reads the file that is named, or stdin where none is.
func readRecord(stdin io.Reader, file []string) ([]byte, error) {
	if len(file) > 0 && file[0] != "-" {
		return os.ReadFile(file[0])
	}
	return io.ReadAll(stdin)
}

// roster makes a request about the roster of an account, and returns the answer.
func (t *target) roster(ctx context.Context, method, address string, record []byte) ([]byte, error) {
	user, err := account(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := t.client()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+rosterPath(user), bytes.NewReader(record))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode >= 300:
		return nil, fmt.Errorf("%s: %w", c.base, refusal(resp, answer))
	}
	return answer, nil
}

// client reaches the gateway that the flags name.
func (t *target) client() (adminClient, error) {
	if t.admin != "" {
		return newAdminClient(app.Admin{URL: t.admin}), nil
	}
	cfg, err := loadConfig(t.config)
	if err != nil {
		return adminClient{}, reportDiagnostics(os.Stderr, err)
	}
	where, ok := app.FindAdmin(cfg)
	if !ok {
		return adminClient{}, errors.New("the configuration has no control_listener with an address of its own: give --admin URL")
	}
	return newAdminClient(where), nil
}
