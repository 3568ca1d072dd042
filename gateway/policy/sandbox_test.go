package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// hook is a script whose enqueue hook has that body.
func hook(body string) string {
	return "local m = {}\nfunction m:core_ec_message_enqueue(msg)\n" + body + "\nend\nmsys.registerModule('m', m)"
}

// hostile scripts, each with why it would be a danger. All of them are ended.
var hostile = []struct{ name, body string }{
	{"loops", `while true do end`},
	{"loops over a budget caught again and again", `while true do pcall(function() while true do end end) end`},
	{"recurses", `local function f() return 1 + f() end f()`},
	{"recurses through pcall", `local function f() pcall(f) error("x") end f()`},
	{"recurses by tail call", `local function f() return f() end f()`},
	{"recurses through tostring", `local t = setmetatable({}, {}) getmetatable(t).__tostring = function(t) return tostring(t) end tostring(t)`},
	{"recurses through __index", `local t = {} setmetatable(t, {__index = function(t, k) return t[k .. "x"] end}) return t.a`},
	{"indexes in a circle", `local t = {} setmetatable(t, {__index = t}) local x = t.a error(x)`},
	{"stores in a circle", `local t = setmetatable({}, {}) getmetatable(t).__newindex = t t.a = 1`},
	{"doubles a string", `local s = "x" while true do s = s .. s end`},
	{"doubles a string and catches it", `local s = "x" while true do pcall(function() s = s .. s end) end`},
	{"joins what numbers make", `local s = 1 for i = 1, 1e9 do s = s .. i end`},
	{"joins by a metamethod", `local t = setmetatable({}, {__concat = function(a, b) return b .. b end}) local s = "x" while true do s = t .. s end`},
	{"repeats", `return ("x"):rep(1e10)`},
	{"repeats more than an int holds", `return ("xxxxxxxx"):rep(2^62)`},
	{"formats wide", `return string.format("%" .. ("9"):rep(9) .. "d", 1)`},
	{"fills a table", `local t = {} for i = 1, 1e9 do t[i] = i end`},
	{"fills a table by name", `local t = {} for i = 1, 1e9 do t["k" .. i] = i end`},
	{"fills a table by insert", `local t = {} while true do table.insert(t, 1, 1) end`},
	{"fills a table by rawset", `local t = {} for i = 1, 1e9 do rawset(t, i, i) end`},
	{"fills a table in two places at once", `local t, u = {}, {} for i = 1, 1e9 do t[i], u[i] = i, i end`},
	{"leaves a gap", `local t = {} t[50000000] = 1`},
	{"leaves many gaps", `for i = 1, 1e9 do local t = {} t[10000] = 1 end`},
	{"makes tables", `local all = {} for i = 1, 1e9 do all = {all} end`},
	{"makes functions", `local f for i = 1, 1e9 do local g = f f = function() return g end end`},
	{"makes functions in fields", `for i = 1, 1e9 do local t = {} function t.f() return t end end`},
	{"makes nodes", `local n = xml.newnode("a") while true do n = n:addchild("a") end`},
	{"makes attributes", `local n = xml.newnode("a") for i = 1, 1e9 do n:attr("a" .. i, "x") end`},
	{"makes messages", `while true do msys.core.ec_message_new() end`},
	{"makes addresses", `while true do xmpp.jid("a@b") end`},
	{"fills the globals", `for i = 1, 1e9 do _G["g" .. i] = i end`},
	{"unpacks", `return unpack({}, 1, 1e9)`},
	{"takes many bytes", `return ("x"):rep(1e6):byte(1, -1)`},
	{"backtracks", `return ("a"):rep(40):match(("a*"):rep(20) .. "b")`},
	{"backtracks to few", `return ("a"):rep(40):match(("a-"):rep(20) .. "b")`},
	{"backtracks with gsub", `return ("a"):rep(40):gsub(("a*"):rep(20) .. "b", "")`},
	{"backtracks with gmatch", `for x in ("a"):rep(40):gmatch(("a*"):rep(20) .. "b") do end`},
	{"backtracks over balance", `return ("("):rep(1e6):match("%b()x")  or ("("):rep(1e6):find(".-%b()x")`},
	{"replaces by more", `local s = "x" while true do s = s:gsub(".", "%0%0") end`},
	{"replaces without end", `local s = ("x"):rep(1e6) while true do s:gsub(".", {}) end`},
	{"finds slowly", `local s = ("a"):rep(1e6) while true do s:find("b", 1, true) end`},
	{"sorts slowly", `local s, t = ("a"):rep(4e6), {} for i = 1, 4000 do t[i] = s:sub(i) end table.sort(t) error("sorted")`},
	{"sorts by a comparison that lies", `local t = {} for i = 1, 1e5 do t[i] = i end table.sort(t, function() return true end) while true do end`},
	{"compares slowly", `local a, b = ("a"):rep(3e6) .. "a", ("a"):rep(3e6) .. "b" while a < b do end`},
	{"builds a large message", `msys.core.ec_message_new():build({}, { ["text/plain"] = ("\255"):rep(4e6) })`},
	{"joins a table", `local t = {} for i = 1, 1000 do t[i] = ("x"):rep(1e4) end return table.concat(t)`},
	{"sends without end", `while true do xmpp:send("<message to='a@b'/>") end`},
	{"throws", `error("no")`},
	{"throws a table", `error({})`},
	{"throws nil", `error(nil)`},
	{"throws what throws", `error(setmetatable({}, {__tostring = function() error("again") end}))`},
	{"returns what is no result", `return "OK"`},
	{"returns a number that is no result", `return 17`},
	{"returns no number", `return 0/0`},
	{"calls what is not there", `os.execute("true")`},
	{"asks a closed file", `io.open("/etc/passwd")`},
}

