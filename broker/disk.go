package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// diskInterval is how often the free space of the data folder is looked at.
const diskInterval = time.Second

// lockDir takes the data folder for this process. The lock is the kernel's, so
// that it cannot outlive a killed process. Closing the file gives it back.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("broker: data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("broker: data folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("broker: data folder %s: %w", dir, ErrInUse)
	}
	return nil, fmt.Errorf("broker: data folder %s: lock: %w", dir, err)
}

// diskFree returns the bytes that we may still write below dir.
func diskFree(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("broker: free disk space: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec // a disk of 8 EiB does not exist
}

// defaultStore is the sum of the streams' limits when nobody has set one: 8 GiB,
// or half of what the disk would have free without us.
func defaultStore(dir string, free int64) int64 {
	var used int64
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // what cannot be read does not count
		}
		if info, err := e.Info(); err == nil {
			used += info.Size()
		}
		return nil
	})
	return max(min(8*gib, (free+used)/2), gib)
}

// watchDisk keeps b.free up to date until ctx ends, and sees to the embedded server
// when it has come to harm.
func (b *Broker) watchDisk(ctx context.Context) {
	t := time.NewTicker(diskInterval)
	defer t.Stop()
	low := false
	var repaired time.Time
	for {
		b.lookAtDisk(&low)
		b.lookAtServer(&repaired)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-b.srv.trouble:
		}
	}
}

func (b *Broker) lookAtDisk(low *bool) {
	spent := b.spent.Load() // what is stored meanwhile counts twice for a while
	free, err := b.o.diskFree(b.o.Dir)
	if err != nil {
		b.log.Error().Err(err).Msg("disk space unknown")
		return
	}
	b.free.Store(free)
	b.spent.Add(-spent)
	if now := free < b.o.DiskReserve; now != *low {
		*low = now
		b.log.WithLevel(diskLevel(now)).Int64("free", free).Int64("reserve", b.o.DiskReserve).Bool("accepting", !now).Msg("disk space")
	}
}

// perMessage is roughly what a message takes on the disk beside its body.
const perMessage = 1 << 10

// setAside sets room aside for bytes that are to be stored. It is ErrFull when less
// than reserve would stay free; else call done when they are stored or not.
func (b *Broker) setAside(bytes, reserve int64) (done func(), err error) {
	b.aside.Add(bytes)
	if err := b.room(reserve); err != nil {
		b.aside.Add(-bytes)
		return nil, err
	}
	return func() {
		b.spent.Add(bytes)
		b.aside.Add(-bytes)
	}, nil
}

// SetAside sets room aside for bytes that are stored beside a message which moves on and
// whose room becomes free then. It is ErrFull when too little of DiskReserve would be
// left; else call done when they are stored or not.
func (b *Broker) SetAside(bytes int64) (done func(), err error) {
	return b.setAside(bytes, b.o.DiskReserve/onTheWay)
}

// onTheWay divides the DiskReserve that is left to messages which move on: that needs
// little, and frees what they came from.
const onTheWay = 4

// room returns ErrFull when less than reserve bytes of disk are free or the server
// has found it full.
func (b *Broker) room(reserve int64) error {
	if err := b.damage(); err != nil {
		return err
	}
	if b.o.Dir == "" || b.o.DiskReserve <= 0 {
		return nil
	}
	if free := b.free.Load() - b.spent.Load() - b.aside.Load(); free < reserve {
		return refuse(ErrFull, fmt.Errorf("%d bytes of disk are free, %d are kept in reserve", max(free, 0), reserve))
	}
	return nil
}
