package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

func demoCommand() *cobra.Command {
	var once, verbose bool
	cmd := &cobra.Command{
		Use:   "demo",
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
	start    time.Time

	mu sync.Mutex // guards out
}

func runDemo(ctx context.Context, out io.Writer, log zerolog.Logger, once bool) (err error) {
	dir, err := os.MkdirTemp("", "mcmt2xmpp-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg, err := demoConfig(ctx, dir)
	if err != nil {
		return err
	}
	d := &demo{out: out, clients: make(map[string]*demoClient), events: make(chan trace.Event, 1024), password: rand.Text()}
	bus := new(trace.Bus)
	defer bus.Subscribe(func(e trace.Event) {
		select {
		case d.events <- e:
		default: // nobody looks any more: the tour is over
		}
	})()
	d.app = app.New(app.Options{Config: cfg, Log: log, Version: version(), Trace: bus})

	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.app.Run(running) }()
	select {
	case <-d.app.Ready():
	case err := <-ended:
		return err
	}
	tour := d.tour(ctx, cfg, dir)
	if tour == nil && !once {
		d.printf("\nStill running; the password of alice and bob is %s. Ctrl-C ends it and removes the data.\n", d.password)
		select {
		case <-ctx.Done():
		case err = <-ended:
			return err
		}
	}
	for _, c := range d.clients {
		c.close(ctx)
	}
	stop()
	return errors.Join(tour, <-ended)
}

// demoConfig is the embedded default with its own data folder, on the default
// ports where they are free.
func demoConfig(ctx context.Context, dir string) (*config.Config, error) {
	port := func(preferred string) string {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+preferred)
		if err != nil {
			return "127.0.0.1:0"
		}
		_ = l.Close()
		return "127.0.0.1:" + preferred
	}
	text := fmt.Sprintf(`data_dir = %q
xmpp {}
xmpp_listener { Listen %q { stream = "client" } }
esmtp_listener { mcmt_reception = "allow" Listen %q {} }
http_listener { Listen %q {} }
control_listener { Listen %q {} }
domain "localhost" { xmpp_role = "server" }
`, filepath.Join(dir, "data"), port("5222"), port("2525"), port("8025"), port("8026"))
	file := filepath.Join(dir, "demo.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return config.Load(file)
}

// tour is the demonstration: one list of steps.
func (d *demo) tour(ctx context.Context, cfg *config.Config, dir string) error {
	d.printf("mcmt2xmpp %s\n\n", version())
	for _, a := range d.app.Addresses() {
		d.printf("  %-10s %s\n", a.Title, a.URL)
	}
	d.printf("\n")
	roots, err := app.Certificate(cfg)
	if err != nil {
		return err
	}
	for _, name := range []string{"alice", "bob"} {
		if err := d.login(ctx, name, roots); err != nil {
			return err
		}
	}
	now := time.Now()
	message := func(to, text, xmpp, sms string) ([]byte, error) {
		return mcmt.Build(mcmt.Draft{From: "timetable@trains.example", To: []string{to}, Subject: "Your train", Text: text,
			XMPP: []byte(xmpp), SMS: sms, Date: now, MessageID: string(mcmt.NewID(now)) + "@trains.example"})
	}
	const states = `xmlns:cs="http://jabber.org/protocol/chatstates"`
	for _, s := range []struct {
		title, to, text, xmpp, sms string
		over                       func(context.Context, string, []byte) error
		want                       string // body that arrives; empty: filtered
	}{
		{"MCMT over SMTP, with an XMPP part", "alice@localhost", "Your train leaves from track 7.",
			`<message type="chat"><body>Track 7!</body></message>`, "Track 7", d.smtp, "Track 7!"},
		{"MCMT over HTTP, with an SMS part", "bob@localhost", "Your train is 5 minutes late.", "", "5 min late", d.http, "5 min late"},
		{"MCMT over HTTP, mail part only", "alice@localhost", "Your ticket is attached.", "", "", d.http, "Your ticket is attached."},
		{"a chat state alone: noise", "bob@localhost", "(typing)",
			`<message type="chat" ` + states + `><cs:composing/></message>`, "", d.smtp, ""},
		{"a chat state beside a body: passes", "bob@localhost", "Doors are closing.",
			`<message type="chat" ` + states + `><body>Doors are closing.</body><cs:active/></message>`, "", d.smtp, "Doors are closing."},
	} {
		raw, err := message(s.to, s.text, s.xmpp, s.sms)
		if err != nil {
			return err
		}
		d.printf("── %s, to %s\n", s.title, s.to)
		if err := d.step(ctx, s.to, raw, s.want, s.over); err != nil {
			d.printf("   FAILED: %v\n", err)
			return reportedError{err}
		}
	}
	d.printf("All steps succeeded.\n")
	return nil
}

// step injects one message and follows it to its end.
func (d *demo) step(ctx context.Context, to string, raw []byte, want string, over func(context.Context, string, []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	d.start = time.Now()
	if err := over(ctx, to, raw); err != nil {
		return err
	}
	p := progress{received: want == ""}
	for !p.ended || !p.received {
		select {
		case e := <-d.events:
			if err := d.event(&p, e, want); err != nil {
				return err
			}
		case st := <-d.clients[to].received:
			for len(d.events) > 0 { // what happened before is printed before
				if err := d.event(&p, <-d.events, want); err != nil {
					return err
				}
			}
			body := st.Element.Child(nameBody)
			if body == nil || strings.TrimSpace(body.Text()) != want {
				return fmt.Errorf("%s received something else: %s", to, st.Append(nil, ""))
			}
			d.line(st.at, "received", fmt.Sprintf("by %s from %s: %q", d.clients[to].client.JID(), st.From, strings.TrimSpace(body.Text())))
			p.received = true
		case <-ctx.Done():
			return fmt.Errorf("no end after %s", demoPatience)
		}
	}
	d.printf("\n")
	return nil
}

// progress of one message: what the gateway says, and what the client saw.
type progress struct{ ended, received bool }

var nameBody = xmlwire.Name{Space: stream.NSClient, Local: "body"}

// event prints e and takes it into account. want is the body that should
// arrive, empty where the message should be filtered.
func (d *demo) event(p *progress, e trace.Event, want string) error {
	d.show(e)
	switch {
	case e.Stage == trace.Failed:
		return errors.New(e.Reason)
	case e.Stage == trace.Delivered:
		p.ended = true
	case e.Stage == trace.Filtered && e.Verdict == "drop" && want != "":
		return fmt.Errorf("filtered: %s", e.Reason)
	case e.Stage == trace.Filtered && e.Verdict == "drop":
		p.ended = true
	}
	return nil
}

// show prints one event of the gateway.
func (d *demo) show(e trace.Event) {
	var words []string
	add := func(format, value string) {
		if value != "" {
			words = append(words, fmt.Sprintf(format, value))
		}
	}
	switch e.Stage {
	case trace.Accepted:
		add("on %s", e.Listener)
		add("from %s", e.From)
		words = append(words, fmt.Sprintf("%d bytes", e.Size))
	case trace.Stored:
		add("as %s", e.ID)
	case trace.Converted:
		add("from the %s part", e.Part)
		add("for %s", e.JID)
	case trace.Filtered:
		add("%s", e.Filter+": "+e.Verdict)
		add("(%s)", e.Reason)
	case trace.Delivered:
		add("to %s", e.JID)
		add("proven by %s", e.Proof)
	default:
		add("%s", e.Reason)
	}
	d.line(e.Time, string(e.Stage), strings.Join(words, " "))
}

func (d *demo) line(at time.Time, stage, text string) {
	d.printf("   %8.2f ms  %-10s %s\n", float64(at.Sub(d.start).Microseconds())/1000, stage, text)
}

func (d *demo) printf(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format, args...)
}

func (d *demo) smtp(ctx context.Context, to string, raw []byte) error {
	_, err := relay.Submit(ctx, d.app.Addr(config.ESMTP, ""), "timetable@trains.example", []string{to}, raw)
	return err
}

func (d *demo) http(ctx context.Context, to string, raw []byte) error {
	url := "http://" + d.app.Addr(config.HTTP, "") + "/v1/messages?from=timetable@trains.example&to=" + to
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "message/rfc822")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		var p struct{ Detail string }
		_ = json.NewDecoder(resp.Body).Decode(&p) // the status says enough without
		return fmt.Errorf("%s %s", resp.Status, p.Detail)
	}
	return nil
}