// byTheClock are those that only the clock ends: each of their instructions is long.
var byTheClock = []string{"compares slowly"}

// TestHostile ends every hostile script within bounded memory, counts it as a
// failure, and lets the message go on: with the budget of every call, and with one
// whose clock stands.
func TestHostile(t *testing.T) {
	for _, row := range hostile {
		t.Run(row.name, func(t *testing.T) { endsHostile(t, row.body, Budget{}) })
		if !slices.Contains(byTheClock, row.name) {
			t.Run(row.name+" without a clock", func(t *testing.T) {
				endsHostile(t, row.body, Budget{Time: time.Hour, Steps: 300_000})
			})
		}
	}
}

func endsHostile(t *testing.T, body string, b Budget) {
	t.Helper()
	var log bytes.Buffer
	g := new(gateway)
	p := loaded(t, g, hook(body), func(o *Options) { o.Log, o.Budget = zerolog.New(&log), b })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if d := enqueue(t, p, mailTo(t, "alice@chat.example")); d != (Decision{}) || len(g.did) != 0 {
		t.Errorf("%+v, did %d", d, len(g.did))
	}
	runtime.ReadMemStats(&after)
	if p.Stats()[0].Failures != 1 {
		t.Error("not counted as a failure")
	}
	if !strings.Contains(log.String(), "policy script failed") || !strings.Contains(log.String(), `"script":"test"`) {
		t.Errorf("log: %s", log.String())
	}
	// What was taken in all, garbage included, is a small multiple of the
	// budget: a copy here and there, and the interpreter's own stack.
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 100 {
		t.Errorf("took %d MiB", took)
	}
	// The state was thrown away, and the next one works.
	if _, err := p.Enqueue(t.Context(), mailTo(t, "alice@chat.example")); err != nil {
		t.Error(err)
	}
}

