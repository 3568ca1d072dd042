package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestToken(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"an address keeps its look", "bob@localhost", "bob@localhost"},
		{"a dot separates tokens", "a.b", "a%2Eb"},
		{"wildcards", "*>", "%2A%3E"},
		{"a blank ends the subject in the protocol", "a b\r\n", "a%20b%0D%0A"},
		{"the escape itself", "%2E", "%252E"},
		{"an empty token is not allowed", "", "%-"},
		{"other scripts", "ä", "%C3%A4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := token(tc.in); got != tc.want {
				t.Errorf("token %q, want %q", got, tc.want)
			}
		})
	}
	a, b := token(strings.Repeat("x", 500)), token(strings.Repeat("x", 501))
	if a == b || len(a) > maxToken {
		t.Errorf("long values: %q and %q", a, b)
	}
	if _, ok := untoken(a); ok {
		t.Error("a hash was read back")
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "a", "a.b", "%", "%-", "%h", "\x00\xff", strings.Repeat("é", 60)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok := token(s)
		if tok == "" || len(tok) > maxToken || strings.ContainsAny(tok, ".*> \t\r\n\x00") {
			t.Fatalf("token %q of %q", tok, s)
		}
		if back, ok := untoken(tok); ok && back != s {
			t.Fatalf("%q became %q", s, back)
		}
		if v := escapeValue(s); unescape(v) != s || strings.ContainsAny(v, "\r\n") {
			t.Fatalf("header value %q of %q", v, s)
		}
		if p := PartitionOf(s); p < 0 || p >= Partitions {
			t.Fatalf("partition %d", p)
		}
	})
}

// The partition is the one that a subject mapping of the server computes.
func TestPartition(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	s, err := b.admin.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "MAPPED", Subjects: []string{"map.*"}, Storage: jetstream.MemoryStorage,
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: "map.*", Destination: "to.{{partition(64,1)}}.{{wildcard(1)}}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	routes := []string{"bob@localhost", "example.com", "", "+491701234567@sms.example", strings.Repeat("long", 100), "ü@x"}
	for i := range 50 {
		routes = append(routes, routeName(i))
	}
	for i, r := range routes {
		if _, err := b.publish(ctx, &nats.Msg{Subject: "map." + token(r)}); err != nil {
			t.Fatal(err)
		}
		m, err := s.GetMsg(ctx, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("to.%d.%s", PartitionOf(r), token(r)); m.Subject != want {
			t.Errorf("route %q: the server has %s, we have %s", r, m.Subject, want)
		}
	}
}

func TestSeqSet(t *testing.T) {
	t.Parallel()
	s := make(seqSet)
	for _, seq := range []uint64{1, 63, 64, 4095, 4096, 1 << 40} {
		s.add(seq)
	}
	for seq, want := range map[uint64]bool{1: true, 2: false, 63: true, 64: true, 65: false, 4095: true, 4096: true, 4097: false, 1 << 40: true} {
		if s.has(seq) != want {
			t.Errorf("%d: %v", seq, !want)
		}
	}
	s.forget(4100)
	if s.has(1) || !s.has(4096) {
		t.Error("forgets whole pages below, and only those")
	}
}

func TestSoon(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{0: soonest, 1: soonest, 2: 2 * soonest, 3: 4 * soonest, 100: latest} {
		if got := soon(n); got != want {
			t.Errorf("after %d failures %v, want %v", n, got, want)
		}
	}
}
