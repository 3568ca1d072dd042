package s2s

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// said is what a peer of FuzzIncoming may say at any moment, right and wrong. The server
// of b.example and b2.example takes the key "good", that of c.example none.
var said = func() []string {
	const (
		open  = "<stream:stream xmlns='%s' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' to='%s' from='%s'%s>"
		claim = "<db:result from='%s' to='%s'>%s</db:result>"
		sm    = "xmlns='urn:xmpp:sm:3'"
	)
	all := []string{
		fmt.Sprintf(open, stanza.Server, "a.example", "b.example", " version='1.0'"), fmt.Sprintf(open, stanza.Server, "a.example", "b.example", " version='1.0'"),
		fmt.Sprintf(open, stanza.Server, "a.example", "c.example", ""), fmt.Sprintf(open, stanza.Server, "z.example", "b.example", " version='1.0'"),
		fmt.Sprintf(open, stanza.Client, "a.example", "b.example", " version='1.0'"), "</stream:stream>",
		"<bidi xmlns='urn:xmpp:bidi'/>", "<enable " + sm + "/>", "<r " + sm + "/>", "<a " + sm + " h='0'/>", "<a " + sm + " h='7'/>", "<enabled " + sm + "/>", "<failed " + sm + "/>", "<resume " + sm + " previd='x' h='0'/>",
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
		"<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", "<stream:features/>",
		" ", "hello", "<!-- x -->", "<a", "<x/>", strings.Repeat("<y>", 20), strings.Repeat("z", 20_000), "<db:result from='b.example' to='a.example'><x/>good</db:result>",
		"<db:result to='a.example'>good</db:result>", "<db:result from='bob@b.example' to='a.example'>good</db:result>", "<db:other from='b.example' to='a.example'/>",
		"<message from='bob@b.example'/>", "<message to='alice@a.example'/>", "<message from='@' to='@'/>", "<iq from='bob@b.example' to='a.example' type='x'/>",
		"<message xmlns='jabber:client' from='bob@b.example' to='alice@a.example'/>", "<iq from='b.example' to='a.example' type='result' id='s2s-ping-x'/>",
	}
	for _, theirs := range []string{"b.example", "b2.example", "c.example", "a2.example", "nowhere.example"} {
		for _, ours := range []string{"a.example", "a2.example", "z.example"} {
			all = append(all, fmt.Sprintf(claim, theirs, ours, "good"), fmt.Sprintf(claim, theirs, ours, "bad"),
				fmt.Sprintf("<message from='x@%s' to='y@%s'><body>x</body></message>", theirs, ours),
				fmt.Sprintf("<db:result from='%s' to='%s' type='valid'/>", theirs, ours),
				fmt.Sprintf("<db:verify from='%s' to='%s' id='1' type='valid'/>", theirs, ours),
				fmt.Sprintf("<db:verify from='%s' to='%s' id='1'>k</db:verify>", theirs, ours))
		}
	}
	return append(all, wait, wait, wait)
}()

// wait is said in silence, until the verdicts that are due have come.
const wait = "(wait)"

// grantable says of which pair a text is a claim that the authoritative server confirms.
func grantable(text string) (p Pair, ok bool) {
	for _, theirs := range []string{"b.example", "b2.example"} {
		for _, ours := range []string{"a.example", "a2.example"} {
			if text == fmt.Sprintf("<db:result from='%s' to='%s'>good</db:result>", theirs, ours) {
				return Pair{ours, theirs}, true
			}
		}
	}
	return p, false
}

// world is all that is around a server of FuzzIncoming: a router, DNS, others' servers.
type world struct {
	mu       sync.Mutex
	received []*stanza.Stanza
	servers  sync.WaitGroup
}

func (w *world) Receive(_ context.Context, st *stanza.Stanza) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.received = append(w.received, st)
}

func (*world) Return(context.Context, *stanza.Stanza, time.Time) error { return nil }
func (*world) Forward(context.Context, *stanza.Stanza) error           { return nil }

func (*world) Targets(_ context.Context, domain string, _ dns.Service) ([]dns.Target, error) {
	if domain == "nowhere.example" {
		return nil, &dns.Error{Kind: dns.NoDomain, Name: domain}
	}
	return []dns.Target{{Host: domain, Port: 5269}}, nil
}

func (*world) Addresses(context.Context, string) ([]netip.Addr, error) {
	return nil, &dns.Error{Kind: dns.NoAddress}
}

func (w *world) Dial(_ context.Context, t dns.Target, _ []netip.Prefix) (net.Conn, error) {
	ours, theirs := net.Pipe()
	w.servers.Go(func() { authoritative(theirs, strings.HasPrefix(t.Host, "b")) })
	return ours, nil
}

// authoritative is the server of a domain: it judges keys and takes none itself.
func authoritative(conn net.Conn, good bool) {
	defer conn.Close()
	dec := xmlwire.NewDecoder(conn, xmlwire.Limits{})
	if _, err := dec.Header(); err != nil {
		return
	}
	_, err := io.WriteString(conn, "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'><stream:features/>")
	for err == nil {
		var e *xmlwire.Element
		if e, err = dec.Next(); err != nil {
			return
		}
		typ := typeInvalid
		if good && e.Name == nameVerify && e.Text() == "good" {
			typ = typeValid
		}
		_, err = fmt.Fprintf(conn, "<db:%s from='%s' to='%s' id='%s' type='%s'/>", e.Name.Local, e.Attr("to"), e.Attr("from"), e.Attr("id"), typ)
	}
}

// hears reads what the server says, and wakes who waits for a verdict.
type hears struct {
	mu   sync.Mutex
	cond *sync.Cond
	text bytes.Buffer
	over bool
}

