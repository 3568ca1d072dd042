package c2s

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stream"
)

// benchServer makes the test binary a server by itself, so that what a process of
// it takes can be seen from outside. Its value is GOMAXPROCS.
const benchServer = "MCMT2XMPP_BENCH_SERVER"

func init() {
	beServer = func() bool {
		n, err := strconv.Atoi(os.Getenv(benchServer))
		if err != nil {
			return false
		}
		runtime.GOMAXPROCS(n)
		if err := serveBench(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return true
	}
}

// keyed is a store as the built-in one: it has SCRAM keys, for any name of one
// password.
type keyed struct{ key sasl.StoredKey }

func (k keyed) Credentials(context.Context, string, string) (sasl.Credentials, error) {
	return sasl.Credentials{SCRAM: map[string]sasl.StoredKey{sasl.SHA256: k.key, sasl.SHA1: k.key}}, nil
}

// benchSecret is the password of all. The iterations are as few as a client takes: what
// the server does for a login by SCRAM does not depend on them.
const (
	benchSecret     = "secret"
	benchIterations = 4096
)

// serveBench serves until its standard input ends. It says where, and with which
// certificate.
func serveBench() error {
	t := new(testing.T)
	serverTLS, _ := certificate(t)
	key, err := sasl.Derive(sasl.SHA256, benchSecret, []byte("0123456789abcdef"), benchIterations)
	if err != nil {
		return err
	}
	v := New(Options{
		Router:     router.New(router.Options{Domains: func(d string) bool { return d == "localhost" }}),
		PerAddress: 1 << 20,
		Connection: func(net.Addr) ConnOptions {
			return ConnOptions{TLS: serverTLS, Accounts: keyed{key}, ResumeTime: 5 * time.Minute, IdleTime: 5 * time.Minute,
				Limits: stream.Limits{Stanzas: stream.Rate{N: 10000, Per: 10 * time.Second}, Bytes: stream.Rate{N: 20e6, Per: 10 * time.Second}}}
		},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := json.NewEncoder(os.Stdout).Encode(benchAddress{ln.Addr().String(), serverTLS.Certificates[0].Certificate[0]}); err != nil {
		return err
	}
	return v.Serve(ctx, ln)
}

type benchAddress struct {
	Address     string
	Certificate []byte
}

// bencher is a server in a process of its own.
type bencher struct {
	benchAddress
	pid  int
	pool *x509.CertPool
}

func startBench(b *testing.B, procs int) *bencher {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", benchServer, procs))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread() // Pdeathsig is that of the thread
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		runtime.UnlockOSThread()
	})
	s := &bencher{pid: cmd.Process.Pid, pool: x509.NewCertPool()}
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&s.benchAddress); err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(s.Certificate)
	if err != nil {
		b.Fatal(err)
	}
	s.pool.AddCert(leaf)
	return s
}

// proc returns the fields of a file of /proc of the server.
func (s *bencher) proc(b *testing.B, file string) []string {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.pid, file))
	if err != nil {
		b.Fatal(err)
	}
	return strings.Fields(string(text))
}

// cpu is the time that the server has computed.
func (s *bencher) cpu(b *testing.B) time.Duration {
	fields := s.proc(b, "stat")
	ticks := 0
	for _, f := range fields[13:15] { // utime and stime; the name of a test binary has no blank
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func (s *bencher) dial(user string) (*stream.Client, error) {
	return stream.Dial(context.Background(), stream.ClientOptions{JID: jid.MustParse(user), Password: benchSecret,
		Address: s.Address, TLS: &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}, Manage: true})
}

// BenchmarkLogins tells how many logins by SCRAM-SHA-256 over TLS, from the connection
// to the bound resource, a server does that has one core; the clients' have another.
func BenchmarkLogins(b *testing.B) {
	s := startBench(b, 1)
	used, start := s.cpu(b), time.Now()
	next := make(chan int)
	var all sync.WaitGroup
	errs := make(chan error, 8)
	for range 8 {
		all.Go(func() {
			for i := range next {
				c, err := s.dial(fmt.Sprintf("u%d@localhost/x", i))
				if err != nil {
					errs <- err
					return
				}
				_ = c.Stream().Abort()
			}
		})
	}
	for i := range b.N {
		select {
		case next <- i:
		case err := <-errs:
			b.Fatal(err)
		}
	}
	close(next)
	all.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "logins/s")
	// What the machine allows, where the clients leave the server its core.
	b.ReportMetric(float64(b.N)/(s.cpu(b)-used).Seconds(), "logins/core-s")
	b.ReportMetric(0, "ns/op")
}
