package app

import (
	"crypto/sha256"
	"errors"
	"net/url"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/fetch"
	"mcmt2xmpp/xmpp/account"
)

func picture(name string) convert.File {
	return convert.File{Name: name, Type: "image/png", Body: []byte("pixels"), Hash: sha256.Sum256([]byte("pixels"))}
}

// TestPlace: an address is always the same for a file of a message, and says nothing to
// whoever knows all of it but the secret.
func TestPlace(t *testing.T) {
	t.Parallel()
	m := &media{secret: []byte("secret"), given: account.Downloads{URL: "https://files.example/upload/media/"}}
	id, address := m.Place("q1", picture("a b.png"))
	if again, same := m.Place("q1", picture("a b.png")); again != id || same != address {
		t.Errorf("another one the second time: %s, %s", address, same)
	}
	if address != "https://files.example/upload/media/"+id+"/a%20b.png" || len(id) != 32 || id != strings.ToLower(id) {
		t.Errorf("%q is at %s", id, address)
	}
	other := picture("a b.png")
	other.Hash[0]++
	drawing := picture("a b.png")
	drawing.Type = "image/svg+xml"
	seen := map[string]bool{id: true}
	for what, place := range map[string]func() (string, string){
		"another message": func() (string, string) { return m.Place("q2", picture("a b.png")) },
		"another name":    func() (string, string) { return m.Place("q1", picture("b.png")) },
		"another content": func() (string, string) { return m.Place("q1", other) },
		"another type":    func() (string, string) { return m.Place("q1", drawing) },
		"another secret": func() (string, string) {
			return (&media{secret: []byte("guess"), given: account.Downloads{URL: "x/"}}).Place("q1", picture("a b.png"))
		},
	} {
		if id, _ := place(); seen[id] {
			t.Errorf("%s is at the same place", what)
		} else {
			seen[id] = true
		}
	}
	if id, address := new(media).Place("q1", picture("a.png")); id != "" || address != "" {
		t.Errorf("without a place: %q, %q", id, address)
	}
}

// TestOwnFile: our files are read by their address, and nobody else's.
func TestOwnFile(t *testing.T) {
	t.Parallel()
	r := start(t, basic+"upload_url = \"https://files.example/f/\"\n")
	f := picture("a b.png")
	f.ID, f.URL = r.services.media.Place("q1", f)
	if err := r.services.media.Keep(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		reason, address string
		ours            bool
		err             error
	}{
		{"as it is", f.URL, true, nil},
		{"host names know no case", strings.Replace(f.URL, "files", "FILES", 1), true, nil},
		{"under another name", strings.Replace(f.URL, "a%20b", "c", 1), true, account.ErrNoFile},
		{"that was never there", "https://files.example/f/media/x/a.png", true, account.ErrNoFile},
		{"of an account, and not there", "https://files.example/f/x/a.png", true, account.ErrNoFile},
		{"on another host", strings.Replace(f.URL, "files", "file", 1), false, nil},
		{"in another folder", "https://files.example/g/x/a.png", false, nil},
	} {
		at, err := url.Parse(tt.address)
		if err != nil {
			t.Fatal(err)
		}
		m, ours, err := r.ownFile(t.Context(), at)
		if ours != tt.ours || !errors.Is(err, tt.err) || (ours && err == nil) != (string(m.Body) == "pixels" && m.Name == f.Name && m.Type == f.Type) {
			t.Errorf("a file %s: %+v, ours %t, %v", tt.reason, m, ours, err)
		}
	}
	// As mail will have it.
	if m, err := fetch.New(fetch.Options{Own: r.ownFile}).Fetch(t.Context(), f.URL); err != nil || string(m.Body) != "pixels" {
		t.Errorf("fetched %+v, %v", m, err)
	}
}

// TestNoPlace: a process that nobody can get files from says so, once.
func TestNoPlace(t *testing.T) {
	t.Parallel()
	r := start(t, strings.Replace(basic, `http_listener { listen "127.0.0.1:0" {} }`, "", 1))
	if _, address := r.services.media.Place("q1", picture("a.png")); address != "" {
		t.Errorf("files are at %s", address)
	}
	if n := strings.Count(r.log.String(), "files of multimedia messages are not offered"); n != 1 {
		t.Errorf("said %d times", n)
	}
	off := start(t, basic+"media_size = 0\n")
	if off.services.media != nil || off.conversion.Media != nil {
		t.Error("switched off, and there all the same")
	}
}
