package httpd

import (
	"encoding/json"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt"
)

func FuzzJSONMessage(f *testing.F) {
	f.Add([]byte(goodJSON))
	f.Add([]byte(`{"email":"From: a@b\r\nTo: c@d\r\nBcc: e@f\r\n\r\nx","xmpp":"<message/>"}`))
	f.Add([]byte(`{"from":"","to":["a"],"subject":"\ud800","text":null}`))
	s, x := New(Options{Sink: &sink{}}), &exchange{opt: PeerOptions{MaxMessageSize: 1 << 16}.withDefaults()}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &message{}
		checkFuzzed(t, m, m.fromJSON(s, x, b))
	})
}

func FuzzMailEnvelope(f *testing.F) {
	f.Add([]byte(goodMail))
	f.Add([]byte("Sender: a@b\nBcc: x: y@z, w@v;\n\tq@r\nCc: \"a b\"@c\n\n"))
	f.Add([]byte("MIME-Version: 1.0\r\nBcc: a@b\r\nContent-Type: multipart/vnd.msys.mcmt; boundary=b\r\n\r\n" + mcmtBody("Bcc: c@d\r\n"+mailAddrs)))
	x := &exchange{opt: PeerOptions{MaxMessageSize: 1 << 16}.withDefaults()}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &message{}
		checkFuzzed(t, m, m.fromRFC822(x, b, query{}, ""))
		if len(m.raw) > len(b) {
			t.Errorf("%d bytes of %d", len(m.raw), len(b))
		}
	})
}

// checkFuzzed holds what every message taken, and every refusal, must be.
func checkFuzzed(t *testing.T, m *message, err error) {
	t.Helper()
	if err != nil {
		p := asProblem(err)
		if b, err := json.Marshal(p); err != nil || len(b) > 64<<10 {
			t.Errorf("answer of %d bytes, %v", len(b), err)
		}
		if p.Status < 400 || p.Status >= 500 {
			t.Errorf("status %d for what a client sent: %v", p.Status, err)
		}
		return
	}
	if len(m.to) == 0 {
		t.Error("taken without recipients")
	}
	for _, a := range append([]string{m.from}, m.to...) {
		if strings.ContainsAny(a, "\r\n\x00") {
			t.Errorf("address %q", a)
		}
	}
	parsed, err := mcmt.Parse(m.raw, mcmt.Limits{})
	if err != nil {
		t.Errorf("what was taken does not parse: %v", err)
		return
	}
	if n := len(parsed.Header.Values("Bcc")); n > 0 {
		t.Errorf("%d Bcc fields left", n)
	}
}
