package store

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// login runs one SASL exchange of a client against the accounts.
func login(a Accounts, user, password, mechanism string) error {
	ctx := context.Background()
	o := sasl.Offer{Domain: "example.com", Store: a, AllowPlainWithoutTLS: true}
	s, err := o.Start(mechanism)
	if err != nil {
		return err
	}
	c, err := sasl.Login{Username: user, Password: password, AllowPlainWithoutTLS: true}.Choose([]string{mechanism})
	if err != nil {
		return err
	}
	response, err := c.Start()
	for err == nil {
		challenge, done, failed := s.Step(ctx, response)
		switch {
		case failed != nil:
			return failed
		case done:
			return c.Finish(challenge)
		}
		response, err = c.Step(challenge)
	}
	return err
}

func refused(err error) bool {
	var f *sasl.Failure
	return errors.As(err, &f) && f.Condition == sasl.NotAuthorized
}

func TestLoginByFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	passwd, digest := filepath.Join(dir, "passwd"), filepath.Join(dir, "digest")
	write(t, passwd, "Alice:wonderland\n")
	sum := md5.Sum([]byte("Alice:example.com:wonderland"))
	write(t, digest, "Alice:example.com:"+hex.EncodeToString(sum[:])+"\n")
	mechanisms := map[string][]string{
		"file://" + passwd:   {sasl.ScramSHA256, sasl.ScramSHA1, sasl.Plain},
		"digest://" + digest: {sasl.Plain},
	}
	for uri, names := range mechanisms {
		a, err := OpenAccounts(t.Context(), uri, Options{Domains: served})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (sasl.Offer{Domain: "example.com", Digest: a}).Start(sasl.DigestMD5); err != nil {
			t.Errorf("%s %s: %v", uri, sasl.DigestMD5, err)
		}
		for _, name := range names {
			if err := login(a, "alice", "wonderland", name); err != nil {
				t.Errorf("%s %s: %v", uri, name, err)
			}
			if err := login(a, "alice", "Wonderland", name); !refused(err) {
				t.Errorf("%s %s with a wrong password: %v", uri, name, err)
			}
			if err := login(a, "bob", "wonderland", name); !refused(err) {
				t.Errorf("%s %s of nobody: %v", uri, name, err)
			}
		}
		for name, want := range map[string]bool{"alice@example.com": true, "alice@example.com/phone": true, "bob@example.com": false, "alice@example.org": false, "example.com": false} {
			if got, err := a.Exists(t.Context(), jid.MustParse(name)); got != want || err != nil {
				t.Errorf("%s: %s exists: %v, %v", uri, name, got, err)
			}
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	passwd := filepath.Join(dir, "passwd")
	write(t, passwd, "")
	tests := []struct {
		name, uri string
		o         Options
	}{
		{"unknown scheme", "ldap://x", Options{}},
		{"no scheme", passwd, Options{}},
		{"no path", "file://", Options{}},
		{"no such file", "file://" + passwd + "x", Options{}},
		{"a folder", "file://" + dir, Options{}},
		{"another bucket than accounts", "nats://users", Options{}},
		{"built-in without a broker", BuiltinURI, Options{}},
		{"too few iterations", "file://" + passwd, Options{Iterations: 4096}},
	}
	for _, test := range tests {
		if a, err := OpenAccounts(t.Context(), test.uri, test.o); err == nil || a != nil {
			t.Errorf("%s: %v, %v", test.name, a, err)
		}
	}
}

// A changed file counts within a second, what cannot be read does not.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	write(t, path, "alice:one\nbob:same\nbroken\n")
	synctest.Test(t, func(t *testing.T) {
		var reports []string
		o := Options{Domains: served, Report: func(err error) { reports = append(reports, err.Error()) }}
		a, err := OpenAccounts(t.Context(), "file://"+path, o)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		synctest.Wait()
		if len(reports) != 1 || !strings.Contains(reports[0], "passwd:3:") {
			t.Fatalf("reports %q", reports)
		}
		before, err := a.Credentials(t.Context(), "bob", "example.com")
		if err != nil {
			t.Fatal(err)
		}

		write(t, path, "alice:another\nbob:same\ncarol:new\n")
		if err := login(a, "alice", "one", sasl.Plain); err != nil {
			t.Errorf("the file is looked at more than once a second: %v", err)
		}
		time.Sleep(checkEvery)
		if err := login(a, "alice", "another", sasl.ScramSHA256); err != nil {
			t.Errorf("new password: %v", err)
		}
		write(t, path, "alice:too soon\nbob:same\ncarol:new\n")
		if err := login(a, "alice", "one", sasl.ScramSHA256); !refused(err) {
			t.Errorf("old password: %v", err)
		}
		if err := login(a, "alice", "too soon", sasl.ScramSHA256); !refused(err) {
			t.Errorf("the file is looked at twice in a second: %v", err)
		}
		write(t, path, "alice:another\nbob:same\ncarol:new\n")
		if err := login(a, "carol", "new", sasl.ScramSHA256); err != nil {
			t.Errorf("new account: %v", err)
		}
		after, err := a.Credentials(t.Context(), "bob", "example.com")
		if err != nil {
			t.Fatal(err)
		}
		if &before.SCRAM[sasl.SHA256].StoredKey[0] != &after.SCRAM[sasl.SHA256].StoredKey[0] {
			t.Error("keys of an account that did not change were derived again")
		}

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(checkEvery)
			if err := login(a, "alice", "another", sasl.Plain); err != nil {
				t.Errorf("without the file: %v", err)
			}
		}
		if len(reports) != 2 {
			t.Errorf("a missing file is reported once: %q", reports)
		}
		write(t, path, "bob:same\n")
		time.Sleep(checkEvery)
		if err := login(a, "alice", "another", sasl.Plain); !refused(err) {
			t.Errorf("removed account: %v", err)
		}
	})
}

// Keys are derived in the background, so that no login waits for them, and with
// the salt that an unknown name would show.
func TestKeysAreDerivedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	write(t, path, "alice:wonderland\n")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	secret := []byte("secret of the cluster")
	a, err := openFile(path, Options{Domains: []string{"example.com"}, Iterations: minIterations, Secret: secret, Report: func(error) {}}, parsePlainLine, sasl.HoldsPassword)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	first, err := a.Credentials(t.Context(), "alice", "example.com")
	if err != nil {
		t.Fatal(err)
	}
	second, err := a.Credentials(t.Context(), "ALICE", "example.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{sasl.SHA1, sasl.SHA256} {
		k, again := first.SCRAM[hash], second.SCRAM[hash]
		if &k.StoredKey[0] != &again.StoredKey[0] {
			t.Errorf("%s derived twice", hash)
		}
		if !bytes.Equal(k.Salt, sasl.Salt(secret, hash, "alice", "example.com")) || k.Iterations != minIterations {
			t.Errorf("%s: salt or count differ from those of an unknown name", hash)
		}
	}
}

func BenchmarkFileCredentials(b *testing.B) {
	path := filepath.Join(b.TempDir(), "passwd")
	write(b, path, "alice:wonderland\n")
	a, err := OpenAccounts(b.Context(), "file://"+path, Options{Domains: served})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Credentials(b.Context(), "alice", "example.com"); err != nil {
			b.Fatal(err)
		}
	}
}
