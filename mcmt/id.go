package mcmt

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
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

// Time is when the message was accepted; false: it is no ID that NewID has made. What was
// made otherwise may look like one, of any time.
func (id ID) Time() (time.Time, bool) {
	if len(id) != 23 {
		return time.Time{}, false
	}
	us := int64(0)
	for _, c := range []byte(id) {
		if strings.IndexByte(idDigits, c) < 0 {
			return time.Time{}, false
		}
	}
	for _, c := range []byte(id[:11]) {
		us = us<<5 | int64(strings.IndexByte(idDigits, c))
	}
	return time.UnixMicro(us), true
}

// putDigits fills b with the lowest digits of v.
func putDigits(b []byte, v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = idDigits[v&31]
		v >>= 5
	}
}
