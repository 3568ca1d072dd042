package convert

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"image"
	_ "image/gif"  // for imageSize
	_ "image/jpeg" // likewise
	_ "image/png"  // likewise
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// File is a file of a multimedia message that a stanza offers.
type File struct {
	Name string // with an extension where one is known; fit for a path of one element
	Type string // media type in lower case
	Body []byte // shared with Input.Message
	Hash [sha256.Size]byte
	ID   string // by which it is kept
	URL  string // by which the recipient gets it
}

// maxFiles bounds the files that one stanza offers: each takes about 1 KiB of it, 1.5 with
// a thumbnail.
const maxFiles = 20

// Namespaces of files in a message.
const (
	nsOOB      = "jabber:x:oob"                        // XEP-0066
	nsURLData  = "http://jabber.org/protocol/url-data" // XEP-0103
	nsHashes   = "urn:xmpp:hashes:2"                   // XEP-0300
	nsHints    = "urn:xmpp:hints"                      // XEP-0334
	nsFallback = "urn:xmpp:fallback:0"                 // XEP-0428
	nsMetadata = "urn:xmpp:file:metadata:0"            // XEP-0446
	nsSFS      = "urn:xmpp:sfs:0"                      // XEP-0447
)

// mms makes a stanza of a multimedia message; nil where it has neither text nor a file
// that can be offered.
//
// It is one stanza however many files there are, because a message has one id, one
// receipt and one end. Each file is an <x/> of XEP-0066 and a <file-sharing/> of
// XEP-0447, in their order, and a line of the body, behind the text. A picture without
// text is nothing but its address in the body: Conversations and Gajim show a file in
// its place where the body is the address of the first <x/>, and a link elsewhere;
// Dino goes by XEP-0447.
func (k *conversion) mms(mm7 *mcmt.MM7) *stanza.Stanza {
	text, files := k.body(mm7.Text), k.place(mm7.Media)
	left := len(mm7.Media) - len(files)
	switch {
	case text == "" && len(files) == 0 && left > 0:
		k.step("mm7", "has no text, and no file that can be offered")
		return nil
	case text == "" && len(files) == 0:
		k.step("mm7", "has no text")
		return nil
	}
	k.step("mm7", "%s", mmsNote(text, len(files), left))
	st := stanza.NewMessage(k.to, k.from, k.c.messageType, mmsBody(text, files, left))
	if subject := k.cut(clean(mm7.Subject)); subject != "" {
		st.Element.Add(xmlwire.New(stanza.Client, "subject").AddText(subject))
	}
	thumbs := k.thumbnails(files)
	offer(st, text, files, thumbs)
	if text == "" && left == 0 {
		// XEP-0428: the body says nothing that is not offered too. XEP-0447 §3.1: then it
		// needs saying that the message is worth keeping.
		st.Element.Add(xmlwire.New(nsFallback, "fallback", "for", nsSFS))
		st.Element.Add(xmlwire.New(nsHints, "store"))
	}
	k.thread(st)
	k.result.Files = files
	for _, t := range thumbs {
		if t != nil {
			k.result.Files = append(k.result.Files, t.File)
		}
	}
	return st
}

// mmsNote says for an operator what became of a multimedia message.
func mmsNote(text string, files, left int) string {
	var used []string
	if text != "" {
		used = append(used, "text")
	}
	if files > 0 {
		used = append(used, countFiles(files))
	}
	note := strings.Join(used, " and ") + " used"
	if left > 0 {
		note += ", " + countFiles(left) + " left out"
	}
	return note
}

func countFiles(n int) string {
	if n == 1 {
		return "1 file"
	}
	return strconv.Itoa(n) + " files"
}

// mmsBody is what a client shows that knows nothing of files.
func mmsBody(text string, files []File, left int) string {
	var lines []string
	if text != "" {
		lines = append(lines, text)
	}
	for _, f := range files {
		lines = append(lines, f.URL)
	}
	if left > 0 {
		lines = append(lines, "[… "+countFiles(left)+" left out]")
	}
	return strings.Join(lines, "\n")
}

// place finds out where files will be. Those that nobody can get are missing.
func (k *conversion) place(all []mcmt.Media) []File {
	if k.in.Place == nil {
		return nil
	}
	var files []File
	for i, m := range all {
		if len(files) == maxFiles {
			break
		}
		f := File{Name: mediaName(m, i), Type: mediaType(m.Type), Body: m.Body, Hash: sha256.Sum256(m.Body)}
		if f.ID, f.URL = k.in.Place(f); f.URL != "" {
			files = append(files, f)
		}
	}
	return files
}

