package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Slots bounds how many connections negotiate at once.
type Slots interface {
	// Acquire waits for a slot until ctx ends.
	Acquire(ctx context.Context) error
	Release()
}

// Door lets connections in. The zero value has room for 1000 from one address.
type Door struct {
	// Slots bounds the connections that negotiate at once; others wait, and behind
	// them the listener. Nil: no bound.
	Slots Slots
	// PerAddress bounds the connections from one address (IPv6: one /64). Zero: 1000.
	PerAddress int

	mu        sync.Mutex
	addresses map[netip.Prefix]int // open connections
}

// Shutdown is what peers are told when the server stops (RFC 6120 §4.9.3.20).
var Shutdown = &Error{Condition: SystemShutdown}

// TooManyOfAddress refuses a connection one too many.
var TooManyOfAddress = &Error{Condition: PolicyViolation, Text: "too many connections from your address"}

// Serve accepts connections from ln and handles each in a goroutine, on a context that
// ends with Shutdown. When ctx ends it closes ln and waits for all of them. spawn is for
// goroutines that it waits for too. A slot is taken for each connection: leave gives it
// back. The error is that of ln where it fails before.
func (d *Door) Serve(ctx context.Context, ln net.Listener, handle func(ctx context.Context, conn net.Conn, spawn func(func()))) error {
	conns, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	var open sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	err := d.accept(ctx, ln, func(c net.Conn) {
		open.Go(func() { handle(conns, c, open.Go) })
	})
	end(Shutdown)
	open.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept hands connections over, each with a slot that its goroutine gives back.
func (d *Door) accept(ctx context.Context, ln net.Listener, start func(net.Conn)) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			var ne net.Error
			if ctx.Err() == nil && errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			return fmt.Errorf("accept: %w", err)
		}
		if d.Slots != nil {
			// Here, not in the goroutine: waiting connections are for the
			// listener to hold and to bound.
			if err := d.Slots.Acquire(ctx); err != nil {
				_ = conn.Close()
				return nil
			}
		}
		start(conn)
	}
}

// Free gives the slot of a connection back, whose negotiation is over.
func (d *Door) Free() {
	if d.Slots != nil {
		d.Slots.Release()
	}
}

// Admit counts a connection against its address. The error refuses one too many. The
// function that it returns, in any case, takes it off again.
func (d *Door) Admit(addr net.Addr) (leave func(), err error) {
	ip := AddressOf(addr)
	if !ip.IsValid() {
		return func() {}, nil
	}
	most := d.PerAddress
	if most <= 0 {
		most = 1000
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.addresses[ip] >= most {
		return func() {}, TooManyOfAddress
	}
	if d.addresses == nil {
		d.addresses = make(map[netip.Prefix]int)
	}
	d.addresses[ip]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.addresses[ip]--; d.addresses[ip] == 0 {
			delete(d.addresses, ip)
		}
	}, nil
}

// Addresses is how many addresses have connections now.
func (d *Door) Addresses() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.addresses)
}

// AddressOf is what counts as one address: for IPv6 a /64, which is one customer. A
// peer on a Unix socket has none, and is not counted.
func AddressOf(addr net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	return AddressOfIP(ap.Addr())
}

// AddressOfIP is AddressOf for an IP address; the zero one is not counted.
func AddressOfIP(ip netip.Addr) netip.Prefix {
	if !ip.IsValid() {
		return netip.Prefix{}
	}
	ip, bits := ip.Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // fits the family
	return p
}
