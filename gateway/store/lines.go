package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

// LineError is a line of an account file that is left out. It never holds
// what the line says after the user name.
type LineError struct {
	Path string
	Line int // from 1
	Text string
}

// Error is path:line: text.
func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Text) }

// Temporary is false: the line stays as it is.
func (e *LineError) Temporary() bool { return false }

// entry is one good line.
type entry struct {
	users []jid.JID // one, or with a bare name one for each domain
	bare  bool
	creds sasl.Credentials
}

// lineParser reads one line that is neither empty nor a comment.
type lineParser func(line string, domains []string) (entry, error)

// parsePlainLine reads user:password. The password is all behind the first colon,
// white space and # included.
func parsePlainLine(line string, domains []string) (entry, error) {
	name, password, ok := strings.Cut(line, ":")
	if !ok {
		return entry{}, errors.New("no colon between user and password")
	}
	if _, err := sasl.PreparePassword(password); err != nil {
		return entry{}, errors.New(strings.TrimPrefix(err.Error(), "sasl: "))
	}
	local, domain, hasDomain := cutLast(name, "@")
	if hasDomain {
		domains = []string{domain}
	}
	users, err := addresses(local, domains)
	return entry{users: users, bare: !hasDomain, creds: sasl.Credentials{Password: password}}, err
}

// parseDigestLine reads user:realm:hash, the hash in hex.
func parseDigestLine(line string, _ []string) (entry, error) {
	rest, hash, ok := cutLast(line, ":")
	name, realm, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return entry{}, errors.New("line is not user:realm:hash")
	}
	hash = strings.TrimRight(hash, " \t")
	if raw, err := hex.DecodeString(hash); err != nil || len(raw) != 16 {
		return entry{}, errors.New("hash is not 32 hex digits")
	}
	users, err := addresses(name, []string{realm})
	if err != nil {
		return entry{}, err
	}
	if d := users[0].Domain(); d != realm {
		// The realm is part of the hash: a client hashes the domain as we show it.
		return entry{}, fmt.Errorf("realm %q must be written as the domain is: %q", realm, d)
	}
	return entry{users: users, creds: sasl.Credentials{HA1: strings.ToLower(hash), HA1Name: name}}, nil
}

// addresses are the accounts of one name on some domains.
func addresses(local string, domains []string) ([]jid.JID, error) {
	if local == "" {
		return nil, errors.New("user name is empty")
	}
	if len(domains) == 0 {
		return nil, fmt.Errorf("user %q has no domain, and none is served", local)
	}
	var users []jid.JID
	for _, d := range domains {
		j, err := jid.New(local, d, "")
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", local, err)
		}
		users = append(users, j)
	}
	return users, nil
}

// parseLines reads a whole file. Bad lines come back as errors, the others count.
// A name with a domain goes before the same name without; else of two lines
// for one name the first counts.
func parseLines(path string, data []byte, domains []string, parse lineParser) (map[jid.JID]sasl.Credentials, []error) {
	all := make(map[jid.JID]sasl.Credentials)
	bare := make(map[jid.JID]bool)
	var bad []error
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		n++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		report := func(text string) { bad = append(bad, &LineError{path, n, text}) }
		line = strings.TrimLeft(line, " \t")
		switch {
		case line == "" || line[0] == '#':
			continue
		case !utf8.ValidString(line):
			report("not UTF-8")
			continue
		}
		e, err := parse(line, domains)
		if err != nil {
			report(err.Error())
			continue
		}
		twice := func(j jid.JID) bool {
			_, there := all[j]
			return there && bare[j] == e.bare
		}
		if i := slices.IndexFunc(e.users, twice); i >= 0 {
			report(fmt.Sprintf("second line for %s, the first counts", e.users[i]))
			continue
		}
		for _, j := range e.users {
			if _, there := all[j]; there && e.bare {
				continue
			}
			all[j], bare[j] = e.creds, e.bare
		}
	}
	return all, bad
}

// cutLast cuts s at the last sep. Without one all of s comes before it.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
