package convert

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"net/url"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/xmlwire"
)

// place puts each file where its content says.
func place(f File) (id, address string) {
	id = hex.EncodeToString(f.Hash[:4])
	return id, "https://files.example/m/" + id + "/" + url.PathEscape(f.Name)
}

// picture is a grey one in a format.
func picture(t testing.TB, format string, w, h int) []byte {
	t.Helper()
	img := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.Gray{128}, color.Black})
	var b bytes.Buffer
	var err error
	switch format {
	case "png":
		err = png.Encode(&b, img)
	case "jpeg":
		err = jpeg.Encode(&b, img, nil)
	case "gif":
		err = gif.Encode(&b, img, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func mmsMessage(mm7 mcmt.MM7) *mcmt.Message {
	return &mcmt.Message{MCMT: true, Email: &mcmt.Email{Text: "the mail", MessageID: "m1@corp.example"}, MM7: &mm7}
}

// children are the texts of the elements of a name anywhere in e, or of its attribute.
func children(e *xmlwire.Element, space, local, attr string) []string {
	var all []string
	for c := range e.Elements() {
		if c.Name == (xmlwire.Name{Space: space, Local: local}) {
			if attr != "" {
				all = append(all, c.Attr(attr))
			} else {
				all = append(all, c.Text())
			}
		}
		all = append(all, children(c, space, local, attr)...)
	}
	return all
}

// TestMMS: what clients make of a multimedia message hangs on its body and on the order
// of its elements.
func TestMMS(t *testing.T) {
	t.Parallel()
	png := picture(t, "png", 4, 3)
	many := slices.Repeat([]mcmt.Media{{Type: "image/png", Name: "a.png", Body: png}}, maxFiles+2)
	for _, tt := range []struct {
		name, reason string
		mm7          mcmt.MM7
		place        func(File) (string, string)
		part, body   string // $0 is the address of the first file
		files        int
		desc         []string
		fallback     bool
	}{
		{name: "picture", reason: "clients show it in its place only where the body is its address",
			mm7: mcmt.MM7{Media: many[:1]}, part: "mm7", body: "$0", files: 1, fallback: true},
		{name: "text and picture", reason: "the text comes first, and is the picture's description (XEP-0447 §3.1)",
			mm7: mcmt.MM7{Text: "look\n", Media: many[:1]}, part: "mm7", body: "look\n$0", files: 1, desc: []string{"look"}},
		{name: "pictures", reason: "the text is there once, whatever the number of files",
			mm7:  mcmt.MM7{Text: "look", Media: []mcmt.Media{{Type: "image/png", Body: png}, {Type: "text/vcard", Name: "bob.vcf", Body: []byte("x")}}},
			part: "mm7", body: "look\n$0\n$1", files: 2, desc: []string{"look"}},
		{name: "text", reason: "as without files",
			mm7: mcmt.MM7{Text: "look"}, part: "mm7", body: "look"},
		{name: "too many", reason: "a stanza has its bounds; that something is missing is said",
			mm7: mcmt.MM7{Media: many}, part: "mm7", body: strings.Repeat("$0\n", maxFiles) + "[… 2 files left out]", files: maxFiles},
		{name: "nowhere to put it", reason: "the mail says more than nothing",
			mm7: mcmt.MM7{Media: many[:1]}, place: func(File) (string, string) { return "", "" }, part: "email", body: "the mail"},
		{name: "text, and nowhere to put the rest", reason: "that something is missing is said",
			mm7: mcmt.MM7{Text: "look", Media: many[:1]}, place: func(File) (string, string) { return "", "" }, part: "mm7", body: "look\n[… 1 file left out]"},
		{name: "nothing", reason: "the mail is next", mm7: mcmt.MM7{Subject: "s"}, part: "email", body: "the mail"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(mmsMessage(tt.mm7))
			if in.Place = place; tt.place != nil {
				in.Place = tt.place
			}
			r, err := newConverter(t, nil).Convert(in)
			if err != nil {
				t.Fatal(err)
			}
			e := r.Stanza.Element
			body, urls := tt.body, []string(nil)
			for i, f := range r.Files {
				body = strings.ReplaceAll(body, fmt.Sprint("$", i), f.URL)
				urls = append(urls, f.URL)
			}
			if got := children(e, e.Name.Space, "body", ""); r.Part != tt.part || len(r.Files) != tt.files || !slices.Equal(got, []string{body}) {
				t.Errorf("%s: part %s, %d files, body %q; want %s, %d, %q", tt.reason, r.Part, len(r.Files), got, tt.part, tt.files, body)
			}
			if got := children(e, nsOOB, "url", ""); !slices.Equal(got, urls) {
				t.Errorf("XEP-0066 offers %q, want %q", got, urls)
			}
			if got := children(e, nsURLData, "url-data", "target"); !slices.Equal(got, urls) {
				t.Errorf("XEP-0447 offers %q, want %q", got, urls)
			}
			if got := children(e, nsMetadata, "desc", ""); !slices.Equal(got, tt.desc) {
				t.Errorf("%s: descriptions %q, want %q", tt.reason, got, tt.desc)
			}
			if got := len(children(e, nsFallback, "fallback", "")) == 1; got != tt.fallback {
				t.Errorf("the body is all fallback: %t, want %t", got, tt.fallback)
			}
		})
	}
}

// TestMetadata: XEP-0446, what is said of a file.
func TestMetadata(t *testing.T) {
	t.Parallel()
	cut := picture(t, "jpeg", 640, 480)[:20]
	for _, tt := range []struct {
		name, reason     string
		media            mcmt.Media
		kind, file, size string
	}{
		{"png", "its header has the size", mcmt.Media{Type: "image/png", Name: "a.png", Body: picture(t, "png", 40, 30)}, "image/png", "a.png", "40x30"},
		{"jpeg", "phones call it otherwise", mcmt.Media{Type: "image/jpg", Name: "IMG_1", Body: picture(t, "jpeg", 64, 48)}, "image/jpeg", "IMG_1.jpg", "64x48"},
		{"gif", "without a name it gets one", mcmt.Media{Type: "image/gif", Body: picture(t, "gif", 3, 2)}, "image/gif", "file-1.gif", "3x2"},
		{"lie", "a picture of another format than it says has no size that a client could rely on", mcmt.Media{Type: "image/gif", Body: picture(t, "png", 3, 2)}, "image/gif", "file-1.gif", ""},
		{"cut", "a header that is not whole", mcmt.Media{Type: "image/jpeg", Body: cut}, "image/jpeg", "file-1.jpg", ""},
		{"sound", "has no size", mcmt.Media{Type: "audio/amr", Name: "hi.amr", Body: []byte("#!AMR\n")}, "audio/amr", "hi.amr", ""},
		{"unknown", "no extension is better than a wrong one", mcmt.Media{Type: "application/x-what", Body: []byte("x")}, "application/x-what", "file-1", ""},
		{"direction", "U+202E would show gpj.exe as exe.jpg", mcmt.Media{Type: "image/jpeg", Name: "a\u202Egpj.exe", Body: []byte("x")}, "image/jpeg", "agpj.exe", ""},
		{"folder", "mcmt gives base names; nobody else should have to", mcmt.Media{Type: "image/jpeg", Name: "../a\\b.jpg", Body: []byte("x")}, "image/jpeg", "_a_b.jpg", ""},
		{"long", "cut between characters, the extension stays", mcmt.Media{Type: "image/png", Name: strings.Repeat("ä", 60) + ".png", Body: []byte("x")}, "image/png", strings.Repeat("ä", 40) + ".png", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(mmsMessage(mcmt.MM7{Media: []mcmt.Media{tt.media}}))
			in.Place = place
			r, err := newConverter(t, nil).Convert(in)
			if err != nil {
				t.Fatal(err)
			}
			e := r.Stanza.Element
			for name, want := range map[string]string{"media-type": tt.kind, "name": tt.file, "dimensions": tt.size, "size": fmt.Sprint(len(tt.media.Body))} {
				if got := strings.Join(children(e, nsMetadata, name, ""), " "); got != want {
					t.Errorf("%s: %s %q, want %q", tt.reason, name, got, want)
				}
			}
			sum := base64.StdEncoding.EncodeToString(r.Files[0].Hash[:])
			if got := children(e, nsHashes, "hash", ""); !slices.Equal(got, []string{sum}) {
				t.Errorf("hash %q, want %q", got, sum)
			}
		})
	}
}

