package roster

import (
	"errors"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// TestRecord: what is in a record, of old ones too, is understood, and comes out
// again with what is not known here.
func TestRecord(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, out string }{
		{"empty", `{}`, `{}`},
		{"as it was always written", `{"bob@there.example":{"name":"Bob","groups":["Work"],"pending_requests":{},"subscription":"both"}}`, ``},
		{"least", `{"bob@there.example":{}}`,
			`{"bob@there.example":{"groups":[],"name":"","pending_requests":{},"subscription":"none"}}`},
		{"nulls", `{"bob@there.example":{"name":null,"groups":null,"subscription":null,"pending_requests":null,"approved":null}}`,
			`{"bob@there.example":{"groups":[],"name":"","pending_requests":{},"subscription":"none"}}`},
		{"addresses are prepared", `{"Bob@THERE.example":{"subscription":"to"}}`,
			`{"bob@there.example":{"groups":[],"name":"","pending_requests":{},"subscription":"to"}}`},
		{"a domain is a contact", `{"there.example":{"subscription":"from"}}`,
			`{"there.example":{"groups":[],"name":"","pending_requests":{},"subscription":"from"}}`},
		{"asked", `{"bob@there.example":{"groups":[],"name":"","pending_requests":{"out":"subscribe"},"subscription":"from"}}`, ``},
		{"pre-approved", `{"bob@there.example":{"approved":true,"groups":[],"name":"","pending_requests":{},"subscription":"to"}}`, ``},
		{"a request of a contact", `{"bob@there.example":{"groups":[],"name":"B","pending_requests":{"in":"<presence xmlns='jabber:client' type='subscribe'/>"},"subscription":"none"}}`, ``},
		{"a request of nobody", `{"bob@there.example":{"pending_requests":{"in":"<presence xmlns='jabber:client' type='subscribe'/>"}}}`, ``},
		{"a request, approved before it came", `{"bob@there.example":{"approved":true,"pending_requests":{"in":"<presence xmlns='jabber:client' type='subscribe'/>"}}}`,
			`{"bob@there.example":{"approved":true,"groups":[],"name":"","pending_requests":{"in":"<presence xmlns='jabber:client' type='subscribe'/>"},"subscription":"none"}}`},
		{"asked for what one has", `{"bob@there.example":{"subscription":"both","pending_requests":{"out":"subscribe","in":"<presence xmlns='jabber:client' type='subscribe'/>"}}}`,
			`{"bob@there.example":{"groups":[],"name":"","pending_requests":{},"subscription":"both"}}`},
		{"unknown members", `{"bob@there.example":{"groups":[],"mood":{"a":[1,null]},"name":"","pending_requests":{"since":12},"subscription":"none"}}`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := ParseRecord([]byte(c.in), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			want := c.out
			if want == "" {
				want = c.in
			}
			got := string(must(r.Record()))
			if sorted(t, got) != sorted(t, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// sorted is a record with the members in one order.
func sorted(t *testing.T, record string) string {
	t.Helper()
	r, err := parseRecord([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	return string(must(r.Record()))
}

func TestRecordState(t *testing.T) {
	t.Parallel()
	const request = `<presence xmlns='jabber:client' from='eve@evil.example' to='x@y' id='7' type='subscribe'><status>hi</status></presence>`
	r, err := ParseRecord([]byte(`{"bob@there.example":{"subscription":"to","pending_requests":{"in":"`+request+`"}},
		"carol@here.example":{"pending_requests":{"in":"`+request+`"}}}`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.State(bob); s != ToPendingIn || r.Len() != 1 {
		t.Errorf("%q, %d items", s, r.Len())
	}
	all := r.Requests()
	// Whoever the stanza says it is from, it is of the contact that it stands under.
	if len(all) != 2 || all[0].From != bob || all[0].ID != "7" || !all[0].To.IsZero() || all[1].From.Local() != "carol" {
		t.Errorf("requests %v", all)
	}
}

func TestBadRecord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ record, want string }{
		"no JSON":                 {`{`, "unexpected end"},
		"no object":               {`[]`, "cannot unmarshal array"},
		"null":                    {`null`, "null"},
		"no address":              {`{"@":{}}`, `"@"`},
		"a resource":              {`{"bob@there.example/x":{}}`, "no resource"},
		"a contact twice":         {`{"bob@there.example":{},"BOB@there.example":{}}`, "twice"},
		"a line that is a string": {`{"bob@there.example":"both"}`, "cannot unmarshal"},
		"subscription":            {`{"bob@there.example":{"subscription":"remove"}}`, `"remove", want none, to, from or both`},
		"groups":                  {`{"bob@there.example":{"groups":"Work"}}`, "groups: "},
		"a group without a name":  {`{"bob@there.example":{"groups":[""]}}`, "group without a name"},
		"a group twice":           {`{"bob@there.example":{"groups":["a","a"]}}`, "group twice"},
		"pending_requests":        {`{"bob@there.example":{"pending_requests":[]}}`, "pending_requests: "},
		"out":                     {`{"bob@there.example":{"pending_requests":{"out":"x"}}}`, `out is "x"`},
		"in is no stanza":         {`{"bob@there.example":{"pending_requests":{"in":"x"}}}`, "not a presence stanza of type subscribe"},
		"in is another stanza":    {`{"bob@there.example":{"pending_requests":{"in":"<presence xmlns='jabber:client'/>"}}}`, "not a presence stanza of type subscribe"},
		"long name":               {`{"bob@there.example":{"name":"` + strings.Repeat("x", 21) + `"}}`, "more than 20 bytes in a name"},
		"many":                    {`{"bob@there.example":{},"carol@there.example":{},"dave@there.example":{}}`, "more than 2 contacts"},
		"large request": {`{"bob@there.example":{"subscription":"to","pending_requests":{"in":"<presence xmlns='jabber:client' type='subscribe'><status>` +
			strings.Repeat("x", 200) + `</status></presence>"}}}`, "more than 200 bytes in a request"},
	} {
		_, err := ParseRecord([]byte(c.record), Limits{Items: 2, Name: 20, Request: 200})
		if !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	parse := func(s string) *Roster { return must(ParseRecord([]byte(s), Limits{})) }
	const (
		asks   = `"<presence xmlns='jabber:client' type='subscribe'/>"`
		before = `{"bob@there.example":{"groups":["Work"],"mood":1,"name":"Bob","pending_requests":{"in":` + asks + `,"since":1},"subscription":"none"},
			"carol@here.example":{"groups":[],"name":"","pending_requests":{},"subscription":"to"}}`
	)
	for _, c := range []struct {
		name, record, want string
		replace            bool
	}{
		{"add a contact", `{"dave@here.example":{"subscription":"both"}}`, before[:len(before)-1] +
			`,"dave@here.example":{"groups":[],"name":"","pending_requests":{},"subscription":"both"}}`, false},
		{"change one: its request goes on waiting, what is not known stays", `{"bob@there.example":{"name":"Robert","subscription":"to","pending_requests":{}}}`,
			`{"bob@there.example":{"groups":[],"mood":1,"name":"Robert","pending_requests":{"in":` + asks + `,"since":1},"subscription":"to"},
			"carol@here.example":{"groups":[],"name":"","pending_requests":{},"subscription":"to"}}`, false},
		{"change one: a request is granted", `{"bob@there.example":{"subscription":"from"}}`,
			`{"bob@there.example":{"groups":[],"mood":1,"name":"","pending_requests":{"since":1},"subscription":"from"},
			"carol@here.example":{"groups":[],"name":"","pending_requests":{},"subscription":"to"}}`, false},
		{"nothing", `{}`, before, false},
		{"replace", `{"bob@there.example":{"subscription":"both"}}`,
			`{"bob@there.example":{"groups":[],"name":"","pending_requests":{},"subscription":"both"}}`, true},
		{"replace by nothing", `{}`, `{}`, true},
	} {
		r := parse(before)
		if err := r.Import(parse(c.record), c.replace); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := string(must(r.Record())); got != sorted(t, c.want) {
			t.Errorf("%s: got %s", c.name, got)
		}
		if changed := got(r, parse(before)); changed != (c.record != `{}` || c.replace) {
			t.Errorf("%s: changed %v", c.name, changed)
		}
	}
	r := parse(before)
	r.Limits.Items = 2
	was := string(must(r.Record()))
	if err := r.Import(parse(`{"dave@here.example":{}}`), false); condition(err) != stanza.PolicyViolation || string(must(r.Record())) != was {
		t.Errorf("one too many: %v", err)
	}
}

// got says whether r looks different from another roster.
func got(r, old *Roster) bool { return len(r.Diff(old)) > 0 }

func TestEncode(t *testing.T) {
	t.Parallel()
	var r Roster
	must(r.Outbound(bob, Subscribe))
	must(r.Inbound(jid.MustParse("carol@here.example"), Subscribe, nil))
	r.extra = extra{"later": []byte(`[1]`)}
	data := must(r.Encode(alice))
	user, again, err := Decode(data, Limits{Items: 7})
	if err != nil || user != alice {
		t.Fatal(user, err)
	}
	if again.Version() != r.Version() || again.Limits.Items != 7 || again.Changed() || string(must(again.Encode(alice))) != string(data) {
		t.Errorf("%s came back as %s", data, must(again.Encode(alice)))
	}
	if changes, ok := again.Since(r.at(0)); ok {
		t.Errorf("since nothing: %v", changes)
	}
	must(again.Outbound(alice, Subscribe))
	if changes, ok := again.Since(r.Version()); !ok || len(changes) != 1 {
		t.Errorf("the log is lost: %v %v", changes, ok)
	}
	for _, bad := range []string{``, `{}`, `{"jid":"@","roster":{}}`, `{"jid":"a@b"}`, `{"jid":"a@b","roster":{},"changes":["a@b"]}`,
		`{"jid":"a@b","roster":{},"changes":["@"],"version":1}`, `{"jid":1,"roster":{}}`} {
		if _, _, err := Decode([]byte(bad), Limits{}); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
