package xmpptest

import (
	"net"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/xmlwire"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	const errors = "urn:ietf:params:xml:ns:xmpp-streams"
	for _, c := range []struct {
		name, want, got string
		ok              bool
	}{
		{"order of attributes is nothing", `<a x='1' y='2'/>`, `<a y="2" x="1"></a>`, true},
		{"prefix is nothing", `<p:a xmlns:p='urn:x'/>`, `<a xmlns='urn:x'/>`, true},
		{"namespace counts", `<a/>`, `<a xmlns='urn:x'/>`, false},
		{"an attribute more", `<a/>`, `<a x='1'/>`, false},
		{"an attribute less", `<a x='1'/>`, `<a/>`, false},
		{"any value", `<a x='*'/>`, `<a x='17'/>`, true},
		{"any value is not none", `<a x='*'/>`, `<a x=''/>`, false},
		{"a name stands for one value", `<a x='{id}'><b y='{id}'/></a>`, `<a x='1'><b y='1'/></a>`, true},
		{"and not for two", `<a x='{id}'><b y='{id}'/></a>`, `<a x='1'><b y='2'/></a>`, false},
		{"text", `<a>t</a>`, `<a>t</a>`, true},
		{"other text", `<a>t</a>`, `<a>u</a>`, false},
		{"text that is not wanted", `<a/>`, `<a>u</a>`, false},
		{"any text", `<a>*</a>`, `<a>u</a>`, true},
		{"a child more", `<a><b/></a>`, `<a><b/><c/></a>`, false},
		{"a child less", `<a><b/><c/></a>`, `<a><b/></a>`, false},
		{"children in another order", `<a><b/><c/></a>`, `<a><c/><b/></a>`, false},
		{"open: more children", `<a>...<c/></a>`, `<a><b/><c/><d/></a>`, true},
		{"open: none of that name", `<a>...<c/></a>`, `<a><b/><d/></a>`, false},
		{"error text need not be given", `<a><b xmlns='` + errors + `'/></a>`, `<a><b xmlns='` + errors + `'/><text xmlns='` + errors + `'>x</text></a>`, true},
		{"but if it is, it counts", `<a><text xmlns='` + errors + `'>y</text></a>`, `<a><text xmlns='` + errors + `'>x</text></a>`, false},
		{"and the condition before it", `<a><b xmlns='` + errors + `'/></a>`, `<a><c xmlns='` + errors + `'/><text xmlns='` + errors + `'>x</text></a>`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want, err := parse(c.want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parse(c.got)
			if err != nil {
				t.Fatal(err)
			}
			if err := (matcher{make(map[string]string)}).element(want, got); (err == nil) != c.ok {
				t.Errorf("match: %v", err)
			}
		})
	}
}

// speak answers one connection with fixed bytes, whatever it is told.
func speak(t *testing.T, answer string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(answer))
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = conn.Read(make([]byte, 1<<10))
		_ = conn.Close()
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func TestPlaySeesWhatIsWrong(t *testing.T) {
	t.Parallel()
	const head = "<stream:stream xmlns='jabber:client' xmlns:stream='" + xmlwire.Streams + "' id='0123456789abcdef' from='a' version='1.0'>"
	for _, c := range []struct{ name, script, answer, err string }{
		{"all well", "C: OPEN a\nS: <message/>\nS: </stream:stream>\nEOF\n", head + "<message/></stream:stream>", ""},
		{"a request for an acknowledgement", "C: OPEN a\nS: <message/>\nS: <r xmlns='urn:xmpp:sm:3'/>\nS: </stream:stream>\nEOF\n", head + "<message/><r xmlns='urn:xmpp:sm:3'/></stream:stream>", ""},
		{"one that is not wanted", "C: OPEN a\nS: <message/>\nS: </stream:stream>\nEOF\n", head + "<r xmlns='urn:xmpp:sm:3'/><message/><r xmlns='urn:xmpp:sm:3'/></stream:stream>", ""},
		{"none that is wanted", "C: OPEN a\nS: <r xmlns='urn:xmpp:sm:3'/>\n", head + "<message/>", "want {urn:xmpp:sm:3}r"},
		{"another element", "C: OPEN a\nS: <message/>\n", head + "<presence/>", "line 2"},
		{"an element instead of the end", "C: OPEN a\nS: </stream:stream>\n", head + "<presence/>", "got <presence"},
		{"the end instead of an element", "C: OPEN a\nS: <message/>\n", head + "</stream:stream>", "closed its stream"},
		{"more than wanted", "C: OPEN a\nEOF\n", head + "<presence/>", "left"},
		{"a header without id", "C: OPEN a\n", strings.Replace(head, "id='0123456789abcdef'", "", 1), "header is"},
		{"a name that was not captured", "C: <a x='{id}'/>\n", "", "nothing was captured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := Parse(strings.NewReader(c.script))
			if err != nil {
				t.Fatal(err)
			}
			err = s.Play(t.Context(), speak(t, c.answer))
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	s, err := Parse(strings.NewReader("# comment\nUSE a b\n\nC1: <x>\n   </x>\nS1: *\nEOF1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Uses) != 2 || len(s.steps) != 3 || s.steps[0].text != "<x></x>" || s.steps[2].verb != "EOF" || s.steps[2].actor != "1" {
		t.Errorf("got %+v", s)
	}
	for _, bad := range []string{"X: a\n", "  a\n"} {
		if _, err := Parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	got, err := expand("{plain a b}|{base64 x}|{z*3}|{id}", map[string]string{"id": "7"})
	if want := "AGEAYg==|eA==|zzz|7"; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
