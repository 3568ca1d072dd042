package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

const (
	// checkEvery is how often a file is looked at while there are logins.
	checkEvery = time.Second
	// maxFile bounds an account file, in bytes: about a million accounts.
	maxFile = 64 << 20
)

// fileAccounts are the accounts of a file, read again when it changes.
type fileAccounts struct {
	path  string
	o     Options
	parse lineParser
	form  sasl.Holding

	stop   context.CancelFunc
	warm   chan struct{} // has one token when there are accounts without keys
	warmed sync.WaitGroup

	mu      sync.Mutex
	users   map[jid.JID]*account
	seen    os.FileInfo // of the file as it was read
	checked time.Time
	trouble string // the last error of a reload, reported once
}

// account is one user of a file.
type account struct {
	creds sasl.Credentials // as in the file
	keys  func() (map[string]sasl.StoredKey, error)
}

func openFile(path string, o Options, parse lineParser, form sasl.Holding) (*fileAccounts, error) {
	a := &fileAccounts{path: path, o: o, parse: parse, form: form, warm: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	a.checked = time.Now()
	if err := a.load(); err != nil {
		cancel()
		return nil, fmt.Errorf("accounts: %w", err)
	}
	a.warmed.Go(func() { a.deriveAll(ctx) })
	return a, nil
}

func (a *fileAccounts) Holds() sasl.Holding { return a.form }

func (a *fileAccounts) Close() error {
	a.stop()
	a.warmed.Wait()
	return nil
}

// Credentials returns the user's line and, for clear text, the keys derived from it.
func (a *fileAccounts) Credentials(_ context.Context, user, domain string) (sasl.Credentials, error) {
	j, err := lookUp(user, domain)
	if err != nil {
		return sasl.Credentials{}, err
	}
	acc := a.find(j)
	if acc == nil {
		return sasl.Credentials{}, ErrNoAccount
	}
	creds := acc.creds
	if creds.SCRAM, err = acc.keys(); err != nil {
		return sasl.Credentials{}, fmt.Errorf("accounts: %s: %w", j, err)
	}
	return creds, nil
}

func (a *fileAccounts) Exists(_ context.Context, user jid.JID) (bool, error) {
	return a.find(user.Bare()) != nil, nil
}

// find looks a user up, in the file as it is now or was a second ago at most.
func (a *fileAccounts) find(j jid.JID) *account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); now.Sub(a.checked) >= checkEvery {
		a.checked = now
		a.refresh()
	}
	return a.users[j]
}

// refresh reads the file again if it changed. While that fails the old accounts
// hold: an editor that moves files about must not lock everybody out.
func (a *fileAccounts) refresh() {
	now, err := os.Stat(a.path)
	if err == nil && os.SameFile(now, a.seen) && now.ModTime().Equal(a.seen.ModTime()) && now.Size() == a.seen.Size() {
		a.trouble = ""
		return
	}
	if err == nil {
		err = a.load()
	}
	if err == nil {
		a.trouble = ""
		return
	}
	if text := err.Error(); text != a.trouble {
		a.trouble = text
		a.o.Report(fmt.Errorf("accounts stay as they were: %w", err))
	}
}

// load reads the file. The caller holds mu, or is alone.
func (a *fileAccounts) load() error {
	// What is remembered is the state before reading, so that a change during it is seen.
	info, err := os.Stat(a.path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return &os.PathError{Op: "read", Path: a.path, Err: errors.New("not a regular file")}
	case info.Size() > maxFile:
		return &os.PathError{Op: "read", Path: a.path, Err: fmt.Errorf("larger than %d bytes", maxFile)}
	}
	data, err := os.ReadFile(a.path)
	if err != nil {
		return err
	}
	lines, bad := parseLines(a.path, data, a.o.Domains, a.parse)
	users := make(map[jid.JID]*account, len(lines))
	for j, creds := range lines {
		// Keys that are derived are kept: their derivation is what costs.
		if old := a.users[j]; old != nil && old.creds.Password == creds.Password && old.creds.HA1 == creds.HA1 && old.creds.HA1Name == creds.HA1Name {
			users[j] = old
			continue
		}
		users[j] = a.account(j, creds)
	}
	a.users, a.seen = users, info
	for _, err := range bad {
		a.o.Report(err)
	}
	select {
	case a.warm <- struct{}{}:
	default:
	}
	return nil
}

// account makes an account whose keys are derived when they are first asked for.
func (a *fileAccounts) account(j jid.JID, creds sasl.Credentials) *account {
	return &account{creds: creds, keys: sync.OnceValues(func() (map[string]sasl.StoredKey, error) {
		if creds.Password == "" {
			return nil, nil
		}
		return deriveKeys(creds.Password, a.o.Iterations, func(hash string) []byte {
			return sasl.Salt(a.o.Secret, hash, j.Local(), j.Domain())
		})
	})}
}

// deriveAll derives the keys of all accounts after each load, one at a time.
// Without it the first login of each account would take longer than one for
// a name that is no account, and so tell them apart.
func (a *fileAccounts) deriveAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.warm:
		}
		a.mu.Lock()
		users := a.users
		a.mu.Unlock()
		for _, acc := range users {
			if ctx.Err() != nil {
				return
			}
			_, _ = acc.keys() // an error is kept, for whoever logs in
		}
	}
}

// deriveKeys derives the keys for both hashes.
func deriveKeys(password string, iterations int, salt func(hash string) []byte) (map[string]sasl.StoredKey, error) {
	keys := make(map[string]sasl.StoredKey, 2)
	for _, hash := range []string{sasl.SHA1, sasl.SHA256} {
		k, err := sasl.Derive(hash, password, salt(hash), iterations)
		if err != nil {
			return nil, err
		}
		keys[hash] = k
	}
	return keys, nil
}
