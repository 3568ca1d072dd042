package store

import (
	"context"
	"encoding/json"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
)

// blockBytes bounds the bucket of block lists: an address takes about 30 bytes.
const blockBytes = 256 << 20

// Blocks are the block lists of all accounts (XEP-0191), known to every process. They
// are used from many goroutines.
type Blocks struct{ *table[blockRecord] }

// blockRecord is a list, as JSON an array of addresses in order.
type blockRecord struct{ list router.BlockList }

// MarshalJSON writes it.
func (b blockRecord) MarshalJSON() ([]byte, error) {
	all := make([]string, 0, len(b.list))
	for j := range b.list {
		all = append(all, j.String())
	}
	slices.Sort(all)
	return json.Marshal(all)
}

// UnmarshalJSON reads it. An address that is none blocks nobody.
func (b *blockRecord) UnmarshalJSON(data []byte) error {
	var all []string
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	b.list = make(router.BlockList, len(all))
	for _, s := range all {
		if j, err := jid.Parse(s); err == nil {
			b.list[j] = struct{}{}
		}
	}
	return nil
}

// OpenBlocks opens the bucket, making it if need be, and reads it.
func OpenBlocks(ctx context.Context, b Buckets, report func(error)) (*Blocks, error) {
	t, err := openTable[blockRecord](ctx, tableOptions{buckets: b, bucket: "block", description: "block lists by bare JID", bytes: blockBytes, report: report})
	if err != nil {
		return nil, err
	}
	return &Blocks{t}, nil
}

// Blocks returns the list of an account, which must not be changed.
func (b *Blocks) Blocks(user jid.JID) router.BlockList { return b.get(user).list }

// UpdateBlocks stores what change makes of the list of an account. change may be called
// several times, with newer lists, which it must not change.
func (b *Blocks) UpdateBlocks(ctx context.Context, user jid.JID, change func(router.BlockList) (router.BlockList, error)) error {
	return b.update(ctx, user, func(old blockRecord) (blockRecord, error) {
		list, err := change(old.list)
		if err != nil {
			return old, err
		}
		return blockRecord{list}, nil
	})
}

// OnChange has f called with each change of a list, whichever process made it, one
// after the other. f may block, but not for long.
func (b *Blocks) OnChange(f func(user jid.JID, old, now router.BlockList)) {
	b.onChange(func(user jid.JID, old, now blockRecord) { f(user, old.list, now.list) })
}
