package peertest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// install makes the certificates and the configuration.
func (s *Server) install(ca *CA, resolver string) {
	s.t.Helper()
	s.ca, s.resolver = ca.File, resolver
	for _, d := range s.domains {
		kind := d.Certificate
		if kind == Default {
			kind = SelfSigned
			if s.o.Mode == Certs {
				kind = Valid
			}
		}
		s.certs[d.Name] = ca.Issue(kind, d.Name)
	}
	if err := s.software.configure(s); err != nil {
		s.t.Fatalf("%s: %v", s.software, err)
	}
}

// path is a file in the folder of the server.
func (s *Server) path(name ...string) string {
	return filepath.Join(append([]string{s.dir}, name...)...)
}

// write writes a file in the folder of the server.
func (s *Server) write(text string, name ...string) error {
	path := s.path(name...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// portOf is the port of an address of ours.
func portOf(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	return port
}

// installed returns the first path that matches the pattern. Where there is none
// the test cannot go on: it says which package to install.
func installed(t testing.TB, pattern, pkg string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		return found[0]
	}
	why := fmt.Sprintf("%s is not here: apt-get install %s", pattern, pkg)
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}
