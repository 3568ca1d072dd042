package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const nsUpload = "urn:xmpp:http:upload:0"

// File is what is known of a file that was uploaded.
type File struct {
	User jid.JID // whose it is
	Name string
	Type string // media type, as its owner has said
	Size int64
	ETag string // names the content; set by Open
}

// Errors of Files.
var (
	ErrNoFile = errors.New("no such file")
	ErrFull   = errors.New("no room for files")
)

// Files keeps files for accounts. Its methods may be called from any goroutine.
type Files interface {
	// Reserve notes that an account may upload a file within a time, unless its files
	// and what it may upload would exceed quota: then it returns ErrFull.
	Reserve(ctx context.Context, id string, f File, within time.Duration, quota int64) error
	// Save stores a file that was reserved, once: another is fs.ErrExist. The error is
	// ErrFull, that of r, or one of the store.
	Save(ctx context.Context, id string, f File, r io.Reader) error
	// Open returns a file, or ErrNoFile.
	Opener
}

// Uploads is HTTP file upload (XEP-0363): the slots, and as an http.Handler the files.
type Uploads struct {
	Files Files
	// URL is what the addresses of files begin with, up to the last slash. Its path is
	// where the handler is mounted.
	URL string
	// Secret signs slots: every process that serves files has the same.
	Secret []byte
	// MaxSize bounds a file in bytes, Quota all files of one account. Both are needed.
	MaxSize, Quota int64
	// Within is how long a slot is good for. Zero: 5 minutes (§6).
	Within time.Duration
	// Patience is how long the peer of the handler may take for each piece of a file.
	// Zero: 30 s.
	Patience time.Duration
	// Failed learns of files that could not be stored or read for a fault of ours. It
	// must not block.
	Failed func(error)

	busy atomic.Int32 // files under way
}

// maxTransfers bounds the files that are under way at once.
const maxTransfers = 256

// Service returns what answers requests for slots, of the domain.
func (u *Uploads) Service() router.Service {
	form := xmlwire.New(nsForm, "x", "type", "result")
	form.Add(xmlwire.New(nsForm, "field", "var", "FORM_TYPE", "type", "hidden").Add(xmlwire.New(nsForm, "value").AddText(nsUpload)))
	form.Add(xmlwire.New(nsForm, "field", "var", "max-file-size").Add(xmlwire.New(nsForm, "value").AddText(strconv.FormatInt(u.MaxSize, 10))))
	return router.Service{
		Payloads: []xmlwire.Name{{Space: nsUpload, Local: "request"}},
		Reach:    router.Domain,
		OfDomain: []string{nsUpload}, Form: form,
		Identity: router.Identity{Category: "store", Type: "file", Name: "HTTP File Upload"},
		// §3: the service is found among the items of the user's server. COMPAT
		// go-sendxmpp 0.5.6: it looks nowhere else, and at the first identity only.
		Item:   true,
		Answer: u.answer,
	}
}

// answer grants a slot (§4).
func (u *Uploads) answer(ctx context.Context, rq router.Request) (*xmlwire.Element, error) {
	size, err := strconv.ParseInt(rq.Payload.Attr("size"), 10, 64)
	f := File{User: rq.From.Bare(), Name: rq.Payload.Attr("filename"), Type: rq.Payload.Attr("content-type"), Size: size}
	switch {
	case rq.Asker == nil:
		return nil, &stanza.Error{Condition: stanza.Forbidden} // not of ours
	case rq.Type != stanza.TypeGet, err != nil, size <= 0, !plainName(f.Name):
		return nil, badRequest
	case size > u.MaxSize:
		return nil, u.tooLarge()
	}
	if f.Type != "" {
		if _, _, err := mime.ParseMediaType(f.Type); err != nil {
			return nil, badRequest
		}
	}
	id := strings.ToLower(rand.Text())
	within := u.Within
	if within <= 0 {
		within = 5 * time.Minute
	}
	switch err := u.Files.Reserve(ctx, id, f, within, u.Quota); {
	case errors.Is(err, ErrFull):
		return nil, &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: fmt.Sprintf("files of %d bytes at most are kept for you", u.Quota)}
	case err != nil:
		return nil, err
	}
	address := u.URL + id + "/" + url.PathEscape(f.Name)
	put := xmlwire.New(nsUpload, "put", "url", address)
	put.Add(xmlwire.New(nsUpload, "header", "name", "Authorization").AddText("Bearer " + u.sign(slot{id, f.User.String(), f.Name, f.Type, f.Size, time.Now().Add(within).Unix()})))
	return xmlwire.New(nsUpload, "slot").Add(put).Add(xmlwire.New(nsUpload, "get", "url", address)), nil
}

// tooLarge says how large a file may be (§5).
func (u *Uploads) tooLarge() error {
	return &stanza.Error{
		Type: stanza.Modify, Condition: stanza.NotAcceptable, Text: fmt.Sprintf("a file has %d bytes at most", u.MaxSize),
		Specific: xmlwire.Name{Space: nsUpload, Local: "file-too-large"},
		Detail:   xmlwire.New(nsUpload, "max-file-size").AddText(strconv.FormatInt(u.MaxSize, 10)),
	}
}

// plainName says whether a name is that of a file, and of no folder.
func plainName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 255 || !utf8.ValidString(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '/' || r == '\\' })
}

// slot is the right to upload one file, as it stands in the token.
type slot struct {
	ID      string `json:"id"`
	User    string `json:"user"`
	Name    string `json:"name"`
	Type    string `json:"type,omitempty"`
	Size    int64  `json:"size"`
	Expires int64  `json:"expires"` // seconds since 1970
}

// sign makes the token of a slot: whoever has it may upload that file, on any node.
func (u *Uploads) sign(s slot) string {
	data, err := json.Marshal(s)
	if err != nil {
		panic("account: slot: " + err.Error()) // strings and numbers
	}
	text := base64.RawURLEncoding.EncodeToString(data)
	return text + "." + base64.RawURLEncoding.EncodeToString(u.mac(text))
}

func (u *Uploads) mac(text string) []byte {
	h := hmac.New(sha256.New, u.Secret)
	_, _ = h.Write([]byte("upload slot\x00" + text))
	return h.Sum(nil)
}

// slot returns that of a token, false for one that is not ours or too old.
func (u *Uploads) slot(token string, now time.Time) (slot, bool) {
	text, sum, _ := strings.Cut(token, ".")
	mac, err := base64.RawURLEncoding.DecodeString(sum)
	if err != nil || !hmac.Equal(mac, u.mac(text)) {
		return slot{}, false
	}
	var s slot
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err == nil && now.Unix() <= s.Expires
}
