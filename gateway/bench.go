package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/gateway/bench"
)

// benchRun is what the flags of `bench` say.
type benchRun struct {
	o          bench.Options
	accounts   string // file of those of a running gateway; empty: an own one is started
	durability string
	archive    string
	clients    int
	ceilings   bool
	asJSON     bool
}

func benchCommand() *cobra.Command {
	var b benchRun
	cmd := &cobra.Command{
		Use:   "bench [SCENARIO ...]",
		Short: "Measure a gateway beside what the broker alone can do",
		Long: `Inject messages into a gateway, receive them as Jabber clients over TLS, and print how
many a second were accepted and delivered, how long each took, and whether any was
lost, came twice or out of order; the status is 1 where one was lost or out of order.
In the same run the broker alone copies as many messages from one stream to another:
no gateway that stores a message twice is faster than that.

Scenarios: http (one message a request), batch (500 lines a request), smtp
(pipelined), c2s (from client to client), s2s (http, to the users of a second
gateway), deferred (http, without and with 100,000 messages that wait for 10,000
who are away), soak (http for --soak, while one message of 20 is for somebody away
and one for a domain that is down; how the memory changes). Without one: http batch
smtp c2s.

send_message is for ejabberd, to measure it by the same clients: --http names its HTTP
API. Against any Jabber server c2s works, with --accounts and --xmpp.

Without --accounts a gateway of its own is started on loopback, with a folder that is
removed at the end. For a running one, --accounts names a file with a line
user@domain:password for each account that is to receive.`,
		Args: cobra.ArbitraryArgs, ValidArgs: bench.Scenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"http", "batch", "smtp", "c2s"}
			}
			for _, a := range args {
				if a == bench.SendMessage && b.accounts == "" {
					return fmt.Errorf("%s is for ejabberd: --accounts and --http say where that is", a)
				}
				if !bench.Known(a) {
					return fmt.Errorf("there is no scenario %q, only %s", a, strings.Join(bench.Scenarios, ", "))
				}
			}
			return b.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&b.o.Messages, "messages", "n", bench.DefaultMessages, "messages of a scenario")
	f.IntVar(&b.o.Size, "size", bench.DefaultSize, "bytes of text in each")
	f.IntVar(&b.o.Injected, "injectors", bench.DefaultInjected, "connections that inject at the same time")
	f.IntVar(&b.clients, "clients", 200, "clients that receive")
	f.DurationVar(&b.o.Latency, "latency", 10*time.Second, "how long latency is measured; 0: not at all")
	f.Float64Var(&b.o.Rate, "rate", 0, "messages a second while latency is measured; 0: half of what was just reached")
	f.DurationVar(&b.o.Soak, "soak", 30*time.Minute, "how long the scenario soak lasts")
	f.DurationVar(&b.o.Patience, "patience", bench.DefaultPatience, "how long a message that is missing is waited for")
	f.BoolVar(&b.ceilings, "ceiling", true, "measure the broker alone too")
	f.StringVar(&b.durability, "durability", "process", "of the gateway that is started: process or power")
	f.StringVar(&b.archive, "archive", "always", "of the gateway that is started: always, or off, as servers are that it is compared with")
	f.StringVar(&b.accounts, "accounts", "", "`FILE` with the accounts of a running gateway")
	f.StringVar(&b.o.Target.HTTP, "http", "http://127.0.0.1:8025", "its http_listener")
	f.StringVar(&b.o.Target.SMTP, "smtp", "127.0.0.1:2525", "its esmtp_listener")
	f.StringVar(&b.o.Target.XMPP, "xmpp", "127.0.0.1:5222", "its xmpp_listener")
	f.StringVar(&b.o.Target.From, "from", "bench@sender.example", "envelope sender")
	f.BoolVar(&b.asJSON, "json", false, "print JSON")
	_ = cmd.RegisterFlagCompletionFunc("archive", cobra.FixedCompletions([]string{"always", "off"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("durability", cobra.FixedCompletions([]string{"process", "power"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// benchReport is what `bench --json` prints.
type benchReport struct {
	Machine    bench.Machine  `json:"machine"`
	Version    string         `json:"version"`
	Durability string         `json:"durability,omitempty"` // of the gateway that was started
	Archive    string         `json:"archive,omitempty"`    // likewise
	Results    []bench.Result `json:"results"`
}

func (b *benchRun) run(ctx context.Context, out, status io.Writer, scenarios []string) (err error) {
	if b.clients < 1 || b.o.Messages < 1 {
		return errors.New("there must be a client and a message")
	}
	dir, err := os.MkdirTemp("", "mcmt2xmpp-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	report := benchReport{Machine: bench.Here(), Version: version()}
	for _, s := range scenarios {
		r, err := b.scenario(ctx, s, dir, status)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		report.Results = append(report.Results, r)
	}
	if b.accounts == "" {
		report.Durability, report.Archive = b.durability, b.archive
	}
	show := report.print
	if b.asJSON {
		show = func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(report)
		}
	}
	if err := show(out); err != nil {
		return err
	}
	for _, r := range report.Results {
		if why := r.Failed(); why != "" {
			return fmt.Errorf("%s: %s", r.Scenario, why)
		}
	}
	return nil
}

// scenario measures one, with a gateway of its own each time: none is slower for what the
// one before has left.
func (b *benchRun) scenario(ctx context.Context, name, dir string, status io.Writer) (r bench.Result, err error) {
	o := b.o
	o.Scenario, o.Progress = name, progressOn(status, name)
	if b.accounts != "" {
		if o.Target.Users, err = readAccounts(b.accounts); err != nil {
			return r, err
		}
	} else {
		gs, err := b.gateways(ctx, filepath.Join(dir, name), name)
		defer func() {
			for _, g := range gs {
				err = errors.Join(err, g.stop())
			}
		}()
		if err != nil {
			return r, err
		}
		near, far := gs[0], gs[len(gs)-1]
		o.Target = bench.Target{HTTP: near.target.HTTP, SMTP: near.target.SMTP, XMPP: far.target.XMPP, Users: far.target.Users, Away: far.target.Away,
			Dead: deadDomain, From: o.Target.From}
		o.Memory = near.memory
	}
	if r, err = bench.Run(ctx, o); err != nil || !b.ceilings {
		return r, err
	}
	r.Ceilings, err = bench.Ceilings(ctx, o, dir, r.Rate)
	return r, err
}

// deadDomain is one that nobody answers for.
const deadDomain = "dead.bench.invalid"

// gateways starts what a scenario needs: a gateway, and for s2s another one whose users
// receive.
func (b *benchRun) gateways(ctx context.Context, dir, scenario string) (gs []*benched, err error) {
	hosts := []benchHost{{domain: "localhost", clients: b.clients}}
	switch scenario {
	case "deferred":
		hosts[0].away = 10_000
	case "soak":
		hosts[0].away = 1000
		hosts[0].extra = fmt.Sprintf("domain %q { xmpp_role = client routes = (\"xmpp-server://127.0.0.1:9\") }\n", deadDomain)
	case "s2s":
		ports, err := freePorts(2)
		if err != nil {
			return nil, err
		}
		server := func(own, other int, domains ...string) (extra string) {
			extra = fmt.Sprintf("xmpp_listener { listen \"127.0.0.1:%d\" { stream = \"server\" } }\n", ports[own])
			for _, d := range domains {
				extra += fmt.Sprintf("domain %q { xmpp_role = client routes = (\"xmpp-server://127.0.0.1:%d\") }\n", d, ports[other])
			}
			return extra
		}
		hosts = []benchHost{
			{domain: "near.bench.invalid", extra: server(0, 1, "far.bench.invalid")},
			{domain: "far.bench.invalid", clients: b.clients, extra: server(1, 0, "near.bench.invalid", "mail.near.bench.invalid")},
		}
	}
	for _, h := range hosts {
		g, err := startBenched(ctx, filepath.Join(dir, h.domain), b, h)
		if err != nil {
			return gs, err
		}
		gs = append(gs, g)
	}
	return gs, nil
}

// freePorts finds ports that nobody has now.
func freePorts(n int) (ports []int, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// readAccounts reads lines user@domain:password.
func readAccounts(name string) (users []bench.User, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		user, password, ok := strings.Cut(line, ":")
		if !ok || !strings.Contains(user, "@") {
			return nil, fmt.Errorf("%s:%d: not user@domain:password", name, n)
		}
		users = append(users, bench.User{JID: user, Password: password})
	}
	return users, nil
}

// print prints the report for a person.
func (r benchReport) print(out io.Writer) error {
	m := r.Machine
	fmt.Fprintf(out, "%s, %s/%s, %d cores, %s, %s\nmcmt2xmpp %s", m.CPU, m.OS, m.Arch, m.Cores, m.Go, m.Date.Format(time.RFC3339), r.Version)
	if r.Durability != "" {
		fmt.Fprintf(out, ", durability %q, archive %q", r.Durability, r.Archive)
	}
	fmt.Fprint(out, "\n")
	for _, s := range r.Results {
		fmt.Fprintf(out, "\n%s: %d messages of %d bytes, %d injectors, %d recipients\n", s.Scenario, s.Messages, s.Size, s.Injectors, s.Recipients)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "  accepted\t%.0f/s\n  delivered\t%.0f/s\n", s.Accepted, s.Rate)
		if s.Before > 0 {
			fmt.Fprintf(w, "  without what waits\t%.0f/s\tratio %.2f\n", s.Before, s.Rate/s.Before)
		}
		fmt.Fprintf(w, "  lost, twice, out of order\t%d, %d, %d\n", s.Lost, s.Twice, s.Disorder)
		if l := s.Latency; l != nil {
			fmt.Fprintf(w, "  latency at %.0f/s\tp50 %.1f ms, p90 %.1f, p99 %.1f, p99.9 %.1f, max %.1f\n", l.Rate, l.P50, l.P90, l.P99, l.P999, l.Max)
			if l.Lost > 0 || l.Missed > 0 {
				fmt.Fprintf(w, "  of these\t%d lost, %d injected late\n", l.Lost, l.Missed)
			}
		}
		if k := s.Soak; k != nil {
			fmt.Fprintf(w, "  %.1f minutes\tbetween %.0f and %.0f/s\n  memory\t%.0f MiB in the first quarter, %.0f in the last\n", k.Minutes, k.Slowest, k.Fastest, float64(k.First)/(1<<20), float64(k.Last)/(1<<20))
		}
		for _, c := range s.Ceilings {
			fmt.Fprintf(w, "  %s\t%.0f/s\tratio %.2f\n", c.What, c.Rate, c.Ratio)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// benched is a gateway that is started to be measured, a process of its own.
type benched struct {
	target bench.Target
	cmd    *exec.Cmd
	ended  chan error
}

// benchStart bounds its start.
const benchStart = time.Minute

// benchHost is how a gateway is to be that is measured.
type benchHost struct {
	domain        string
	clients, away int // accounts
	extra         string
}

// startBenched starts one.
func startBenched(ctx context.Context, dir string, b *benchRun, h benchHost) (*benched, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	g := &benched{ended: make(chan error, 1)}
	var passwd strings.Builder
	add := func(kind string, n int) (users []bench.User) {
		for i := range n {
			name := fmt.Sprintf("%s%d", kind, i)
			fmt.Fprintf(&passwd, "%s:bench\n", name)
			users = append(users, bench.User{JID: name + "@" + h.domain, Password: "bench"})
		}
		return users
	}
	g.target.Users, g.target.Away = add("user", h.clients), add("away", h.away)
	file, conf := filepath.Join(dir, "passwd"), filepath.Join(dir, "bench.conf")
	text := fmt.Sprintf(`data_dir = %q
log_format = "json"
nats { durability = %q }
archive = %q
xmpp {}
xmpp_listener {
  AuthPlainParameters = [ uri = "file://%s" ]
  max_connections_per_address = 100000
  listen "127.0.0.1:0" { stream = "client" }
}
esmtp_listener { max_connections_per_address = 100000 listen "127.0.0.1:0" {} }
http_listener { max_connections_per_address = 100000 listen "127.0.0.1:0" {} }
control_listener { listen "127.0.0.1:0" {} }
domain %q { xmpp_role = "server" }
%s`, filepath.Join(dir, "data"), b.durability, b.archive, file, h.domain, h.extra)
	if err := errors.Join(os.WriteFile(file, []byte(passwd.String()), 0o600), os.WriteFile(conf, []byte(text), 0o600)); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g.cmd = exec.Command(self, "serve", "-c", conf)
	stderr, err := g.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		last := g.read(stderr, sync.OnceFunc(func() { close(ready) }))
		if err := g.cmd.Wait(); err != nil {
			g.ended <- fmt.Errorf("the gateway ended: %w: %s", err, last)
		}
		close(g.ended)
	}()
	select {
	case <-ready:
		return g, nil
	case err := <-g.ended:
		return nil, errors.Join(err, errors.New("the gateway ended at its start"))
	case <-time.After(benchStart):
		err = errors.New("the gateway does not get ready")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, g.stop())
}

// read takes the addresses from the log and says when the gateway is ready. It returns
// the last line that is no information.
func (g *benched) read(log io.Reader, ready func()) (last string) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Level, Message, Listener, Address string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Level != "info" {
			last = lines.Text()
			continue
		}
		switch {
		case line.Message == "ready":
			ready()
		case line.Message != "listening":
		case line.Listener == "http_listener":
			g.target.HTTP = "http://" + line.Address
		case line.Listener == "esmtp_listener":
			g.target.SMTP = line.Address
		case line.Listener == "xmpp_listener" && g.target.XMPP == "": // the first one is for clients
			g.target.XMPP = line.Address
		}
	}
	return last
}

// memory is the resident memory of its process in bytes, zero where that is not known.
func (g *benched) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.cmd.Process.Pid))
	if f := strings.Fields(string(text)); err == nil && len(f) > 1 {
		if pages, err := strconv.ParseInt(f[1], 10, 64); err == nil {
			return pages * int64(os.Getpagesize())
		}
	}
	return 0
}

// stop ends it and waits for its end.
func (g *benched) stop() error {
	_ = g.cmd.Process.Signal(os.Interrupt)
	select {
	case err := <-g.ended:
		return err
	case <-time.After(benchStart):
		_ = g.cmd.Process.Kill()
		<-g.ended
		return errors.New("the gateway did not stop and was killed")
	}
}
