package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

func openBroker(t testing.TB, dir string) *broker.Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := broker.Open(ctx, broker.Options{Dir: dir, DiskReserve: -1, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBroker(t, b) })
	return b
}

func closeBroker(t testing.TB, b *broker.Broker) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

func openBuiltin(t testing.TB, b *broker.Broker, report func(error)) *Builtin {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, err := OpenBuiltin(ctx, Options{Buckets: b, Report: report})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// eventually waits for what a watcher will bring.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func exists(t *testing.T, a Accounts, user jid.JID) bool {
	t.Helper()
	ok, err := a.Exists(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

var alice = jid.MustParse("alice@example.com")

func TestBuiltin(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	b := openBroker(t, dir)
	a, other := openBuiltin(t, b, nil), openBuiltin(t, b, nil)

	if err := a.Add(ctx, alice, "wonderland"); err != nil {
		t.Fatal(err)
	}
	// What this process did holds at once, for the others soon.
	for _, mechanism := range []string{sasl.ScramSHA256, sasl.ScramSHA1, sasl.Plain} {
		if err := login(a, "Alice", "wonderland", mechanism); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
	eventually(t, "account in another process", func() bool { return exists(t, other, alice) })
	if err := login(other, "alice", "wonderland", sasl.ScramSHA256); err != nil {
		t.Error(err)
	}
	for _, x := range []*Builtin{a, other} {
		if err := x.Add(ctx, alice, "again"); !errors.Is(err, ErrExists) {
			t.Errorf("second add: %v", err)
		}
	}

	if err := a.SetPassword(ctx, alice, "looking-glass"); err != nil {
		t.Fatal(err)
	}
	if err := login(a, "alice", "wonderland", sasl.ScramSHA256); !refused(err) {
		t.Errorf("old password: %v", err)
	}
	eventually(t, "password in another process", func() bool { return login(other, "alice", "looking-glass", sasl.ScramSHA256) == nil })

	bob := jid.MustParse("bob@example.com")
	if err := other.Add(ctx, bob, "builder"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "bob", func() bool { return exists(t, a, bob) })
	if all, err := a.List(ctx); err != nil || !slices.Equal(all, []jid.JID{alice, bob}) {
		t.Errorf("list: %v, %v", all, err)
	}

	if err := other.Remove(ctx, alice); err != nil {
		t.Fatal(err)
	}
	if exists(t, other, alice) {
		t.Error("a removed account exists")
	}
	eventually(t, "removal in another process", func() bool { return !exists(t, a, alice) })
	for what, err := range map[string]error{"remove": a.Remove(ctx, alice), "set password": a.SetPassword(ctx, alice, "x")} {
		if !errors.Is(err, ErrNoAccount) {
			t.Errorf("%s of nobody: %v", what, err)
		}
	}
	if err := a.Add(ctx, alice, "back"); err != nil {
		t.Errorf("add after removal: %v", err)
	}

	// A restart finds everything as it was.
	for _, x := range []*Builtin{a, other} {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
	closeBroker(t, b)
	again := openBuiltin(t, openBroker(t, dir), nil)
	for user, password := range map[string]string{"alice": "back", "bob": "builder"} {
		if err := login(again, user, password, sasl.ScramSHA256); err != nil {
			t.Errorf("%s after a restart: %v", user, err)
		}
	}
}

func TestBuiltinRefuses(t *testing.T) {
	t.Parallel()
	a := openBuiltin(t, openBroker(t, t.TempDir()), nil)
	tests := []struct{ name, user, password string }{
		{"a domain", "example.com", "pass"},
		{"a full JID", "alice@example.com/phone", "pass"},
		{"no password", "alice@example.com", ""},
		{"a password with a control character", "alice@example.com", "hunter2\x07"},
	}
	for _, test := range tests {
		err := a.Add(t.Context(), jid.MustParse(test.user), test.password)
		if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// The bucket holds keys, and neither the password nor anything to log in with elsewhere.
func TestRecordHasNoPassword(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	a := openBuiltin(t, b, nil)
	if err := a.Add(t.Context(), alice, "wonderland"); err != nil {
		t.Fatal(err)
	}
	kv, err := b.KV(t.Context(), jetstream.KeyValueConfig{Bucket: accountBucket, Storage: jetstream.FileStorage, History: 1, MaxBytes: accountBytes})
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), "alice=40example=2Ecom")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(e.Value(), []byte("wonderland")) {
		t.Fatalf("record %s", e.Value())
	}
	_, r, err := parseRecord(e.Value())
	if err != nil || r.Created.IsZero() || len(r.SCRAM) != 2 {
		t.Fatalf("record %s: %v", e.Value(), err)
	}
	for hash, size := range map[string]int{"SHA-1": 20, "SHA-256": 32} {
		k := r.SCRAM[hash]
		if len(k.Salt) != sasl.SaltSize || k.Iterations < minIterations || len(k.StoredKey) != size || len(k.ServerKey) != size {
			t.Errorf("%s: salt of %d bytes, %d iterations, keys of %d and %d bytes", hash, len(k.Salt), k.Iterations, len(k.StoredKey), len(k.ServerKey))
		}
	}
	if bytes.Equal(r.SCRAM["SHA-1"].Salt, r.SCRAM["SHA-256"].Salt) {
		t.Error("one salt for two hashes")
	}
}

// Several processes add one account: one of them wins, and its password counts everywhere.
func TestAddIsExclusive(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	stores := []*Builtin{openBuiltin(t, b, nil), openBuiltin(t, b, nil), openBuiltin(t, b, nil)}
	var won atomic.Int32
	var winner atomic.Int32
	var wg sync.WaitGroup
	for i, a := range stores {
		wg.Go(func() {
			switch err := a.Add(t.Context(), alice, fmt.Sprint("password ", i)); {
			case err == nil:
				won.Add(1)
				winner.Store(int32(i))
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d won", won.Load())
	}
	for _, a := range stores {
		eventually(t, "the winner's password", func() bool {
			return login(a, "alice", fmt.Sprint("password ", winner.Load()), sasl.ScramSHA256) == nil
		})
	}
	// Changes that meet are all made, one after the other.
	for i, a := range stores {
		wg.Go(func() {
			if err := a.SetPassword(t.Context(), alice, fmt.Sprint("changed ", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A record that cannot be read is reported, is no account, and hides no other.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	reports := make(chan error, 10)
	a := openBuiltin(t, b, func(err error) { reports <- err })
	if err := a.Add(t.Context(), alice, "wonderland"); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"{", `{"jid":"@"}`, `{"jid":"bob@example.com"}`} {
		if _, err := a.kv.PutString(t.Context(), accountKey(alice), value); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-reports:
			if !strings.Contains(err.Error(), "alice=40example=2Ecom") {
				t.Errorf("report %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s is not reported", value)
		}
		if exists(t, a, alice) || exists(t, a, jid.MustParse("bob@example.com")) {
			t.Errorf("%s is an account", value)
		}
	}
	if err := a.SetPassword(t.Context(), alice, "mended"); err != nil {
		t.Fatal(err)
	}
	if err := login(a, "alice", "mended", sasl.ScramSHA256); err != nil {
		t.Error(err)
	}
}

func TestAccountKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 300)
	names := []string{
		"alice@example.com", "alice@example-com", "a=40b@example.com", "a.b@example.com", "\u00e9mile@example.com",
		"*@example.com", "a\\20b@example.com", long + "@example.com", long + "b@example.com", "x@" + strings.Repeat("a", 60) + ".example",
	}
	seen := map[string]string{}
	for _, name := range names {
		key := accountKey(jid.MustParse(name))
		if other, twice := seen[key]; twice {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[key] = name
		if len(key) > maxKey || strings.ContainsAny(key, ".*> \t\\") || strings.ContainsFunc(key, func(r rune) bool { return r > '~' }) {
			t.Errorf("%s: key %q", name, key)
		}
	}
}

func BenchmarkBuiltinCredentials(b *testing.B) {
	a := openBuiltin(b, openBroker(b, b.TempDir()), nil)
	if err := a.Add(b.Context(), alice, "wonderland"); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Credentials(b.Context(), "alice", "example.com"); err != nil {
			b.Fatal(err)
		}
	}
}
