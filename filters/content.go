package filters

import (
	"context"

	"mcmt2xmpp/xmpp/stanza"
)

// emptyBody is the filter of type empty_body: it acts on messages with neither
// text nor media, also those that mean something to a client.
type emptyBody struct {
	name   string
	action Action
}

// Name returns the filter's name.
func (f *emptyBody) Name() string { return f.name }

// Apply decides about one stanza.
func (f *emptyBody) Apply(_ context.Context, it *Item) (Verdict, error) {
	if it.Stanza.Kind != stanza.Message {
		return Verdict{Reason: "not a message"}, nil
	}
	if it.Stanza.Type == stanza.TypeError {
		return errorVerdict(it), nil
	}
	var r reading
	r.read(it.Stanza.Element, 0)
	switch {
	case r.body:
		return Verdict{Reason: "has a body"}, nil
	case r.media:
		return Verdict{Reason: "has media"}, nil
	}
	return Verdict{Action: f.action, Reason: nothingToWrite(&r), Kind: r.noiseKind()}, nil
}

// signal is the filter of types receipts and markers: messages of one namespace
// that tell the fate of another message.
type signal struct {
	name, what string
	space      string
	kind       Kind
	action     Action
}

// Name returns the filter's name.
func (f *signal) Name() string { return f.name }

// Apply decides about one stanza. Beside a body Drop only strips: nobody who
// switches off receipts wants to lose text.
func (f *signal) Apply(_ context.Context, it *Item) (Verdict, error) {
	s := it.Stanza
	if s.Kind != stanza.Message || s.Type == stanza.TypeError || !hasChild(s, f.space) {
		return Verdict{Reason: "no " + f.what}, nil
	}
	v := Verdict{Action: f.action, Reason: f.what, Kind: f.kind}
	if f.action == Drop {
		var r reading
		r.read(s.Element, 0)
		if r.content() {
			v.Action, v.Reason = Strip, f.what+" beside a body"
		}
	}
	if v.Action == Strip {
		v.Remove = Name{Space: f.space}
	}
	return v, nil
}

// element is the filter of type element: stanzas that carry a given element.
type element struct {
	name   string
	match  Name
	action Action
}

// Name returns the filter's name.
func (f *element) Name() string { return f.name }

// Apply decides about one stanza.
func (f *element) Apply(_ context.Context, it *Item) (Verdict, error) {
	for c := range it.Stanza.Element.Elements() {
		if matches(c.Name, f.match) {
			v := Verdict{Action: f.action, Reason: "carries " + c.Name.Local + " of " + c.Name.Space, Kind: Element}
			if f.action == Strip {
				v.Remove = f.match
			}
			return v, nil
		}
	}
	return Verdict{Reason: "does not carry the element"}, nil
}

// size is the filter of type size: stanzas longer than max bytes.
type size struct {
	name   string
	max    int64
	action Action
}

// Name returns the filter's name.
func (f *size) Name() string { return f.name }

// Apply decides about one stanza.
func (f *size) Apply(_ context.Context, it *Item) (Verdict, error) {
	if int64(len(it.Stanza.Append(nil, stanza.Client))) > f.max {
		return Verdict{Action: f.action, Reason: "stanza is too large", Kind: Size}, nil
	}
	return Verdict{Reason: "stanza is not too large"}, nil
}
