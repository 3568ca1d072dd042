package account

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// shelf keeps files in memory.
type shelf map[string]struct {
	File
	data []byte
}

func (s shelf) Reserve(context.Context, string, File, time.Duration, int64) error { return nil }

func (s shelf) Save(_ context.Context, id string, f File, r io.Reader) error {
	if _, ok := s[id]; ok {
		return fs.ErrExist
	}
	if f.Name == "full" {
		return ErrFull
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	f.ETag = "tag"
	s[id] = struct {
		File
		data []byte
	}{f, data}
	return nil
}

func (s shelf) Open(_ context.Context, id string) (File, io.ReadCloser, error) {
	f, ok := s[id]
	if !ok {
		return File{}, nil, ErrNoFile
	}
	return f.File, io.NopCloser(bytes.NewReader(f.data)), nil
}

// uploads are those of a server on loopback.
func uploads(t *testing.T) (*Uploads, *httptest.Server) {
	t.Helper()
	u := &Uploads{Files: make(shelf), Secret: []byte("secret"), MaxSize: 1000, Quota: 5000, Failed: func(err error) { t.Error(err) }}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	u.URL = server.URL + "/upload/"
	return u, server
}

// asks gets a slot for a file.
func asks(t *testing.T, u *Uploads, attrs ...string) (address, token string) {
	t.Helper()
	st := stanza.NewIQ(jid.MustParse("here.example"), jid.MustParse("alice@here.example/a"), stanza.TypeGet, "1", xmlwire.New(nsUpload, "request", attrs...))
	slot, err := u.answer(t.Context(), router.Request{Stanza: st, Payload: xmlwire.New(nsUpload, "request", attrs...), Asker: new(struct{ router.Session })})
	if err != nil {
		t.Fatal(err)
	}
	put := slot.Child(field(nsUpload, "put"))
	if get := slot.Child(field(nsUpload, "get")); get.Attr("url") != put.Attr("url") {
		t.Errorf("to be put to %s and got from %s", put.Attr("url"), get.Attr("url"))
	}
	return put.Attr("url"), put.Child(field(nsUpload, "header")).Text()
}

func do(t *testing.T, method, address, body string, header ...string) (*http.Response, string) {
	t.Helper()
	rq, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Length" {
			rq.ContentLength = -1
			continue
		}
		rq.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// TestUpload: XEP-0363 §6, only the slot gives the right to store, just the file that it is
// for, once.
func TestUpload(t *testing.T) {
	t.Parallel()
	u, _ := uploads(t)
	address, token := asks(t, u, "filename", "tr\u00e8s cool.png", "size", "5", "content-type", "image/png")
	if !strings.HasSuffix(address, "/tr%C3%A8s%20cool.png") {
		t.Errorf("the address is %s", address)
	}
	other, otherToken := asks(t, u, "filename", "other.png", "size", "5")
	for _, c := range []struct {
		name, address, body string
		header              []string
		want                int
	}{
		{"no slot", address, "12345", nil, http.StatusForbidden},
		{"another slot", address, "12345", []string{"Authorization", otherToken}, http.StatusForbidden},
		{"a slot that was changed", address, "12345", []string{"Authorization", "Bearer x" + strings.TrimPrefix(token, "Bearer ")}, http.StatusForbidden},
		{"another name", strings.Replace(address, ".png", ".html", 1), "12345", []string{"Authorization", token}, http.StatusForbidden},
		{"too long", address, "123456", []string{"Authorization", token}, http.StatusRequestEntityTooLarge},
		{"too short", address, "1234", []string{"Authorization", token}, http.StatusRequestEntityTooLarge},
		{"of no length", address, "12345", []string{"Authorization", token, "Length", ""}, http.StatusLengthRequired},
		{"of another type", address, "12345", []string{"Authorization", token, "Content-Type", "text/html"}, http.StatusUnsupportedMediaType},
		{"as it should be", address, "12345", []string{"Authorization", token, "Content-Type", "image/png"}, http.StatusCreated},
		{"again", address, "54321", []string{"Authorization", token}, http.StatusConflict},
		{"another", other, "54321", []string{"Authorization", otherToken}, http.StatusCreated},
		{"outside", strings.Replace(address, "/upload/", "/v1/", 1), "12345", []string{"Authorization", token}, http.StatusNotFound},
	} {
		if resp, text := do(t, http.MethodPut, c.address, c.body, c.header...); resp.StatusCode != c.want {
			t.Errorf("%s: %s %s, want %d", c.name, resp.Status, text, c.want)
		}
	}
	if resp, text := do(t, http.MethodGet, address, ""); resp.StatusCode != http.StatusOK || text != "12345" {
		t.Errorf("got %s %q", resp.Status, text)
	}
	full, fullToken := asks(t, u, "filename", "full", "size", "1")
	if resp, _ := do(t, http.MethodPut, full, "1", "Authorization", fullToken); resp.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("without room: %s", resp.Status)
	}
	u.Within = time.Nanosecond
	late, lateToken := asks(t, u, "filename", "late", "size", "1")
	s, _ := u.slot(strings.TrimPrefix(lateToken, "Bearer "), time.Time{})
	if _, ok := u.slot(strings.TrimPrefix(lateToken, "Bearer "), time.Unix(s.Expires+1, 0)); ok || s.Name != "late" {
		t.Errorf("the slot of %s is good for ever: %+v", late, s)
	}
	mallory := &Uploads{Secret: []byte("guess")}
	if resp, _ := do(t, http.MethodPut, late, "1", "Authorization", "Bearer "+mallory.sign(s)); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a slot that somebody else has made: %s", resp.Status)
	}
}

