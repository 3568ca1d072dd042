package main

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
)

const deploy = "../deploy/"

func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documents decodes the documents of a YAML file, each into what of says for its kind. A
// key that the type has not is an error: it would be one that nobody obeys.
func documents(t *testing.T, name string, of func(kind string) any) (all []any) {
	t.Helper()
	dec := yaml.NewDecoder(strings.NewReader(deployed(t, name)))
	for {
		var node yaml.Node
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var head struct{ Kind string }
		if err := node.Decode(&head); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		into := of(head.Kind)
		if into == nil {
			t.Fatalf("%s: kind %q is none that this test knows", name, head.Kind)
		}
		text, err := yaml.Marshal(&node)
		if err != nil {
			t.Fatal(err)
		}
		strict := yaml.NewDecoder(bytes.NewReader(text))
		strict.KnownFields(true)
		if err := strict.Decode(into); err != nil {
			t.Errorf("%s: %s: %v", name, head.Kind, err)
		}
		all = append(all, into)
	}
}

// checkArgs holds that the program takes a command line that a file of deploy/ gives it.
func checkArgs(t *testing.T, where string, args []string) {
	t.Helper()
	cmd, rest, err := root().Find(args)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err != nil || cmd.Parent() == nil {
		t.Errorf("%s: %q is no command of ours: %v", where, args, err)
		return
	}
	if f := cmd.Flags().Lookup("role"); f != nil {
		if _, err := app.ParseRoles(f.Value.String()); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// loaded is a configuration of deploy/, in which files of the machine are left out.
func loaded(t *testing.T, where, text string) *config.Config {
	t.Helper()
	text = exampleSecret.ReplaceAllStringFunc(text, secretOf)
	text = regexp.MustCompile(`(?m)^ *tls_(certificate|key) = .*$`).ReplaceAllString(text, "")
	c, err := config.LoadBytes(where, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range c.Warnings {
		if w.Severity == config.SeverityWarning {
			t.Errorf("%s", w)
		}
	}
	return c
}

// ports are those that a configuration listens on, by role of the process; loopback only
// where others cannot reach it.
func ports(c *config.Config) (open map[string]bool) {
	open = make(map[string]bool)
	for _, l := range c.Listeners {
		i := strings.LastIndexByte(l.Address, ':')
		if i < 0 {
			continue // a Unix socket
		}
		if a, err := netip.ParseAddr(strings.Trim(l.Address[:i], "[]")); err == nil && a.IsLoopback() {
			continue
		}
		open[l.Address[i+1:]] = true
	}
	return open
}

// The Dockerfile builds what go.mod asks for, copies what is there, runs as a user without
// rights, and its commands are ours.
func TestDeployDockerfile(t *testing.T) {
	t.Parallel()
	image := make(map[string]string) // of the last stage; of each instruction the last, but for COPY
	stages := 0
	lines := strings.Split(strings.ReplaceAll(deployed(t, "Dockerfile"), "\\\n", " "), "\n")
	for _, line := range lines {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case !ok || strings.HasPrefix(name, "#"):
			continue
		case name == "FROM":
			stages++
			image = map[string]string{}
			if goMod, err := os.ReadFile("../go.mod"); err != nil || stages == 1 && !strings.Contains(string(goMod), "\ngo "+strings.TrimSuffix(strings.TrimPrefix(rest, "golang:"), " AS build")) {
				t.Errorf("%s is not what go.mod asks for: %v", rest, err)
			}
		case name == "COPY" && !strings.Contains(rest, "--from="):
			for _, file := range strings.Fields(rest)[:len(strings.Fields(rest))-1] {
				if _, err := os.Stat(filepath.Join("..", file)); err != nil {
					t.Errorf("COPY: %v", err)
				}
			}
		case name == "RUN" && stages > 1:
			t.Errorf("there is no shell in the image: RUN %s", rest)
		}
		image[name] = rest
	}
	if user, _, _ := strings.Cut(image["USER"], ":"); user == "" || user == "0" || strings.Trim(user, "0123456789") != "" {
		t.Errorf("USER %q: a number other than 0 lets a cluster see that it is not root", image["USER"])
	}
	_, probe, _ := strings.Cut(image["HEALTHCHECK"], "CMD ")
	for what, words := range map[string]string{"HEALTHCHECK": probe, "CMD": strings.Replace(image["CMD"], "[", image["ENTRYPOINT"][:len(image["ENTRYPOINT"])-1]+", ", 1)} {
		var args []string
		if err := yaml.Unmarshal([]byte(words), &args); err != nil || len(args) < 2 || args[0] != "/usr/bin/mcmt2xmpp" {
			t.Errorf("%s %s is not in the form of a list, which needs no shell: %v", what, words, err)
			continue
		}
		checkArgs(t, "Dockerfile", args[1:])
	}
	c := loaded(t, "docker/gateway.conf", deployed(t, "docker/gateway.conf"))
	if image["VOLUME"] != c.DataDir || image["WORKDIR"] != c.DataDir {
		t.Errorf("VOLUME %s, WORKDIR %s, data_dir %s", image["VOLUME"], image["WORKDIR"], c.DataDir)
	}
	exposed := strings.Fields(image["EXPOSE"])
	for port := range ports(c) {
		if !slices.Contains(exposed, port) {
			t.Errorf("port %s is not exposed", port)
		}
	}
	if len(exposed) != len(ports(c)) {
		t.Errorf("EXPOSE %v, want %v", exposed, ports(c))
	}
}

// The configurations of deploy/ start, where those of NATS have their servers.
func TestDeployStarts(t *testing.T) {
	t.Parallel()
	confs := map[string]string{
		"docker": deployed(t, "docker/gateway.conf"), "compose": deployed(t, "compose/cluster.conf"),
		"kubernetes": strings.ReplaceAll(kubernetes(t).config(t, "mcmt2xmpp", "gateway.conf"), "tls_", "# tls_"),
	}
	for name, text := range confs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startExample(t, text)
		})
	}
}

