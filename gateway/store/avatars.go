package store

import (
	"context"

	"mcmt2xmpp/xmpp/jid"
)

// Avatars are the hashes of all accounts' photos (XEP-0153), known to every process:
// they go with each presence. They are used from many goroutines.
type Avatars struct{ *table[string] }

// OpenAvatars opens the bucket, making it if need be, and reads it.
func OpenAvatars(ctx context.Context, b Buckets, report func(error)) (*Avatars, error) {
	t, err := openTable[string](ctx, tableOptions{buckets: b, bucket: "avatar", description: "hashes of photos by bare JID", bytes: 256 << 20, report: report})
	if err != nil {
		return nil, err
	}
	return &Avatars{t}, nil
}

// Avatar is the hash of an account's photo, empty for none.
func (a *Avatars) Avatar(user jid.JID) string { return a.get(user) }

// SetAvatar stores it.
func (a *Avatars) SetAvatar(ctx context.Context, user jid.JID, hash string) error {
	if a.get(user) == hash && hash == "" {
		return nil // most have none
	}
	return a.update(ctx, user, func(string) (string, error) { return hash, nil })
}

// OnChange has f called with each account whose photo is another one, in whichever
// process it was changed, one after the other. f may block, but not for long.
func (a *Avatars) OnChange(f func(user jid.JID)) {
	a.onChange(func(user jid.JID, old, now string) {
		if old != now {
			f(user)
		}
	})
}
