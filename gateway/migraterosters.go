package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
)

// rosterRecord is the roster of one account as it was exported.
type rosterRecord struct {
	owner  string // as it was written
	from   string // the file
	record json.RawMessage
}

// rosterImport is what became of an import, as JSON has it.
type rosterImport struct {
	Rosters  int             `json:"rosters"`
	Contacts int             `json:"contacts"`
	Refused  []rosterRefused `json:"refused"`
}

type rosterRefused struct {
	File   string `json:"file"`
	JID    string `json:"jid"`
	Reason string `json:"reason"`
}

// importRosters imports all records at path over the admin HTTP.
func (t *target) importRosters(cmd *cobra.Command, path string, asJSON bool) error {
	all, err := readRosters(path)
	if err != nil {
		return err
	}
	result := rosterImport{Refused: []rosterRefused{}}
	err = t.running(cmd.Context(), func(ctx context.Context, c adminClient) error {
		show := func(int) {}
		if bar := progressOn(cmd.ErrOrStderr(), "rosters"); bar != nil {
			show = func(n int) { bar("import", float64(n)/float64(len(all))) }
		}
		defer show(len(all))
		for i, r := range all {
			contacts, err := c.importPatiently(ctx, r)
			var refused *refusedError
			switch {
			case errors.As(err, &refused) && refused.ofRequest():
				result.Refused = append(result.Refused, rosterRefused{r.from, r.owner, refused.Error()})
			case err != nil:
				return fmt.Errorf("%d of %d rosters imported: %w", result.Rosters, len(all), err)
			default:
				result.Rosters++
				result.Contacts += contacts
			}
			show(i + 1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if asJSON {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(result); err != nil {
			return err
		}
		return lost(len(result.Refused))
	}
	for _, r := range result.Refused {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s: refused: %s\n", r.File, printable(r.JID), printable(r.Reason))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d rosters with %d contacts imported, %d refused\n", result.Rosters, result.Contacts, len(result.Refused))
	return lost(len(result.Refused))
}

// importPatiently is importRoster that comes again where the gateway has enough of our
// requests for now (request_rate).
func (c adminClient) importPatiently(ctx context.Context, r rosterRecord) (contacts int, err error) {
	for {
		contacts, err = c.importRoster(ctx, r)
		refused, ok := errors.AsType[*refusedError](err)
		if !ok || refused.status != http.StatusTooManyRequests || refused.again <= 0 || refused.again > maxAgain {
			return contacts, err
		}
		if !backoff.Wait(ctx, refused.again) {
			return 0, ctx.Err()
		}
	}
}

// maxAgain is the longest pause that an import makes; who has to wait longer has not only
// asked too often.
const maxAgain = time.Minute

// importRoster adds the contacts of one record. The error is a *refusedError where it is
// about this record.
func (c adminClient) importRoster(ctx context.Context, r rosterRecord) (contacts int, err error) {
	user, err := account(r.owner)
	if err != nil {
		return 0, &refusedError{status: http.StatusBadRequest, text: err.Error()}
	}
	var record map[string]json.RawMessage
	if err := json.Unmarshal(r.record, &record); err != nil {
		return 0, &refusedError{status: http.StatusBadRequest, text: "not a roster record: " + err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return len(record), c.call(ctx, http.MethodPost, rosterPath(user), r.record, nil)
}

func rosterPath(user jid.JID) string { return "/v1/rosters/" + url.PathEscape(user.String()) }

// readRosters reads the records of a folder, or of one file.
func readRosters(path string) ([]rosterRecord, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return readRosterFile(path)
	}
	var all []rosterRecord
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(file)
		all = append(all, rosterRecord{ownerOf(file), file, text})
		return err
	})
	if err == nil && len(all) == 0 {
		return nil, fmt.Errorf("%s: no file in it", path)
	}
	return all, err
}

// ownerOf is the account whose record a file is, by its name: as the key of the old store
// had it, where @ may be written %40.
func ownerOf(file string) string {
	name := strings.TrimSuffix(filepath.Base(file), ".json")
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// readRosterFile reads the records of one file: one record if it is called by an account,
// else objects in which each stands under its account.
func readRosterFile(path string) ([]rosterRecord, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if owner := ownerOf(path); strings.Contains(owner, "@") {
		text, err := io.ReadAll(f)
		return []rosterRecord{{owner, path, text}}, err
	}
	all, err := readRecords(f, path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case len(all) == 0:
		return nil, fmt.Errorf("%s: no record in it", path)
	}
	return all, nil
}

// readRecords reads objects whose keys are accounts and whose values are records, one
// after the other, in the order in which they are written.
func readRecords(in io.Reader, path string) (all []rosterRecord, err error) {
	dec := json.NewDecoder(in)
	for {
		switch token, err := dec.Token(); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		case token != json.Delim('{'):
			return nil, fmt.Errorf("at byte %d: want an object whose keys are accounts", dec.InputOffset())
		}
		for dec.More() {
			owner, err := dec.Token()
			if err != nil {
				return nil, err
			}
			var record json.RawMessage
			if err := dec.Decode(&record); err != nil {
				return nil, err
			}
			all = append(all, rosterRecord{owner.(string), path, record}) // keys of objects are strings
		}
		if _, err := dec.Token(); err != nil {
			return nil, err
		}
	}
}
