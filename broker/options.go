package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// maxPayload is the largest message that the embedded server takes. Bodies go
// by reference long before.
const maxPayload = 8 * mib

// Options say where the store is. Either Dir or URLs is set, never both.
type Options struct {
	// Dir is the data folder of the embedded server. It is made when it does
	// not exist, and belongs to one process at a time.
	Dir string

	// URLs are the addresses of an external cluster, "nats://host:4222" or
	// "tls://host:4222".
	URLs []string

	// Credentials for URLs: a NATS credentials file, a user with password, or a
	// token. Empty ones are not sent.
	CredsFile, User, Password, Token string

	// TLSCA, TLSCert and TLSKey are PEM files: the authorities to trust instead
	// of the system's, and our own certificate.
	TLSCA, TLSCert, TLSKey string

	// Replicas is how many servers of a cluster keep each message. Zero is one;
	// the embedded server knows no other.
	Replicas int

	// Name is shown by the server in its list of connections. Empty is "mcmt2xmpp".
	Name string

	// Slices is how many slices each stage has, at most Partitions. Zero is 1 with
	// Dir and 8 with URLs. All processes of a cluster use the number that the
	// first has stored; another one takes effect when a process starts that finds
	// no other: all were stopped, or have been dead for 12 s.
	Slices int

	// NodeDir is a folder, only with URLs, in which the name of this node is kept
	// and locked, so that a restarted node takes over from its former self at
	// once. Empty, or locked by another process: a name for this run only.
	NodeDir string

	// Durability is what a stored message survives. Empty is DurabilityProcess.
	// With URLs it changes nothing: there the servers decide when they answer
	// (sync_interval: always).
	Durability Durability

	// MaxStore is the sum in bytes of all streams' limits. Zero is 8 GiB, but
	// no more than half of the disk space that Dir has free.
	MaxStore int64

	// MaxMemory is what streams and buckets in memory may take. Zero is 256 MiB.
	MaxMemory int64

	// DiskReserve is the free disk space in bytes below which Store refuses with
	// ErrFull: a full disk would stop the whole store. Zero is 512 MiB, negative none.
	DiskReserve int64

	// StoreTimeout is how long Store waits for the server. Zero is 5 s.
	StoreTimeout time.Duration

	// Expiration is how long dead messages stay and is the longest that a
	// message may be on its way; bodies stored by reference live twice as long.
	// Zero is 14 days.
	Expiration time.Duration

	// Journal is how long the record of a message that has ended is kept; the oldest
	// go before where the journal's share of MaxStore is full. Zero is 7 days.
	Journal time.Duration

	// Log gets the server's warnings and errors, and ours. The zero value
	// writes nothing.
	Log zerolog.Logger

	// diskFree tells the free bytes below a folder; tests have a disk of their own.
	diskFree func(dir string) (int64, error)

	// lease says when a process counts as dead; tests have no time.
	lease leaseTimes

	// openSync opens the file system that holds a folder for syncing it.
	openSync func(dir string) (sync func() error, closer func() error, err error)
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Dir == "" && len(o.URLs) == 0:
		return o, errors.New("broker: neither a data folder nor the address of a server")
	case o.Dir != "" && len(o.URLs) > 0:
		return o, errors.New("broker: a data folder and the address of a server exclude each other")
	case o.Dir != "" && o.Replicas > 1:
		return o, errors.New("broker: the embedded server keeps one replica")
	case (o.TLSCert == "") != (o.TLSKey == ""):
		return o, errors.New("broker: a certificate and its key go together")
	case o.Durability != "" && o.Durability != DurabilityProcess && o.Durability != DurabilityPower:
		return o, fmt.Errorf("broker: durability %q: neither process nor power", o.Durability)
	case o.Slices < 0 || o.Slices > Partitions:
		return o, fmt.Errorf("broker: %d slices: from 1 to %d", o.Slices, Partitions)
	}
	orInt := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	orTime := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Slices == 0 {
		o.Slices = 8
		if o.Dir != "" {
			o.Slices = 1
		}
	}
	o.lease = o.lease.withDefaults()
	if o.Name == "" {
		o.Name = "mcmt2xmpp"
	}
	if o.diskFree == nil {
		o.diskFree = diskFree
	}
	if o.openSync == nil {
		o.openSync = openSync
	}
	orInt(&o.MaxMemory, 256*mib)
	orInt(&o.DiskReserve, 512*mib)
	orTime(&o.StoreTimeout, 5*time.Second)
	orTime(&o.Expiration, 14*24*time.Hour)
	orTime(&o.Journal, traceAge)
	return o, nil
}
