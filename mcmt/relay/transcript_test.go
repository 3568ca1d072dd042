package relay

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/mcmt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTranscripts plays the files of testdata: the conversation of a Sender with
// hosts that do what the file says. A file is one step per line; a line with # is a
// comment. Time is not real, so a host may be silent for minutes.
//
//	USE smarthost=mx.example:25 tls=required   Options
//	DNS p1.example MX 10 mx.p1.example         a record; A, MX, or SERVFAIL or SILENT
//	REFUSE 192.0.2.1                           the address refuses connections; SILENT: it never answers
//	SEND FROM TO [utf8] [ret=FULL] [envid=x] [notify=NEVER,…] [orcpt=rfc822;x] [text=…] [within=1m]
//	ACCEPT 192.0.2.1:25                        a connection comes in
//	S: 220 mx.example                          the host says
//	C: EHLO us.example                         the Sender says
//	TLS mx.p1.example                          handshake with a certificate for the name
//	TLSFAIL mx.p1.example                      the same, which fails
//	RAW 220 go\r\n250 x\r\n                    the host sends these bytes at once
//	EOF                                        the Sender closes the connection
//	CLOSE                                      the host does
//	PASS 5m                                    time passes
//	CANCEL                                     the context of the last SEND ends
//	RESULT sent ...                            what Send returns
//	STATS sent=1                               counters
//	RELOAD tls=required                        as USE, with Configure
//	END                                        the Sender is closed
//
// Several connections and messages are told apart by a name: ACCEPT2, C2, SEND2.
// {x*1000} is a thousand times x, … at the end of what is expected anything.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d transcripts (%v)", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			certificates() // outside of the bubble, for all
			synctest.Test(t, func(t *testing.T) { play(t, string(text)) })
		})
	}
}

var stepForm = regexp.MustCompile(`^([A-Z]+)(\d*)(?:: ?| |$)(.*)$`)

func play(t *testing.T, script string) {
	st := newStage(t)
	defer st.end()
	n := 0
	for line := range strings.Lines(script) {
		n++
		line = strings.TrimRight(line, "\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		m := stepForm.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("line %d: %q is no step", n, line)
		}
		if err := st.step(m[1], m[2], repeat(m[3])); err != nil {
			t.Fatalf("line %d: %s: %v", n, line, err)
		}
	}
}

var repeated = regexp.MustCompile(`\{(.)\*(\d+)\}`)

func repeat(s string) string {
	return repeated.ReplaceAllStringFunc(s, func(m string) string {
		p := repeated.FindStringSubmatch(m)
		n, _ := strconv.Atoi(p[2])
		return strings.Repeat(p[1], n)
	})
}

// stage is a Sender and the network around it.
type stage struct {
	t       *testing.T
	s       *Sender
	options Options
	dns     zone
	sends   map[string]*sending
	last    *sending
	conns   map[string]*hostConn
	over    chan struct{} // closed when END is over; nil before it

	mu      sync.Mutex
	refuses map[string]string        // "refuse" or "silent", by address
	dialled map[string]chan net.Conn // by address and port
}

type sending struct {
	cancel context.CancelFunc
	done   chan string
}

// hostConn is the host's end of a connection.
type hostConn struct {
	net.Conn
	r *bufio.Reader
}

func newStage(t *testing.T) *stage {
	st := &stage{
		t: t, dns: zone{}, sends: make(map[string]*sending), conns: make(map[string]*hostConn),
		refuses: make(map[string]string), dialled: make(map[string]chan net.Conn),
	}
	st.options = Options{Hostname: "us.example", Resolver: st.dns, Log: zerolog.Nop()}
	return st
}

// end lets nothing go on after the transcript.
func (st *stage) end() {
	for _, s := range st.sends {
		s.cancel()
	}
	if st.s != nil && st.over == nil {
		st.s.Close()
	}
	if st.over != nil {
		<-st.over
	}
	for _, c := range st.conns {
		_ = c.Close()
	}
}

func (st *stage) queue(addr string) chan net.Conn {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.dialled[addr] == nil {
		st.dialled[addr] = make(chan net.Conn, 100)
	}
	return st.dialled[addr]
}

