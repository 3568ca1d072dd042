package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// scripts are the gateways of the scripts that run, by *testscript.TestScript.
var scripts sync.Map

func withPatience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// closedPort returns a port on loopback that nobody listens on.
func closedPort() (addr, port string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	addr = l.Addr().String()
	_, port, err = net.SplitHostPort(addr)
	return addr, port, errors.Join(err, l.Close())
}

// TestScripts runs the commands as a user does: testdata/script has a file for
// each command, with what it prints and how it ends. Beside the commands of
// testscript there are
//
//	gateway start FILE   runs serve -c FILE and sets $SMTP, $HTTP, $XMPP, $ADMIN to where it listens
//	gateway stop         ends it as SIGTERM does
//	login JID PASSWORD   logs a client in; ! login, that it cannot
//	occupy PORT…         takes ports on loopback, unless somebody has them
//	operated FILE [FILE] serves an admin HTTP at $ADMIN whose queue is in the first file
//	                     (see readFakeQueue) and whose outcomes are a JSON list in the second
//	filtered FILE        serves an admin HTTP at $ADMIN whose filters have done what the file says,
//	                     as /v1/filters has it
//	freeport NAME        sets $NAME to a port that nobody listens on
func TestScripts(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "mcmt2xmpp")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(asProgram, "1")
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Values["t"] = env.T()
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"gateway": scriptGateway, "login": scriptLogin, "freeport": scriptFreePort, "occupy": scriptOccupy,
			"operated": scriptOperated, "filtered": scriptFiltered,
		},
	})
}

func scriptGateway(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("a gateway that does not start is tested by exec")
	}
	switch {
	case len(args) == 2 && args[0] == "start":
		g := &gateway{t: ts.Value("t").(testing.TB), dir: ts.MkAbs("."), conf: ts.MkAbs(args[1])}
		ts.Defer(g.kill)
		g.start()
		for name, value := range map[string]string{"SMTP": g.smtp(), "HTTP": g.http(), "XMPP": g.xmpp(), "ADMIN": g.admin()} {
			ts.Setenv(name, value)
		}
		scripts.Store(ts, g)
	case len(args) == 1 && args[0] == "stop":
		g, ok := scripts.Load(ts)
		if !ok {
			ts.Fatalf("no gateway runs")
		}
		g.(*gateway).stop()
	default:
		ts.Fatalf("usage: gateway start FILE, gateway stop")
	}
}

func scriptLogin(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: login JID PASSWORD")
	}
	ctx, cancel := withPatience()
	defer cancel()
	c, err := dial(ctx, ts.Getenv("XMPP"), args[0]+"/script", args[1])
	if err == nil {
		_ = c.Close(ctx)
	}
	if (err != nil) != neg {
		ts.Fatalf("login of %s: %v", args[0], err)
	}
}

func scriptFreePort(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	_, port, err := closedPort()
	ts.Check(err)
	ts.Setenv(args[0], port)
}

func scriptOccupy(ts *testscript.TestScript, _ bool, args []string) {
	for _, port := range args {
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			ts.Defer(func() { _ = l.Close() })
		}
	}
}
