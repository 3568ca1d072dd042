package app

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/mcmt/httpd"
)

// uploadPath is where files are if upload_url does not say so.
const uploadPath = "/upload/"

// mounted is what the HTTP listeners serve beside the message API.
func (a *App) mounted() httpd.Mounts {
	path, known := uploadPath, a.o.Config.Accounts.UploadURL
	if at, err := url.Parse(known); err == nil && known != "" {
		path = at.Path
	}
	mounts := make(httpd.Mounts)
	if u := a.services.uploads; u != nil {
		mounts[path] = u
	}
	if m := a.services.media; m != nil {
		mounts[path+mediaFolder] = &m.given
	}
	return mounts
}

// provideUploads offers clients to upload files (XEP-0363), where it is known under
// which address they are then. It is called when the listeners are open.
func (a *App) provideUploads() {
	u := a.services.uploads
	if u == nil {
		return
	}
	u.Secret = a.accounts.secret
	if u.URL == "" {
		u.URL = a.uploadURL()
	}
	if u.URL == "" {
		return // this process has no HTTP listener, and nobody says where the others are
	}
	a.router.Provide(u.Service())
}

// uploadURL is the address of files on the first HTTP listener, empty for none.
func (a *App) uploadURL() string {
	for _, s := range a.sockets {
		if s.scope.Kind != config.HTTP {
			continue
		}
		at, err := netip.ParseAddrPort(s.Addr().String())
		if err != nil {
			continue // a Unix socket, with something before it that we do not know
		}
		host := at.Addr().Unmap().String()
		if at.Addr().IsUnspecified() {
			host = a.hostname()
		}
		u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(int(at.Port()))), Path: uploadPath}
		if s.scope.UseSSL {
			u.Scheme = "https"
		}
		return u.String()
	}
	return ""
}