// connect is how the Sender connects.
func (st *stage) connect(ctx context.Context, _, addr string) (net.Conn, error) {
	at := netip.MustParseAddrPort(addr)
	st.mu.Lock()
	fate := st.refuses[at.Addr().String()]
	st.mu.Unlock()
	switch fate {
	case "refuse":
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case "silent":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	st.queue(addr) <- theirs
	return addressed{ours, net.TCPAddrFromAddrPort(at)}, nil
}

type addressed struct {
	net.Conn
	addr net.Addr
}

func (a addressed) RemoteAddr() net.Addr { return a.addr }

func (st *stage) sender() *Sender {
	if st.s == nil {
		st.s = New(st.options)
		st.s.connect = st.connect
		st.s.shuffle = func(int, func(i, j int)) {}
	}
	return st.s
}

func (st *stage) step(verb, name, text string) error {
	switch verb {
	case "USE":
		return use(&st.options, text)
	case "RELOAD":
		err := use(&st.options, text)
		st.sender().Configure(st.options)
		return err
	case "DNS":
		return st.dns.add(text)
	case "REFUSE", "SILENT", "LISTEN":
		st.mu.Lock()
		defer st.mu.Unlock()
		st.refuses[text] = strings.ToLower(verb)
		return nil
	case "SEND":
		return st.send(name, text)
	case "CANCEL":
		st.last.cancel()
		return nil
	case "RESULT":
		return st.result(name, text)
	case "STATS":
		return st.stats(text)
	case "PASS":
		d, err := time.ParseDuration(text)
		time.Sleep(d) // of the bubble
		synctest.Wait()
		return err
	case "ACCEPT":
		return st.accept(name, text)
	case "END":
		st.over = make(chan struct{})
		go func() { defer close(st.over); st.s.Close() }()
		return nil
	}
	c := st.conns[name]
	if c == nil {
		return errors.New("no such connection, or no such step")
	}
	return c.step(verb, text)
}

// patience is more than the longest wait of the Sender.
const patience = time.Hour

func (st *stage) accept(name, addr string) error {
	select {
	case c := <-st.queue(addr):
		st.conns[name] = &hostConn{c, bufio.NewReader(c)}
		return c.SetDeadline(time.Now().Add(patience))
	case <-time.After(patience):
		return errors.New("nobody connects")
	}
}

// step is one of a connection.
func (c *hostConn) step(verb, text string) error {
	switch verb {
	case "S":
		_, err := c.Write([]byte(text + "\r\n"))
		return err
	case "RAW":
		raw, err := strconv.Unquote(`"` + text + `"`)
		if err != nil {
			return err
		}
		_, err = c.Write([]byte(raw))
		return err
	case "C":
		got, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		return match(text+"\r\n", got)
	case "EOF":
		if b, err := c.r.ReadByte(); err == nil {
			return fmt.Errorf("there is more: %q", b)
		}
		return nil
	case "CLOSE":
		return c.Close()
	case "TLS", "TLSFAIL":
		conn := tls.Server(c.Conn, &tls.Config{Certificates: []tls.Certificate{certificates().by[text]}})
		err := conn.Handshake()
		c.Conn, c.r = conn, bufio.NewReader(conn)
		if verb == "TLSFAIL" && err == nil {
			return errors.New("it does not fail")
		}
		if verb == "TLSFAIL" {
			return nil
		}
		return err
	}
	return errors.New("no such step")
}

func match(want, got string) error {
	if begin, ok := strings.CutSuffix(strings.TrimSuffix(want, "\r\n"), "…"); ok && strings.HasPrefix(got, begin) {
		return nil
	}
	if want != got {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

// send begins a Send.
func (st *stage) send(name, text string) error {
	words := strings.Fields(text)
	m := Message{From: strings.Trim(words[0], "<>"), To: mcmt.Recipient{Address: words[1]}, Raw: []byte("Subject: x\r\n\r\nhello\r\n")}
	within := 24 * time.Hour
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "within":
			within, _ = time.ParseDuration(value)
		case "utf8":
			m.UTF8 = true
		case "ret":
			m.Return = value
		case "envid":
			m.EnvelopeID = value
		case "notify":
			m.To.Notify = strings.Split(value, ",")
		case "orcpt":
			m.To.ORCPT = value
		case "text":
			raw, err := strconv.Unquote(`"` + strings.ReplaceAll(value, "_", " ") + `"`)
			if err != nil {
				return err
			}
			m.Raw = []byte(raw)
		default:
			return fmt.Errorf("%q is no part of a message", w)
		}
	}
	ctx, cancel := context.WithTimeout(st.t.Context(), within)
	s := &sending{cancel: cancel, done: make(chan string, 1)}
	st.sends[name], st.last = s, s
	sender := st.sender()
	go func() {
		res, err := sender.Send(ctx, m)
		s.done <- describe(res, err)
	}()
	synctest.Wait() // so that messages wait in the order in which they were sent
	return nil
}

func describe(res Result, err error) string {
	switch {
	case err == nil:
		return fmt.Sprintf("sent by %s tls=%t dsn=%t: %s", res.Host, res.TLS, res.DSN, res.Reply)
	case temporary(err):
		return "temporary " + err.Error()
	}
	return "permanent " + err.Error()
}

func (st *stage) result(name, want string) error {
	select {
	case got := <-st.sends[name].done:
		return match(want, got)
	case <-time.After(patience):
		return errors.New("Send does not return")
	}
}

// stats compares counters, and those of failures by kind.
func (st *stage) stats(text string) error {
	synctest.Wait()
	got := st.s.Stats()
	all := map[string]int{
		"attempts": int(got.Attempts), "sent": int(got.Sent), "refused": int(got.Refused), "deferred": int(got.Deferred),
		"fallbacks": int(got.Fallbacks), "open": got.Open, "idle": got.Idle, "waiting": got.Waiting,
	}
	for k, n := range got.Failures {
		all[k.String()] = int(n)
	}
	for _, w := range strings.Fields(text) {
		key, value, _ := strings.Cut(w, "=")
		if n, ok := all[key]; !ok || strconv.Itoa(n) != value {
			return fmt.Errorf("%s is %d", key, n)
		}
	}
	return nil
}

// use sets options.
func use(o *Options, text string) error {
	for _, w := range strings.Fields(text) {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "smarthost":
			o.SmartHost = value
		case "user":
			o.User = value
		case "password":
			o.Password = value
		case "hostname":
			o.Hostname = value
		case "tls":
			o.TLS = map[string]TLSMode{"required": TLSRequired, "no": TLSNever}[value]
		case "verify":
			o.Verify = map[string]VerifyMode{"ca": VerifyCA, "host": VerifyHost}[value]
			o.Roots = certificates().roots
		case "connections":
			o.MaxConnections, _ = strconv.Atoi(value)
		case "idle":
			o.IdleTimeout, _ = time.ParseDuration(value)
		case "prohibited":
			o.Prohibited = append(o.Prohibited, netip.MustParsePrefix(value))
		default:
			return fmt.Errorf("%q is no option", w)
		}
	}
	return nil
}

