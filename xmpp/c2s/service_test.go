package c2s

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/account"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
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

// elements keeps elements and the hashes of photos in memory.
type elements struct {
	changed func(user jid.JID)

	mu      sync.Mutex
	all     map[string]*xmlwire.Element
	avatars map[jid.JID]string
}

func (s *elements) Element(_ context.Context, user jid.JID, name string) (*xmlwire.Element, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[user.String()+" "+name].Clone(), nil
}

func (s *elements) SetElement(_ context.Context, user jid.JID, name string, e *xmlwire.Element, most int) error {
	if e.Name.Space == "urn:example:broken" {
		return errors.New("disk is full")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := user.String() + " " + name
	if s.all[key] == nil && len(s.all) >= most {
		return &stanza.Error{Type: stanza.Cancel, Condition: stanza.ResourceConstraint}
	}
	s.all[key] = e.Clone()
	return nil
}

func (s *elements) Avatar(user jid.JID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.avatars[user]
}

func (s *elements) SetAvatar(_ context.Context, user jid.JID, hash string) error {
	s.mu.Lock()
	old := s.avatars[user]
	s.avatars[user] = hash
	s.mu.Unlock()
	if old != hash {
		s.changed(user)
	}
	return nil
}

// provideElements gives the router private XML, two elements of 1000 bytes, and vCards.
func provideElements(ro *router.Options) func(*router.Router) {
	s := &elements{all: make(map[string]*xmlwire.Element), avatars: make(map[jid.JID]string)}
	ro.Avatars = s
	return func(r *router.Router) {
		s.changed = r.AvatarChanged
		r.Provide((&account.Private{Elements: s, Most: 2, Size: 1000}).Service())
		r.Provide((&account.VCards{Elements: s, Avatars: s, Size: 1000}).Service())
	}
}

// archive keeps archives and preferences in memory. Time goes by a second with each
// message.
type archive struct {
	mu    sync.Mutex
	lines []archiveLine
	prefs map[jid.JID]account.ArchivePreferences
}

type archiveLine struct {
	user, with jid.JID
	account.Archived
}

func (a *archive) Append(_ context.Context, user, with jid.JID, m account.Archived, _ string) (account.Archived, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m.Seq = uint64(len(a.lines) + 1)
	m.At = time.Date(2026, 5, 1, 12, 0, int(m.Seq), 0, time.UTC)
	a.lines = append(a.lines, archiveLine{user, with, m})
	return m, nil
}

func (a *archive) Read(_ context.Context, user, with jid.JID, from uint64, since time.Time, limit int) (found []account.Archived, left int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.lines {
		switch {
		case l.user != user || !with.IsZero() && l.with != with || l.Seq < from || from == 0 && l.At.Before(since):
		case len(found) < limit:
			found = append(found, l.Archived)
		default:
			left++
		}
	}
	return found, left, nil
}

func (a *archive) ArchivePreferences(user jid.JID) account.ArchivePreferences {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.prefs[user]
}

func (a *archive) SetArchivePreferences(_ context.Context, user jid.JID, p account.ArchivePreferences) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prefs[user] = p
	return nil
}

// provideArchive gives the router archives with pages of five messages.
func provideArchive(ro *router.Options) func(*router.Router) {
	store := &archive{prefs: make(map[jid.JID]account.ArchivePreferences)}
	a := &account.Archives{Store: store, Preferences: store, Page: 5, Failed: func(error) {}}
	ro.Archive = a
	ro.Tells = tells
	return func(r *router.Router) {
		a.Roster = r.Roster
		r.Provide(a.Service())
	}
}

// files reserves, of each account one file.
type files struct {
	mu   sync.Mutex
	used map[jid.JID]bool
}

func (f *files) Reserve(_ context.Context, _ string, file account.File, _ time.Duration, _ int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used[file.User] {
		return account.ErrFull
	}
	f.used[file.User] = true
	return nil
}

func (*files) Save(context.Context, string, account.File, io.Reader) error { return nil }
func (*files) Open(context.Context, string) (account.File, io.ReadCloser, error) {
	return account.File{}, nil, account.ErrNoFile
}

func provideUploads(r *router.Router) {
	u := &account.Uploads{Files: &files{used: make(map[jid.JID]bool)}, URL: "https://files.example/upload/", Secret: []byte("secret"), MaxSize: 20000, Quota: 1000}
	r.Provide(u.Service())
}