// thumbnails makes those of files, nil for one that has none.
func (k *conversion) thumbnails(files []File) []*thumbnail {
	all := make([]*thumbnail, len(files))
	for i, f := range files {
		t := k.c.thumbnail(f)
		if t == nil {
			continue
		}
		if t.ID, t.URL = k.in.Place(t.File); t.URL != "" {
			all[i] = t
		}
	}
	return all
}

// offer adds files to st. Text goes with the first one as its description, since by
// XEP-0447 §3.1 a body says nothing that is not there as well.
func offer(st *stanza.Stanza, text string, files []File, thumbs []*thumbnail) {
	for i, f := range files {
		if i > 0 {
			text = ""
		}
		st.Element.Add(fileSharing(f, text, thumbs[i]))
	}
	for _, f := range files {
		st.Element.Add(xmlwire.New(nsOOB, "x").Add(xmlwire.New(nsOOB, "url").AddText(f.URL)))
	}
}

// fileSharing is the element of XEP-0447 with the metadata of XEP-0446; thumb may be nil.
func fileSharing(f File, desc string, thumb *thumbnail) *xmlwire.Element {
	meta := xmlwire.New(nsMetadata, "file")
	add := func(name, value string) {
		if value != "" {
			meta.Add(xmlwire.New(nsMetadata, name).AddText(value))
		}
	}
	add("media-type", f.Type)
	add("name", f.Name)
	add("size", strconv.Itoa(len(f.Body)))
	add("dimensions", imageSize(f))
	meta.Add(xmlwire.New(nsHashes, "hash", "algo", "sha-256").AddText(base64.StdEncoding.EncodeToString(f.Hash[:])))
	add("desc", desc)
	if thumb != nil {
		meta.Add(thumb.element())
	}
	sources := xmlwire.New(nsSFS, "sources").Add(xmlwire.New(nsURLData, "url-data", "target", f.URL))
	return xmlwire.New(nsSFS, "file-sharing").Add(meta).Add(sources)
}

// imageSize is the width and height of a picture, "640x480", as its header says; empty
// for what is none.
func imageSize(f File) string {
	if !strings.HasPrefix(f.Type, "image/") {
		return ""
	}
	c, format, err := image.DecodeConfig(bytes.NewReader(f.Body))
	if err != nil || f.Type != "image/"+format || c.Width <= 0 || c.Height <= 0 {
		return ""
	}
	return fmt.Sprintf("%dx%d", c.Width, c.Height)
}

// mediaTypes are the registered names of types that phones call otherwise.
var mediaTypes = map[string]string{
	"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png",
	"audio/mp3": "audio/mpeg", "audio/x-mp3": "audio/mpeg", "audio/x-wav": "audio/wav", "audio/x-amr": "audio/amr",
	"video/3gp": "video/3gpp", "text/x-vcard": "text/vcard",
}

func mediaType(kind string) string {
	if registered, ok := mediaTypes[kind]; ok {
		return registered
	}
	return kind
}

// extensions by which clients know what an address leads to.
var extensions = map[string]string{
	"image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp", "image/bmp": ".bmp", "image/svg+xml": ".svg",
	"audio/amr": ".amr", "audio/mpeg": ".mp3", "audio/mp4": ".m4a", "audio/aac": ".aac", "audio/midi": ".mid", "audio/wav": ".wav", "audio/ogg": ".ogg",
	"video/3gpp": ".3gp", "video/3gpp2": ".3g2", "video/mp4": ".mp4", "video/mpeg": ".mpg", "video/webm": ".webm",
	"text/plain": ".txt", "text/html": ".html", "text/vcard": ".vcf", "text/calendar": ".ics", "application/pdf": ".pdf",
}

// maxName bounds the name of a file in bytes, without its extension.
const maxName = 80

// mediaName is the name of the n-th file, from zero. What could choose a folder, end a
// line, or turn the direction of writing so that an extension looks like another, is
// taken out.
func mediaName(m mcmt.Media, n int) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r == '\\' || r == utf8.RuneError:
			return '_'
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, clean(m.Name))
	name = strings.Trim(name, ". ")
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	if len(ext) < 2 || len(ext) > 10 {
		stem, ext = name, extensions[mediaType(m.Type)]
	}
	for len(stem) > maxName {
		_, size := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-size]
	}
	if stem == "" {
		stem = "file-" + strconv.Itoa(n+1)
	}
	return stem + ext
}
