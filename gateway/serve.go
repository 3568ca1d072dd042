package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/listener"
)

func serveCommand() *cobra.Command {
	var file, role string
	cmd := &cobra.Command{
		Use:   "serve [-c FILE] [--role ROLES]",
		Short: "Run the gateway; without a file with the embedded default configuration",
		Long: `Run the gateway until SIGINT or SIGTERM.

Without a file everything listens on loopback: SMTP 2525, HTTP 8025, admin 8026,
Jabber clients 5222, and the data lie in ./mcmt2xmpp-data. SIGHUP reloads the
configuration and the certificates, and opens the files of the xmpp_loggers anew;
an invalid file is refused and the old configuration stays.

With an external NATS cluster in the configuration any number of processes share
the work, and --role says which part of it a process does: ingest (SMTP and
HTTP), convert (messages to stanzas), deliver (client sessions), or several of
them with commas between.`,
		Args: noFile,
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
			roles, err := app.ParseRoles(role)
			if err != nil {
				return err
			}
			inherited, err := listener.Inherit()
			if err != nil {
				return err
			}
			defer inherited.Close()
			load := func() (*config.Config, error) { return loadConfig(file) }
			a := app.New(app.Options{Config: cfg, Roles: roles, Log: log, Version: version(), Load: load, Inherited: inherited})
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			manager, err := newNotifier()
			if err != nil {
				log.Warn().Err(err).Msg("the service manager is told nothing")
			}
			defer manager.close()
			return serve(cmd.Context(), a, hup, manager)
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&role, "role", "all", "`ROLES` of this process: all, or some of ingest, convert, deliver, relay")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(app.RoleNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// serve runs a until ctx ends and reloads at each signal on hup. The service manager hears
// of it, and that this loop goes round.
func serve(ctx context.Context, a *app.App, hup <-chan os.Signal, manager notifier) error {
	memory, stop := context.WithCancel(ctx)
	var aside sync.WaitGroup
	aside.Go(func() { returnMemory(memory) })
	defer aside.Wait()
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-a.Ready(): // a signal before waits in hup
	}
	manager.ready("ready")
	beats, stop := manager.beats()
	defer stop()
	for ending := ctx.Done(); ; {
		select {
		case err := <-done:
			return err
		case <-ending:
			manager.stopping()
			ending, hup = nil, nil // done comes next, and a reload would come too late
		case <-beats:
			manager.alive()
		case <-hup:
			manager.reloading()
			_, _ = a.ReloadFile(ctx) // what came of it is in the log
			manager.ready("ready")
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

// configFlag adds -c, which the shell completes with files.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "configuration `FILE`; default the embedded one")
	_ = cmd.MarkFlagFilename("config")
}
