package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"mcmt2xmpp/xmpp/jid"
)

// safeTypes are the media types that a browser is told, because it runs nothing of
// them; every other file is a lump of bytes to it.
var safeTypes = map[string]bool{
	"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/avif": true, "image/heic": true, "image/bmp": true,
	"audio/mpeg": true, "audio/mp4": true, "audio/aac": true, "audio/ogg": true, "audio/opus": true, "audio/wav": true, "audio/webm": true, "audio/amr": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true, "video/3gpp": true, "video/3gpp2": true,
	"text/plain": true, "application/pdf": true,
}

// Downloads gives files to whoever has their address, as an http.Handler: what Uploads
// does, without uploads.
type Downloads struct {
	Files    Opener
	URL      string        // as that of Uploads
	Patience time.Duration // likewise
	Failed   func(error)   // likewise

	busy atomic.Int32
}

// Opener is what Downloads needs of Files.
type Opener interface {
	Open(ctx context.Context, id string) (File, io.ReadCloser, error)
}

// ServeHTTP gives a file.
func (d *Downloads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	counter{d.Files, d.URL, d.Patience, d.Failed, &d.busy, nil}.serve(w, r)
}

// ServeHTTP takes and gives files (XEP-0363 §6). PUT needs the slot, GET the address.
func (u *Uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	counter{u.Files, u.URL, u.Patience, u.Failed, &u.busy, u.put}.serve(w, r)
}

// Find returns the file at an address, and whether that is one of ours; an ErrNoFile of
// ours is not there.
func (d *Downloads) Find(ctx context.Context, at *url.URL) (File, io.ReadCloser, bool, error) {
	return counter{files: d.Files, url: d.URL}.find(ctx, at)
}

// Find is that of Downloads.
func (u *Uploads) Find(ctx context.Context, at *url.URL) (File, io.ReadCloser, bool, error) {
	return counter{files: u.Files, url: u.URL}.find(ctx, at)
}

// counter is where files are handed over.
type counter struct {
	files    Opener
	url      string
	patience time.Duration
	failed   func(error)
	busy     *atomic.Int32
	put      func(w http.ResponseWriter, r *http.Request, id, name string) // nil: nothing is taken
}

// methods are those it knows.
func (c counter) methods() string {
	if c.put == nil {
		return "OPTIONS, HEAD, GET"
	}
	return "OPTIONS, HEAD, GET, PUT"
}

func (c counter) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	// §8.1: whatever it is, nothing of it is run, and no page of another has it inside.
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	// §7: clients in browsers come from anywhere; nothing here hangs on who they are.
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Accept-Ranges, Content-Range, ETag")
	defer c.busy.Add(-1)
	if c.busy.Add(1) > maxTransfers {
		h.Set("Retry-After", "10")
		http.Error(w, "too many files are under way", http.StatusServiceUnavailable)
		return
	}
	id, name, ok := c.path(r.URL)
	switch {
	case !ok:
		http.Error(w, "no such file", http.StatusNotFound)
	case r.Method == http.MethodPut && c.put != nil:
		c.put(w, r, id, name)
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		c.get(w, r, id, name)
	case r.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", c.methods())
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, If-Range, Range")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	default:
		h.Set("Allow", c.methods())
		http.Error(w, r.Method+" is not allowed here", http.StatusMethodNotAllowed)
	}
}

