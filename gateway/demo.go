package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/trace"
)

func demoCommand() *cobra.Command {
	var once, verbose bool
	cmd := &cobra.Command{
		Use:   "demo [--once]",
		Short: "Show the main job on loopback, with no configuration",
		Long: `Start everything on loopback with a throw-away data folder, make two accounts, log
two Jabber clients in, inject messages over SMTP and HTTP, and print each step of
each message up to the client that received it. Then keep running until Ctrl-C.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := zerolog.Nop()
			if verbose {
				log = newLogger(config.Log{Level: config.LogDebug})
			}
			return runDemo(cmd.Context(), cmd.OutOrStdout(), log, once)
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end after the tour: status 0, or 1 if a step failed")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "write the gateway's own log to stderr")
	return cmd
}

// demoPatience bounds each step of the tour.
const demoPatience = 20 * time.Second

// demo is a tour through a running gateway.
type demo struct {
	out      io.Writer
	app      *app.App
	password string
	clients  map[string]*demoClient // by bare JID
	events   chan trace.Event
	begun    time.Time  // of the step
	lines    []demoLine // of the step that runs
}

// demoLine is one thing that happened in a step.
type demoLine struct {
	at          time.Time
	stage, text string
}

func runDemo(ctx context.Context, out io.Writer, log zerolog.Logger, once bool) (err error) {
	dir, err := os.MkdirTemp("", "mcmt2xmpp-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{out: out, clients: make(map[string]*demoClient), events: make(chan trace.Event, 1024), password: rand.Text()}
	running, stop := context.WithCancel(ctx)
	defer stop()
	cfg, ended, err := d.start(running, dir, demoPorts, log)
	if errors.Is(err, syscall.EADDRINUSE) {
		cfg, ended, err = d.start(running, dir, [4]string{"0", "0", "0", "0"}, log)
	}
	if err != nil {
		return err
	}
	tour := d.tour(ctx, cfg)
	if tour == nil && !once {
		d.printf("\nStill running; the password of alice and bob is %s. Ctrl-C ends it and removes the data.\n", d.password)
		if err := d.watch(ctx, ended); err != nil {
			return err
		}
	}
	for _, c := range d.clients {
		c.close(ctx)
	}
	stop()
	return errors.Join(tour, <-ended)
}

// watch shows what comes after the tour, until ctx ends; or until the gateway
// does, whose error it returns then.
func (d *demo) watch(ctx context.Context, ended <-chan error) error {
	alice, bob := d.clients["alice@localhost"], d.clients["bob@localhost"]
	d.begun = time.Now()
	for {
		select {
		case e := <-d.events:
			d.show(e)
		case st := <-alice.received:
			d.received(alice, st)
		case st := <-bob.received:
			d.received(bob, st)
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return errors.Join(err, errors.New("the gateway ended"))
		}
		d.flush()
	}
}

// demoPorts are those of the embedded default: XMPP, SMTP, HTTP, admin.
var demoPorts = [4]string{"5222", "2525", "8025", "8026"}

// start starts a gateway and waits until it is ready. The channel gives what
// its Run returns.
func (d *demo) start(ctx context.Context, dir string, ports [4]string, log zerolog.Logger) (*config.Config, <-chan error, error) {
	cfg, err := demoConfig(dir, ports)
	if err != nil {
		return nil, nil, err
	}
	bus := new(trace.Bus)
	bus.Subscribe(func(e trace.Event) {
		select {
		case d.events <- e:
		default: // nobody looks any more: the tour is over
		}
	})
	d.app = app.New(app.Options{Config: cfg, Log: log, Version: version(), Trace: bus})
	ended := make(chan error, 1)
	go func() { ended <- d.app.Run(ctx) }()
	select {
	case <-d.app.Ready():
		return cfg, ended, nil
	case err := <-ended:
		return nil, nil, err
	}
}

// demoConfig is the embedded default with its own data folder and ports.
func demoConfig(dir string, ports [4]string) (*config.Config, error) {
	text := fmt.Sprintf(`data_dir = %q
xmpp {}
xmpp_listener { Listen "127.0.0.1:%s" { stream = "client" } }
esmtp_listener { mcmt_reception = "allow" Listen "127.0.0.1:%s" {} }
http_listener { Listen "127.0.0.1:%s" {} }
control_listener { Listen "127.0.0.1:%s" {} }
domain "localhost" { xmpp_role = "server" }
`, filepath.Join(dir, "data"), ports[0], ports[1], ports[2], ports[3])
	return config.LoadBytes(filepath.Join(dir, "demo.conf"), []byte(text))
}
