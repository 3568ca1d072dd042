package roster

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mcmt2xmpp/xmpp/jid"
)

// maxLog is how many of the last changes a roster remembers. A client that knows
// an older version gets the whole roster.
const maxLog = 64

// note records a visible change of j.
func (r *Roster) note(j jid.JID) {
	if r.id == "" {
		// A roster that is made anew counts from one again, and no client may
		// take its versions for those of the old one.
		r.id = strings.ToLower(rand.Text()[:10])
	}
	r.version++
	r.log = append(r.log, j)
	if n := len(r.log) - maxLog; n > 0 {
		r.log = slices.Delete(r.log, 0, n)
	}
}

// Version names what the items are now (RFC 6121 §2.6). It changes with each of
// them that looks different.
func (r *Roster) Version() string { return r.at(r.version) }

func (r *Roster) at(n uint64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%s-%d", r.id, n)
}

// Change is one item that has changed: as it is now, or gone.
type Change struct {
	Item    Item // of one that is removed only the JID
	Removed bool
	Version string // of the roster after the change
}

// Since are the changes after a version, one for each item, oldest first; false
// where that version is not of this roster or too old.
func (r *Roster) Since(version string) ([]Change, bool) {
	if version == r.Version() {
		return nil, true
	}
	id, number, ok := strings.Cut(version, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || id != r.id || n >= r.version || r.version-n > uint64(len(r.log)) {
		return nil, false
	}
	first := len(r.log) - int(r.version-n)
	var changes []Change
	for i := first; i < len(r.log); i++ {
		if j := r.log[i]; !slices.Contains(r.log[i+1:], j) {
			changes = append(changes, r.change(j, r.version-uint64(len(r.log)-1-i)))
		}
	}
	return changes, true
}

func (r *Roster) change(j jid.JID, version uint64) Change {
	item, ok := r.Item(j)
	if !ok {
		item = Item{JID: j}
	}
	return Change{Item: item, Removed: !ok, Version: r.at(version)}
}

// Diff are the changes that make old what r is, one for each item. Where r does
// not remember all of them they are in the order of the addresses, those of removed
// items last.
func (r *Roster) Diff(old *Roster) []Change {
	if changes, ok := r.Since(old.Version()); ok && old.version > 0 {
		return changes
	}
	var changes []Change
	for _, item := range r.Items() {
		if before, ok := old.Item(item.JID); !ok || !item.same(before) {
			changes = append(changes, r.change(item.JID, r.version))
		}
	}
	for _, item := range old.Items() {
		if _, ok := r.Item(item.JID); !ok {
			changes = append(changes, r.change(item.JID, r.version))
		}
	}
	return changes
}
