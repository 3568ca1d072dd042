package listener

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// Inherited are sockets that the service manager has opened before it started us
// (systemd's sd_listen_fds(3)): connections wait in them while we are not there. Listen
// takes them by their address. A nil Inherited has none.
type Inherited struct {
	mu   sync.Mutex
	open []net.Listener
}

// firstInherited is the first descriptor that is handed over.
const firstInherited = 3

// Inherit takes over what was left for this process, and the environment's word of it, so
// that no child takes it for its own.
func Inherit() (*Inherited, error) {
	pid, fds := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name) // the name is good
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // of somebody else, or of nobody
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > 1000 {
		return nil, fmt.Errorf("LISTEN_FDS: %q is no number of sockets", fds)
	}
	return inherit(firstInherited, n)
}

// inherit takes n descriptors.
func inherit(first uintptr, n int) (*Inherited, error) {
	i := new(Inherited)
	var errs []error
	for fd := first; fd < first+uintptr(n); fd++ {
		f := os.NewFile(fd, "inherited")
		ln, err := net.FileListener(f)
		_ = f.Close() // ln has a descriptor of its own, which no child inherits
		if err != nil {
			errs = append(errs, fmt.Errorf("inherited descriptor %d: %w", fd, err))
			continue
		}
		i.open = append(i.open, ln)
	}
	if err := errors.Join(errs...); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// take returns the socket of an address, nil where there is none.
func (i *Inherited) take(network, address string) net.Listener {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for k, ln := range i.open {
		if ln.Addr().Network() == network && sameAddress(network, ln.Addr().String(), address) {
			i.open = append(i.open[:k:k], i.open[k+1:]...)
			return ln
		}
	}
	return nil
}

// sameAddress says whether a socket at has is the one that a listen scope wants. One of
// every address is so in IPv4 and in IPv6, which the system may serve by one socket.
func sameAddress(network, has, wants string) bool {
	if network == "unix" || has == wants {
		return has == wants
	}
	at, err := netip.ParseAddrPort(has)
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(wants)
	if err != nil || port != strconv.Itoa(int(at.Port())) {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "" && at.Addr().IsUnspecified() || err == nil && addr.Unmap() == at.Addr().Unmap()
}

// Rest are the addresses of those that nobody has taken.
func (i *Inherited) Rest() []string {
	if i == nil {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []string
	for _, ln := range i.open {
		all = append(all, ln.Addr().String())
	}
	return all
}

// Close closes those that nobody has taken.
func (i *Inherited) Close() {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, ln := range i.open {
		_ = ln.Close() // nobody has accepted anything
	}
	i.open = nil
}

// adopt makes a listener of a socket that is open. Its file, where it has one, is that of
// who made it; what can still be set is.
func adopt(ln net.Listener, o Options) (*Listener, error) {
	raw, ok := ln.(syscall.Conn)
	if !ok {
		_ = ln.Close()
		return nil, fmt.Errorf("inherited socket of an unknown kind %T", ln)
	}
	err := limitBacklog(raw, o.Backlog)
	if _, tcp := ln.(*net.TCPListener); err == nil && tcp {
		var c syscall.RawConn
		if c, err = raw.SyscallConn(); err == nil {
			err = onFD(c, func(fd uintptr) error { return setBuffers(fd, o.RecvBuffer, o.SendBuffer) })
		}
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return newListener(ln, raw, o), nil
}
