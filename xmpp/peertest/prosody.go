package peertest

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// prosody is Prosody 0.12 of Debian's package.
type prosody struct{ program string }

func findProsody(t testing.TB) software {
	t.Helper()
	// Without it Prosody asks the system's DNS.
	installed(t, "/usr/lib/*/lua/5.4/lunbound.so", "lua-unbound")
	return prosody{installed(t, "/usr/bin/prosody", "prosody")}
}

func (prosody) String() string { return "prosody" }

func (prosody) listening(host, port string) string { return "to [" + host + "]:" + port }

//go:embed prosody.cfg.lua
var prosodyConfig string

// configure writes the configuration, the certificates, and the accounts as Prosody stores them.
func (prosody) configure(s *Server) error {
	var hosts strings.Builder
	for _, d := range s.domains {
		kind := "VirtualHost"
		if d.Secret != "" {
			kind = "Component"
		}
		fmt.Fprintf(&hosts, "%s %q\n", kind, d.Name)
		if d.Secret != "" {
			fmt.Fprintf(&hosts, "\tcomponent_secret = %q\n", d.Secret)
		}
	}
	var joins []string
	for _, d := range s.components() {
		joins = append(joins, portOf(s.joins[d.Name]))
	}
	text := strings.NewReplacer(
		"@DIR@", s.dir,
		"@CA@", s.ca,
		"@RESOLVER@", strings.Replace(s.resolver, ":", "@", 1),
		"@C2S@", portOf(s.C2S),
		"@S2S@", portOf(s.S2S),
		"@DIRECT@", optional(s.DirectS2S),
		"@COMPONENT@", strings.Join(joins, "; "),
		"@TLS@", fmt.Sprint(s.o.Mode != Plain),
		"@CERTS@", fmt.Sprint(s.o.Mode == Certs),
		"@DIALBACK@", name("dialback", s.o.Mode != Certs),
		"@BIDI@", name("s2s_bidi", s.o.Bidi),
	).Replace(prosodyConfig)
	if err := os.Mkdir(s.path("certs"), 0o700); err != nil {
		return err
	}
	if err := s.write(text+hosts.String(), "prosody.cfg.lua"); err != nil {
		return err
	}
	for _, d := range s.domains {
		// Found by their names, as the certificates' own may be wrong.
		for _, ending := range []string{".crt", ".key"} {
			if err := os.Symlink(s.certs[d.Name], s.path("certs", d.Name+ending)); err != nil {
				return err
			}
		}
	}
	for _, d := range s.hosts() {
		folder := strings.ReplaceAll(d.Name, ".", "%2e")
		for _, user := range Accounts {
			account := fmt.Sprintf("return { [\"password\"] = %q; };\n", Password)
			if err := s.write(account, "data", folder, "accounts", user+".dat"); err != nil {
				return err
			}
		}
	}
	return nil
}

// name is a module's, as an element of a list, where it is wanted.
func name(module string, wanted bool) string {
	if !wanted {
		return ""
	}
	return fmt.Sprintf("%q;", module)
}

// optional is the port of an address that may be empty.
func optional(addr string) string {
	if addr == "" {
		return ""
	}
	return portOf(addr)
}

func (p prosody) command(s *Server) *exec.Cmd {
	args := []string{"--config", s.path("prosody.cfg.lua"), "-F"}
	if os.Getuid() == 0 {
		args = append(args, "--root") // beside run_as_root
	}
	return exec.Command(p.program, args...)
}

func (prosody) settle(*Server) error { return nil }
