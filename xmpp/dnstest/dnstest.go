// Package dnstest is a small DNS server on loopback for tests: it serves a zone
// that the test writes down, and can be broken or silent for a name (RFC 1035).
package dnstest

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Serve answers the records over UDP and TCP on one port of loopback for the life
// of the test, and returns the address. See New for how a record is written.
func Serve(t testing.TB, records ...string) (addr string) {
	t.Helper()
	return New(t, records...).Addr()
}

// Server is a DNS server whose zone may change while it runs.
type Server struct {
	udp  net.PacketConn
	tcp  net.Listener
	work sync.WaitGroup

	mu       sync.Mutex
	zone     zone
	asked    []string
	silenced chan struct{}
	conns    map[net.Conn]bool
	over     bool
}

// New starts a server for the life of the test. A record is a line:
//
//	_xmpp-server._tcp.p1.example SRV 10 5 5269 localhost
//	p1.example MX 10 mx.p1.example
//	p1.example A 127.0.0.1
//	p1.example AAAA ::1
//	www.p1.example CNAME p1.example
//	broken.example SERVFAIL
//	slow.example SILENT
//
// The last two hold for the name and all names below it that have no records of
// their own. The target of an SRV or MX may be ".". A name without records of the type
// asked for is answered empty if it or a name below it is in the zone (RFC 8020
// §2), else with NXDOMAIN.
func New(t testing.TB, records ...string) *Server {
	t.Helper()
	s := &Server{silenced: make(chan struct{}, 1), conns: make(map[net.Conn]bool)}
	s.Set(t, records...)
	s.listen(t)
	s.work.Go(s.serveUDP)
	s.work.Go(s.serveTCP)
	t.Cleanup(s.close)
	return s
}

// Addr returns the address of the server, host and port, the same for UDP and TCP.
func (s *Server) Addr() string { return s.udp.LocalAddr().String() }

// Set replaces the zone.
func (s *Server) Set(t testing.TB, records ...string) {
	t.Helper()
	z, err := parse(records)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = z
}

// Asked returns the questions so far in their order, each as "name TYPE": those
// that got no answer too.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// Silenced returns a channel that receives when a question went without an answer,
// so that a test knows that somebody waits. Questions that nobody received for in
// between count once.
func (s *Server) Silenced() <-chan struct{} { return s.silenced }

// listen takes a port that is free for both protocols.
func (s *Server) listen(t testing.TB) {
	t.Helper()
	var err error
	for range 20 {
		if s.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if s.tcp, err = net.Listen("tcp", s.udp.LocalAddr().String()); err == nil {
			return
		}
		_ = s.udp.Close() // nothing was sent on it
	}
	t.Fatalf("no port is free for both UDP and TCP: %v", err)
}

func (s *Server) close() {
	_ = s.udp.Close() // nothing else can be done about it
	_ = s.tcp.Close() // likewise
	s.mu.Lock()
	s.over = true
	for c := range s.conns {
		_ = c.Close() // likewise
	}
	s.mu.Unlock()
	s.work.Wait()
}

// maxUDP is how long an answer over UDP may be (RFC 1035 §4.2.1). A longer one is
// asked for again over TCP.
const maxUDP = 512

func (s *Server) serveUDP() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := s.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := s.answer(buf[:n], maxUDP); reply != nil {
			_, _ = s.udp.WriteTo(reply, from) // a datagram may be lost
		}
	}
}

func (s *Server) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.over {
			s.mu.Unlock()
			_ = c.Close() // as in close
			return
		}
		s.conns[c] = true
		s.mu.Unlock()
		s.work.Go(func() { s.serveConn(c) })
	}
}

// serveConn answers the messages on one connection, each after its length
// (RFC 1035 §4.2.2).
func (s *Server) serveConn(c net.Conn) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, c)
		_ = c.Close() // as in close
	}()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		msg := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, msg); err != nil {
			return
		}
		reply := s.answer(msg, 1<<16-1)
		if reply == nil {
			continue
		}
		reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

// answer returns the reply to a message, nil for none.
func (s *Server) answer(msg []byte, limit int) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, question(q))
	found := s.zone.find(q)
	s.mu.Unlock()
	if found.silent {
		select {
		case s.silenced <- struct{}{}:
		default:
		}
		return nil
	}
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: h.ID, Response: true, OpCode: h.OpCode, RCode: found.code,
			Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q},
		Answers:   found.answers,
	}
	reply, err := m.Pack()
	if err == nil && len(reply) > limit {
		m.Truncated, m.Answers = true, nil // RFC 2181 §9: and the client asks over TCP
		reply, err = m.Pack()
	}
	if err != nil {
		return nil
	}
	return reply
}
