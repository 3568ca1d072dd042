package mcmt

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
)

const (
	mm7Multi = "multipart/vnd.msys.mm7"
	mm7Whole = "message/vnd.msys.mm7"
)

// MM7 is the content of a multimedia part (3GPP TS 23.140), with or without the
// SOAP envelope of its reference point MM7 around it.
type MM7 struct {
	Type    string // media type of the part
	Body    []byte // the part as it is
	Subject string // of the SOAP envelope, one line; empty for none
	// Text is that of all text/plain parts which are no attachments, in the order in
	// which a phone shows them, each on lines of its own; empty for none.
	Text  string
	Media []Media // everything else that is meant for a person, in the same order
}

// Media is one file of a multimedia message.
type Media struct {
	Type string // media type in lower case, without parameters
	Name string // base name as its author has given it; may be empty
	Body []byte // never empty
}

// mm7 takes a multimedia message apart.
func (p *parser) mm7(c *entity, part *Part) (*MM7, error) {
	m := &MM7{Type: c.kind, Body: part.Body}
	e := p.mm7Content(c, part)
	if e == nil {
		return m, nil
	}
	r := mm7Reader{p: p, m: m}
	if err := r.collect(e, 2); err != nil {
		return nil, err
	}
	r.arrange()
	r.fill()
	return m, nil
}

// mm7Content is what the multimedia part c holds: what its inner header says, or a
// multipart, or a SOAP envelope alone; nil for what is none of them.
func (p *parser) mm7Content(c *entity, part *Part) *entity {
	e := *c
	e.body, e.plain, e.ok, e.decoded = part.Body, part.Body, part.Body != nil, true // part has undone what was to undo
	switch {
	case part.Inner.Get("Content-Type") != "":
		e.header = part.Inner
		e.kind, e.params = p.contentType(part.Inner, c.where)
	case e.params["boundary"] != "":
		e.kind = "multipart/mixed" // whichever of the two types
	case bytes.HasPrefix(bytes.TrimLeft(trimBOM(part.Body), " \t\r\n"), []byte("<")):
		e.kind = "text/xml"
	default:
		return nil
	}
	return &e
}

// mm7Reader collects what a multimedia message consists of.
type mm7Reader struct {
	p      *parser
	m      *MM7
	soap   bool      // the envelope was found
	smil   *smil     // the presentation; nil for none
	leaves []*entity // texts and files
}

