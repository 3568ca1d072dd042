package account

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const nsBlocking = "urn:xmpp:blocking"

// BlockLists keeps the block lists of accounts, by bare JID.
type BlockLists interface {
	router.Blocks
	// UpdateBlocks stores what change makes of the list of an account. change gets a
	// list that is up to date, which it must not change, and may be called several times.
	UpdateBlocks(ctx context.Context, user jid.JID, change func(router.BlockList) (router.BlockList, error)) error
}

// Blocking is the blocking command (XEP-0191) for the accounts of a router.
type Blocking struct {
	Router *router.Router
	Lists  BlockLists
	// Most bounds the list of an account. Zero: 1000.
	Most int
}

// Service returns what answers the commands (§3).
func (b *Blocking) Service() router.Service {
	return router.Service{
		Payloads: []xmlwire.Name{{Space: nsBlocking, Local: "blocklist"}, {Space: nsBlocking, Local: "block"}, {Space: nsBlocking, Local: "unblock"}},
		Reach:    router.Owner,
		OfDomain: []string{nsBlocking}, OfAccount: []string{nsBlocking},
		Answer: b.answer,
	}
}

func (b *Blocking) answer(ctx context.Context, rq router.Request) (*xmlwire.Element, error) {
	user := rq.Account()
	if rq.Payload.Name.Local == "blocklist" {
		if rq.Type != stanza.TypeGet {
			return nil, badRequest
		}
		follow(rq, nsBlocking) // before it is read: better told twice than never
		return items("blocklist", b.Lists.Blocks(user)), nil
	}
	who, err := blocked(rq.Payload)
	switch {
	case err != nil:
		return nil, err
	case rq.Type != stanza.TypeSet, rq.Payload.Name.Local == "block" && len(who) == 0: // §3.3
		return nil, badRequest
	case rq.Payload.Name.Local == "block":
		return nil, b.block(ctx, user, who)
	case len(who) == 0: // §3.5: all
		who = b.Lists.Blocks(user)
	}
	return nil, b.unblock(ctx, user, who)
}

// block blocks addresses, whose owners see the user leave before (§3.3).
func (b *Blocking) block(ctx context.Context, user jid.JID, who router.BlockList) error {
	most := cmp.Or(b.Most, 1000)
	full := func(old router.BlockList) bool { return len(union(old, who)) > most }
	tooMany := &stanza.Error{Type: stanza.Cancel, Condition: stanza.ResourceConstraint, Text: fmt.Sprintf("more than %d addresses", most)}
	if full(b.Lists.Blocks(user)) {
		return tooMany
	}
	b.Router.Block(ctx, user, who)
	return b.Lists.UpdateBlocks(ctx, user, func(old router.BlockList) (router.BlockList, error) {
		if full(old) {
			return nil, tooMany
		}
		return union(old, who), nil
	})
}

func (b *Blocking) unblock(ctx context.Context, user jid.JID, who router.BlockList) error {
	err := b.Lists.UpdateBlocks(ctx, user, func(old router.BlockList) (router.BlockList, error) {
		return minus(old, who), nil
	})
	if err == nil {
		b.Router.Unblock(ctx, user, who)
	}
	return err
}

func union(a, b router.BlockList) router.BlockList {
	all := make(router.BlockList, len(a)+len(b))
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

func minus(a, b router.BlockList) router.BlockList {
	rest := maps.Clone(a)
	maps.DeleteFunc(rest, func(j jid.JID, _ struct{}) bool { _, ok := b[j]; return ok })
	return rest
}

// Changed tells the clients of this process that have asked for the list of an
// account what has changed (§3.3, §3.4). Whoever keeps the lists calls it in every
// process.
func (b *Blocking) Changed(user jid.JID, old, now router.BlockList) {
	if added := minus(now, old); len(added) > 0 {
		b.push(user, items("block", added))
	}
	removed := minus(old, now)
	switch {
	case len(removed) > 1 && len(now) == 0:
		b.push(user, items("unblock", nil)) // §3.5
	case len(removed) > 0:
		b.push(user, items("unblock", removed))
	}
}

func (b *Blocking) push(user jid.JID, change *xmlwire.Element) {
	for _, s := range b.Router.Sessions(user) {
		if f, ok := s.(follower); ok && f.Follows(nsBlocking) {
			// The patience of the session bounds it; one that is going away asks again.
			_ = s.Send(context.Background(), stanza.NewIQ(s.JID(), jid.JID{}, stanza.TypeSet, "block-"+rand.Text(), change))
		}
	}
}

// items makes an element with an item for each address, in order.
func items(local string, list router.BlockList) *xmlwire.Element {
	e := xmlwire.New(nsBlocking, local)
	for _, j := range slices.SortedFunc(maps.Keys(list), func(a, b jid.JID) int { return cmp.Compare(a.String(), b.String()) }) {
		e.Add(xmlwire.New(nsBlocking, "item", "jid", j.String()))
	}
	return e
}

// blocked reads the items of a command.
func blocked(e *xmlwire.Element) (router.BlockList, error) {
	list := make(router.BlockList)
	for item := range e.Elements() {
		if item.Name != (xmlwire.Name{Space: nsBlocking, Local: "item"}) {
			continue
		}
		j, err := jid.Parse(item.Attr("jid"))
		if err != nil {
			return nil, &stanza.Error{Condition: stanza.JIDMalformed}
		}
		list[j] = struct{}{}
	}
	return list, nil
}
