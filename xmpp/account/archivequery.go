package account

import (
	"strconv"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	nsForm = "jabber:x:data"                  // XEP-0004
	nsRSM  = "http://jabber.org/protocol/rsm" // XEP-0059
)

// archiveQuery is what a client asks of an archive (XEP-0313 §4).
type archiveQuery struct {
	id   string
	flip bool // §4.3.4: the page in reverse

	// The filters (§4.1); zero: none.
	with              jid.JID
	start, end        time.Time
	beforeID, afterID string
	ids               []string

	// The page (XEP-0059).
	max            int // negative: not said
	before, after  string
	last, hasAfter bool // <before/> is there; <after/> is
	index          int  // negative: none
}

func field(space, local string) xmlwire.Name { return xmlwire.Name{Space: space, Local: local} }

// parseArchiveQuery reads a query. The error is a *stanza.Error.
func parseArchiveQuery(e *xmlwire.Element) (archiveQuery, error) {
	q := archiveQuery{id: e.Attr("queryid"), flip: e.Child(field(nsArchive, "flip-page")) != nil, max: -1, index: -1}
	if form := e.Child(field(nsForm, "x")); form != nil {
		if err := q.parseForm(form); err != nil {
			return q, err
		}
	}
	if set := e.Child(field(nsRSM, "set")); set != nil {
		return q, q.parseSet(set)
	}
	return q, nil
}

func (q *archiveQuery) parseForm(form *xmlwire.Element) error {
	for f := range form.Elements() {
		if f.Name != field(nsForm, "field") {
			continue
		}
		var values []string
		for v := range f.Elements() {
			if v.Name == field(nsForm, "value") {
				values = append(values, v.Text())
			}
		}
		if f.Attr("var") != "FORM_TYPE" && len(values) == 0 {
			continue // left empty
		}
		if err := q.set(f.Attr("var"), values); err != nil {
			return err
		}
	}
	return nil
}

// set takes one field of the form.
func (q *archiveQuery) set(name string, values []string) (err error) {
	switch name {
	case "FORM_TYPE":
		if len(values) != 1 || values[0] != nsArchive {
			return badRequest
		}
	case "with":
		if q.with, err = jid.Parse(values[0]); err != nil {
			return &stanza.Error{Condition: stanza.JIDMalformed}
		}
	case "start":
		q.start, err = time.Parse(time.RFC3339Nano, values[0]) // XEP-0082 §3.2
	case "end":
		q.end, err = time.Parse(time.RFC3339Nano, values[0])
	case "before-id":
		q.beforeID = values[0]
	case "after-id":
		q.afterID = values[0]
	case "ids":
		q.ids = values
	default:
		return &stanza.Error{Condition: stanza.FeatureNotImplemented, Text: "unknown field " + name} // §4.1.4
	}
	if err != nil {
		return &stanza.Error{Condition: stanza.BadRequest, Text: name + " is no time"}
	}
	return nil
}

// parseSet reads which page is wanted (XEP-0059 §2).
func (q *archiveQuery) parseSet(set *xmlwire.Element) error {
	number := func(local string) (int, error) {
		e := set.Child(field(nsRSM, local))
		if e == nil {
			return -1, nil
		}
		n, err := strconv.Atoi(e.Text())
		if err != nil || n < 0 {
			return 0, &stanza.Error{Condition: stanza.BadRequest, Text: local + " is no number"}
		}
		return n, nil
	}
	var err error
	if q.max, err = number("max"); err != nil {
		return err
	}
	if q.index, err = number("index"); err != nil {
		return err
	}
	if e := set.Child(field(nsRSM, "before")); e != nil {
		q.last, q.before = true, e.Text()
	}
	if e := set.Child(field(nsRSM, "after")); e != nil {
		q.hasAfter, q.after = true, e.Text()
	}
	if q.last && q.hasAfter {
		return &stanza.Error{Condition: stanza.BadRequest, Text: "before and after"}
	}
	return nil
}

// archiveForm names the fields of a query (§4.1.4).
func archiveForm() *xmlwire.Element {
	form := xmlwire.New(nsForm, "x", "type", "form")
	form.Add(xmlwire.New(nsForm, "field", "type", "hidden", "var", "FORM_TYPE").Add(xmlwire.New(nsForm, "value").AddText(nsArchive)))
	for _, f := range [][2]string{
		{"jid-single", "with"}, {"text-single", "start"}, {"text-single", "end"}, {"text-single", "before-id"}, {"text-single", "after-id"},
	} {
		form.Add(xmlwire.New(nsForm, "field", "type", f[0], "var", f[1]))
	}
	const nsValidate = "http://jabber.org/protocol/xdata-validate" // XEP-0122
	ids := xmlwire.New(nsForm, "field", "type", "list-multi", "var", "ids")
	ids.Add(xmlwire.New(nsValidate, "validate", "datatype", "xs:string").Add(xmlwire.New(nsValidate, "open")))
	return xmlwire.New(nsArchive, "query").Add(form.Add(ids))
}

// fin says which messages a page had, and of how many (§4.3).
func (p archivePage) fin() *xmlwire.Element {
	fin := xmlwire.New(nsArchive, "fin")
	if p.complete {
		fin.SetAttr("complete", "true")
	}
	set := xmlwire.New(nsRSM, "set")
	if n := len(p.messages); n > 0 {
		first := xmlwire.New(nsRSM, "first").AddText(p.messages[0].id())
		if p.index >= 0 {
			first.SetAttr("index", strconv.Itoa(p.index))
		}
		set.Add(first)
		set.Add(xmlwire.New(nsRSM, "last").AddText(p.messages[n-1].id()))
	}
	if p.count >= 0 {
		set.Add(xmlwire.New(nsRSM, "count").AddText(strconv.Itoa(p.count)))
	}
	return fin.Add(set)
}