func (h *hears) read(conn net.Conn) {
	b := make([]byte, 4096)
	for {
		n, err := conn.Read(b)
		h.mu.Lock()
		h.text.Write(b[:n])
		h.over = err != nil
		h.cond.Broadcast()
		h.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// verdicts waits for n of them, or the end.
func (h *hears) verdicts(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !h.over && bytes.Count(h.text.Bytes(), []byte("<db:result")) < n {
		h.cond.Wait()
	}
}

// incoming has a peer say things, one for each byte of which, raw in the place of those
// from 250, and holds the server to what must be true whatever they are. It says how many
// stanzas were taken.
func incoming(t *testing.T, which []byte, raw string) int {
	t.Helper()
	w := new(world)
	var log bytes.Buffer
	serves := func(d string) bool { return d == "a.example" || d == "a2.example" }
	limits := stream.Limits{Element: 60 * time.Millisecond, Negotiation: 60 * time.Millisecond, Close: 10 * time.Millisecond}
	v := New(Options{
		Router: w, Resolver: func() Resolver { return w }, Serves: serves, Secret: func(string) string { return "s" },
		Limits: limits, Log: zerolog.New(zerolog.SyncWriter(&log)),
	})
	l := v.Listener(nil, 0, func(net.Addr) ConnOptions { return ConnOptions{Limits: limits} })
	peer, conn := net.Pipe()
	h := new(hears)
	h.cond = sync.NewCond(&h.mu)
	var running sync.WaitGroup
	running.Go(func() { l.handle(context.Background(), conn, nil) })
	running.Go(func() { h.read(peer) })
	claims, good := make(map[string]bool), make(map[Pair]bool)
	for _, b := range which {
		text := raw
		if b < 250 {
			text = said[int(b)%len(said)]
		}
		if text == wait {
			h.verdicts(len(claims))
			continue
		}
		if p, ok := grantable(text); ok {
			good[p] = true
		}
		if strings.HasPrefix(text, "<db:result") && strings.Contains(text, "example'>") && !strings.Contains(text, "@") {
			claims[text[:strings.Index(text, ">")]] = true // one verdict for a pair, at least
		}
		if _, err := io.WriteString(peer, text); err != nil {
			break
		}
	}
	_ = peer.Close()
	running.Wait()
	v.Close()
	w.servers.Wait()
	if strings.Contains(log.String(), "bug:") {
		t.Error(log.String())
	}
	if n := len(v.States()) - len(v.peers); n > 0 || len(v.conns) != 0 {
		t.Errorf("%d streams are left", len(v.conns))
	}
	if strings.Contains(raw, "result") {
		return len(w.received) // who knows what raw claims
	}
	for _, st := range w.received {
		if p := (Pair{st.To.Domain(), st.From.Domain()}); !good[p] {
			t.Errorf("taken without proof: %s", st)
		}
	}
	if out := h.text.String(); len(good) == 0 && strings.Contains(out, "type='valid'") {
		t.Errorf("a proof of nothing: %s", out)
	}
	return len(w.received)
}

// saying is the index of each text that begins so.
func saying(t testing.TB, texts ...string) (which []byte) {
	t.Helper()
next:
	for _, text := range texts {
		for i, s := range said {
			if strings.HasPrefix(s, text) {
				which = append(which, byte(i))
				continue next
			}
		}
		t.Fatalf("nobody says %s", text)
	}
	return which
}

const (
	claimB   = "<db:result from='b.example' to='a.example'>good"
	messageB = "<message from='x@b.example' to='y@a.example'"
)

// FuzzIncoming has a peer say anything in any order: never a panic, never a stanza that
// is taken for a pair of domains that was not proven.
func FuzzIncoming(f *testing.F) {
	for _, seed := range [][]byte{
		saying(f, "<stream:stream", claimB, wait, messageB), saying(f, "<stream:stream", claimB, messageB),
		saying(f, "<stream:stream", "<bidi", claimB, wait, "<enable", messageB, "<r ", "<a "),
		saying(f, "<stream:stream", "<db:result from='c.example' to='a.example'>good", wait, "<message from='x@c.example'"),
		saying(f, "<stream:stream", claimB, wait, "<message from='x@c.example'"),
		saying(f, "<stream:stream", "<db:verify", "<db:result from='b.example' to='a.example' type='valid'", messageB),
		saying(f, "<stream:stream", "<starttls"), saying(f, "<stream:stream", "<auth"), saying(f, "hello"),
	} {
		f.Add(seed, "")
	}
	f.Add(append(saying(f, "<stream:stream", claimB, wait), 255), "<message from='y@b.example' to='z@a.example'/>")
	f.Fuzz(func(t *testing.T, which []byte, raw string) { incoming(t, which, raw) })
}

// TestIncomingRandom is a part of the walk of FuzzIncoming for every run of the tests.
func TestIncomingRandom(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(11, uint64(i)))
			taken := 0
			for n := range 100 {
				which := make([]byte, r.IntN(14))
				for i := range which {
					which[i] = byte(r.IntN(len(said)))
				}
				switch {
				case n%3 == 0: // after a proof
					which = append(append(saying(t, "<stream:stream", claimB, wait), which...), saying(t, messageB)...)
				case n%3 == 1:
					which = append(saying(t, "<stream:stream"), which...)
				}
				if taken += incoming(t, which, ""); t.Failed() {
					t.Fatalf("walk %d: %v", n, which)
				}
			}
			if taken == 0 {
				t.Error("no walk gets a stanza through")
			}
		})
	}
}
