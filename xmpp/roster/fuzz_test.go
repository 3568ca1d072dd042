package roster

import (
	"bytes"
	"testing"

	"mcmt2xmpp/xmpp/xmlwire"
)

// FuzzRecord: a record that is read can be written, and says the same again; so
// does the stored form of it.
func FuzzRecord(f *testing.F) {
	for _, seed := range []string{
		`{"bob@there.example":{"name":"Bob","groups":["Work"],"pending_requests":{},"subscription":"both"}}`,
		`{"bob@there.example":{"pending_requests":{"in":"<presence xmlns='jabber:client' type='subscribe'><x/></presence>","a":null}},"x":{"approved":true}}`,
		`{"a@b":{"subscription":"from","pending_requests":{"out":"subscribe"},"n":[{}]}}`,
		`{"a@b":{"name":"\u0000\ud800<&>","groups":["\u2028"]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRecord(data, Limits{})
		if err != nil {
			return
		}
		record, err := r.Record()
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		again, err := ParseRecord(record, Limits{Request: 1 << 20})
		if err != nil {
			t.Fatalf("%q became %q: %v", data, record, err)
		}
		if second := must(again.Record()); !bytes.Equal(record, second) {
			t.Fatalf("%q, then %q", record, second)
		}
		stored := must(r.Encode(alice))
		_, back, err := Decode(stored, Limits{})
		if err != nil || !bytes.Equal(must(back.Encode(alice)), stored) {
			t.Fatalf("%q: %v", stored, err)
		}
		if _, err := xmlwire.Parse([]byte(Query(r.Items(), r.Version()).String()), xmlwire.Limits{Children: 1 << 20, Attrs: 100, Bytes: 1 << 30}); err != nil {
			t.Fatalf("%q is no XML: %v", data, err)
		}
	})
}

// FuzzParseSet: what a client may set can be set, and is shown as it was said.
func FuzzParseSet(f *testing.F) {
	for _, seed := range []string{
		`<item jid='bob@there.example' name='Bob'><group>A</group></item>`,
		`<item jid='bob@there.example' subscription='remove'/>`,
		`<item jid='bob@there.example/x'/><item/>`,
		`<x:item xmlns:x='jabber:iq:roster' jid='b'><group><![CDATA[<]]>&gt;</group></x:item>`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, items string) {
		e, err := xmlwire.Parse([]byte("<query xmlns='jabber:iq:roster'>"+items+"</query>"), xmlwire.Limits{})
		if err != nil {
			return
		}
		set, err := ParseSet(e, Limits{})
		if err != nil {
			if condition(err) == "" {
				t.Fatalf("%v is nothing for a client", err)
			}
			return
		}
		var r Roster
		if set.Remove {
			if _, err := r.Remove(set.JID); err == nil {
				t.Fatal("removed what is not there")
			}
			return
		}
		if err := r.Set(set.JID, set.Name, set.Groups); err != nil {
			t.Fatal(err)
		}
		shown, err := xmlwire.Parse([]byte(Query(r.Items(), "1").String()), xmlwire.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseSet(shown, Limits{}); err != nil || again.Name != set.Name || again.JID != set.JID || len(again.Groups) != len(set.Groups) {
			t.Fatalf("%+v was shown as %+v, %v", set, again, err)
		}
	})
}
