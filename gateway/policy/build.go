package policy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/jid"
)

// builder makes the message of msg:build (RFC 5322, RFC 2045, RFC 2046).
type builder struct {
	fields      map[string]string
	parts       map[string]string // content by media type: the same in several forms
	attachments []attachment
	date        time.Time
}

type attachment struct{ kind, name, content string }

// size is about what the message takes with all that is needed to make it.
func (b *builder) size() int {
	n := 0
	for k, v := range b.fields {
		n += len(k) + 3*len(v)
	}
	for k, v := range b.parts {
		n += len(k) + 8*len(v)
	}
	for _, a := range b.attachments {
		n += len(a.kind) + len(a.name) + 8*len(a.content)
	}
	return n
}

// build writes the message. The same builder gives the same bytes.
func (b *builder) build() ([]byte, error) {
	var out bytes.Buffer
	if err := b.header(&out); err != nil {
		return nil, err
	}
	content, err := b.content()
	if err != nil {
		return nil, err
	}
	out.Write(content)
	return out.Bytes(), nil
}

// fieldOrder is that of the fields a person looks for; the rest follows by name.
var fieldOrder = []string{"from", "to", "cc", "subject", "date"}

func (b *builder) header(out *bytes.Buffer) error {
	names := slices.SortedFunc(maps.Keys(b.fields), func(x, y string) int {
		return cmp.Or(cmp.Compare(fieldRank(x), fieldRank(y)), cmp.Compare(x, y))
	})
	dated := false
	for _, name := range names {
		lower := strings.ToLower(name)
		value := b.fields[name]
		switch {
		case !fieldName(name):
			return fmt.Errorf("%.60q is not the name of a header field", name)
		case strings.HasPrefix(lower, "content-"), lower == "mime-version":
			return fmt.Errorf("%s follows from the parts", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			return fmt.Errorf("header %s has a line break", name)
		}
		dated = dated || lower == "date"
		if addressFields[lower] {
			var err error
			if value, err = mailboxes(value); err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
		} else {
			value = mime.QEncoding.Encode("utf-8", value)
		}
		fmt.Fprintf(out, "%s: %s\r\n", name, value)
	}
	if !dated {
		fmt.Fprintf(out, "Date: %s\r\n", b.date.Format(time.RFC1123Z))
	}
	out.WriteString("MIME-Version: 1.0\r\n")
	return nil
}

var addressFields = map[string]bool{"from": true, "to": true, "cc": true, "reply-to": true, "sender": true}

// mailboxes takes the resource off a JID, since no mail goes to one, and encodes
// what is not ASCII in the names of a list of addresses, but not in the addresses
// (RFC 2047 §5).
func mailboxes(value string) (string, error) {
	if j, err := jid.Parse(value); err == nil && j.Local() != "" {
		return j.Bare().String(), nil
	}
	if ascii(value) {
		return value, nil
	}
	list, err := mail.ParseAddressList(value)
	if err != nil {
		return "", errors.New("not a list of addresses")
	}
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", "), nil
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func fieldRank(name string) int {
	if i := slices.Index(fieldOrder, strings.ToLower(name)); i >= 0 {
		return i
	}
	return len(fieldOrder)
}

// fieldName accepts what RFC 5322 §2.2 does.
func fieldName(name string) bool {
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':' {
			return false
		}
	}
	return name != ""
}

// content is the body with the fields that describe it.
func (b *builder) content() ([]byte, error) {
	var forms [][]byte
	for _, kind := range slices.SortedFunc(maps.Keys(b.parts), plainFirst) {
		form, err := part(kind, "", b.parts[kind])
		if err != nil {
			return nil, err
		}
		forms = append(forms, form)
	}
	if len(forms) == 0 {
		form, _ := part("text/plain", "", "")
		forms = append(forms, form)
	}
	body := multipart("alternative", forms)
	if len(b.attachments) == 0 {
		return body, nil
	}
	all := [][]byte{body}
	for _, a := range b.attachments {
		form, err := part(cmp.Or(a.kind, "application/octet-stream"), cmp.Or(a.name, "attachment"), a.content)
		if err != nil {
			return nil, err
		}
		all = append(all, form)
	}
	return multipart("mixed", all), nil
}

// plainFirst orders forms from the plainest to the richest (RFC 2046 §5.1.4).
func plainFirst(a, b string) int {
	plain := func(kind string) int {
		if strings.HasPrefix(strings.ToLower(kind), "text/plain") {
			return 0
		}
		return 1
	}
	return cmp.Or(plain(a)-plain(b), cmp.Compare(a, b))
}

// part is one part: an attachment where it has a name.
func part(kind, name, content string) ([]byte, error) {
	media, params, err := mime.ParseMediaType(kind)
	if err != nil || !strings.Contains(media, "/") || strings.HasPrefix(media, "multipart/") {
		return nil, fmt.Errorf("%.60q is not the type of a part", kind)
	}
	text := strings.HasPrefix(media, "text/")
	if text && params["charset"] == "" {
		params["charset"] = "utf-8"
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "Content-Type: %s\r\n", mime.FormatMediaType(media, params))
	if name != "" {
		fmt.Fprintf(&out, "Content-Disposition: %s\r\n", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	}
	if text {
		out.WriteString("Content-Transfer-Encoding: quoted-printable\r\n\r\n")
		w := quotedprintable.NewWriter(&out)
		_, _ = w.Write([]byte(content)) // into memory
		_ = w.Close()
		return out.Bytes(), nil
	}
	out.WriteString("Content-Transfer-Encoding: base64\r\n\r\n")
	encoded := base64.StdEncoding.EncodeToString([]byte(content))
	for len(encoded) > 76 { // RFC 2045 §6.8
		out.WriteString(encoded[:76] + "\r\n")
		encoded = encoded[76:]
	}
	out.WriteString(encoded)
	return out.Bytes(), nil
}

// multipart joins parts. One alone needs no frame.
func multipart(subtype string, parts [][]byte) []byte {
	if len(parts) == 1 {
		return append(parts[0], "\r\n"...)
	}
	sum := sha256.Sum256(bytes.Join(parts, nil))
	boundary := "=_" + hex.EncodeToString(sum[:16]) // "=_" stands in no encoded text
	var out bytes.Buffer
	fmt.Fprintf(&out, "Content-Type: multipart/%s; boundary=%q\r\n\r\n", subtype, boundary)
	for _, p := range parts {
		fmt.Fprintf(&out, "--%s\r\n%s\r\n", boundary, p)
	}
	fmt.Fprintf(&out, "--%s--\r\n", boundary)
	return out.Bytes()
}
