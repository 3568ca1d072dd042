package mcmt

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// idDigits are in ASCII order, so that ids sort as the numbers they write.
const idDigits = "0123456789abcdefghijklmnopqrstuv"

// NewID returns a new ID for a message accepted at now: 11 digits of base 32 for
// the microseconds since 1970 and 12 for 60 random bits. IDs sort by time,
// those of one microsecond in no order. It may be called from any goroutine.
func NewID(now time.Time) ID {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	var b [23]byte
	putDigits(b[:11], uint64(max(now.UnixMicro(), 0)))
	putDigits(b[11:], binary.BigEndian.Uint64(random[:]))
	return ID(b[:])
}

// putDigits fills b with the lowest digits of v.
func putDigits(b []byte, v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = idDigits[v&31]
		v >>= 5
	}
}
