package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is the Host of the tests: alice is there, bob is logged in and shows
// nothing, and it writes down what it is given.
type gateway struct {
	mu   sync.Mutex
	did  []string
	fail error // of Send and Inject
}

func (g *gateway) Online(j jid.JID) (Presence, bool) {
	switch j.Local() {
	case "alice":
		return Presence{Available: true, Show: "away", Status: "at lunch"}, true
	case "bob":
		return Presence{}, true
	}
	return Presence{}, false
}

func (g *gateway) Connected(j jid.JID) bool { _, ok := g.Online(j); return ok }

func (g *gateway) ValidDomain(domain string) bool { return domain == "chat.example" }

func (g *gateway) Send(_ context.Context, st *stanza.Stanza, once string) error {
	return g.do("send %s %s", once, st.Append(nil, ""))
}

func (g *gateway) Inject(_ context.Context, from, to string, raw []byte, once string) error {
	return g.do("inject %s %s %s\n%s", once, from, to, raw)
}

func (g *gateway) do(format string, args ...any) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return g.fail
	}
	g.did = append(g.did, fmt.Sprintf(format, args...))
	return nil
}

// refusal is an error that will not pass.
type refusal struct{}

func (refusal) Error() string   { return "refused" }
func (refusal) Temporary() bool { return false }