// TestDownloads: files that were not uploaded are given in the same way, and nothing is
// taken where they are.
func TestDownloads(t *testing.T) {
	t.Parallel()
	files := make(shelf)
	if err := files.Save(t.Context(), "id", File{Name: "a.svg", Type: "image/svg+xml", Size: 3}, strings.NewReader("abc")); err != nil {
		t.Fatal(err)
	}
	d := &Downloads{Files: files, Failed: func(err error) { t.Error(err) }}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	d.URL = server.URL + "/media/"
	resp, text := do(t, http.MethodGet, d.URL+"id/a.svg", "", "Range", "bytes=1-")
	if resp.StatusCode != http.StatusPartialContent || text != "bc" || resp.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("a range: %s %q %v", resp.Status, text, resp.Header)
	}
	if resp, _ := do(t, http.MethodGet, d.URL+"id/a.svg", "", "Range", "bytes=3-"); resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("behind the end: %s", resp.Status)
	}
	mallory := &Uploads{}
	token := mallory.sign(slot{ID: "new", User: "a@b", Name: "x", Size: 1, Expires: time.Now().Add(time.Hour).Unix()})
	for method, want := range map[string]int{http.MethodPut: http.StatusMethodNotAllowed, http.MethodOptions: http.StatusNoContent} {
		resp, _ := do(t, method, d.URL+"new/x", "1", "Authorization", "Bearer "+token)
		allowed := resp.Header.Get("Allow") + resp.Header.Get("Access-Control-Allow-Methods")
		if resp.StatusCode != want || allowed != "OPTIONS, HEAD, GET" || files["new"].data != nil {
			t.Errorf("%s: %s, allowed %s", method, resp.Status, allowed)
		}
	}
}

// TestDownload: XEP-0363 §8.1, a browser runs nothing of what anybody has uploaded.
func TestDownload(t *testing.T) {
	t.Parallel()
	u, _ := uploads(t)
	for _, c := range []struct{ name, typ, want string }{
		{"a.png", "image/png", "image/png"},
		{"a.txt", "text/plain; charset=utf-8", "text/plain"},
		{"a.html", "text/html", "application/octet-stream"},
		{"a.svg", "image/svg+xml", "application/octet-stream"},
		{"a.js", "application/javascript", "application/octet-stream"},
		{"a", "", "application/octet-stream"},
	} {
		address, token := asks(t, u, "filename", c.name, "size", "3", "content-type", c.typ)
		if resp, text := do(t, http.MethodPut, address, "abc", "Authorization", token); resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s %s", c.name, resp.Status, text)
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			resp, text := do(t, method, address, "")
			h := resp.Header
			for k, want := range map[string]string{
				"Content-Type": c.want, "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment; filename=" + c.name,
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox", "Access-Control-Allow-Origin": "*", "Content-Length": "3",
			} {
				if h.Get(k) != want {
					t.Errorf("%s of %s: %s is %q, want %q", method, c.name, k, h.Get(k), want)
				}
			}
			if want := map[string]string{http.MethodGet: "abc"}[method]; resp.StatusCode != http.StatusOK || text != want {
				t.Errorf("%s of %s: %s %q", method, c.name, resp.Status, text)
			}
		}
		if resp, _ := do(t, http.MethodGet, address, "", "If-None-Match", `"tag"`); resp.StatusCode != http.StatusNotModified {
			t.Errorf("%s, which has not changed: %s", c.name, resp.Status)
		}
		if resp, _ := do(t, http.MethodGet, address+"x", ""); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s by another name: %s", c.name, resp.Status)
		}
	}
	if resp, _ := do(t, http.MethodGet, u.URL+"none/a.png", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("what is not there: %s", resp.Status)
	}
	if resp, _ := do(t, http.MethodOptions, u.URL+"none/a.png", ""); resp.StatusCode != http.StatusNoContent || !strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("a page that asks whether it may: %s %v", resp.Status, resp.Header)
	}
	if resp, _ := do(t, http.MethodDelete, u.URL+"none/a.png", ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("delete: %s", resp.Status)
	}
}

