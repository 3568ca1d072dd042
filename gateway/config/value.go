package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rate is so many of something in so much time.
type rate struct {
	count int
	per   time.Duration
}

// fault is what is wrong with one value.
type fault struct {
	message, hint string
}

// Error returns the message.
func (f *fault) Error() string { return f.message }

func faultf(hint, format string, args ...any) error {
	return &fault{fmt.Sprintf(format, args...), hint}
}

// value reads r as option o wants it and returns the Go value of its kind and
// how it is shown. The value is nil where r is wrong, which is then reported.
func (l *loader) value(o *option, r raw, dir string) (v any, text string) {
	switch {
	case o.kind == kindAuth:
		return l.auth(o, r, dir)
	case o.kind == kindCiphers && r.shape == shapeScalar:
		return l.ciphers(o, r.scalar)
	case o.list && r.shape == shapeScalar:
		r.shape, r.items = shapeList, []scalar{r.scalar} // one item needs no parentheses
	case !o.list && r.shape == shapeScalar:
		v, err := o.read(r.scalar.text, dir)
		if err != nil {
			l.wrongValue(o, r.scalar, err)
			return nil, ""
		}
		return v, o.show(r.scalar.text, v)
	}
	if !o.list || r.shape != shapeList {
		l.errorf(r.pos, "", "%s is a %s, not a %s", o.name, o.typeName(), r.shape)
		return nil, ""
	}
	ok := true
	values := make([]any, 0, len(r.items))
	shown := make([]string, 0, len(r.items))
	for _, item := range r.items {
		v, err := o.read(item.text, dir)
		switch {
		case err != nil:
			l.wrongValue(o, item, err)
			ok = false
		case slices.Contains(values, v):
			l.errorf(item.pos, "", "%s is in the list twice", o.show(item.text, v))
			ok = false
		default:
			values, shown = append(values, v), append(shown, o.show(item.text, v))
		}
	}
	if !ok {
		return nil, ""
	}
	return values, "( " + strings.Join(append(shown, ")"), " ")
}

func (l *loader) wrongValue(o *option, s scalar, err error) {
	hint := ""
	if f := (*fault)(nil); errors.As(err, &f) {
		hint = f.hint
	}
	l.errorf(s.pos, hint, "%s: %s", o.name, err.Error())
}

// auth reads a dictionary with the URI of an account store.
func (l *loader) auth(o *option, r raw, dir string) (any, string) {
	if r.shape != shapeDictionary {
		l.errorf(r.pos, `write `+o.name+` = [ uri = "file:///PATH" ]`, "%s is a dictionary, not a %s", o.name, r.shape)
		return nil, ""
	}
	var uri *scalar
	for i, p := range r.pairs {
		switch {
		case p.key.text != "uri":
			l.errorf(p.key.pos, "the only key is uri", "%s: unknown key %s", o.name, p.key.text)
			return nil, ""
		case uri != nil:
			l.errorf(p.key.pos, "", "%s: uri is set twice", o.name)
			return nil, ""
		}
		uri = &r.pairs[i].value
	}
	if uri == nil {
		l.errorf(r.pos, `write `+o.name+` = [ uri = "file:///PATH" ]`, "%s: uri is missing", o.name)
		return nil, ""
	}
	v, err := o.readStore(uri.text, dir)
	if err != nil {
		l.wrongValue(o, *uri, err)
		return nil, ""
	}
	return v, strconv.Quote(v)
}

// ciphers reads a list of cipher suites and reports each name that cannot be
// honoured.
func (l *loader) ciphers(o *option, s scalar) (any, string) {
	suites, notes, err := ParseCiphers(s.text)
	if err != nil {
		l.cipherErrors(o, s.pos, err)
		return nil, ""
	}
	for _, note := range notes {
		l.notef(s.pos, "", "%s: %s", o.name, note)
	}
	return suites, strconv.Quote(s.text)
}

func (l *loader) cipherErrors(o *option, pos Position, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			l.cipherErrors(o, pos, e)
		}
		return
	}
	var ce *CipherError
	if !errors.As(err, &ce) {
		ce = &CipherError{Text: err.Error()}
	}
	if ce.Name == "" {
		l.errorf(pos, ce.Hint, "%s: %s", o.name, ce.Text)
		return
	}
	l.errorf(pos, ce.Hint, "%s: %q: %s", o.name, ce.Name, ce.Text)
}

// show is how check --effective and messages show a value.
func (o *option) show(s string, v any) string {
	switch {
	case o.secret:
		return mask
	case o.kind == kindURI:
		if u, err := url.Parse(s); err == nil {
			s = u.Redacted()
		}
		return strconv.Quote(s)
	}
	switch v := v.(type) {
	case string:
		if o.kind == kindEnum {
			return v
		}
		return strconv.Quote(v)
	case bool, int, int64:
		return fmt.Sprint(v)
	case time.Duration:
		return strconv.FormatInt(int64(v/time.Second), 10)
	case fs.FileMode:
		return fmt.Sprintf("%04o", uint32(v))
	default:
		return strconv.Quote(s)
	}
}

// typed returns a list value with its elements' type.
func typed[T any](v any) []T {
	items, ok := v.([]any)
	if !ok {
		return nil
	}
	out := make([]T, len(items))
	for i, item := range items {
		out[i] = item.(T)
	}
	return out
}
