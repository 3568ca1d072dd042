package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/account"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
)

// services are what the server keeps for accounts beside their rosters, and does on
// their behalf.
type services struct {
	blocks   *store.Blocks
	archives *account.Archives // nil: switched off
	archive  *store.Archive    // likewise
	wanted   *store.ArchivePreferences
	uploads  *account.Uploads // nil: switched off
	files    *store.Files     // likewise
	media    *media           // nil: switched off
	elements *store.Elements
	avatars  *store.Avatars

	registrations *store.Registrations
}

// open opens what is kept.
func (s *services) open(ctx context.Context, b *broker.Broker, cfg *config.Config, log zerolog.Logger) (err error) {
	o := cfg.Accounts
	log = log.With().Str("part", "account services").Logger()
	report := func(err error) { log.Warn().Err(err).Msg("account store") }
	if s.blocks, err = store.OpenBlocks(ctx, b, report); err != nil {
		return err
	}
	if s.elements, err = store.OpenElements(ctx, b); err != nil {
		return err
	}
	if s.avatars, err = store.OpenAvatars(ctx, b, report); err != nil {
		return err
	}
	if s.registrations, err = store.OpenRegistrations(ctx, b, report); err != nil {
		return err
	}
	if s.media, err = openMedia(ctx, b, cfg.Media, report); err != nil {
		return err
	}
	if err := s.openArchives(ctx, b, o, report); err != nil || o.MaxUploadSize == 0 {
		return err
	}
	if s.files, err = store.OpenFiles(ctx, b, store.FilesOptions{Bytes: o.UploadSize, Age: o.UploadExpiration}); err != nil {
		return err
	}
	s.uploads = &account.Uploads{Files: s.files, URL: o.UploadURL, MaxSize: o.MaxUploadSize, Quota: o.UploadQuota, Failed: report}
	return nil
}

func (s *services) openArchives(ctx context.Context, b *broker.Broker, o config.Accounts, report func(error)) (err error) {
	if s.wanted, err = store.OpenArchivePreferences(ctx, b, report); err != nil || o.Archive == config.ArchiveOff {
		return err
	}
	if s.archive, err = store.OpenArchive(ctx, b, store.ArchiveOptions{Bytes: o.ArchiveSize, Age: o.ArchiveExpiration}); err != nil {
		return err
	}
	s.archives = &account.Archives{
		Store: s.archive, Preferences: s.wanted, Default: account.Policy(o.Archive), Page: o.ArchivePage, Failed: report,
	}
	return nil
}

// archiving is where the router has messages kept, nil for nowhere.
func (s *services) archiving() router.Archive {
	if s.archives == nil {
		return nil // and not a nil pointer in an interface
	}
	return s.archives
}

// provide registers what answers for accounts.
func (s *services) provide(r *router.Router, o config.Accounts) {
	blocking := &account.Blocking{Router: r, Lists: s.blocks, Most: o.MaxBlocked}
	s.blocks.OnChange(blocking.Changed)
	r.Provide(blocking.Service())
	if s.archives != nil {
		s.archives.Roster = r.Roster
		r.Provide(s.archives.Service())
	}
	s.avatars.OnChange(r.AvatarChanged)
	r.Provide((&account.Private{Elements: s.elements, Most: o.MaxPrivateElements, Size: int(o.MaxPrivateSize)}).Service())
	r.Provide((&account.VCards{Elements: s.elements, Avatars: s.avatars, Size: int(o.MaxVCardSize)}).Service())
}

// forget removes what is kept of a user who is no account of any store.
func (s *services) forget(ctx context.Context, user jid.JID, exists func(context.Context, jid.JID) (bool, error)) error {
	still, err := exists(ctx, user)
	switch {
	case err != nil:
		return fmt.Errorf("what is kept for %s: is there another account of that name: %w", user, err)
	case still:
		return nil
	}
	var errs []error
	for _, kept := range s.kept() {
		errs = append(errs, kept.Remove(ctx, user))
	}
	return errors.Join(errs...)
}

// keeping is one kind of what is kept.
type keeping interface {
	Remove(ctx context.Context, user jid.JID) error
}

func (s *services) kept() []keeping {
	all := []keeping{s.blocks, s.elements, s.avatars, s.wanted, s.registrations}
	if s.archive != nil {
		all = append(all, s.archive)
	}
	if s.files != nil {
		all = append(all, s.files)
	}
	return all
}

func (s *services) close() error {
	var errs []error
	if s.blocks != nil {
		errs = append(errs, s.blocks.Close())
	}
	if s.avatars != nil {
		errs = append(errs, s.avatars.Close())
	}
	if s.registrations != nil {
		errs = append(errs, s.registrations.Close())
	}
	if s.wanted != nil {
		errs = append(errs, s.wanted.Close())
	}
	return errors.Join(errs...)
}