// The line of a failure is that of the script, and the budget says its size.
func TestFailureHasItsPlace(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"local x = 1\nerror('no such thing')": "test.lua:4: no such thing",
		"\n\nlocal s = nil .. 'x'":            "test.lua:5: attempt to concatenate a nil value",
		"\nlocal t = nil\nt.x = 1":            "test.lua:5:",
		"\nxml.newnode('a b')":                "test.lua:4: bad argument #1 to newnode",
		"while true do end":                   "test.lua:3: budget of 1000 instructions used up",
		"local s = ('x'):rep(2000000)":        "test.lua:3: memory budget of 1000000 bytes used up",
	} {
		var log bytes.Buffer
		p := loaded(t, nil, hook(body), func(o *Options) {
			o.Log, o.Budget = zerolog.New(&log), Budget{Steps: 1000, Memory: 1_000_000, Time: time.Hour}
		})
		enqueue(t, p, mailTo(t, "a@b"))
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s\nwant %q in %s", body, want, log.String())
		}
	}
}

// A budget of time ends a script, and what is ended by a budget is counted as such.
func TestTimeBudget(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := loaded(t, nil, hook("while true do end"), func(o *Options) {
		o.Log, o.Budget = zerolog.New(&log), Budget{Time: time.Millisecond}
	})
	enqueue(t, p, mailTo(t, "a@b"))
	if s := p.Stats()[0]; s.Failures != 1 || s.Timeouts != 1 || !strings.Contains(log.String(), "time budget of 1ms used up") {
		t.Errorf("%+v\n%s", s, log.String())
	}
}

// What one script does to its world is nothing to another one, nor to its own next
// state.
func TestTampering(t *testing.T) {
	t.Parallel()
	vandal := `
getmetatable("").__index = function() return function() return "vandalised" end end
string.match, table.concat, xmpp.online, msys.core, EC_MESSAGE_ENQUEUE_HOOK_OK = nil, nil, nil, nil, 17
setmetatable(_G, { __index = function() return 1 end, __newindex = function() end })
for k in pairs(xml) do xml[k] = nil end
`
	p, err := Load(Options{Host: new(gateway), Scripts: []Source{
		{Name: "vandal", File: "vandal.lua", Text: hook(vandal + "error('done')")},
		{Name: "good", File: "good.lua", Text: hook(`if ("abc"):match("b") == "b" and xml.newnode("a") and xmpp.online("alice@chat.example") and nothing == nil then return EC_MESSAGE_ENQUEUE_HOOK_OK end`)},
	}, States: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if d := enqueue(t, p, mailTo(t, "alice@chat.example")); d.Verdict != Done || d.Script != "good" {
			t.Errorf("%+v %+v", d, p.Stats())
		}
	}
}

// What a script keeps between calls it cannot gather without end.
func TestKeptBetweenCalls(t *testing.T) {
	t.Parallel()
	g := new(gateway)
	p := loaded(t, g, `local kept = {}
local m = {}
function m:core_ec_message_enqueue(msg)
  kept[#kept + 1] = ("x"):rep(100000) .. #kept
  if #kept > 1000 then return EC_MESSAGE_ENQUEUE_HOOK_ERR end
end
msys.registerModule("m", m)`, func(o *Options) { o.States, o.Budget = 1, Budget{Memory: 1 << 20, Time: time.Hour} })
	for range 1200 {
		if d := enqueue(t, p, mailTo(t, "a@b")); d.Verdict != Continue {
			t.Fatal("one state has lived through 1,000 calls")
		}
	}
	if s := p.Stats()[0]; s.Failures != 0 {
		t.Errorf("%+v", s)
	}
}

// More callers than states wait for their turn, or until they give up.
func TestStatesAreShared(t *testing.T) {
	t.Parallel()
	p := loaded(t, new(gateway), hook(`local n = 0 for i = 1, 1000 do n = n + i end return EC_MESSAGE_ENQUEUE_HOOK_OK`), func(o *Options) {
		o.States, o.Budget = 2, Budget{Time: time.Hour}
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if d, err := p.Enqueue(t.Context(), &Message{ID: "q", To: "a@b"}); err != nil || d.Verdict != Done {
					t.Errorf("%+v %v", d, err)
				}
			}
		})
	}
	all.Wait()
	if s := p.Stats()[0]; s.Calls != 800 {
		t.Errorf("%+v", s)
	}
	for range 2 {
		<-p.scripts[0].states // in use
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Enqueue(ctx, &Message{To: "a@b"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up: %v", err)
	}
}

// What a script prints is in the log, and no line a second more.
func TestPrint(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := loaded(t, nil, hook(`print("to", 1, nil, {} ~= nil) for i = 1, 1000 do print(("x"):rep(10000)) end`), func(o *Options) { o.Log = zerolog.New(&log) })
	enqueue(t, p, mailTo(t, "a@b"))
	if !strings.Contains(log.String(), `"message":"to\t1\tnil\ttrue"`) || log.Len() > 2*maxPrint {
		t.Errorf("%d bytes: %.300s", log.Len(), log.String())
	}
}

// Mistakes are found when a script is loaded, with their place.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"syntax", "local m = {}\nfunction m:x( return 1 end", "test.lua:2:20: syntax error near \"return\""},
		{"curly quotes", "local a = 1\nrequire(“msys”)", "test.lua:2:9: Invalid token near"},
		{"an end that is missing", "local m = {}\nfunction m.x()\n", "test.lua: syntax error at the end of the file"},
		{"break outside a loop", "local x = 1\nbreak", "test.lua:2: no loop to break"},
		{"an error while it is loaded", "local x = 1\nerror('not today')", "test.lua:2: not today"},
		{"a module that is not there", "\n\nrequire('socket')", `test.lua:3: module "socket" is not there: scripts load no files`},
		{"loops while it is loaded", "while true do end", "test.lua:1: "},
		{"sends while it is loaded", "xmpp:send(\"<message to='a@b'/>\")", "test.lua:1: nothing can be sent while the script is loaded"},
		{"a hook that is no function", "msys.registerModule('m', { mcmt_fixup = 1 })", `test.lua: module "m": mcmt_fixup is a number, not a function`},
		{"too deep", "return " + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300), ""},
		{"far too deep", "return " + strings.Repeat("not ", 50000) + "1", "test.lua:1: nested deeper than 180"},
		{"too many locals", strings.Repeat("local x\n", 300), "test.lua"},
		{"too large", strings.Repeat("-- x\n", 100000), "test.lua: is larger than 262144 bytes"},
		{"a file that is no text", "\x1bLua\x00\x00", "test.lua"},
	} {
		_, err := Load(Options{Scripts: []Source{{Name: "test", File: "test.lua", Text: row.text}}})
		var p *Problem
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", row.name, err)
		case row.want != "" && (!errors.As(err, &p) || !strings.HasPrefix(p.Error(), row.want) || p.Script != "test"):
			t.Errorf("%s: got %v, want %s", row.name, err, row.want)
		}
	}
}

