package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/gateway/bench"
)

// asChild has processes that a test starts of the test's own program be the gateway.
func asChild(t *testing.T) { t.Setenv(asProgram, "1") }

// TestBench: each scenario goes to its end, loses nothing, and says so for a person and for
// a program.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("starts eight gateways")
	}
	asChild(t)
	b := benchRun{durability: "process", archive: "always", clients: 8, ceilings: true, asJSON: true,
		o: bench.Options{Messages: 160, Size: 300, Injected: 4, Latency: time.Second, Rate: 40, Soak: time.Second, Patience: patience, Target: bench.Target{From: "bench@sender.example"}}}
	var out bytes.Buffer
	if err := b.run(t.Context(), &out, io.Discard, bench.Scenarios); err != nil {
		t.Fatal(err)
	}
	var report benchReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != len(bench.Scenarios) || report.Durability != "process" || report.Machine.Cores == 0 {
		t.Fatalf("%s", out.Bytes())
	}
	for i, r := range report.Results {
		if r.Scenario != bench.Scenarios[i] || r.Lost+r.Twice+r.Disorder > 0 || r.Rate <= 0 || r.Recipients != 8 || len(r.Ceilings) != 2 || r.Ceilings[0].Ratio <= 0 {
			t.Errorf("%+v", r)
		}
		switch l := r.Latency; {
		case r.Scenario == "soak":
			if k := r.Soak; k == nil || k.Messages < 160 || k.Slowest <= 0 || k.Last <= 0 {
				t.Errorf("soak %+v", k)
			}
		case l == nil || l.Count != 40 || l.Lost > 0 || l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.Max:
			t.Errorf("%s: latency %+v", r.Scenario, l)
		}
		if (r.Before > 0) != (r.Scenario == "deferred") {
			t.Errorf("%s: before %v", r.Scenario, r.Before)
		}
	}
	var text strings.Builder
	if err := report.print(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" cores", "lost, twice, out of order 0, 0, 0", "latency at 40/s", "ratio", "without what waits", "in the first quarter"} {
		if !strings.Contains(strings.Join(strings.Fields(text.String()), " "), want) {
			t.Errorf("the report does not say %q:\n%s", want, text.String())
		}
	}
}

// TestBenchRunning: a gateway that runs already is measured by the accounts that are
// named.
func TestBenchRunning(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	accounts := filepath.Join(t.TempDir(), "accounts")
	if err := os.WriteFile(accounts, []byte("# two\nalice@localhost:secret\n\nbob@localhost:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := benchRun{accounts: accounts, clients: 1, o: bench.Options{Messages: 20, Injected: 2, Patience: patience,
		Target: bench.Target{HTTP: g.http(), SMTP: g.smtp(), XMPP: g.xmpp(), From: "bench@sender.example"}}}
	var out strings.Builder
	if err := b.run(t.Context(), &out, io.Discard, []string{"http", "smtp"}); err != nil {
		t.Fatal(err)
	}
	if strings.Count(strings.Join(strings.Fields(out.String()), " "), "lost, twice, out of order 0, 0, 0") != 2 || strings.Contains(out.String(), "durability") {
		t.Error(out.String())
	}
}

// TestBenchRefuses: what cannot be measured is said.
func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "accounts")
	if err := os.WriteFile(bad, []byte("alice@localhost:x\nnobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"bench", "ftp"}, `there is no scenario "ftp"`},
		{[]string{"bench", "--clients", "0"}, "there must be a client"},
		{[]string{"bench", "http", "--accounts", bad}, bad + ":2: not user@domain:password"},
		{[]string{"bench", "http", "--accounts", filepath.Join(dir, "none")}, "no such file"},
	} {
		var errs strings.Builder
		cmd := root()
		cmd.SetArgs(tt.args)
		cmd.SetOut(io.Discard)
		cmd.SetErr(&errs)
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v", tt.args, err)
		}
	}
}
