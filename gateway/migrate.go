package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
)

// exitLost is the status of a migration that has left something out.
const exitLost = 2

func migrateCommand() *cobra.Command {
	where := new(target)
	var rosters string
	cmd := jsonFlag(&cobra.Command{
		Use:   "migrate FILE | migrate --rosters PATH",
		Short: "Make a configuration, or rosters, of those of the system being replaced",
		Long: `Read a configuration file of the system being replaced (ecelerity.conf) and print
the one for this gateway, which check accepts. What is left out, changed or to be
looked at goes to stderr, each with its place and why. Status 0: all was kept; 2:
something was left out, or has no effect in this version; 1: nothing was printed.

  mcmt2xmpp migrate ecelerity.conf > mcmt2xmpp.conf

--rosters imports roster records into a running gateway, which has to have the
accounts: a folder with one JSON file for each account, called by its bare JID
(with or without .json), or one file in which each record stands under its JID. Contacts
that are there stay. Status 2: some were refused.

  mcmt2xmpp migrate --rosters /var/backups/riak/xmpp`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, _ := cmd.Flags().GetBool("json")
			switch {
			case rosters != "" && len(args) > 0:
				return errors.New("a file and --rosters are two migrations: one after the other")
			case rosters != "":
				return where.importRosters(cmd, rosters, asJSON)
			case len(args) == 0:
				return errors.New("FILE is missing: mcmt2xmpp migrate FILE")
			}
			m, err := config.Migrate(args[0], app.CheckScripts)
			if err != nil {
				return err
			}
			return printMigration(cmd.OutOrStdout(), cmd.ErrOrStderr(), m, asJSON)
		},
	})
	where.flags(cmd)
	cmd.Flags().StringVar(&rosters, "rosters", "", "import the roster records of a folder or file at `PATH`")
	return cmd
}

// migrationFinding is a finding as JSON has it.
type migrationFinding struct {
	Kind   string `json:"kind"` // left out, no effect, changed or look at
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	What   string `json:"what"`
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
}

// printMigration prints the new file, and to errs what is to be known of it.
func printMigration(out, errs io.Writer, m *config.Migration, asJSON bool) error {
	if asJSON {
		found := make([]migrationFinding, len(m.Found))
		for i, f := range m.Found {
			found[i] = migrationFinding{f.Kind.String(), f.Pos.File, f.Pos.Line, f.Pos.Column, f.What, f.Reason, f.Hint}
		}
		if err := json.NewEncoder(out).Encode(map[string]any{"text": string(m.Text), "kept": m.Kept, "lost": m.Lost(), "findings": found}); err != nil {
			return err
		}
		return lost(m.Lost())
	}
	for _, f := range m.Found {
		fmt.Fprintln(errs, f)
	}
	fmt.Fprintf(errs, "%d kept, %d left out or without effect\n", m.Kept, m.Lost())
	if _, err := out.Write(m.Text); err != nil {
		return err
	}
	return lost(m.Lost())
}

// lost is the error of a migration that has lost n things, which are printed.
func lost(n int) error {
	if n == 0 {
		return nil
	}
	return exitError{exitLost}
}
