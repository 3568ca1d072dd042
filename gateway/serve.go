package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
)

func serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve [-c FILE]",
		Short: "Run the gateway; without a file with the embedded default configuration",
		Long: `Run the gateway until SIGINT or SIGTERM.

Without a file everything listens on loopback: SMTP 2525, HTTP 8025, admin 8026,
Jabber clients 5222, and the data lie in ./mcmt2xmpp-data. SIGHUP reloads the
configuration and the certificates; an invalid file is refused and the old
configuration stays.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return reportDiagnostics(cmd.ErrOrStderr(), err)
			}
			log := newLogger(cfg.Log)
			for _, w := range cfg.Warnings {
				if w.Severity == config.SeverityWarning {
					log.Warn().Str("at", w.Pos.String()).Msg(w.Message)
				}
			}
			a := app.New(app.Options{Config: cfg, Log: log, Version: version()})
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			return serve(cmd.Context(), a, hup, func() (*config.Config, error) { return loadConfig(file) })
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	return cmd
}

// serve runs a until ctx ends and reloads at each signal on hup.
func serve(ctx context.Context, a *app.App, hup <-chan os.Signal, load func() (*config.Config, error)) error {
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case <-hup:
			a.Reload(load())
		}
	}
}

// loadConfig reads file, or the embedded default where it is empty.
func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return config.Default()
	}
	return config.Load(file)
}

// reportDiagnostics prints every finding of a configuration that did not load.
func reportDiagnostics(w io.Writer, err error) error {
	fmt.Fprintln(w, err)
	return reportedError{err}
}

func checkCommand() *cobra.Command {
	var file string
	var effective, asJSON bool
	cmd := &cobra.Command{
		Use:   "check [-c FILE] [--effective [SCOPE]]",
		Short: "Validate a configuration, or show which value each option takes and why",
		Long: `Validate a configuration and print every mistake with its file, line and column,
the line itself and a hint. Exit status 1 on a mistake.

--effective prints the value that each option takes in a scope and where it was
set. A scope is named as in the file, if need be with those around it:
  mcmt2xmpp check -c FILE --effective global
  mcmt2xmpp check -c FILE --effective 'xmpp_listener listen *:5222'
Without a name all scopes are shown.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if effective {
				return cobra.MaximumNArgs(1)(cmd, args)
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return reportDiagnostics(cmd.OutOrStdout(), err)
			}
			out := cmd.OutOrStdout()
			if effective {
				return printEffective(out, cfg, strings.Join(args, ""), asJSON)
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(out, w)
			}
			name := file
			if name == "" {
				name = "embedded default"
			}
			_, err = fmt.Fprintf(out, "%s: valid, %d listeners, domains: %s\n", name, enabled(cfg), strings.Join(cfg.ServedDomains(), ", "))
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	cmd.Flags().BoolVar(&effective, "effective", false, "print the options in force, in SCOPE or globally")
	cmd.Flags().BoolVar(&asJSON, "json", false, "with --effective: print JSON")
	return cmd
}

func enabled(cfg *config.Config) int {
	return len(slices.DeleteFunc(slices.Clone(cfg.Listeners), func(l *config.Listen) bool { return !l.Enable }))
}

// printEffective prints what each option amounts to.
func printEffective(w io.Writer, cfg *config.Config, scope string, asJSON bool) error {
	all, err := cfg.Effective(scope)
	if err != nil {
		return reportDiagnostics(w, err)
	}
	if asJSON {
		return json.NewEncoder(w).Encode(all)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	last := ""
	for _, o := range all {
		if o.Scope != last {
			fmt.Fprintf(table, "%s\n", o.Scope)
			last = o.Scope
		}
		value, from := o.Value, "default"
		if value == "" {
			value = o.Note
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