// zone is the DNS: records by name and type.
type zone map[string][]string

func (z zone) add(text string) error {
	w := strings.Fields(text)
	if len(w) < 2 {
		return errors.New("a name and a type")
	}
	key := w[0] + ". " + w[1]
	z[key] = append(z[key], strings.Join(w[2:], " "))
	return nil
}

func (z zone) fate(ctx context.Context, name string) error {
	switch {
	case z[name+" SERVFAIL"] != nil:
		return &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	case z[name+" SILENT"] != nil:
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (z zone) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if err := z.fate(ctx, name); err != nil {
		return nil, err
	}
	var all []*net.MX
	for _, r := range z[name+" MX"] {
		pref, host, _ := strings.Cut(r, " ")
		n, _ := strconv.Atoi(pref)
		all = append(all, &net.MX{Host: strings.TrimSuffix(host, ".") + ".", Pref: uint16(n)})
	}
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return all, nil
}

func (z zone) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	if err := z.fate(ctx, host); err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, r := range z[host+" A"] {
		all = append(all, netip.MustParseAddr(r))
	}
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return all, nil
}

// certificates are those of hosts, by name: signed by the authority, "self" by
// itself, and none as "bad".
var certificates = sync.OnceValue(func() (all struct {
	by    map[string]tls.Certificate
	roots *x509.CertPool
}) {
	all.by, all.roots = map[string]tls.Certificate{"bad": {}}, x509.NewCertPool()
	issue := func(name string, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		// The clock of a bubble begins in 2000.
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Now().Add(time.Hour),
			IsCA: parent == nil, BasicConstraintsValid: true,
		}
		if parent == nil {
			parent, key = tmpl, own
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, own.Public(), key)
		if err != nil {
			panic(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		all.by[name] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
		return cert, own
	}
	ca, key := issue("authority", nil, nil)
	all.roots.AddCert(ca)
	for _, name := range []string{"mx.p1.example", "mx2.p1.example", "smart.example", "localhost"} {
		issue(name, ca, key)
	}
	issue("self", nil, nil)
	return all
})
