package peertest

import (
	"net"
	"os/exec"
	"testing"
)

// Server is a server that nobody here wrote. Its methods belong to the goroutine
// of the test, but for Log.
type Server struct {
	// C2S is where clients connect; STARTTLS is offered and not asked for.
	C2S string

	// S2S is where servers connect, DirectS2S the same with TLS from the first byte
	// (XEP-0368): "" in the mode Plain.
	S2S, DirectS2S string

	t        testing.TB
	software software
	o        Options
	domains  []Domain
	dir      string
	resolver string
	ca       string
	certs    map[string]string // PEM files by domain
	joins    map[string]string // where components connect, by domain
	run      *process          // nil before the first start
}

// software is what differs between the servers.
type software interface {
	// configure writes the files that the server reads.
	configure(s *Server) error
	command(s *Server) *exec.Cmd

	// listening is the line of the log that says that a port is open.
	listening(host, port string) string

	// settle does what can be done only while the server runs.
	settle(s *Server) error
}

func newServer(t testing.TB, sw software, o Options, domains []Domain) *Server {
	t.Helper()
	s := &Server{
		t: t, software: sw, o: o, domains: domains, dir: t.TempDir(), certs: make(map[string]string), joins: make(map[string]string),
		C2S: Reserve(t), S2S: Reserve(t),
	}
	for _, d := range s.components() {
		s.joins[d.Name] = Reserve(t)
	}
	if o.Mode != Plain {
		s.DirectS2S = Reserve(t)
	}
	t.Cleanup(func() {
		if s.run != nil {
			s.run.kill()
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", sw, s.Log())
		}
	})
	return s
}

// Start starts the server again after Stop or Kill, with what it has stored, and
// waits until it listens.
func (s *Server) Start() {
	s.t.Helper()
	s.launch()
	s.await()
}

// Stop asks the server to end (SIGTERM) and waits for it.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.run.stop(); err != nil {
		s.t.Fatalf("%s: %v", s.software, err)
	}
}

// Kill ends the server at once, as the system would (SIGKILL).
func (s *Server) Kill() { s.run.kill() }

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// Component is where the external component of a domain connects (XEP-0114).
func (s *Server) Component(domain string) string {
	addr, ok := s.joins[domain]
	if !ok {
		panic(domain + " is no component's")
	}
	return addr
}

// Log is the end of what the server that runs, or ran last, has logged.
func (s *Server) Log() string {
	if s.run == nil {
		return ""
	}
	return s.run.log.tail()
}

// Logged waits until the server that runs logs a line that holds all the words, or
// has done so.
func (s *Server) Logged(words ...string) {
	s.t.Helper()
	if err := s.run.logged(words...); err != nil {
		s.t.Fatalf("%s: %v", s.software, err)
	}
}

// server is where other servers find a domain.
func (s *Server) server(d Domain) string {
	if d.DirectTLS {
		return s.DirectS2S
	}
	return s.S2S
}

func (s *Server) launch() {
	s.t.Helper()
	run, err := start(s.software.command(s))
	if err != nil {
		s.t.Fatalf("%s: %v", s.software, err)
	}
	s.run = run
}

func (s *Server) await() {
	s.t.Helper()
	for _, addr := range s.listeners() {
		host, port, err := net.SplitHostPort(addr)
		if err == nil {
			err = s.run.logged(s.software.listening(host, port))
		}
		if err != nil {
			s.t.Fatalf("%s: %v", s.software, err)
		}
	}
	if err := s.software.settle(s); err != nil {
		s.t.Fatalf("%s: %v", s.software, err)
	}
}

// listeners are the addresses that are open once the server runs.
func (s *Server) listeners() []string {
	all := []string{s.C2S, s.S2S}
	if s.DirectS2S != "" {
		all = append(all, s.DirectS2S)
	}
	for _, d := range s.components() {
		all = append(all, s.joins[d.Name])
	}
	return all
}

// hosts are the domains that have accounts.
func (s *Server) hosts() []Domain { return s.pick(false) }

// components are the domains of external components.
func (s *Server) components() []Domain { return s.pick(true) }

func (s *Server) pick(component bool) (some []Domain) {
	for _, d := range s.domains {
		if (d.Secret != "") == component {
			some = append(some, d)
		}
	}
	return some
}
