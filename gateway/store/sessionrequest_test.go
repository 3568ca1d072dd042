package store

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

func TestRequest(t *testing.T) {
	t.Parallel()
	for _, q := range []request{
		{opSend, 1, 10 * time.Second, []byte("<message/>")},
		{opProve, 1<<64 - 1, 0, nil},
		{opClose, 300, maxWait, []byte{0}},
	} {
		got, err := parseRequest(q.append([]byte{}))
		if err != nil || got.op != q.op || got.number != q.number || got.wait != q.wait || !bytes.Equal(got.data, q.data) {
			t.Errorf("%+v became %+v, %v", q, got, err)
		}
	}
	if got, err := parseRequest(request{op: opSend, wait: -time.Second}.append(nil)); err != nil || got.wait != 0 {
		t.Errorf("who has no time left waits for %v, %v", got.wait, err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(request{opKept, 7, time.Second, []byte("x")}.append(nil))
	f.Add(reply{statusFailed, []byte("why")}.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if q, err := parseRequest(data); err == nil {
			again, err := parseRequest(q.append(nil))
			if err != nil || again.op != q.op || again.number != q.number || again.wait != q.wait || !bytes.Equal(again.data, q.data) {
				t.Errorf("%+v became %+v, %v", q, again, err)
			}
		}
		if a, err := parseReply(data); err == nil && !bytes.Equal(a.append(nil), data) {
			t.Errorf("%+v is not %q", a, data)
		}
	})
}

// TestStanzaOfAnySize: what a listener with limits of its own has taken passes,
// and what was near a limit when it came in.
func TestStanzaOfAnySize(t *testing.T) {
	t.Parallel()
	lim := xmlwire.Limits{Bytes: 4 << 20, Depth: 300, Attrs: 100, Children: 20000}
	var attributes, declared, prefixed strings.Builder
	for i := range 60 {
		fmt.Fprintf(&attributes, " a%d='1'", i)
		fmt.Fprintf(&declared, " xmlns:p%d='urn:%d'", i, i)
		fmt.Fprintf(&prefixed, " p%d:a='1'", i)
	}
	for name, body := range map[string]string{
		"long":       "<body>" + strings.Repeat("x", 1<<20) + "</body>",
		"deep":       strings.Repeat("<x xmlns='urn:x'>", 250) + strings.Repeat("</x>", 250),
		"wide":       "<x xmlns='urn:x'>" + strings.Repeat("<y/>", 15000) + "</x>",
		"attributes": "<x xmlns='urn:x'" + attributes.String() + "/>",
		"prefixes":   "<x xmlns='urn:y'" + declared.String() + "><y" + prefixed.String() + "/></x>",
	} {
		st, err := stanza.ParseBytes([]byte("<message xmlns='jabber:client' to='bob@localhost' type='chat'>"+body+"</message>"), lim)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := parseStanza(stanzaData(st))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.String() != st.String() {
			t.Errorf("%s: it became another one", name)
		}
	}
}

func TestCloseReason(t *testing.T) {
	t.Parallel()
	if parseClose(closeData(nil)) != nil {
		t.Error("no reason became one")
	}
	for _, e := range []stream.Error{{Condition: stream.Conflict}, {Condition: stream.Reset, Text: "a\x00b"}} {
		if got := parseClose(closeData(&e)); got == nil || *got != e {
			t.Errorf("%+v became %+v", e, got)
		}
	}
}

// TestSessionKey: keys are such as a bucket takes, and no two sessions share one.
func TestSessionKey(t *testing.T) {
	t.Parallel()
	keys := make(map[string]string)
	for _, full := range []string{
		"bob@localhost/x", "bob@localhost/X", "bob@localhost/x.", "bob@localhost/x/y", "bob@localhost/=58", "bob@localhost/ä *>",
		"bob@localhost/" + strings.Repeat("x", 1023), "bob@localhost/" + strings.Repeat("x", 1022), "bob@localhost/" + strings.Repeat("é", 500),
		"alice@localhost/x", "localhost/x",
	} {
		key := sessionKey(jid.MustParse(full))
		if other, ok := keys[key]; ok {
			t.Errorf("%s and %s have the key %s", full, other, key)
		}
		keys[key] = full
		if len(key) > 300 || strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./") != "" {
			t.Errorf("%s has the key %s", full, key)
		}
	}
}

// TestBindingOrder: every node orders two bindings alike.
func TestBindingOrder(t *testing.T) {
	t.Parallel()
	sorted := []binding{{1, "A", 9}, {1, "B", 1}, {1, "B", 2}, {2, "A", 1}}
	for i, a := range sorted {
		for j, b := range sorted {
			if a.after(b) != (i > j) {
				t.Errorf("%v after %v: %v", a, b, a.after(b))
			}
		}
	}
}

func TestParseSession(t *testing.T) {
	t.Parallel()
	const full = "bob@localhost/x"
	key := sessionKey(jid.MustParse(full))
	e, j, err := parseSession(key, []byte(`{"jid":"bob@localhost/x","node":"N","number":3,"since":5,"priority":-7,"available":true,"of a later version":1}`))
	if err != nil || j.String() != full || e.binding() != (binding{5, "N", 3}) || e.shown().rank != -7 {
		t.Errorf("%+v of %s, %v", e, j, err)
	}
	if e, _, err := parseSession(key, []byte(`{"jid":"bob@localhost/x","node":"N","priority":5}`)); err != nil || e.shown().rank != away {
		t.Errorf("not available: %+v, %v", e, err)
	}
	for _, bad := range []string{"", "{}", `{"jid":"bob@localhost/y","node":"N"}`, `{"jid":"bob@localhost/x"}`, `{"jid":"bob@localhost","node":"N"}`, `{"jid":"@","node":"N"}`, `{"jid":"bob@localhost/x","node":"N","priority":300}`} {
		if _, _, err := parseSession(key, []byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