// BenchmarkMMS takes a multimedia message with a picture of 100 KiB from bytes to bytes.
func BenchmarkMMS(b *testing.B) {
	photo := append(picture(b, "jpeg", 1600, 1200)[:600], make([]byte, 100<<10)...)
	var mm7 strings.Builder
	mm7.WriteString("--n\r\nContent-Type: application/smil\r\n\r\n<smil><body><par><img src=\"cid:p\"/><text src=\"cid:t\"/></par></body></smil>\r\n" +
		"--n\r\nContent-Type: text/plain; charset=utf-8\r\nContent-ID: <t>\r\n\r\nTrack 7.\r\n" +
		"--n\r\nContent-Type: image/jpeg\r\nContent-ID: <p>\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for chunk := range slices.Chunk(photo, 57) {
		mm7.WriteString(base64.StdEncoding.EncodeToString(chunk) + "\r\n")
	}
	mm7.WriteString("--n--\r\n")
	raw, err := mcmt.Build(mcmt.Draft{Subject: "s", Text: "mail", Parts: []mcmt.RawPart{
		{ContentType: "multipart/vnd.msys.mm7; boundary=n", Body: []byte(mm7.String())},
	}})
	if err != nil {
		b.Fatal(err)
	}
	c := newConverter(b, nil)
	var out []byte
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		m, err := mcmt.Parse(raw, mcmt.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		in := input(m)
		in.Place = place
		r, err := c.Convert(in)
		if err != nil || len(r.Files) != 1 {
			b.Fatal(err, len(r.Files))
		}
		out = r.Stanza.Append(out[:0], "")
	}
}
