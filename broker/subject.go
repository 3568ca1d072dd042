package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"strings"
)

// Partitions is the number of partitions of every stage. It never changes; the
// number of slices that they are grouped into may.
const Partitions = 64

// maxToken is the length in bytes up to which a route or recipient is written
// into the subject in a form that can be read back.
const maxToken = 96

// The tokens that no encoded text can produce: after % come two hexadecimal
// digits, and neither "-" nor "h" is one.
const (
	emptyToken   = "%-"
	hashedPrefix = "%h"
)

// PartitionOf returns the partition of a route, 0 to Partitions-1: FNV-1a of
// 32 bits over the route's subject token, modulo Partitions. A subject mapping
// with {{partition(64,…)}} over that token gives the same number.
func PartitionOf(route string) int { return partition(token(route)) }

func partition(tok string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(tok)) // a hash.Hash never fails
	return int(h.Sum32() % Partitions)
}

// subjectOf returns `<stage>.<p>.<route>.<rcpt>`.
func subjectOf(stage Stage, route, recipient string) string {
	tok := token(route)
	return string(stage) + "." + strconv.Itoa(partition(tok)) + "." + tok + "." + token(recipient)
}

// routeFilter returns the subject filter that holds exactly one route.
func routeFilter(stage Stage, route string) string {
	tok := token(route)
	return string(stage) + "." + strconv.Itoa(partition(tok)) + "." + tok + ".*"
}

// token writes s as one subject token: bytes that NATS gives a meaning to, and
// all that are not printable ASCII, become %XX. What would be longer than
// maxToken becomes a hash; the whole value is in the message's header.
func token(s string) string {
	if s == "" {
		return emptyToken
	}
	plain := len(s) <= maxToken
	for i := 0; plain && i < len(s); i++ {
		plain = plainByte(s[i])
	}
	if plain {
		return s
	}
	t := escape(s, plainByte)
	if len(t) <= maxToken {
		return t
	}
	sum := sha256.Sum256([]byte(s))
	return hashedPrefix + hex.EncodeToString(sum[:16])
}

// untoken is the reverse of token; ok is false for a hash.
func untoken(t string) (s string, ok bool) {
	switch {
	case t == emptyToken:
		return "", true
	case strings.HasPrefix(t, hashedPrefix):
		return "", false
	}
	return unescape(t), true
}

func plainByte(c byte) bool {
	switch c {
	case '.', '*', '>', '%':
		return false
	}
	return c > 0x20 && c < 0x7f
}

// escape replaces the bytes that keep refuses by %XX.
func escape(s string, keep func(byte) bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; keep(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

// unescape reverses escape; a % that escape did not write stays.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(v))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
