package convert

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
)

// photo is a black JPEG of 800x600 with one white quarter, the upper left one as it lies in
// the file, and an Exif header with an orientation; zero: without one.
func photo(t testing.TB, turned int, order binary.AppendByteOrder) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 800, 600))
	for y := range 300 {
		for x := range 400 {
			img.SetGray(x, y, color.Gray{255})
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, nil); err != nil {
		t.Fatal(err)
	}
	if turned == 0 {
		return b.Bytes()
	}
	exif := []byte("Exif\x00\x00II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		exif = []byte("Exif\x00\x00MM\x00*")
	}
	exif = order.AppendUint32(exif, 8)
	exif = order.AppendUint16(exif, 2)
	for _, e := range [][2]int{{0x0100, 800}, {0x0112, turned}} {
		exif = order.AppendUint16(exif, uint16(e[0])) //nolint:gosec // small
		exif = order.AppendUint16(exif, 3)
		exif = order.AppendUint32(exif, 1)
		exif = order.AppendUint16(exif, uint16(e[1])) //nolint:gosec // small
		exif = order.AppendUint16(exif, 0)
	}
	head := binary.BigEndian.AppendUint16([]byte{0xff, 0xd8, 0xff, 0xe1}, uint16(len(exif)+2)) //nolint:gosec // small
	return slices.Concat(head, exif, b.Bytes()[2:])
}

// corner is where the white quarter is.
func corner(t *testing.T, file []byte) string {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	b := img.Bounds()
	where := ""
	for name, p := range map[string]image.Point{
		"upper left": {b.Dx() / 4, b.Dy() / 4}, "upper right": {b.Dx() * 3 / 4, b.Dy() / 4},
		"lower left": {b.Dx() / 4, b.Dy() * 3 / 4}, "lower right": {b.Dx() * 3 / 4, b.Dy() * 3 / 4},
	} {
		if r, _, _, _ := img.At(p.X, p.Y).RGBA(); r > 0x8000 {
			where += name
		}
	}
	return where
}

// TestThumbnail: XEP-0264, a picture that shows what the large one shows, upright.
func TestThumbnail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		body          []byte
		width, height int
		corner        string
	}{
		{"no orientation", photo(t, 0, nil), 256, 192, "upper left"},
		{"upright", photo(t, 1, binary.LittleEndian), 256, 192, "upper left"},
		{"mirrored", photo(t, 2, binary.BigEndian), 256, 192, "upper right"},
		{"upside down", photo(t, 3, binary.LittleEndian), 256, 192, "lower right"},
		{"mirrored upside down", photo(t, 4, binary.LittleEndian), 256, 192, "lower left"},
		{"along the diagonal", photo(t, 5, binary.LittleEndian), 192, 256, "upper left"},
		{"held to the left", photo(t, 6, binary.BigEndian), 192, 256, "upper right"},
		{"along the other diagonal", photo(t, 7, binary.LittleEndian), 192, 256, "lower right"},
		{"held to the right", photo(t, 8, binary.LittleEndian), 192, 256, "lower left"},
		{"no orientation that exists", photo(t, 9, binary.LittleEndian), 256, 192, "upper left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := input(mmsMessage(mcmt.MM7{Media: []mcmt.Media{{Type: "image/jpeg", Name: "IMG 7.jpeg", Body: tt.body}}}))
			in.Place = place
			r, err := newConverter(t, nil).Convert(in)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Files) != 2 || r.Files[1].Name != "IMG 7-thumbnail.jpg" || r.Files[1].Type != "image/jpeg" || r.Files[1].ID == "" {
				t.Fatalf("files %+v", r.Files)
			}
			e := r.Stanza.Element
			for attr, want := range map[string]string{"uri": r.Files[1].URL, "media-type": "image/jpeg", "width": fmt.Sprint(tt.width), "height": fmt.Sprint(tt.height)} {
				if got := children(e, nsThumbs, "thumbnail", attr); !slices.Equal(got, []string{want}) {
					t.Errorf("%s %q, want %q", attr, got, want)
				}
			}
			if got := children(e, nsOOB, "url", ""); len(got) != 1 {
				t.Errorf("XEP-0066 offers %q, and a thumbnail is no file of the message", got)
			}
			cfg, err := jpeg.DecodeConfig(bytes.NewReader(r.Files[1].Body))
			if err != nil || cfg.Width != tt.width || cfg.Height != tt.height {
				t.Errorf("%dx%d, %v; want %dx%d", cfg.Width, cfg.Height, err, tt.width, tt.height)
			}
			if got := corner(t, r.Files[1].Body); got != tt.corner {
				t.Errorf("the white quarter is in the %s, want %s", got, tt.corner)
			}
		})
	}
}

