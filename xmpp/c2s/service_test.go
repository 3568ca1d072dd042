package c2s

import (
	"context"
	"sync"

	"mcmt2xmpp/xmpp/account"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
)

// blockLists keeps block lists in memory.
type blockLists struct {
	onChange func(user jid.JID, old, now router.BlockList)

	mu    sync.Mutex
	lists map[jid.JID]router.BlockList
}

func (b *blockLists) Blocks(user jid.JID) router.BlockList {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lists[user]
}

func (b *blockLists) UpdateBlocks(_ context.Context, user jid.JID, change func(router.BlockList) (router.BlockList, error)) error {
	old := b.Blocks(user)
	now, err := change(old)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.lists[user] = now
	b.mu.Unlock()
	b.onChange(user, old, now)
	return nil
}

// provideBlocking gives the router block lists of at most three addresses.
func provideBlocking(ro *router.Options) func(*router.Router) {
	lists := &blockLists{lists: make(map[jid.JID]router.BlockList)}
	ro.Blocks = lists
	return func(r *router.Router) {
		b := &account.Blocking{Router: r, Lists: lists, Most: 3}
		lists.onChange = b.Changed
		r.Provide(b.Service())
	}
}
