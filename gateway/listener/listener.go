// Package listener opens the sockets of the gateway's listeners with the options
// that a listen scope sets, keeps the certificates they show, and bounds the
// connections that negotiate at once.
//
// Files: listener.go what Listen opens; inherit.go what is open already; accept.go how connections are taken
// from the kernel; unixsocket.go socket files; sockopt_*.go and filemode_*.go
// what the system has to be asked for; slots.go the thread pools;
// certificate.go, selfsigned.go and tls.go certificates and tls.Config.
package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
)

// ErrDisabled is what Listen answers for a listener that is switched off.
var ErrDisabled = errors.New("listener is disabled")

// DefaultBacklog is the listen_backlog that holds where none is written.
const DefaultBacklog = 500

// DefaultFileMode is the file_mode that holds where none is written.
const DefaultFileMode fs.FileMode = 0o660

// Options are the options of one listen scope. The zero value of each field is
// the default of the option.
type Options struct {
	// Address is the label of the scope: "*:5222" and ":5222" are every address
	// of the machine, IPv4 and IPv6, and so is "[::]:5222" where the system maps
	// IPv4 into IPv6; "192.0.2.1:5222", "[2001:db8::1]:5222" and "host:5222" are
	// one address (of a host's addresses one, IPv4 before IPv6); "/path" and
	// "unix:path" a Unix socket. Port 0 lets the system choose.
	Address string

	// Disabled opens nothing (enable = false): Listen answers ErrDisabled.
	Disabled bool

	// Backlog is listen_backlog, the length of the kernel's queue of connections
	// that nobody has accepted, given to listen(2); the kernel cuts it to
	// net.core.somaxconn. 0: DefaultBacklog.
	Backlog int

	// AcceptQueue is accept_queue_backlog: how many connections may be accepted
	// before a worker asks for them. Further ones wait in the kernel's queue,
	// where the peer's SYN is answered but nobody reads. 0: none.
	AcceptQueue int

	// EventsPerIter is events_per_iter: after so many connections in a row that
	// were already waiting, the goroutines they went to run before the next is
	// taken. 0: no bound.
	EventsPerIter int

	// FileMode is file_mode, the permissions of a Unix socket. 0: DefaultFileMode.
	FileMode fs.FileMode

	// DisableNagle is disable_nagle_algorithm: TCP_NODELAY on or off. nil, the
	// option unwritten, leaves the choice of Go's net package, which is on.
	DisableNagle *bool

	// RecvBuffer and SendBuffer are tcp_recv_buffer_size and
	// tcp_send_buffer_size in bytes, for TCP only. Linux doubles them for its
	// bookkeeping and cuts them to net.core.rmem_max and wmem_max. 0: the system
	// sizes the buffers as it goes, which is nearly always better.
	RecvBuffer, SendBuffer int

	// Deny says of a peer's address (IPv4 never mapped) that its connections are
	// closed at once (always_deny). It runs for every connection and must not
	// block; it is not asked about peers on a Unix socket. nil denies nobody.
	Deny func(netip.Addr) bool

	// Inherited has the socket perhaps, opened by the service manager. Its backlog and
	// buffers are set all the same, and its file is left alone.
	Inherited *Inherited

	// Log gets a line when the system refuses to hand over connections.
	Log zerolog.Logger
}

// Listen opens the socket that o describes. ctx bounds the look-up of a host
// name only; the listener lives until Close, which also closes the connections
// that nobody has taken, removes a socket file and waits for what Listen
// started. Accept returns *net.TCPConn or *net.UnixConn and survives passing
// failures such as a lack of file descriptors, so that any error of it but
// net.ErrClosed is final.
//
// The *Listener it returns offers Stats beside net.Listener.
func Listen(ctx context.Context, o Options) (*Listener, error) {
	if o.Disabled {
		return nil, ErrDisabled
	}
	network, address, err := parseAddress(o.Address)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("listen %s: %w", o.Address, err)
	}
	if o.Backlog == 0 {
		o.Backlog = DefaultBacklog
	}
	if o.FileMode == 0 {
		o.FileMode = DefaultFileMode
	}
	var l *Listener
	if ln := o.Inherited.take(network, address); ln != nil {
		l, err = adopt(ln, o)
	} else if network == "unix" {
		l, err = listenUnix(ctx, address, o)
	} else {
		l, err = listenTCP(ctx, address, o)
	}
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", o.Address, err)
	}
	l.start()
	return l, nil
}

// check refuses numbers that no system call would take.
func (o Options) check() error {
	for _, n := range []struct {
		name  string
		value int
	}{
		{"listen_backlog", o.Backlog},
		{"accept_queue_backlog", o.AcceptQueue},
		{"events_per_iter", o.EventsPerIter},
		{"tcp_recv_buffer_size", o.RecvBuffer},
		{"tcp_send_buffer_size", o.SendBuffer},
	} {
		if n.value < 0 {
			return fmt.Errorf("%s is negative: %d", n.name, n.value)
		}
	}
	if o.FileMode&^fs.ModePerm != 0 {
		return fmt.Errorf("file_mode has bits beyond 0777: %#o", uint32(o.FileMode))
	}
	return nil
}

// parseAddress splits the label of a listen scope into the arguments of
// net.Listen.
func parseAddress(s string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok || strings.HasPrefix(s, "/") {
		if path == "" && ok {
			return "", "", errors.New(`listen "unix:": the path is missing`)
		}
		if !ok {
			path = s
		}
		if path[0] == '@' || path[0] == 0 {
			// A name in the abstract namespace has no file, so that file_mode
			// could not hold and every local user could connect.
			return "", "", fmt.Errorf("listen %q: abstract socket names have no file mode; give a path", s)
		}
		return "unix", path, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", "", fmt.Errorf(`listen %q: want "*:PORT", "ADDRESS:PORT", "[IPV6]:PORT" or "/PATH": %w`, s, err)
	}
	if host == "*" {
		host = ""
	}
	if port == "" {
		return "", "", fmt.Errorf("listen %q: the port is missing", s)
	}
	return "tcp", net.JoinHostPort(host, port), nil
}

// listenTCP opens a TCP socket. The buffer sizes are set before the socket
// listens: accepted connections inherit them, and the window scale, which
// depends on the size, is agreed in the handshake, before Accept returns.
func listenTCP(ctx context.Context, address string, o Options) (*Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd uintptr) error { return setBuffers(fd, o.RecvBuffer, o.SendBuffer) })
	}}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tl := ln.(*net.TCPListener)
	if err := limitBacklog(tl, o.Backlog); err != nil {
		_ = tl.Close()
		return nil, err
	}
	return newListener(tl, tl, o), nil
}

// limitBacklog replaces the backlog of net.Listen, which is always somaxconn.
// Linux and the BSDs allow listen(2) on a listening socket and take the new
// length; connections of the moment between are kept.
func limitBacklog(c syscall.Conn, backlog int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return onFD(raw, func(fd uintptr) error { return setBacklog(fd, backlog) })
}

// onFD runs f on the descriptor and returns the error of either.
func onFD(c syscall.RawConn, f func(fd uintptr) error) error {
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(fd) }); err != nil {
		return err
	}
	return inner
}
