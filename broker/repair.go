package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// repairInterval is how often at most the embedded server is started anew.
	repairInterval = 5 * time.Second

	// repairRoom is the disk space in bytes that it takes to start it: it brings
	// its files into order before anything can be removed from them.
	repairRoom = 4 * mib
)

// errDamaged means that the embedded server has failed to write and takes nothing
// any more until it is started anew, which we do.
var errDamaged = errors.New("the server has failed to write")

// damage returns why the embedded server cannot store, or nil: ErrFull where the
// disk was full, else ErrUnavailable.
func (b *Broker) damage() error {
	if err := b.damaged.Load(); err != nil {
		return *err
	}
	return nil
}

// lookAtServer notes whether the embedded server has come to harm, and starts it
// anew when there is room for that: what it holds is read back from the disk, and
// everything goes on. Until then it hands over what it can.
func (b *Broker) lookAtServer(repaired *time.Time) {
	err := b.srv.broken()
	if err == nil {
		b.damaged.Store(nil)
		return
	}
	b.noteDamage(err)
	room := max(repairRoom, b.o.DiskReserve/4)
	if b.free.Load() < room || time.Since(*repaired) < repairInterval {
		return
	}
	*repaired = time.Now()
	b.log.Warn().Msg("starting the server anew")
	b.srv.stop()
	if err := b.srv.start(); err != nil {
		b.log.Error().Err(err).Msg("the server does not start")
		return
	}
	b.damaged.Store(nil)
}

// noteDamage makes what waits for the server's answer, and what comes, fail.
func (b *Broker) noteDamage(err error) {
	full := strings.Contains(err.Error(), "no space left") // ENOSPC, as the server passes it on
	kind := ErrUnavailable
	if full {
		kind = ErrFull
	}
	if b.damage() == nil {
		b.log.Error().Err(err).Bool("full", full).Msg("nothing can be stored")
	}
	refused := refuse(kind, fmt.Errorf("%w: %w", errDamaged, err))
	b.damaged.Store(&refused)
	if b.pub != nil {
		// Whether these were stored is not known.
		b.pub.interrupt(errDamaged)
	}
}