// Hooks that are none of ours are warned of at their line.
func TestWarnings(t *testing.T) {
	t.Parallel()
	p, err := Load(Options{Scripts: []Source{
		{Name: "a", File: "a.lua", Text: "local m = {}\nfunction m:core_ec_message_enqueue(msg) end\nfunction m:validate_data(msg) end\nfunction m.helper() end\nmsys.registerModule('m', m)"},
		{Name: "b", File: "b.lua", Text: "local x = 1"},
		{Name: "c", File: "c.lua", Text: "msys.registerModule('m', { delivery_failed = function() end })"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := "[a.lua:3: validate_data is no hook of this gateway: it is never called b.lua: registers no hook: it does nothing]"
	if got := fmt.Sprint(p.Warnings()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzScript runs any text as a script: it ends, takes bounded memory, and harms
// nobody.
func FuzzScript(f *testing.F) {
	for _, row := range hostile {
		f.Add(hook(row.body))
	}
	for _, name := range []string{"mail-to-jabber.lua", "jabber-to-mail.lua", "body-length.lua"} {
		f.Add(reference(f, name))
	}
	m := mcmtTo(f, "alice@chat.example")
	st := parsed(f, "<message xmlns='jabber:client' to='alice@chat.example'><body>x</body></message>")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Load(Options{Scripts: []Source{{Name: "test", File: "test.lua", Text: text}}, Host: new(gateway), States: 1,
			Budget: Budget{Memory: 1 << 20, Steps: 20000, Time: time.Second}})
		if err != nil {
			var bad *Problem
			if !errors.As(err, &bad) || len(bad.Error()) > 2000 {
				t.Fatalf("not a short problem: %T %.3000s", err, err)
			}
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d, err := p.Enqueue(t.Context(), m)
		if err != nil || d.Verdict > Refuse {
			t.Fatalf("%+v %v", d, err)
		}
		if d, err = p.Fixup(t.Context(), m, st); err != nil || d.Stanza != nil && d.Stanza.To != st.To {
			t.Fatalf("%+v %v", d, err)
		}
		if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 200<<20 {
			t.Fatalf("took %d MiB", (after.TotalAlloc-before.TotalAlloc)>>20)
		}
	})
}

// FuzzPattern matches any pattern against any text: it ends, and what it finds is in
// the text.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"abc", "b"}, {"key = v", "^(%w+)%s*=%s*(%w+)$"}, {"(a(b))", "%b()"}, {"THE fox", "%f[%a]%a+"}, {"aa", "(a)%1"}, {"]", "[]]"}, {"a", "[^a-%d]"}, {"", "()()"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, pattern string) {
		steps := 0
		m := &matcher{text: text, pattern: pattern, step: func() error {
			if steps++; steps > 100_000 {
				return errors.New("too long")
			}
			return nil
		}}
		for start := range len(text) + 1 {
			end, err := m.at(start, 0)
			if err != nil {
				return
			}
			if end >= 0 && (end < start || end > len(text)) {
				t.Fatalf("match from %d to %d of %d", start, end, len(text))
			}
			for _, c := range m.captures[:m.level] {
				if c.start < 0 || c.start > len(text) || c.length > len(text)-c.start {
					t.Fatalf("capture %+v of %d", c, len(text))
				}
			}
		}
	})
}

// BenchmarkHook is what a hook costs: one that decides nothing, and the reference's
// first example without sending.
func BenchmarkHook(b *testing.B) {
	for name, text := range map[string]string{
		"empty":     hook(""),
		"reference": reference(b, "mail-to-jabber.lua"),
		"pattern":   hook(`if msg:subject():match("^%[spam%]") then return EC_MESSAGE_ENQUEUE_HOOK_ERR end`),
		"none":      "local x = 1",
	} {
		b.Run(name, func(b *testing.B) {
			p := loaded(b, new(gateway), text)
			m := mailTo(b, "carol@chat.example")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Enqueue(b.Context(), m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Functions of the other system that are not here are found before they are called; what
// a script has made itself, says in a string or a comment, or calls its own is none.
func TestMissingFunctions(t *testing.T) {
	t.Parallel()
	p, err := Load(Options{Scripts: []Source{{Name: "s", File: "s.lua", Text: `require("msys.core")
--[[ msys.in_a_comment()
]] -- xmpp.in_another()
msys.mine = {}
local m = {}
function m:core_ec_message_enqueue(msg)
  msys.mine.of_ours()
  print("xmpp.in_a_string()")
  msys.dnsLookup("a.example", "mx")
  msys.core.io_wrapper_open("x")
  xmpp:no_such(1)
  msys.dnsLookup("b.example", "mx")
  other.msys.fine()
  return xmpp.online("a@b").availability
end
msys.registerModule("m", m)
`}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = "[s.lua:7: msys.mine.of_ours is not here: where it is called the script fails" +
		" s.lua:9: msys.dnsLookup is not here: where it is called the script fails" +
		" s.lua:10: msys.core.io_wrapper_open is not here: where it is called the script fails" +
		" s.lua:11: xmpp.no_such is not here: where it is called the script fails]"
	if got := fmt.Sprint(p.Warnings()); got != want {
		t.Errorf("got %s", got)
	}
}
