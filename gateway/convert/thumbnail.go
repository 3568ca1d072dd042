package convert

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"path"
	"strconv"
	"strings"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // for image.Decode

	"mcmt2xmpp/xmpp/xmlwire"
)

// nsThumbs is the namespace of XEP-0264.
const nsThumbs = "urn:xmpp:thumbs:1"

// Bounds of thumbnails: pixels of the longer side, what a picture has to have for one to
// be worth making, and what it may have at the most, since it takes up to 8 bytes each to
// make it smaller.
const (
	thumbnailSide  = 256
	thumbnailWorth = 2 * thumbnailSide
	maxPixels      = 16 << 20
)

// thumbnail is a small picture that a client can show before it gets the large one.
type thumbnail struct {
	File
	width, height int
}

// element is what offers it, within the metadata of the large one (XEP-0264 §4).
func (t *thumbnail) element() *xmlwire.Element {
	return xmlwire.New(nsThumbs, "thumbnail", "uri", t.URL, "media-type", t.Type, "width", strconv.Itoa(t.width), "height", strconv.Itoa(t.height))
}

// thumbnail makes that of a picture; nil for what is none, is small already, or is too
// large. One picture at a time is in memory.
func (c *Converter) thumbnail(f File) *thumbnail {
	if !strings.HasPrefix(f.Type, "image/") {
		return nil
	}
	cfg, format, err := image.DecodeConfig(bytes.NewReader(f.Body))
	if err != nil || f.Type != "image/"+format || max(cfg.Width, cfg.Height) < thumbnailWorth || cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > maxPixels/cfg.Height {
		return nil
	}
	c.pictures.Lock()
	defer c.pictures.Unlock()
	large, _, err := image.Decode(bytes.NewReader(f.Body))
	if err != nil {
		return nil
	}
	small := turn(shrink(large), orientation(f.Body))
	var b bytes.Buffer
	if err := jpeg.Encode(&b, small, &jpeg.Options{Quality: 75}); err != nil {
		return nil
	}
	t := &thumbnail{width: small.Bounds().Dx(), height: small.Bounds().Dy()}
	t.File = File{
		Name: strings.TrimSuffix(f.Name, path.Ext(f.Name)) + "-thumbnail.jpg", Type: "image/jpeg",
		Body: b.Bytes(), Hash: sha256.Sum256(b.Bytes()),
	}
	return t
}

// shrink makes a picture fit, on white where it is transparent: JPEG has no transparency.
func shrink(large image.Image) *image.RGBA {
	b := large.Bounds()
	w, h := thumbnailSide, max(1, thumbnailSide*b.Dy()/b.Dx())
	if b.Dy() > b.Dx() {
		w, h = max(1, thumbnailSide*b.Dx()/b.Dy()), thumbnailSide
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(small, small.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.BiLinear.Scale(small, small.Bounds(), large, b, draw.Over, nil)
	return small
}

// turn turns and mirrors a picture as one of the eight orientations of Exif wants it, of
// which 1 is upright.
func turn(src *image.RGBA, orientation int) *image.RGBA {
	if orientation <= 1 || orientation > 8 {
		return src
	}
	w, h := src.Bounds().Dx(), src.Bounds().Dy()
	size := image.Rect(0, 0, w, h)
	if orientation >= 5 {
		size = image.Rect(0, 0, h, w)
	}
	dst := image.NewRGBA(size)
	for y := range h {
		for x := range w {
			at := [...]image.Point{
				2: {w - 1 - x, y}, 3: {w - 1 - x, h - 1 - y}, 4: {x, h - 1 - y},
				5: {y, x}, 6: {h - 1 - y, x}, 7: {h - 1 - y, w - 1 - x}, 8: {y, w - 1 - x},
			}[orientation]
			dst.SetRGBA(at.X, at.Y, src.RGBAAt(x, y))
		}
	}
	return dst
}

// orientation is how a JPEG file says that its picture was taken (Exif 2.3 §4.6.4, tag
// 0x0112); 1, upright, where it does not.
func orientation(file []byte) int {
	const upright = 1
	exif := segment(file, 0xe1, "Exif\x00\x00")
	if len(exif) < 8 {
		return upright
	}
	var order binary.ByteOrder = binary.BigEndian
	if exif[0] == 'I' {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(exif[4:])) // of the first directory
	if at+2 > int64(len(exif)) {
		return upright
	}
	const entry = 12
	for n, dir := order.Uint16(exif[at:]), exif[at+2:]; n > 0 && len(dir) >= entry; n, dir = n-1, dir[entry:] {
		if order.Uint16(dir) == 0x0112 {
			if v := int(order.Uint16(dir[8:])); v >= 1 && v <= 8 {
				return v
			}
			return upright
		}
	}
	return upright
}

// segment is what a segment of a JPEG file holds behind its mark; nil where there is none
// before the picture itself.
func segment(file []byte, kind byte, mark string) []byte {
	if len(file) < 2 || file[0] != 0xff || file[1] != 0xd8 {
		return nil
	}
	for rest := file[2:]; len(rest) >= 4 && rest[0] == 0xff && rest[1] != 0xda; {
		size := 2 + int(binary.BigEndian.Uint16(rest[2:]))
		if size < 4 || size > len(rest) {
			return nil
		}
		if body := rest[4:size]; rest[1] == kind && bytes.HasPrefix(body, []byte(mark)) {
			return body[len(mark):]
		}
		rest = rest[size:]
	}
	return nil
}