// loaded is the policy of one script.
func loaded(t testing.TB, host Host, text string, change ...func(*Options)) *Policy {
	t.Helper()
	o := Options{Scripts: []Source{{Name: "test", File: "test.lua", Text: text}}, Host: host, States: 2}
	for _, f := range change {
		f(&o)
	}
	p, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func reference(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const letter = "From: News <news@corp.example>\r\nTo: alice@chat.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n" +
	"Received: one\r\nReceived: two\r\n\r\nGood day\r\n"

func mailTo(t testing.TB, to string) *Message {
	t.Helper()
	m, err := mcmt.Parse([]byte(letter), mcmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return &Message{ID: "q1", From: "news@corp.example", To: to, Mail: m}
}

func mcmtTo(t testing.TB, to string) *Message {
	t.Helper()
	raw, err := mcmt.Build(mcmt.Draft{Email: []byte(letter), SMS: "short", Subject: "Hi"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := mcmt.Parse(raw, mcmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return &Message{ID: "q1", From: "news@corp.example", To: to, Mail: m}
}

func parsed(t testing.TB, text string) *stanza.Stanza {
	t.Helper()
	st, err := stanza.ParseBytes([]byte(text), xmlwire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// enqueue calls the enqueue hook and wants no error.
func enqueue(t testing.TB, p *Policy, m *Message) Decision {
	t.Helper()
	d, err := p.Enqueue(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The reference's first example.
func TestMailToJabber(t *testing.T) {
	t.Parallel()
	g := new(gateway)
	p := loaded(t, g, reference(t, "mail-to-jabber.lua"))
	for to, want := range map[string]Verdict{
		"alice@chat.example": Done,
		"carol@chat.example": Continue, // has no session
		"alice@else.example": Continue, // no domain of Jabber users
	} {
		if d := enqueue(t, p, mailTo(t, to)); d.Verdict != want || (d.Script == "test") != (want == Done) {
			t.Errorf("%s: %+v, want %d", to, d, want)
		}
	}
	want := "send q1/test/core_ec_message_enqueue/0 <message xmlns='jabber:client' to='alice@chat.example' from='robot@no-replies.example'><body>Good day\n</body></message>"
	if len(g.did) != 1 || strings.ReplaceAll(g.did[0], `"`, `'`) != want {
		t.Errorf("did %q\nwant %q", g.did, want)
	}
	if s := p.Stats(); len(s) != 1 || s[0].Script != "test" || s[0].Calls != 3 || s[0].Failures != 0 || s[0].Spent <= 0 {
		t.Errorf("stats %+v", s)
	}
}

// The reference's second and third example: a message with a body becomes mail, one
// without goes on.
func TestJabberToMail(t *testing.T) {
	t.Parallel()
	for _, script := range []string{"jabber-to-mail.lua", "body-length.lua"} {
		g := new(gateway)
		p := loaded(t, g, reference(t, script))
		from := jid.MustParse("alice@chat.example/phone")
		for text, want := range map[string]Verdict{
			"<message xmlns='jabber:client' from='alice@chat.example/phone' to='desk@corp.example' type='chat'><body>Hej &amp; d&#xe5;</body></message>":                             Done,
			"<message xmlns='jabber:client' from='alice@chat.example/phone' to='desk@corp.example' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>": Continue,
		} {
			if d, err := p.ClientMessage(t.Context(), "c1", from, parsed(t, text)); err != nil || d.Verdict != want {
				t.Errorf("%s: %+v %v, want %d", script, d, err, want)
			}
		}
		if len(g.did) != 1 || !strings.HasPrefix(g.did[0], "inject c1/test/client_message_recv/0 alice@chat.example desk@corp.example\n") {
			t.Fatalf("%s: did %q", script, g.did)
		}
		_, raw, _ := strings.Cut(g.did[0], "\n")
		m, err := mcmt.Parse([]byte(raw), mcmt.Limits{})
		if err != nil || m.Email.Text != "Hej & då\n" || m.Header.Addresses("From")[0].Addr != "alice@chat.example" || m.Email.Date.IsZero() {
			t.Errorf("%s: %+v %v\n%s", script, m, err, raw)
		}
	}
}

// TestFunctions runs one expression each, which has to be true. The rows are the
// documented functions, and what of Lua was replaced.
func TestFunctions(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{
		// Messages.
		`msg:text() == "short"`, `msg:html() == ""`, `msg:subject() == "Grüße"`, `msg:mailfrom() == "news@corp.example"`, `msg:id() == "q1"`,
		`msg:rcptto() == "alice@chat.example"`, `msg:routing_domain() == "chat.example"`, `msg:is_mcmt()`,
		`#msg:header("received") == 2 and msg:header("Received")[2] == "two"`, `#msg:header("x-none") == 0`, `msg:header("X-None")[1] == nil`,
		`(function() msg.delivered = 7 return msg.delivered end)() == 7`,
		`not pcall(function() msg.other = 1 end)`, `not pcall(msg.text)`, `not pcall(msg.text, xml.newnode("a"))`,
		// Addresses.
		`xmpp.jid("Alice@Chat.Example/x"):get() == "alice@chat.example/x"`, `xmpp.jid("a@b/c"):user() == "a"`, `xmpp.jid("a@b/c"):domain() == "b"`,
		`xmpp.jid("a@b/c"):resource() == "c"`, `xmpp.jid("a@b/c"):bare() == "a@b"`, `xmpp.jid("@") == nil`, `tostring(xmpp.jid("a@b")) == "a@b"`,
		// Presence: offline is nil, and can be asked all the same.
		`xmpp.connected("bob@chat.example")`, `not xmpp.connected("carol@chat.example")`, `not xmpp.connected("@")`, `xmpp.connected(xmpp.jid("bob@chat.example"))`,
		`xmpp.online("alice@chat.example").availability == true`, `xmpp.online("alice@chat.example").show == "away"`, `xmpp.online("alice@chat.example").status == "at lunch"`,
		`xmpp.online("bob@chat.example").availability == false`, `xmpp.online("carol@chat.example") == nil`, `xmpp.online("carol@chat.example").availability == false`,
		`xmpp.online("carol@chat.example").show == nil`, `not pcall(function() return (nil).name end)`,
		`xmpp.valid_domain("Chat.Example")`, `not xmpp.valid_domain("x")`,
		// Nodes.
		`(function() local n = xml.newnode("a") n:attr("b", "c") return n:attr("b") == "c" and n:attr("d") == nil and n:name() == "a" end)()`,
		`(function() local n = xml.newnode("a") n:attr("b", "c") n:attr("b", nil) return n:attr("b") == nil end)()`,
		`(function() local n = xml.newnode("a") n:addchild("b"):contents("x<") return tostring(n) == "<a><b>x&lt;</b></a>" end)()`,
		`(function() local n, s = xml.newnode("a"), "" n:addchild("b") n:addchild("c") for c in n:children() do s = s .. c:name() end return s == "bc" end)()`,
		`(function() local n = xml.newnode("a") n:addchild("b") return n:contents("t") == "t" and n:contents() == "t" and n:children()() == nil end)()`,
		`not pcall(xml.newnode, "a b")`, `not pcall(xml.newnode, "")`, `not pcall(xml.newnode, "x:y")`,
		// Sending says whether it is a stanza that can be sent.
		`xmpp:send("<message to='alice@chat.example'><body>x</body></message>")`, `xmpp.send("<message to='alice@chat.example'/>")`,
		`not xmpp:send("<message>")`, `not xmpp:send("<message/>")`, `not xmpp:send("<iq type='get' id='1' to='a@b'><x xmlns='y'/></iq>")`,
		`not xmpp:send("<message to='a@b'/><message to='a@b'/>")`, `not xmpp:send("<!DOCTYPE a><message to='a@b'/>")`, `not xmpp.routeStanza(xml.newnode("thing"))`,
		// Modules and results.
		`require("msys.core") == msys.core and require("msys.xmpp") == xmpp and require("msys") == msys`, `not pcall(require, "os")`, `not pcall(require, "/etc/passwd")`,
		`EC_MESSAGE_ENQUEUE_HOOK_CONT == 0 and msys.core.EC_MESSAGE_ENQUEUE_HOOK_OK == EC_MESSAGE_ENQUEUE_HOOK_OK`, `msys.xmpp.DONE ~= msys.xmpp.CONT`,
		`not pcall(msys.registerModule, "late", {})`,
		// What a script does not get.
		`io == nil and os == nil and debug == nil and package == nil and coroutine == nil and channel == nil`,
		`load == nil and loadstring == nil and loadfile == nil and dofile == nil and module == nil and setfenv == nil and getfenv == nil`,
		`collectgarbage == nil and newproxy == nil and string.dump == nil and math.randomseed == nil`,
		`getmetatable(msg) == false and not pcall(setmetatable, msg, {})`,
		// Strings, as in Lua 5.1.
		`("a" .. 1 .. "b") == "a1b"`, `setmetatable({}, {__concat = function(a, b) return "!" end}) .. "x" == "!"`, `"x" .. setmetatable({}, {__concat = function(a, b) return a end}) == "x"`,
		`not pcall(function() return "a" .. nil end)`, `not pcall(function() return {} .. "a" end)`,
		`select("#", ("a,b"):match("(%w),(%w)")) == 2`, `("key = value"):match("^(%w+)%s*=%s*(%w+)$") == "key"`, `("abc"):find("b", 1, true) == 2`, `select(2, ("abc"):find("b")) == 2`,
		`("a.b"):find(".", 1, true) == 2`, `("abc"):find("(b)()") == 2`, `("  x "):gsub("^%s+", "") == "x "`, `("hello world"):gsub("o", "0") == "hell0 w0rld"`, `select(2, ("abc"):gsub("", "-")) == 4`,
		`("abc"):gsub("", "-") == "-a-b-c-"`, `("abc"):gsub("%w", "%0%0") == "aabbcc"`, `("abc"):gsub("%w", { a = "1", b = true and 2 }) == "12c"`, `("abc"):gsub("(a)(b)", "%2%1") == "bac"`,
		`("abc"):gsub("%w", function(c) if c == "b" then return "[b]" end end) == "a[b]c"`, `("abc"):gsub("%w", "x", 2) == "xxc"`, `not pcall(string.gsub, "a", "a", "%2")`,
		`("THE (quick) fox"):find("%((%a+)%)") == 5`, `("f(a(b)c)d"):match("%b()") == "(a(b)c)"`, `("THE fox"):gsub("%f[%a]%a+", "w") == "w w"`, `("aXb"):match("%u") == "X"`,
		`("x-y"):match("[a%-]") == "-"`, `("]"):match("[]]") == "]"`, `("b"):match("[^a]") == "b"`, `("b"):match("[a-c]") == "b"`, `("aa"):match("(a)%1") == "a"`, `("äö"):len() == 4`,
		`("abc"):match("a-b") == "ab"`, `("aaa"):match("a-$") == "aaa"`, `("abc"):match(".", -1) == "c"`, `("abc"):match("x*") == ""`, `("abc"):match("abcd?") == "abc"`,
		`(function() local s = "" for k, v in ("a=1, b=2"):gmatch("(%w+)=(%w+)") do s = s .. k .. v end return s end)() == "a1b2"`,
		`(function() local n = 0 for _ in ("abc"):gmatch("") do n = n + 1 end return n end)() == 4`,
		`not pcall(string.match, "a", "[a")`, `not pcall(string.match, "a", "%")`, `not pcall(string.match, "a", "(a")`, `not pcall(string.match, "a", "a)")`, `not pcall(string.match, "a", "%1")`,
		`not pcall(string.match, "a", "%f")`, `not pcall(string.match, "a", "%b")`, `not pcall(string.match, "a", ("("):rep(33))`,
		`string.format("%5.1f|%-4s|%04d|%x|%q|%c|%%|%g", 3.14159, "ab", 42, 255, 'a"b', 65, 0.5) == '  3.1|ab  |0042|ff|"a\\"b"|A|%|0.5'`, `string.format("%s %s", true, nil) == "true nil"`,
		`not pcall(string.format, "%999d", 1)`, `not pcall(string.format, "%y", 1)`, `not pcall(string.format, "%d")`, `not pcall(string.format, "%")`,
		`("ab"):rep(3) == "ababab" and ("ab"):rep(-1) == "" and (""):rep(1e9) == ""`, `("aB"):upper() == "AB" and ("aB"):lower() == "ab" and ("ab"):reverse() == "ba"`, `string.char(104, 105) == "hi"`,
		`("abc"):byte(2) == 98 and ("abc"):sub(2, -1) == "bc"`,
		// Tables.
		`(function() local t = {3, 1, 2} table.sort(t) return table.concat(t, ",") == "1,2,3" end)()`, `(function() local t = {1, 2, 3} table.sort(t, function(a, b) return a > b end) return t[1] == 3 end)()`,
		`(function() local t = {1, 3} table.insert(t, 2, 2) table.insert(t, 4) return table.concat(t) == "1234" end)()`, `not pcall(table.insert, {}, 5, 1)`, `table.concat({}) == ""`,
		`(function() local t, i = {}, 1 i, t[i] = i + 1, 20 return t[1] == 20 and i == 2 end)()`, `(function() local t = {1, 2} t[1], t[2] = t[2], t[1] return t[1] == 2 and t[2] == 1 end)()`,
		`(function() local t = {} t.x, t.y = (function() return 1, 2 end)() return t.x == 1 and t.y == 2 end)()`, `(function() local t = {} t.x = (function() return 1, 2 end)() return t.x == 1 end)()`,
		`(function() local log = {} local t = setmetatable({}, {__newindex = function(t, k, v) rawset(t, k, v * 2) end}) t.a = 2 return t.a == 4 end)()`,
		`(function() local to = {} local t = setmetatable({}, {__newindex = to}) t.a = 2 return to.a == 2 and rawget(t, "a") == nil end)()`, `not pcall(function() local t = {} t[nil] = 1 end)`,
		`not pcall(function() local x = 1 x.y = 2 end)`, `(function(...) return select("#", ...) end)(1, nil, 3) == 3`, `#{(function() return 1, 2, 3 end)()} == 3`, `#{...} == 0`,
		`(function() local t = {} t[447700900123] = "x" return t[447700900123] == "x" end)()`,
	} {
		t.Run(expr, func(t *testing.T) {
			t.Parallel()
			p := loaded(t, new(gateway), "local mod = {}\nfunction mod:core_ec_message_enqueue(msg, ...)\nif "+expr+" then return EC_MESSAGE_ENQUEUE_HOOK_OK end\nend\nmsys.registerModule('m', mod)")
			var log bytes.Buffer
			p.scripts[0].log = zerolog.New(&log)
			if d := enqueue(t, p, mcmtTo(t, "alice@chat.example")); d.Verdict != Done {
				t.Errorf("not true: %s%s", expr, log.String())
			}
		})
	}
}

// A later script sees what an earlier one has chosen, and the first that decides is
// the last that is called.
func TestSeveralScripts(t *testing.T) {
	t.Parallel()
	script := func(name, body string) Source {
		return Source{Name: name, File: name + ".lua", Text: "local m = {}\nfunction m:core_ec_message_enqueue(msg)\n" + body + "\nend\nmsys.registerModule('m', m)"}
	}
	g := new(gateway)
	p, err := Load(Options{Host: g, Scripts: []Source{
		script("broken", `msg:rcptto("lost@chat.example") xmpp:send("<message to='a@b'/>") error("no")`),
		script("first", `msg:rcptto("carol@chat.example")`),
		script("second", `if msg:rcptto() == "carol@chat.example" then msg:routing_domain("else.example") return EC_MESSAGE_ENQUEUE_HOOK_ERR end`),
		script("third", `xmpp:send("<message to='a@b'/>")`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := enqueue(t, p, mailTo(t, "alice@chat.example"))
	if d != (Decision{Verdict: Refuse, Script: "second", Recipient: "carol@else.example"}) || len(g.did) != 0 {
		t.Errorf("%+v, did %q", d, g.did)
	}
	if s := p.Stats(); s[0].Failures != 1 || s[1].Calls != 1 || s[3].Calls != 0 {
		t.Errorf("stats %+v", s)
	}
	if d.Why() != "script second" {
		t.Error(d.Why())
	}
}

// What cannot be sent now holds the message; what never can ends it where the script
// has taken it, and is only counted where it goes on.
func TestSendFails(t *testing.T) {
	t.Parallel()
	text := func(result string) string {
		return "local m = {}\nfunction m:core_ec_message_enqueue(msg)\nxmpp:send(\"<message to='a@b'/>\")\nreturn " + result + "\nend\nmsys.registerModule('m', m)"
	}
	for _, row := range []struct {
		result    string
		fail      error
		failed    bool
		temporary bool
	}{
		{"EC_MESSAGE_ENQUEUE_HOOK_OK", errors.New("broker is away"), true, true},
		{"EC_MESSAGE_ENQUEUE_HOOK_CONT", errors.New("broker is away"), true, true},
		{"EC_MESSAGE_ENQUEUE_HOOK_OK", refusal{}, true, false},
		{"EC_MESSAGE_ENQUEUE_HOOK_CONT", refusal{}, false, false},
	} {
		p := loaded(t, &gateway{fail: row.fail}, text(row.result))
		_, err := p.Enqueue(t.Context(), mailTo(t, "alice@chat.example"))
		var failed *ActError
		if errors.As(err, &failed) != row.failed || row.failed && failed.Temporary() != row.temporary {
			t.Errorf("%s with %v: %v", row.result, row.fail, err)
		}
	}
}

// A fix-up changes the stanza, but not where it goes.
func TestFixup(t *testing.T) {
	t.Parallel()
	p := loaded(t, new(gateway), `
local m = {}
function m:mcmt_pre_fixup(msg)
  if msg:text() == "short" then msg:rcptto("carol@chat.example") end
  return EC_MSG_MCMT_OK
end
function m:mcmt_fixup(msg, stanza)
  stanza:attr("to", "else@chat.example")
  stanza:attr("type", "headline")
  local x = stanza:addchild("x")
  x:attr("xmlns", "urn:example")
  x:attr("by", msg:mailfrom())
end
msys.registerModule("m", m)`)
	d, err := p.PreFixup(t.Context(), mcmtTo(t, "alice@chat.example"))
	if err != nil || d != (Decision{Recipient: "carol@chat.example"}) {
		t.Errorf("%+v %v", d, err)
	}
	st := parsed(t, "<message xmlns='jabber:client' to='alice@chat.example' from='a@b' id='i' type='chat'><body>x</body></message>")
	d, err = p.Fixup(t.Context(), mcmtTo(t, "alice@chat.example"), st)
	if err != nil || d.Stanza == nil {
		t.Fatalf("%+v %v", d, err)
	}
	if got := string(d.Stanza.Append(nil, "")); !strings.Contains(got, `to="alice@chat.example"`) && !strings.Contains(got, `to='alice@chat.example'`) ||
		!strings.Contains(got, "headline") || !strings.Contains(got, "urn:example") || !strings.Contains(got, "news@corp.example") {
		t.Error(got)
	}
	if st.Type != "chat" || st.Element.Attr("by") != "" {
		t.Error("the stanza that was given is changed")
	}

	// One that leaves no message, or fails half way, changes nothing.
	for _, body := range []string{`stanza:addchild("y") error("no")`, `stanza:attr("xmlns", "urn:other")`, `stanza:attr("bad", "\0") local n = stanza for i = 1, 100 do n = n:addchild("d") end`} {
		p := loaded(t, new(gateway), "local m = {}\nfunction m:mcmt_fixup(msg, stanza)\n"+body+"\nend\nmsys.registerModule('m', m)")
		if d, err := p.Fixup(t.Context(), mcmtTo(t, "alice@chat.example"), st); err != nil || d != (Decision{}) || p.Stats()[0].Failures != 1 {
			t.Errorf("%s: %+v %v %+v", body, d, err, p.Stats())
		}
	}
}

// The delivery hooks: a stanza is read, not changed, and can be sent elsewhere.
func TestDeliveryHooks(t *testing.T) {
	t.Parallel()
	p := loaded(t, new(gateway), `
local m = {}
function m:delivery_before_send(msg, stanza)
  if stanza:attr("type") == "headline" then return msys.xmpp.DONE end
  stanza:attr("type", "chat")
end
function m:delivery_failed(msg, stanza, reason)
  if reason == "recipient is gone" then msg:rcptto("desk@chat.example") end
end
msys.registerModule("m", m)`)
	m := &Message{ID: "q1", To: "alice@chat.example"}
	headline := parsed(t, "<message xmlns='jabber:client' to='alice@chat.example' type='headline'/>")
	if d, err := p.BeforeSend(t.Context(), m, headline); err != nil || d.Verdict != Done {
		t.Errorf("%+v %v", d, err)
	}
	chat := parsed(t, "<message xmlns='jabber:client' to='alice@chat.example' type='normal'/>")
	if d, err := p.BeforeSend(t.Context(), m, chat); err != nil || d != (Decision{}) || p.Stats()[0].Failures != 1 {
		t.Errorf("a change of what is not the script's: %+v %v", d, err)
	}
	if d, err := p.OnFailure(t.Context(), m, chat, "recipient is gone"); err != nil || d != (Decision{Recipient: "desk@chat.example"}) {
		t.Errorf("%+v %v", d, err)
	}
	if d, err := p.OnFailure(t.Context(), m, chat, "else"); err != nil || d != (Decision{}) {
		t.Errorf("%+v %v", d, err)
	}
}

// Without scripts nothing is decided.
func TestNone(t *testing.T) {
	t.Parallel()
	empty, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	st := parsed(t, "<message xmlns='jabber:client' to='a@b'/>")
	for _, p := range []*Policy{nil, empty} {
		for _, call := range []func() (Decision, error){
			func() (Decision, error) { return p.PreFixup(t.Context(), &Message{}) },
			func() (Decision, error) { return p.Enqueue(t.Context(), &Message{}) },
			func() (Decision, error) { return p.Fixup(t.Context(), &Message{}, st) },
			func() (Decision, error) { return p.ClientMessage(t.Context(), "", jid.JID{}, st) },
			func() (Decision, error) { return p.BeforeSend(t.Context(), &Message{}, st) },
			func() (Decision, error) { return p.OnFailure(t.Context(), &Message{}, st, "") },
		} {
			if d, err := call(); err != nil || d != (Decision{}) {
				t.Errorf("%+v %v", d, err)
			}
		}
		if p.Stats() != nil && len(p.Stats()) > 0 || p.Warnings() != nil || p.Has(Enqueue) {
			t.Error("there is something")
		}
	}
}

// The example of deploy/ does what its comments say.
func TestExample(t *testing.T) {
	t.Parallel()
	text := strings.ReplaceAll(reference(t, "../../../deploy/examples/policy.lua"), "chat.example.com", "chat.example")
	p := loaded(t, new(gateway), text)
	if w := p.Warnings(); len(w) != 0 {
		t.Error(w)
	}
	for to, want := range map[string]string{"oncall@chat.example": "alice@chat.example", "carol@chat.example": ""} {
		if d := enqueue(t, p, mailTo(t, to)); d != (Decision{Recipient: want}) {
			t.Errorf("%s: %+v", to, d)
		}
	}
	newsletter := mailTo(t, "carol@chat.example")
	var err error
	if newsletter.Mail, err = mcmt.Parse([]byte("List-Unsubscribe: <mailto:a@b>\r\n"+letter), mcmt.Limits{}); err != nil {
		t.Fatal(err)
	}
	if d := enqueue(t, p, newsletter); d.Verdict != Refuse {
		t.Errorf("a newsletter: %+v", d)
	}
	d, err := p.Fixup(t.Context(), mcmtTo(t, "alice@chat.example"), parsed(t, "<message xmlns='jabber:client' to='alice@chat.example'><body>x</body></message>"))
	if err != nil || d.Stanza == nil || d.Stanza.Child("body").Text() != "[news@corp.example] x" {
		t.Errorf("%+v %v", d, err)
	}
}

// Everything that build can be given, read back.
func TestBuild(t *testing.T) {
	t.Parallel()
	g := new(gateway)
	p := loaded(t, g, hook(`
local m = msys.core.ec_message_new(nil)
m:build({ From = "Jürgen <j@corp.example>", To = "a@b/phone", Subject = "Grüße", ["X-Own"] = "1", Date = "Fri, 27 Nov 2026 10:00:00 +0000" },
  { ["text/html"] = "<b>hé</b>", ["text/plain"] = "hé\r\n.\r\nFrom x" },
  { { type = "application/pdf", name = "a b.pdf", content = ("\0\255"):rep(100) } })
m:inject("j@corp.example", "a@b/phone")`))
	enqueue(t, p, mailTo(t, "alice@chat.example"))
	if len(g.did) != 1 || !strings.HasPrefix(g.did[0], "inject q1/test/core_ec_message_enqueue/0 j@corp.example a@b\n") {
		t.Fatalf("did %q %+v", g.did, p.Stats())
	}
	_, raw, _ := strings.Cut(g.did[0], "\n")
	m, err := mcmt.ParseMail([]byte(raw), mcmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	last := m.Parts[len(m.Parts)-1]
	if m.Email.Text != "hé\n.\nFrom x\n" && m.Email.Text != "hé\n.\nFrom x" || m.Email.HTML != "<b>hé</b>" || m.Email.Subject != "Grüße" || m.Header.Get("X-Own") != "1" ||
		m.Header.Get("To") != "a@b" ||
		m.Header.Addresses("From")[0] != (mcmt.Address{Name: "Jürgen", Addr: "j@corp.example"}) || last.Name != "a b.pdf" || string(last.Body) != strings.Repeat("\x00\xff", 100) || len(m.Warnings) != 0 {
		t.Errorf("%+v\n%+v %q\n%s", m.Email, last, m.Warnings, raw)
	}

	for _, bad := range []string{
		`m:build({ ["a b"] = "x" }, {})`, `m:build({ Subject = "a\nb" }, {})`, `m:build({ ["Content-Type"] = "x/y" }, {})`, `m:build({}, { text = "x" })`, `m:build({}, { ["multipart/mixed"] = "x" })`,
		`m:build({ 1 }, {})`, `m:build({ From = "Jürgen" }, {})`, `m:build({}, { ["text/plain"] = {} })`, `m:build({}, {}) m:build({}, {})`, `m:inject("a@b", "c@d")`, `msg:build({}, {})`, `msg:inject("a@b", "c@d")`, `m:build({}, {}, { 1 })`,
	} {
		p := loaded(t, new(gateway), hook("local m = msys.core.ec_message_new(nil)\n"+bad))
		if d := enqueue(t, p, mailTo(t, "a@b")); d != (Decision{}) || p.Stats()[0].Failures != 1 {
			t.Errorf("%s: %+v", bad, d)
		}
	}
}