// checkNATS holds a configuration of NATS against what the gateway needs, in the words of
// the server itself.
func checkNATS(t *testing.T, text string) *server.Options {
	t.Helper()
	text = regexp.MustCompile(`\$[A-Z_]+`).ReplaceAllString(text, "secret")
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !o.JetStream || !o.SyncAlways || len(o.Routes) != 3 || o.SystemAccount != "SYS" {
		t.Errorf("JetStream %v, sync always %v, routes %v, system account %q", o.JetStream, o.SyncAlways, o.Routes, o.SystemAccount)
	}
	var users []string
	for _, u := range o.Users {
		users = append(users, u.Username+" of "+u.Account.Name)
	}
	if slices.Sort(users); !slices.Equal(users, []string{"admin of SYS", "gateway of gateway"}) {
		t.Errorf("users %v", users)
	}
	return o
}

// TestDeployUnit: the units are such that systemd takes, with commands and sockets that are
// ours, and the service hears what the gateway says.
func TestDeployUnit(t *testing.T) {
	t.Parallel()
	service, socket := deployed(t, "systemd/mcmt2xmpp.service"), deployed(t, "systemd/mcmt2xmpp.socket")
	keys := make(map[string]string)
	for line := range strings.Lines(service) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			keys[key] = value
		}
	}
	for _, key := range []string{"ExecStart", "ExecStartPre", "ExecReload"} {
		args := strings.Fields(keys[key])
		if len(args) < 2 || args[0] != "/usr/bin/mcmt2xmpp" {
			t.Fatalf("%s=%s", key, keys[key])
		}
		checkArgs(t, key, args[1:])
	}
	if keys["Type"] != "notify" || keys["NotifyAccess"] != "main" || keys["WatchdogSec"] == "" {
		t.Errorf("type %q, notify access %q, watchdog %q: the gateway says when it is ready and that it lives", keys["Type"], keys["NotifyAccess"], keys["WatchdogSec"])
	}
	if !strings.Contains(deployed(t, "systemd/mcmt2xmpp.sysusers"), "u "+keys["User"]+" ") || keys["WorkingDirectory"] != "/var/lib/"+keys["StateDirectory"] {
		t.Errorf("user %s, folders %s and %s", keys["User"], keys["WorkingDirectory"], keys["StateDirectory"])
	}
	// A socket that no scope takes would be closed.
	open := ports(loaded(t, "single-host.conf", readExample(t, "single-host.conf")))
	for _, m := range regexp.MustCompile(`(?m)^ListenStream=(.*)$`).FindAllStringSubmatch(socket, -1) {
		if !open[m[1]] {
			t.Errorf("single-host.conf has no listen scope for ListenStream=%s", m[1])
		}
		delete(open, m[1])
	}
	for port := range open {
		t.Errorf("port %s of single-host.conf is not in the socket unit", port)
	}
	verifyUnits(t, map[string]string{"mcmt2xmpp.service": service, "mcmt2xmpp.socket": socket})
}

// verifyUnits has systemd read units.
func verifyUnits(t *testing.T, units map[string]string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here: apt-get install systemd")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, args := t.TempDir(), []string{"verify", "--man=no"}
	for name, text := range units {
		args = append(args, filepath.Join(dir, name))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "/usr/bin/mcmt2xmpp", self)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(analyze, args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}