// path takes the address of a file apart.
func (c counter) path(at *url.URL) (id, name string, ok bool) {
	base, err := url.Parse(c.url)
	if err != nil {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(at.Path, base.Path)
	id, name, two := strings.Cut(rest, "/")
	return id, name, ok && two && id != "" && plainName(name)
}

func (c counter) find(ctx context.Context, at *url.URL) (File, io.ReadCloser, bool, error) {
	base, err := url.Parse(c.url)
	if err != nil || base.Host == "" || !strings.EqualFold(at.Host, base.Host) || !strings.HasPrefix(at.Path, base.Path) {
		return File{}, nil, false, nil
	}
	id, name, ok := c.path(at)
	if !ok {
		return File{}, nil, true, ErrNoFile
	}
	f, r, err := c.files.Open(ctx, id)
	if err == nil && f.Name != name {
		_ = r.Close()
		err = ErrNoFile
	}
	return f, r, true, err
}

// put stores the file of a slot.
func (u *Uploads) put(w http.ResponseWriter, r *http.Request, id, name string) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s, ok := u.slot(token, time.Now())
	if !ok || s.ID != id || s.Name != name {
		http.Error(w, "this needs the slot that the XMPP server has given for it, in time", http.StatusForbidden)
		return
	}
	typ := r.Header.Get("Content-Type")
	switch {
	case r.ContentLength < 0:
		http.Error(w, "say how long it is", http.StatusLengthRequired)
		return
	case r.ContentLength != s.Size: // §6
		http.Error(w, fmt.Sprintf("the slot is for %d bytes", s.Size), http.StatusRequestEntityTooLarge)
		return
	case s.Type != "" && typ != "" && mediaType(typ) != mediaType(s.Type):
		http.Error(w, "the slot is for "+s.Type, http.StatusUnsupportedMediaType)
		return
	}
	user, err := jid.Parse(s.User)
	if err != nil {
		http.Error(w, "whose slot is this?", http.StatusForbidden)
		return
	}
	f := File{User: user, Name: name, Type: s.Type, Size: s.Size}
	if f.Type == "" {
		f.Type = typ
	}
	body := &patient{r: r.Body, rc: http.NewResponseController(w), wait: patience(u.Patience), until: time.Now().Add(maxTransfer)}
	err = u.Files.Save(r.Context(), id, f, body)
	_ = body.rc.SetWriteDeadline(time.Now().Add(patience(u.Patience)))
	switch {
	case err == nil:
		w.WriteHeader(http.StatusCreated)
	case errors.Is(err, fs.ErrExist):
		http.Error(w, "it is there already", http.StatusConflict)
	case errors.Is(err, ErrFull):
		http.Error(w, ErrFull.Error(), http.StatusInsufficientStorage)
	case body.err != nil:
		http.Error(w, "it did not arrive whole", http.StatusBadRequest)
	default:
		u.Failed(fmt.Errorf("file not stored: %w", err))
		http.Error(w, "not stored, try again", http.StatusInternalServerError)
	}
}

// get sends a file, or a range of it (RFC 9110 §14). Browsers show none: they offer to save it.
func (c counter) get(w http.ResponseWriter, r *http.Request, id, name string) {
	f, content, err := c.files.Open(r.Context(), id)
	switch {
	case errors.Is(err, ErrNoFile), err == nil && f.Name != name:
		if err == nil {
			_ = content.Close()
		}
		http.Error(w, "no such file", http.StatusNotFound)
		return
	case err != nil:
		c.failed(fmt.Errorf("file not read: %w", err))
		http.Error(w, "not read, try again", http.StatusInternalServerError)
		return
	}
	defer content.Close()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	if t := mediaType(f.Type); safeTypes[t] {
		h.Set("Content-Type", t)
	}
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.Name}))
	h.Set("Cache-Control", "private, max-age=86400, immutable")
	if f.ETag != "" {
		h.Set("ETag", `"`+f.ETag+`"`)
	}
	out := &patientWriter{ResponseWriter: w, rc: http.NewResponseController(w), wait: patience(c.patience), until: time.Now().Add(maxTransfer)}
	// What is missing when this fails, the length tells.
	http.ServeContent(out, oneRange(r), "", time.Time{}, &forward{r: content, size: f.Size})
}

// maxTransfer bounds a file as a whole, however steadily it trickles.
const maxTransfer = time.Hour

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// patience is how long a peer may take for each piece.
func patience(set time.Duration) time.Duration {
	if set <= 0 {
		return 30 * time.Second
	}
	return set
}

// mediaType is a type without its parameters, empty for what is none.
func mediaType(s string) string {
	t, _, err := mime.ParseMediaType(s)
	if err != nil {
		return ""
	}
	return t
}

// patient reads what a peer sends piece by piece: each has its time, not all together.
type patient struct {
	r     io.Reader
	rc    *http.ResponseController
	wait  time.Duration
	until time.Time // and no longer than this
	err   error     // the peer's fault, other than the end
}

// Read reads a piece.
func (p *patient) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(earlier(time.Now().Add(p.wait), p.until))
	n, err := p.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = err
	}
	return n, err
}

// patientWriter is the same for what is sent.
type patientWriter struct {
	http.ResponseWriter
	rc    *http.ResponseController
	wait  time.Duration
	until time.Time
}

// Write writes a piece.
func (p *patientWriter) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(earlier(time.Now().Add(p.wait), p.until))
	return p.ResponseWriter.Write(b)
}