// TestDownloadRanges: RFC 9110 §14.2, §13.1.5, a download that was broken off goes on.
func TestDownloadRanges(t *testing.T) {
	t.Parallel()
	u, _ := uploads(t)
	address, token := asks(t, u, "filename", "a.txt", "size", "10")
	if resp, text := do(t, http.MethodPut, address, "0123456789", "Authorization", token); resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s", resp.Status, text)
	}
	for name, c := range map[string]struct {
		method string
		header []string
		status int
		body   string
		which  string // Content-Range
	}{
		"all of it":             {"GET", nil, 200, "0123456789", ""},
		"from a place on":       {"GET", []string{"Range", "bytes=4-"}, 206, "456789", "bytes 4-9/10"},
		"from the beginning":    {"GET", []string{"Range", "bytes=0-0"}, 206, "0", "bytes 0-0/10"},
		"in the middle":         {"GET", []string{"Range", "bytes=2-5"}, 206, "2345", "bytes 2-5/10"},
		"the end":               {"GET", []string{"Range", "bytes=-3"}, 206, "789", "bytes 7-9/10"},
		"beyond the end":        {"GET", []string{"Range", "bytes=8-100"}, 206, "89", "bytes 8-9/10"},
		"nothing of it":         {"GET", []string{"Range", "bytes=10-"}, 416, "", "bytes */10"},
		"the same file":         {"GET", []string{"Range", "bytes=4-", "If-Range", `"tag"`}, 206, "456789", "bytes 4-9/10"},
		"another file by now":   {"GET", []string{"Range", "bytes=4-", "If-Range", `"other"`}, 200, "0123456789", ""},
		"a weak tag":            {"GET", []string{"Range", "bytes=4-", "If-Range", `W/"tag"`}, 200, "0123456789", ""},
		"several: all of it":    {"GET", []string{"Range", "bytes=0-1,4-5"}, 200, "0123456789", ""},
		"bytes, but no range":   {"GET", []string{"Range", "bytes=x"}, 416, "", ""},
		"another unit":          {"GET", []string{"Range", "lines=1-2"}, 200, "0123456789", ""},
		"no answer of HEAD":     {"HEAD", []string{"Range", "bytes=4-"}, 200, "", ""},
		"what is there already": {"GET", []string{"Range", "bytes=4-", "If-None-Match", `"tag"`}, 304, "", ""},
		"if it is another one":  {"GET", []string{"If-Match", `"other"`}, 412, "", ""},
	} {
		resp, text := do(t, c.method, address, "", c.header...)
		if resp.StatusCode != c.status || resp.StatusCode < 300 && text != c.body || resp.Header.Get("Content-Range") != c.which {
			t.Errorf("%s: %s %q, Content-Range %q", name, resp.Status, text, resp.Header.Get("Content-Range"))
		}
		if c.status < 300 && (resp.Header.Get("Accept-Ranges") != "bytes" || resp.Header.Get("Content-Disposition") == "") {
			t.Errorf("%s: %v", name, resp.Header)
		}
	}
}

// TestForward: what was read cannot be read again, and where a file breaks off is an error.
func TestForward(t *testing.T) {
	t.Parallel()
	f := &forward{r: strings.NewReader("0123456789"), size: 12}
	if end, err := f.Seek(0, io.SeekEnd); end != 12 || err != nil {
		t.Errorf("%d, %v", end, err)
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("before the beginning")
	}
	b := make([]byte, 3)
	for _, step := range []struct {
		at   int64
		want string
	}{{2, "234"}, {5, "567"}, {9, "9"}} {
		if _, err := f.Seek(step.at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if n, err := f.Read(b); string(b[:n]) != step.want || err != nil {
			t.Errorf("from %d: %q, %v", step.at, b[:n], err)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Read(b); n > 0 || err == nil {
		t.Errorf("read again: %d bytes, %v", n, err)
	}
	if _, err := f.Seek(11, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Read(b); n > 0 || err == nil {
		t.Errorf("behind where it breaks off: %d bytes, %v", n, err)
	}
}
