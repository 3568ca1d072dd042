package app

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"io"
	"net/url"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/fetch"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/account"
)

// mediaFolder is where the files of multimedia messages are, below the files of
// accounts.
const mediaFolder = "media/"

// media are the files of multimedia messages.
type media struct {
	store  *store.Media
	secret []byte // makes addresses; the same on every node
	given  account.Downloads
}

// openMedia opens what keeps them, nil where they are switched off.
func openMedia(ctx context.Context, b *broker.Broker, o config.Media, report func(error)) (*media, error) {
	if o.Size == 0 {
		return nil, nil
	}
	s, err := store.OpenMedia(ctx, b, store.FilesOptions{Bytes: o.Size, Age: o.Expiration})
	if err != nil {
		return nil, err
	}
	return &media{store: s, given: account.Downloads{Files: s, Failed: report}}, nil
}

// provideMedia says where the files are. It is called when the listeners are open.
func (a *App) provideMedia() {
	m := a.services.media
	if m == nil {
		return
	}
	m.secret = a.accounts.secret
	base := a.o.Config.Accounts.UploadURL
	if base == "" {
		base = a.uploadURL()
	}
	if base != "" {
		m.given.URL = base + mediaFolder
	} else if a.o.Roles.has(Convert) {
		a.log.Warn().Msg("files of multimedia messages are not offered: this process has no http_listener, and upload_url does not say where another one is")
	}
}

// idEncoding writes ids as host names and file systems like them.
var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Place implements delivery.Media. An id has 160 bits that nobody knows without the
// secret, and is the same for all recipients of a message.
func (m *media) Place(message string, f convert.File) (id, address string) {
	if m.given.URL == "" {
		return "", ""
	}
	h := hmac.New(sha256.New, m.secret)
	// None of these holds a NUL, and the hash has one length.
	_, _ = h.Write([]byte("media\x00" + message + "\x00" + f.Type + "\x00" + f.Name + "\x00"))
	_, _ = h.Write(f.Hash[:])
	id = idEncoding.EncodeToString(h.Sum(nil)[:20])
	return id, m.given.URL + id + "/" + url.PathEscape(f.Name)
}

// Keep implements delivery.Media.
func (m *media) Keep(ctx context.Context, f convert.File) error {
	return m.store.Keep(ctx, f.ID, account.File{Name: f.Name, Type: f.Type, Size: int64(len(f.Body))}, f.Body)
}

// ownFile returns a file of ours by its address, for mail that is to hold it. It reports
// false for an address that is not ours.
func (a *App) ownFile(ctx context.Context, at *url.URL) (fetch.Media, bool, error) {
	find := func(finder interface {
		Find(ctx context.Context, at *url.URL) (account.File, io.ReadCloser, bool, error)
	}) (m fetch.Media, ours bool, err error) {
		f, r, ours, err := finder.Find(ctx, at)
		if !ours || err != nil {
			return m, ours, err
		}
		defer r.Close()
		m.Name, m.Type = f.Name, f.Type
		m.Body, err = io.ReadAll(r)
		return m, true, err
	}
	// The one is in a folder of the other.
	if own := a.services.media; own != nil {
		if m, ours, err := find(&own.given); ours {
			return m, true, err
		}
	}
	if own := a.services.uploads; own != nil {
		return find(own)
	}
	return fetch.Media{}, false, nil
}

// DryPlace is the Place of a dry run: it has no secret, so that only the id in the
// address is not the one that a gateway would make. nil where no file is offered.
func DryPlace(cfg *config.Config) func(convert.File) (id, url string) {
	if cfg.Media.Size == 0 {
		return nil
	}
	base := cfg.Accounts.UploadURL
	if base == "" {
		base = "http://" + cmp.Or(cfg.Hostname, "localhost") + uploadPath
	}
	m := &media{given: account.Downloads{URL: base + mediaFolder}}
	return func(f convert.File) (string, string) { return m.Place("", f) }
}
