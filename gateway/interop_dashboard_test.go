package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/s2s"
	"mcmt2xmpp/xmpp/stanza"
)

// chromium is a page in a browser nobody here wrote.
type chromium struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	mistakes []string // that the browser has found in the page
}

// openChromium opens a page after setting the browser up. What it then finds wrong with
// the page, for one what the page's own security policy forbids, fails the test.
func openChromium(t *testing.T, url string, set ...chromedp.Action[chromedp.Void]) *chromium {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser is slow, and sees nothing else of races than other clients")
	}
	path := peer(t, "chromium", "chromium")
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &chromium{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	b.do(command(log.Enable, cdp.Empty{}), command(runtime.Enable, cdp.Empty{}))
	b.do(append(set, chromedp.Navigate(url))...)
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, m := range b.mistakes {
			t.Errorf("the browser says: %s", m)
		}
	})
	return b
}

// command is one of the browser's protocol.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, params)
		return err
	})
}

func (b *chromium) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += ": " + e.ExceptionDetails.Exception.Description
		}
		b.mistakes = append(b.mistakes, text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			b.mistakes = append(b.mistakes, e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// forgive forgets the mistakes that hold a text.
func (b *chromium) forgive(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mistakes = slices.DeleteFunc(b.mistakes, func(m string) bool { return strings.Contains(m, text) })
}

func (b *chromium) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// value is that of an expression in the page.
func value[T any](b *chromium, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for a change of the page after which an expression is true.
func (b *chromium) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`new Promise((done) => {
		const observer = new MutationObserver(() => check());
		const check = () => { if (`+expression+`) { observer.disconnect(); done(true); } };
		for (const event of ["focusin", "close"]) document.addEventListener(event, check, true);
		observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
		check();
	})`, chromedp.EvalAwaitPromise))
	if err != nil {
		text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body.innerText`))
		b.t.Fatalf("waited for %s: %v\n%s", expression, err, text)
	}
}

// press presses keys one after the other.
func (b *chromium) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// look starts a search, as the key does: what is pressed is not also written.
func (b *chromium) look(id string) {
	b.t.Helper()
	value[string](b, `document.activeElement.blur(), ""`)
	b.do(command(input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Code: "Slash", Text: "/"}))
	b.until(`document.activeElement.id === "id"`)
	b.press(append(strings.Split(id, ""), kb.Enter)...)
}

// tabTo presses Tab until what is called so has the focus, as somebody without a mouse
// comes to it.
func (b *chromium) tabTo(name string) {
	b.t.Helper()
	const focused = `document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent`
	var seen []string
	for range 60 {
		if now := value[string](b, focused); now == name {
			return
		} else {
			seen = append(seen, now)
		}
		b.press(kb.Tab)
	}
	b.t.Fatalf("Tab does not come to %q, but to %.2000q", name, seen)
}

// picture keeps a screenshot among the artifacts of the test.
func (b *chromium) picture(name string) {
	b.t.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// says has the text of a part of the page hold all the words, now or soon.
func (b *chromium) says(part string, words ...string) {
	b.t.Helper()
	all, err := json.Marshal(words)
	if err != nil {
		b.t.Fatal(err)
	}
	b.until(fmt.Sprintf(`%s.every((word) => (document.querySelector(%q)?.innerText ?? "").includes(word))`, all, part))
}

func viewport(width, height int64, scheme string) []chromedp.Action[chromedp.Void] {
	return []chromedp.Action[chromedp.Void]{
		command(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600}),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
	}
}

// TestInteropDashboardWithoutScript: the numbers are there for a browser that runs no
// script, and nothing that would do nothing.
func TestInteropDashboardWithoutScript(t *testing.T) {
	t.Parallel()
	peer(t, "chromium", "chromium") // before a gateway is started for nothing
	g := newQueue(t)
	send(t, g, away, "1", "2", "3")
	g.waits(away, admin.Deferred, 3)
	id := g.firstQueued(away)
	b := openChromium(t, g.admin(), command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.says("main", "Ready", "Waiting\n3", away, "stored")
	for _, selector := range []string{"main button", "#dead button"} {
		if n := value[int](b, fmt.Sprintf(`[...document.querySelectorAll(%q)].filter((b) => b.checkVisibility()).length`, selector)); n != 0 {
			t.Errorf("%d buttons of %s are shown, which do nothing", n, selector)
		}
	}
	b.do(chromedp.Navigate(g.admin() + "/?id=" + id))
	b.says("#trace", away, id, "accepted", "deferred")
}

// firstQueued is the id of the message that waits longest for a recipient.
func (g *gateway) firstQueued(recipient string) string {
	g.t.Helper()
	var listed admin.QueueMessages
	g.ask("/v1/queue/messages?limit=1&recipient="+recipient, &listed)
	if len(listed.Messages) != 1 {
		g.t.Fatalf("queued for %s: %+v", recipient, listed)
	}
	return listed.Messages[0].ID
}

// TestInteropDashboardLive: what happens is seen without a reload, and so is that it is
// not seen any more.
func TestInteropDashboardLive(t *testing.T) {
	t.Parallel()
	peer(t, "chromium", "chromium")
	g := newQueue(t)
	b := openChromium(t, g.admin())
	b.says("#link", "live")
	b.says("#queue", "Nothing waits.")
	send(t, g, away, "1", "2")
	b.says("#queue", away, "2")
	b.until(`document.querySelector('[data-key="stored"] polyline').getAttribute("points").includes(",1.00")`)
	meet(t, g.xmpp(), away)
	b.says("#queue", "Nothing waits.")
	b.says(".ends", "delivered")
	b.until(`document.querySelector("tr.delivered").cells[3].innerText === "2"`)
	g.kill()
	b.says("#link", "not live since")
	b.forgive("net::ERR_") // the connection ended, and then was refused
}

// TestInteropDashboardKeyboard: somebody without a mouse holds, releases, tries and drops
// what waits, and is never left without a focus.
func TestInteropDashboardKeyboard(t *testing.T) {
	t.Parallel()
	peer(t, "chromium", "chromium")
	g := newQueue(t)
	send(t, g, away, "1", "2")
	g.waits(away, admin.Deferred, 2)
	b := openChromium(t, g.admin())
	b.says("#link", "live")

	b.tabTo("Retry " + away)
	b.press(kb.Enter)
	b.says("#said", "Retry "+away+": done to 2.")
	b.tabTo("Hold " + away)
	b.press(kb.Enter)
	g.waits(away, admin.Held, 2)
	b.until(`document.activeElement.getAttribute("aria-label") === "Release ` + away + `"`)
	b.press(kb.Enter)
	g.waits(away, admin.Deferred, 2)
	b.until(`document.activeElement.closest("tr")?.dataset.key === "` + away + `"`)

	b.until(`document.querySelector("#queue [aria-label='Hold ` + away + `']")`)
	b.tabTo("Drop " + away)
	b.press(kb.Enter)
	b.says("dialog", "2 messages for "+away+" are deleted for good")
	b.picture("dialog")
	b.press(kb.Escape)
	b.until(`document.activeElement.getAttribute("aria-label") === "Drop ` + away + `"`)
	g.waits(away, admin.Deferred, 2)
	b.press(kb.Enter)
	b.tabTo("Drop")
	b.press(kb.Enter)
	b.says("#queue", "Nothing waits.")
	if left := g.routes("recipient", away); len(left) != 0 {
		t.Errorf("dropped, but there is %+v", left)
	}
	b.until(`document.activeElement.id === "queue-title"`)
}

// TestInteropDashboardTrace: a message is looked for, and its life is told.
func TestInteropDashboardTrace(t *testing.T) {
	t.Parallel()
	peer(t, "chromium", "chromium")
	g := newQueue(t)
	send(t, g, away, "1", "2")
	g.waits(away, admin.Deferred, 2)
	id := g.firstQueued(away)
	b := openChromium(t, g.admin())
	b.says("#link", "live")
	b.look(id)
	b.says("#trace", away, id, "accepted", "deferred")
	b.until(`document.activeElement.id === "trace-title"`)
	if at := value[string](b, `location.search`); at != "?id="+id {
		t.Errorf("the address is %s, and shows something else when it is loaded again", at)
	}
	b.press(kb.Escape)
	b.until(`document.querySelector("#trace").hidden`)
	b.tabTo(away) // all messages of a recipient
	b.press(kb.Enter)
	b.until(`document.querySelectorAll("#trace .story").length === 2`)
	b.look("nothing")
	b.says("#trace", "No message is known by this id")
}

// busy is a gateway of which the page has something to show in each part.
type busy struct {
	*fakeQueue
	hostile string
}

func (busy) Backlog() []admin.StageBacklog {
	return []admin.StageBacklog{{Stage: "deliver", Messages: 1240, Oldest: time.Now().Add(-4 * time.Second)}}
}

func (busy) Sessions() admin.SessionCounts {
	return admin.SessionCounts{Connections: 1210, Sessions: 1204, Suspended: 17, Remote: 3310, Logins: 48211, FailedLogins: 12, Received: 1932211, Sent: 2210031}
}

func (q busy) Waiting(ctx context.Context) ([]admin.QueueRoute, error) {
	all, err := q.Routes(ctx, admin.QueueFilter{})
	return slices.DeleteFunc(all, func(r admin.QueueRoute) bool { return r.State == admin.Dead }), err
}

func (q busy) Streams() []admin.ServerStream {
	at := func(before time.Duration) time.Time { return time.Now().Add(-before) }
	return []admin.ServerStream{
		{State: s2s.State{Domain: "chat.example.com", State: "waiting", NextTry: time.Now().Add(50 * time.Second),
			Failure: &s2s.FailureState{Step: "tls", Text: "remote error: tls: certificate expired " + q.hostile, At: at(10 * time.Second), InARow: 7}}},
		{State: s2s.State{Domain: "jabber.example.org", State: "open", Direction: "both", Authenticated: "EXTERNAL", TLS: "1.3", Since: at(50 * time.Hour), Sent: 12044, Received: 9331}},
		{State: s2s.State{Domain: "im.example.net", State: "open", Direction: "out", Authenticated: "dialback", TLS: "1.3", Since: at(time.Hour), Sent: 12, Received: 0}, Link: "upstream"},
		{State: s2s.State{Domain: "spam.example", State: "closed"}, Blocked: true},
	}
}

func (busy) Check(context.Context, string, string) (*s2s.Check, error) {
	return nil, errors.New("not here")
}
func (busy) Retry(string) bool                         { return true }
func (busy) Block(context.Context, string, bool) error { return nil }

// busyGateway serves the admin HTTP of one, where strangers chose addresses and reasons.
func busyGateway(t *testing.T, hostile string) (url string) {
	t.Helper()
	q := busy{&fakeQueue{held: map[string]bool{"held.example": true}}, hostile}
	add := func(id, to, reason string, state admin.QueueState, age time.Duration) {
		m := admin.QueueMessage{ID: id, JID: to, To: to, From: "news@corp.example", State: state, Reason: reason, Attempts: 4,
			Accepted: time.Now().Add(-age), Since: time.Now().Add(-age), Next: time.Now().Add(21 * time.Minute)}
		q.messages = append(q.messages, fakeMessage{QueueMessage: m})
	}
	for i := range 8 {
		add(fmt.Sprint("a", i), fmt.Sprintf("user%d@localhost", i), "the recipient is away", admin.Deferred, time.Duration(i+1)*3*time.Hour)
	}
	add("b", "a.very.long.address.of.somebody.who.has.many.names@a.domain.that.is.long.too.example", "connection refused "+hostile, admin.Deferred, 50*time.Hour)
	add("c", "bob@held.example", "", admin.Held, 2*time.Hour)
	add("d", "carol@other.example", "<gone/>: "+hostile, admin.Dead, 70*time.Hour)
	chain, err := filters.Build([]filters.Spec{
		{Name: "chat-states", Type: "chat_state"}, {Name: "watch", Type: "body_regex", Pattern: "secret", Mode: "shadow", Action: "drop"},
	})
	if err != nil {
		t.Fatal(err)
	}
	const to, from = "alice@localhost", "bob@localhost/phone"
	for range 3 {
		chain.Apply(t.Context(), &filters.Item{Direction: filters.In, Stanza: stanza.NewMessage(jid.MustParse(to), jid.MustParse(from), "chat", "secret 42 "+hostile)})
	}
	bus := new(trace.Bus)
	now := time.Now()
	url, stop, err := serveAdmin(admin.Options{
		Version: "1.2.3", Queue: q, Overview: q, Servers: q, Filters: chain, Trace: bus,
		History: fakeHistory{{ID: "q1", StanzaID: hostile, MessageID: "m1@corp.example", From: hostile, To: hostile, JID: "alice@localhost", Outcome: "delivered",
			Proof: "stream management", Part: "xmpp", Listener: "esmtp_listener 127.0.0.1:2525", Node: "N1", Accepted: now.Add(-time.Second), Ended: now, Attempts: 1}},
		Metrics: func() []admin.Metric {
			return []admin.Metric{{Name: "things_total", Labels: []string{"kind"}, Help: hostile, Collect: func(add func(float64, ...string)) { add(7, hostile) }}}
		},
		Config: func(netip.Addr) admin.PeerOptions {
			return admin.PeerOptions{Local: admin.Operate, Tokens: []admin.Token{{Name: "one", Secret: "right", Role: admin.Operate}}}
		},
		Forwarded: func(peer netip.Addr, fields []string) netip.Addr {
			return netip.MustParseAddr(fields[0])
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	for i, stage := range []trace.Stage{trace.Accepted, trace.Stored, trace.Converted, trace.Delivered, trace.Deferred, trace.Failed} {
		for range 1200 >> i {
			bus.Emit(trace.Event{Stage: stage})
		}
	}
	return url
}

// TestInteropDashboardLook: nothing is wider than the screen, in light and in dark; the
// pictures are kept with -artifacts, to be looked at.
func TestInteropDashboardLook(t *testing.T) {
	t.Parallel()
	url := busyGateway(t, "")
	grounds := make(map[string]bool)
	b := openChromium(t, url)
	for _, c := range []struct {
		name          string
		width, height int64
	}{{"phone", 360, 740}, {"tablet", 820, 1180}, {"desktop", 1360, 900}} {
		for _, scheme := range []string{"light", "dark"} {
			b.do(append(viewport(c.width, c.height, scheme), chromedp.Navigate(url+"/?id=q1&show=dead"))...)
			b.says("#link", "live")
			if width := value[int64](b, `document.documentElement.scrollWidth`); width > c.width {
				wide := value[[]string](b, fmt.Sprintf(`[...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > %d).map((e) => e.outerHTML.slice(0, 80))`, c.width))
				t.Errorf("%s: %d pixels wide: %.800q", c.name, width, wide)
			}
			if low := value[[]string](b, lowContrast); len(low) > 0 {
				t.Errorf("%s, %s: hard to read: %.800q", c.name, scheme, low)
			}
			grounds[value[string](b, `getComputedStyle(document.body).backgroundColor`)] = true
			b.picture(c.name + "-" + scheme)
		}
	}
	if len(grounds) != 2 {
		t.Errorf("backgrounds %v, want one for light and one for dark", grounds)
	}
}

// lowContrast are the elements whose own text stands out from its ground by less than
// 4.5 to 1 (WCAG 2.2 §1.4.3).
const lowContrast = `(() => {
	const light = (color) => {
		const [r, g, b] = color.match(/[\d.]+/g).map(Number).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const ground = (e) => {
		for (; e; e = e.parentElement) {
			const color = getComputedStyle(e).backgroundColor;
			if (color !== "rgba(0, 0, 0, 0)") return color;
		}
		return "rgb(255, 255, 255)";
	};
	return [...document.body.querySelectorAll("*")].filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).filter((e) => {
		const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
		return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
	}).map((e) => e.className + ": " + e.textContent.slice(0, 40));
})()`

// TestInteropDashboardHostile: what strangers write is text, in the page as it comes and
// in what the script makes of it.
func TestInteropDashboardHostile(t *testing.T) {
	t.Parallel()
	const hostile = `"'><img src=x onerror=pwned()><script>pwned()</script></template></main>&lt;` + "`${pwned()}`"
	url := busyGateway(t, hostile)
	b := openChromium(t, url+"/?id=q1&show=dead")
	b.says("#link", "live")
	for _, part := range []string{"#trace", "#queue", "#dead", "main"} {
		b.says(part, hostile)
	}
	b.press(kb.Escape)
	b.until(`document.querySelector("#trace").hidden`)
	b.look("q1")
	b.until(`!document.querySelector("#trace").hidden`)
	b.says("#trace", hostile)
	if n := value[int](b, `document.querySelectorAll("img, main script, #trace script, #dead script, template").length`); n != 0 {
		t.Errorf("%d elements were made of text", n)
	}
}

// TestInteropDashboardToken: from elsewhere the page asks for a token once, and keeps it
// for its tab.
func TestInteropDashboardToken(t *testing.T) {
	t.Parallel()
	url := busyGateway(t, "")
	b := openChromium(t, url+"/?id=q1", command(network.Enable, network.EnableParams{}),
		command(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-Forwarded-For": "192.0.2.7"}}))
	b.until(`document.activeElement.id === "token"`)
	b.picture("signin")
	if text := value[string](b, `document.body.textContent`); strings.Contains(text, "localhost") {
		t.Errorf("somebody without a token sees %s", text)
	}
	b.press(append(strings.Split("wrong", ""), kb.Enter)...)
	b.says("#said", "not a good one")
	value[string](b, `document.querySelector("#token").select(), ""`)
	b.press(append(strings.Split("right", ""), kb.Enter)...)
	b.says("#link", "live")
	b.says("#trace", "alice@localhost")
	b.tabTo("Retry localhost")
	b.press(kb.Enter)
	b.says("#said", "Retry localhost: done to 8.")
	b.do(chromedp.Reload())
	b.says("#link", "live")
	b.tabTo("Sign out")
	b.press(kb.Enter)
	b.until(`document.querySelector("#token")`)
	b.forgive("401") // to the page without a token, and to the wrong one
}
