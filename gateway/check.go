package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
)

func checkCommand() *cobra.Command {
	var file string
	var effective, asJSON bool
	cmd := &cobra.Command{
		Use:   "check [-c FILE] [--effective [SCOPE]]",
		Short: "Validate a configuration, or show which value each option takes and why",
		Long: `Validate a configuration and print every mistake with its file, line and column,
the line itself and a hint. Exit status 1 on a mistake.

--effective prints the value that each option takes in a scope and where it was
set. A scope is named as in the file, if need be with those around it; without a
name all scopes are shown. An address after peer stands for the peer scope that
it falls into.

  mcmt2xmpp check -c FILE --effective global
  mcmt2xmpp check -c FILE --effective xmpp_listener listen '*:5222'
  mcmt2xmpp check -c FILE --effective listen '*:25' peer 192.0.2.7`,
		Args: func(cmd *cobra.Command, args []string) error {
			if effective {
				return nil
			}
			return noFile(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(file)
			if err == nil && effective {
				var all []config.EffectiveOption
				if all, err = cfg.Effective(strings.Join(args, " ")); err == nil {
					return printEffective(cmd.OutOrStdout(), all, asJSON)
				}
			}
			if err == nil {
				var found config.Diagnostics
				if found, err = app.CheckScripts(cfg); err == nil {
					cfg.Warnings = append(cfg.Warnings, found...)
				}
			}
			if asJSON {
				return printFindings(cmd.OutOrStdout(), cfg, err)
			}
			if err != nil {
				return reportDiagnostics(cmd.ErrOrStderr(), err)
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), w)
			}
			return printSummary(cmd.OutOrStdout(), file, cfg)
		},
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if !effective {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeScope(file, args), cobra.ShellCompDirectiveNoFileComp
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&effective, "effective", false, "print the options in force in SCOPE, or in all scopes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// noFile refuses arguments and guesses what they are meant to be.
func noFile(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("a file is given with -c: %s -c %s", cmd.CommandPath(), args[0])
}

func printSummary(w io.Writer, file string, cfg *config.Config) error {
	if file == "" {
		file = "embedded default"
	}
	listeners := 0
	for _, l := range cfg.Listeners {
		if app.Served(l) {
			listeners++
		}
	}
	domains := strings.Join(cfg.ServedDomains(), ", ")
	if domains == "" {
		domains = "none"
	}
	_, err := fmt.Fprintf(w, "%s: valid; listeners: %d; domains: %s\n", file, listeners, domains)
	return err
}

// finding is a diagnostic as JSON has it.
type finding struct {
	Severity string `json:"severity"` // error, warning or note
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Message  string `json:"message"`
	Excerpt  string `json:"excerpt,omitempty"`
	Hint     string `json:"hint,omitempty"`
}

// printFindings prints all that there is to say about a configuration, which is
// nil where err says why it did not load.
func printFindings(w io.Writer, cfg *config.Config, err error) error {
	var all config.Diagnostics
	switch {
	case err != nil && !errors.As(err, &all):
		return err
	case err == nil:
		all = cfg.Warnings
	}
	findings := make([]finding, len(all))
	severities := map[config.Severity]string{config.SeverityError: "error", config.SeverityWarning: "warning", config.SeverityNote: "note"}
	for i, d := range all {
		findings[i] = finding{severities[d.Severity], d.Pos.File, d.Pos.Line, d.Pos.Column, d.Message, d.Line, d.Hint}
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"valid": err == nil, "findings": findings}); err != nil {
		return err
	}
	if err != nil {
		return reportedError{err}
	}
	return nil
}

// printEffective prints what each option amounts to.
func printEffective(w io.Writer, all []config.EffectiveOption, asJSON bool) error {
	if asJSON {
		return printEffectiveJSON(w, all)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	last := ""
	for _, o := range all {
		if o.Scope != last {
			fmt.Fprintf(table, "%s\n", o.Scope)
			last = o.Scope
		}
		value, from := o.Value, "default"
		if value == "" && o.Note != "" {
			value = "(" + o.Note + ")"
		}
		if o.From != (config.Position{}) {
			from = o.From.String()
		}
		if o.Planned {
			from += ", not in effect in this version"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", o.Option, value, from)
	}
	return table.Flush()
}

// effectiveOption is what an option amounts to as JSON has it.
type effectiveOption struct {
	Scope   string `json:"scope"`
	Option  string `json:"option"`
	Value   string `json:"value"`
	From    string `json:"from,omitempty"` // file:line:column; the default where it is not there
	Within  string `json:"within,omitempty"`
	Note    string `json:"note,omitempty"`
	Planned bool   `json:"planned,omitempty"`
}

func printEffectiveJSON(w io.Writer, all []config.EffectiveOption) error {
	out := make([]effectiveOption, len(all))
	for i, o := range all {
		out[i] = effectiveOption{Scope: o.Scope, Option: o.Option, Value: o.Value, Within: o.Within, Note: o.Note, Planned: o.Planned}
		if o.From != (config.Position{}) {
			out[i].From = o.From.String()
		}
	}
	return json.NewEncoder(w).Encode(out)
}
