package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// composeFile is what of the Compose specification the files of deploy/ use.
type composeFile struct {
	Name     string
	Services map[string]composeService
	Volumes  map[string]struct{}
	Gateway  yaml.Node `yaml:"x-gateway"`
	NATS     yaml.Node `yaml:"x-nats"`
}

type composeService struct {
	Image           string
	Build           struct{ Context, Dockerfile string }
	Command         []string
	Environment     map[string]string
	EnvFile         []string `yaml:"env_file"`
	Restart         string
	ReadOnly        bool                         `yaml:"read_only"`
	CapDrop         []string                     `yaml:"cap_drop"`
	SecurityOpt     []string                     `yaml:"security_opt"`
	StopGracePeriod string                       `yaml:"stop_grace_period"`
	DependsOn       map[string]map[string]string `yaml:"depends_on"`
	Ports, Volumes  []string
	Tmpfs           []string
}

// compose decodes a file and checks what holds for every one: images with a version,
// mounts of files that are there and volumes that are named, ports that are free.
func compose(t *testing.T, name string) *composeFile {
	t.Helper()
	c := documents(t, name, func(string) any { return new(composeFile) })[0].(*composeFile)
	taken := make(map[string]string)
	for service, s := range c.Services {
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: image %s has no version", service, s.Image)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, ".") {
				deployed(t, filepath.Join("compose", from))
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s: volume %s is not there", service, from)
			}
		}
		for _, p := range s.Ports {
			host := p[:strings.LastIndexByte(p, ':')]
			if i := strings.LastIndexByte(host, ':'); i >= 0 {
				host = host[i+1:]
			}
			if taken[host] != "" {
				t.Errorf("%s and %s have port %s", service, taken[host], host)
			}
			taken[host] = service
		}
		for other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is not there", service, other)
			}
		}
		for _, file := range s.EnvFile {
			deployed(t, filepath.Join("compose", file+".example"))
		}
		if s.Build.Dockerfile != "" {
			checkGatewayService(t, c, service, s)
		}
	}
	return c
}

// checkGatewayService holds a service that runs the gateway.
func checkGatewayService(t *testing.T, c *composeFile, name string, s composeService) {
	t.Helper()
	deployed(t, strings.TrimPrefix(s.Build.Dockerfile, "deploy/"))
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || s.Restart == "" {
		t.Errorf("%s: read only %v, drops %v, restart %q", name, s.ReadOnly, s.CapDrop, s.Restart)
	}
	if len(s.Command) > 0 {
		checkArgs(t, name, s.Command)
	}
	conf := ""
	for _, v := range s.Volumes {
		from, to, _ := strings.Cut(v, ":")
		if to == "/etc/mcmt2xmpp/gateway.conf:ro" {
			conf = deployed(t, filepath.Join("compose", from))
		}
	}
	cfg := loaded(t, name, conf)
	for _, p := range s.Ports {
		if port := p[strings.LastIndexByte(p, ':')+1:]; !ports(cfg)[port] {
			t.Errorf("%s: nothing listens on %s", name, port)
		}
	}
	if !slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.HasSuffix(v, ":"+cfg.DataDir) }) {
		t.Errorf("%s: %s is on no volume", name, cfg.DataDir)
	}
	for _, url := range cfg.NATS.URLs {
		host := strings.Split(strings.TrimPrefix(url, "nats://"), ":")[0]
		if _, ok := c.Services[host]; !ok {
			t.Errorf("%s: no service is called %s", name, host)
		}
	}
}

// The files for Compose are what it reads, with commands, ports, files and volumes that
// are there; the cluster has two of each role, and secrets for all that it asks for.
func TestDeployCompose(t *testing.T) {
	t.Parallel()
	if single := compose(t, "compose/single.yaml"); len(single.Services) != 1 {
		t.Errorf("%d services", len(single.Services))
	}
	c := compose(t, "compose/cluster.yaml")
	roles := make(map[string]int)
	for _, s := range c.Services {
		if len(s.Command) == 5 {
			roles[s.Command[4]]++
		}
	}
	for _, role := range []string{"ingest", "convert", "deliver", "relay"} {
		if roles[role] != 2 {
			t.Errorf("%d of role %s", roles[role], role)
		}
	}
	conf := deployed(t, "compose/nats.conf")
	for _, r := range checkNATS(t, conf).Routes {
		if c.Services[r.Hostname()].Environment["NATS_NAME"] != r.Hostname() {
			t.Errorf("no server is called %s", r.Hostname())
		}
	}
	secrets := deployed(t, "compose/secrets.env.example")
	for _, name := range environmentOf(conf + deployed(t, "compose/cluster.conf")) {
		if !strings.Contains(secrets, name+"=\n") && name != "NATS_NAME" {
			t.Errorf("%s is not in secrets.env.example", name)
		}
	}
}