// arrival is a stanza that a client received.
type arrival struct {
	*stanza.Stanza
	at time.Time
}

// demoClient is a Jabber client of the tour.
type demoClient struct {
	client   *stream.Client
	received chan arrival
	done     chan struct{}
	stop     context.CancelFunc
}

// login makes an account and logs a client in, over STARTTLS with the strongest
// mechanism.
func (d *demo) login(ctx context.Context, name string, roots *x509.CertPool) error {
	user, err := jid.New(name, "localhost", "")
	if err != nil {
		return err
	}
	if err := d.app.Accounts().Add(ctx, user, d.password); err != nil {
		return err
	}
	full, err := user.WithResource("demo")
	if err != nil {
		return err
	}
	begin := time.Now()
	client, err := stream.Dial(ctx, stream.ClientOptions{JID: full, Password: d.password,
		Address: d.app.Addr(config.XMPPStreams, config.StreamClient), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	if err != nil {
		return err
	}
	if err := client.Available(ctx, 0); err != nil {
		return err
	}
	d.printf("  %s logged in by %s over TLS in %s\n", client.JID(), client.Stream().Mechanism(), time.Since(begin).Round(time.Millisecond))
	cctx, stop := context.WithCancel(ctx)
	c := &demoClient{client: client, received: make(chan arrival, 64), done: make(chan struct{}), stop: stop}
	d.clients[user.String()] = c
	go c.run(cctx)
	if name == "bob" {
		d.printf("\n")
	}
	return nil
}

// run receives until the stream ends or ctx does.
func (c *demoClient) run(ctx context.Context) {
	defer close(c.done)
	for {
		st, err := c.client.Receive(ctx)
		if err != nil {
			return
		}
		if st.Kind != stanza.Message {
			continue
		}
		select {
		case c.received <- arrival{st, time.Now()}:
		case <-ctx.Done():
			return
		}
	}
}

func (c *demoClient) close(ctx context.Context) {
	c.stop()
	<-c.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = c.client.Close(ctx) // the gateway ends next
}