// collect takes in e, which is at depth.
func (r *mm7Reader) collect(e *entity, depth int) error {
	if !isMultipart(e.kind) {
		if !r.envelope(e) && !r.presentation(e) {
			r.leaves = append(r.leaves, e)
		}
		return nil
	}
	children, err := r.p.children(e, depth)
	if err != nil {
		return err
	}
	if len(children) == 0 {
		r.p.warn(e.where, "multipart without parts")
	}
	if e.kind == "multipart/alternative" {
		children = plainest(children)
	}
	for _, c := range r.content(e, children) {
		if err := r.collect(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// plainest chooses among alternatives (RFC 2046 §5.1.4): plain text, since that is
// what becomes a message, else the last, which is the one that its author likes best.
func plainest(all []*entity) []*entity {
	if i := slices.IndexFunc(all, func(e *entity) bool { return e.kind == "text/plain" }); i >= 0 {
		return all[i : i+1]
	}
	return all[max(0, len(all)-1):]
}

// content returns the children of e that are content: where the first of them, or the
// one that RFC 2387's start parameter names, is a SOAP envelope, the part to which
// that refers, or all others (3GPP TS 23.140 §8.7.1).
func (r *mm7Reader) content(e *entity, children []*entity) []*entity {
	if len(children) == 0 {
		return nil
	}
	root := 0
	if start := bareID(e.params["start"]); start != "" {
		root = max(0, slices.IndexFunc(children, func(c *entity) bool { return c.contentID() == start }))
	}
	first := children[root]
	if !isXML(first.kind) || r.soap {
		return children
	}
	env := r.readEnvelope(first)
	if env == nil {
		return children
	}
	rest := slices.Delete(slices.Clone(children), root, root+1)
	if id, ok := cid(env.href); ok {
		if i := slices.IndexFunc(rest, func(c *entity) bool { return c.contentID() == id }); i >= 0 {
			return rest[i : i+1]
		}
		r.p.warn(first.where, "SOAP envelope refers to a part that is not there, the others are taken")
	}
	return rest
}

// envelope reports whether e is a SOAP envelope without MIME around it.
func (r *mm7Reader) envelope(e *entity) bool {
	return !r.soap && isXML(e.kind) && r.readEnvelope(e) != nil
}

// readEnvelope notes what the SOAP envelope e says; nil where it is none. One that
// cannot be read is still no file for a person: the result is then empty.
func (r *mm7Reader) readEnvelope(e *entity) *soap {
	b := r.xml(e)
	if b == nil || !bytes.Contains(b, []byte("Envelope")) {
		return nil
	}
	r.soap = true
	env, err := readSOAP(b)
	if err != nil {
		r.p.warn(e.where, "SOAP envelope not read: %.80s", err)
		return new(soap)
	}
	r.m.Subject = cleanLine(env.subject)
	return &env
}

// presentation reports whether e is SMIL, which says in which order the others are
// shown. Of several the first counts.
func (r *mm7Reader) presentation(e *entity) bool {
	b := r.xml(e)
	if !isSMIL(e.kind) && (b == nil || !isXML(e.kind) || !bytes.Contains(b, []byte("<smil"))) {
		return false
	}
	if r.smil != nil || b == nil {
		return true
	}
	s, err := readSMIL(b)
	if err != nil {
		r.p.warn(e.where, "SMIL not read, parts taken in their order: %.80s", err)
		return true
	}
	r.smil = &s
	return true
}

// xml returns the content of e in UTF-8 if it is XML, else nil.
func (r *mm7Reader) xml(e *entity) []byte {
	if !isXML(e.kind) && !isSMIL(e.kind) {
		return nil
	}
	b, ok := r.p.content(e)
	if !ok {
		return nil
	}
	return xmlText(&Part{Body: b, Params: e.params})
}

// arrange puts what the presentation names in its order before what it does not name.
func (r *mm7Reader) arrange() {
	if r.smil == nil {
		return
	}
	find := finder(r.leaves)
	taken := make([]bool, len(r.leaves))
	shown := make([]*entity, 0, len(r.leaves))
	for _, ref := range r.smil.refs {
		if i, ok := find(ref); ok && !taken[i] {
			taken[i] = true
			shown = append(shown, r.leaves[i])
		}
	}
	for i, e := range r.leaves {
		if !taken[i] {
			shown = append(shown, e)
		}
	}
	r.leaves = shown
}

// finder returns what finds that of all to which src of a presentation refers: by
// Content-ID (RFC 2392), by Content-Location (RFC 2557), or by its name. COMPAT phones:
// a Content-ID without "cid:".
func finder(all []*entity) func(src string) (int, bool) {
	byID, byLocation, byName := make(map[string]int), make(map[string]int), make(map[string]int)
	note := func(m map[string]int, key string, i int) {
		if _, there := m[key]; !there && key != "" {
			m[key] = i
		}
	}
	for i, e := range all {
		note(byID, e.contentID(), i)
		note(byLocation, e.header.Get("Content-Location"), i)
		note(byName, strings.ToLower(e.fileName()), i)
	}
	return func(src string) (int, bool) {
		if id, ok := cid(src); ok {
			i, there := byID[id]
			return i, there
		}
		for _, m := range []map[string]int{byLocation, byID} {
			if i, there := m[src]; there {
				return i, true
			}
		}
		i, there := byName[strings.ToLower(locationName(src))]
		return i, there
	}
}

// fill divides texts and files.
func (r *mm7Reader) fill() {
	var texts []string
	for _, e := range r.leaves {
		if e.kind == "text/plain" && !isAttachment(e.header) {
			if t := r.p.plain(e); strings.TrimSpace(t) != "" {
				texts = append(texts, t)
			}
			continue
		}
		b, ok := r.p.content(e)
		switch {
		case !ok: // was warned of
		case len(b) == 0:
			r.p.warn(e.where, "empty file left out")
		default:
			r.m.Media = append(r.m.Media, Media{Type: e.kind, Name: e.fileName(), Body: b})
		}
	}
	for i := range max(0, len(texts)-1) {
		texts[i] = strings.TrimRight(texts[i], "\n")
	}
	r.m.Text = strings.Join(texts, "\n")
}

// fileName is the name that the file e has, or the last element of where it says
// that it is.
func (e *entity) fileName() string {
	if name := fileName(e); name != "" {
		return name
	}
	return locationName(e.header.Get("Content-Location"))
}

// locationName is the last element of a relative or absolute address.
func locationName(at string) string {
	if plain, err := url.PathUnescape(at); err == nil {
		at = guessUTF8(plain)
	}
	return baseName(at)
}

// contentID is that of e without angle brackets; empty for none.
func (e *entity) contentID() string { return bareID(e.header.Get("Content-ID")) }

// bareID takes the angle brackets from a Content-ID.
func bareID(s string) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">")
}

// cid returns the Content-ID of a cid URL (RFC 2392 §2).
func cid(ref string) (id string, ok bool) {
	ref = strings.TrimSpace(ref)
	if len(ref) < 4 || !strings.EqualFold(ref[:4], "cid:") {
		return "", false
	}
	id = ref[4:]
	if plain, err := url.PathUnescape(id); err == nil {
		id = plain
	}
	return bareID(id), id != ""
}

func isXML(kind string) bool {
	return kind == "text/xml" || kind == "application/xml" || kind == "application/soap+xml"
}

// isSMIL accepts the registered types (RFC 4536) and what phones write.
func isSMIL(kind string) bool {
	return kind == "application/smil" || kind == "application/smil+xml" || kind == "text/smil"
}
