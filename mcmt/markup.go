package mcmt

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Bounds of the XML in a multimedia message. Real ones are of 1 to 4 KiB.
const (
	maxMarkup         = 256 << 10 // bytes
	maxMarkupDepth    = 32
	maxMarkupElements = 4096
)

// soap is what the SOAP envelope of a multimedia message says of its content.
type soap struct {
	subject string
	href    string // of the content, "cid:…"; empty for none
}

// readSOAP reads an envelope (3GPP TS 23.140 §8.7): of a submission, a delivery, or
// another request with content. Namespaces are those of a release, of which there are
// many, so local names decide.
func readSOAP(b []byte) (soap, error) {
	var s soap
	var subject strings.Builder
	is := func(path []string, name string) bool {
		return len(path) == 4 && path[0] == "Envelope" && path[1] == "Body" && path[3] == name
	}
	err := readMarkup(b, markup{
		start: func(path []string, attrs []xml.Attr) {
			if s.href == "" && is(path, "Content") {
				s.href = attr(attrs, "href")
			}
		},
		text: func(path []string, text []byte) {
			if is(path, "Subject") {
				subject.Write(text)
			}
		},
	})
	s.subject = subject.String()
	return s, err
}

// smil is what a presentation says: what it shows, by reference, in the order of its
// slides.
type smil struct{ refs []string }

// media are the elements of SMIL that show something (3GPP TS 26.246 §4.3).
var smilMedia = []string{"text", "img", "audio", "video", "ref", "animation", "textstream"}

// readSMIL reads a presentation.
func readSMIL(b []byte) (smil, error) {
	var s smil
	err := readMarkup(b, markup{doctype: true, start: func(path []string, attrs []xml.Attr) {
		if !slices.Contains(smilMedia, strings.ToLower(path[len(path)-1])) {
			return
		}
		if src := attr(attrs, "src"); src != "" && !slices.Contains(s.refs, src) && len(s.refs) < maxRefs {
			s.refs = append(s.refs, src)
		}
	}})
	return s, err
}

// maxRefs bounds what a presentation refers to: more than a message has parts by
// default.
const maxRefs = 200

func attr(attrs []xml.Attr, name string) string {
	for _, a := range attrs {
		if strings.EqualFold(a.Name.Local, name) {
			return a.Value
		}
	}
	return ""
}

// markup says what is wanted of an XML document. path is that of local names down to
// the element; none of the arguments may be kept.
type markup struct {
	// doctype: a document type may be named. It is never looked at, and may declare
	// nothing.
	doctype bool
	start   func(path []string, attrs []xml.Attr)
	text    func(path []string, text []byte) // nil: not wanted
}

// readMarkup reads b, which is in UTF-8 whatever its declaration says, within bounds.
func readMarkup(b []byte, want markup) error {
	if len(b) > maxMarkup {
		return fmt.Errorf("larger than %d bytes", maxMarkup)
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	path := make([]string, 0, maxMarkupDepth)
	for n := 0; ; {
		token, err := d.Token()
		switch {
		case err == io.EOF && n == 0:
			return errors.New("no element")
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if n++; n > maxMarkupElements || len(path) == maxMarkupDepth {
				return errors.New("too many elements, or too deep")
			}
			path = append(path, t.Name.Local)
			want.start(path, t.Attr)
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if want.text != nil {
				want.text(path, t)
			}
		case xml.Directive:
			// SOAP 1.1 §3: there is no document type. COMPAT older phones: SMIL names one.
			if !want.doctype || bytes.IndexByte(t, '[') >= 0 {
				return errors.New("document type")
			}
		}
	}
}