// TestNoThumbnail: what is small, broken or meant to break something has none, and is
// offered all the same.
func TestNoThumbnail(t *testing.T) {
	t.Parallel()
	whole := photo(t, 0, nil)
	bomb := picture(t, "png", 600, 600)
	binary.BigEndian.PutUint32(bomb[16:], 1<<20) // the width; the checksum is wrong then, too
	for _, tt := range []struct {
		name, kind string
		body       []byte
		most       int
	}{
		{"small", "image/png", picture(t, "png", thumbnailWorth-1, 400), 1},
		{"cut", "image/jpeg", whole[:len(whole)/2], 1},
		{"bomb", "image/png", bomb, 1},
		{"too large", "image/gif", picture(t, "gif", 4097, 4096), 1},
		{"another format", "image/png", whole, 1},
		{"no picture", "audio/amr", whole, 1},
		{"narrow", "image/gif", picture(t, "gif", 2000, 1), 2},
	} {
		in := input(mmsMessage(mcmt.MM7{Media: []mcmt.Media{{Type: tt.kind, Name: "a", Body: tt.body}}}))
		in.Place = place
		r, err := newConverter(t, nil).Convert(in)
		if err != nil || len(r.Files) != tt.most || len(children(r.Stanza.Element, nsThumbs, "thumbnail", "uri")) != tt.most-1 {
			t.Errorf("%s: %d files, %v", tt.name, len(r.Files), err)
		}
	}
	in := input(mmsMessage(mcmt.MM7{Media: []mcmt.Media{{Type: "image/jpeg", Name: "a", Body: whole}}}))
	in.Place = func(f File) (string, string) {
		if strings.Contains(f.Name, "thumbnail") {
			return "", ""
		}
		return place(f)
	}
	if r, err := newConverter(t, nil).Convert(in); err != nil || len(r.Files) != 1 || len(children(r.Stanza.Element, nsThumbs, "thumbnail", "uri")) != 0 {
		t.Errorf("nowhere to put it: %d files, %v", len(r.Files), err)
	}
}

// TestTransparent: what shines through is white, as the window of most clients.
func TestTransparent(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewNRGBA(image.Rect(0, 0, 600, 600))); err != nil {
		t.Fatal(err)
	}
	thumb := newConverter(t, nil).thumbnail(File{Type: "image/png", Body: b.Bytes()})
	img, err := jpeg.Decode(bytes.NewReader(thumb.Body))
	if err != nil {
		t.Fatal(err)
	}
	if r, _, _, _ := img.At(100, 100).RGBA(); r < 0xf000 {
		t.Errorf("%x", r)
	}
}

// FuzzOrientation: whatever a file says, it is one of the eight.
func FuzzOrientation(f *testing.F) {
	f.Add(photo(f, 6, binary.LittleEndian)[:200])
	f.Add(photo(f, 8, binary.BigEndian)[:200])
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x10Exif\x00\x00MM\x00*\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if n := orientation(file); n < 1 || n > 8 {
			t.Error(n)
		}
	})
}
