package c2s

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/router"
)

// said is what a client of FuzzNegotiation may say at any moment: what a stream is
// negotiated with, right and wrong. Alice's password is the only one that is ever right.
var said = func() []string {
	const (
		stream  = "<stream:stream xmlns='%s' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='%s'>"
		auth    = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>"
		auth2   = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='%s'><initial-response>%s</initial-response>%s</authenticate>"
		bind    = "<iq xmlns='jabber:client' type='%s' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>%s</bind></iq>"
		bind2   = "<bind xmlns='urn:xmpp:bind:0'><tag>t</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>"
		resume  = "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%s'/>"
		sasl    = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
		framing = "xmlns='urn:ietf:params:xml:ns:xmpp-framing'"
	)
	plain := func(authz, user, password string) string {
		return base64.StdEncoding.EncodeToString([]byte(authz + "\x00" + user + "\x00" + password))
	}
	right, wrong := plain("", "alice", "secret"), plain("", "bob", "wrong")
	first := base64.StdEncoding.EncodeToString([]byte("n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL"))
	all := []string{
		fmt.Sprintf(stream, "jabber:client", "localhost", "1.0"), fmt.Sprintf(stream, "jabber:client", "localhost", "1.0"),
		fmt.Sprintf(stream, "jabber:client", "other.example", "1.0"), fmt.Sprintf(stream, "jabber:server", "localhost", "0.9"),
		"<open " + framing + " to='localhost' version='1.0'/>", "<open " + framing + "/>", "<close " + framing + "/>", "</stream:stream>",
		fmt.Sprintf(auth, "PLAIN", right), fmt.Sprintf(auth, "PLAIN", right), fmt.Sprintf(auth, "PLAIN", wrong), fmt.Sprintf(auth, "PLAIN", plain("bob@localhost", "alice", "secret")),
		fmt.Sprintf(auth, "PLAIN", plain("", "bob", "")), fmt.Sprintf(auth, "PLAIN", "="), fmt.Sprintf(auth, "PLAIN", ""), fmt.Sprintf(auth, "EXTERNAL", "="),
		fmt.Sprintf(auth, "SCRAM-SHA-256", first), fmt.Sprintf(auth, "SCRAM-SHA-1", first), fmt.Sprintf(auth, "DIGEST-MD5", ""), fmt.Sprintf(auth, "", right),
		fmt.Sprintf(auth2, "PLAIN", right, ""), fmt.Sprintf(auth2, "PLAIN", right, bind2), fmt.Sprintf(auth2, "PLAIN", wrong, bind2),
		fmt.Sprintf(auth2, "PLAIN", right, fmt.Sprintf(resume, "x", "1")+bind2), fmt.Sprintf(auth2, "SCRAM-SHA-256", first, bind2), fmt.Sprintf(auth2, "PLAIN", "!", bind2),
		"<response " + sasl + ">" + right + "</response>", "<response " + sasl + ">" + wrong + "</response>", "<response " + sasl + "/>", "<success " + sasl + "/>",
		"<response xmlns='urn:xmpp:sasl:2'>" + wrong + "</response>", "<abort " + sasl + "/>", "<abort xmlns='urn:xmpp:sasl:2'/>", "<next xmlns='urn:xmpp:sasl:2' task='x'/>",
		fmt.Sprintf(bind, "set", "<resource>r</resource>"), fmt.Sprintf(bind, "set", ""), fmt.Sprintf(bind, "set", "<resource>a&#9;b</resource>"), fmt.Sprintf(bind, "get", ""),
		"<iq xmlns='jabber:client' type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>", bind2,
		"<enable xmlns='urn:xmpp:sm:3' resume='1'/>", fmt.Sprintf(resume, "x", "0"), fmt.Sprintf(resume, "", "-1"), "<r xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h='0'/>",
		"<presence xmlns='jabber:client'/>", "<message xmlns='jabber:client' to='bob@localhost'><body>x</body></message>",
		"<iq xmlns='jabber:client' type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>",
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
		"<stream:error xmlns:stream='http://etherx.jabber.org/streams'><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
		"<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>", " ", "hello", "<!-- x -->", "<a", "<x/>", "\x16\x03\x01\x00\x05hello", strings.Repeat("<y>", 20), strings.Repeat("z", 20_000),
	}
	return all
}()

// deaf is a connection whose client says one thing after the other, whatever it hears.
type deaf struct {
	canned
	close func()
}

func (c *deaf) Close() error {
	c.close()
	return nil
}

// negotiate has a client say things, one for each byte of which, raw in the place of
// every 251st kind, and holds the server to what must be true whatever they are.
func negotiate(t *testing.T, which []byte, raw string, web bool) {
	t.Helper()
	const open = "GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n"
	var parts []io.Reader // each is a read of its own
	if web {
		parts = append(parts, strings.NewReader(open))
	}
	for _, b := range which {
		text := raw
		if int(b) < 250 {
			text = said[int(b)%len(said)]
		}
		if web {
			text = string(frame(0x81, text))
		}
		parts = append(parts, strings.NewReader(text))
	}
	var log bytes.Buffer
	r := router.New(router.Options{Domains: func(d string) bool { return d == "localhost" }})
	serverTLS, _ := anyTLS()
	v := New(Options{Router: r, Log: zerolog.New(zerolog.SyncWriter(&log)), Connection: func(net.Addr) ConnOptions {
		co := ConnOptions{Accounts: users, AllowPlainWithoutTLS: true, TLS: serverTLS, ResumeTime: time.Hour, Tries: 5}
		if web {
			co.WebSocket = new(WebSocketOptions)
		}
		return co
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	v.handle(ctx, &deaf{canned: canned{r: io.MultiReader(parts...)}, close: cancel}, func(f func()) { f() })

	st, lines, out := v.Stats(), log.String(), ""
	for line := range strings.Lines(lines) {
		if strings.Contains(line, `"way":"out"`) {
			out += line // what goes out is in the log before it is in a queue, which the end may drop
		}
	}
	if st.Open != 0 || st.Negotiating != 0 || st.Sessions != 0 || st.Suspended != 0 || len(r.All()) != 0 {
		t.Errorf("something is left: %+v, %d bound", st, len(r.All()))
	}
	if strings.Contains(lines, "bug:") {
		t.Error(lines)
	}
	// The proof comes before all that needs it, and is alice's.
	success := strings.Index(out, "<success")
	for _, granted := range []string{"<jid>", "<bound", "<resumed", "<enabled", "type='result'"} {
		if i := strings.Index(out, granted); i >= 0 && (success < 0 || i < success && granted != "<bound") {
			t.Errorf("%s without success before: %q", granted, out)
		}
	}
	if st.Logins > 0 && (success < 0 || strings.Contains(lines, `"jid":"bob@`)) {
		t.Errorf("%d sessions: %q\n%s", st.Logins, out, lines)
	}
	if strings.Contains(raw, "secret") || raw != "" && bytes.ContainsFunc(which, func(r rune) bool { return r >= 250 }) {
		return // who knows what raw proves
	}
	proved := false
	for _, b := range which {
		proved = proved || int(b) < 250 && strings.Contains(said[int(b)%len(said)], base64.StdEncoding.EncodeToString([]byte("\x00alice\x00secret")))
	}
	if success >= 0 && !proved {
		t.Errorf("success for nothing: %q", out)
	}
}

// FuzzNegotiation has a client say anything of the negotiation in any order: never a
// panic, never a session that nobody has proven.
func FuzzNegotiation(f *testing.F) {
	index := func(sub ...string) []byte {
		var which []byte
		for _, s := range sub {
			for i, text := range said {
				if strings.Contains(text, s) {
					which = append(which, byte(i))
					break
				}
			}
		}
		return which
	}
	for _, seed := range [][]byte{
		index("<stream:stream", "<auth ", "<stream:stream", "<resource>r", "<enable", "<presence", "</stream:stream>"),
		index("<open", "<auth ", "<open", "<resource>r", "<presence", "<close"),
		index("<stream:stream", "<authenticate", "<resource>r", "<r "), index("<open", "<authenticate", "<resource>r"),
		index("<stream:stream", "SCRAM-SHA-256", "<response", "<abort"), index("<stream:stream", "<starttls", "\x16"),
		index("<stream:stream", "<resource>r", "<presence"), index("<stream:stream", "<enable", "<resume"),
	} {
		f.Add(seed, "", false)
		f.Add(seed, "", true)
	}
	f.Add([]byte{0, 255}, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>", false)
	f.Fuzz(negotiate)
}

// TestNegotiationRandom is a part of FuzzNegotiation's walk for every run of the tests:
// things in random order, most of them after what opens a stream.
func TestNegotiationRandom(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(7, uint64(i)))
			logins := 0
			for n := range 500 {
				web := n%2 == 1
				which := make([]byte, r.IntN(12))
				for i := range which {
					which[i] = byte(r.IntN(len(said)))
				}
				// Each third walk begins with an opened stream, each ninth after a login.
				switch begin := map[bool]byte{false: 0, true: 4}[web]; {
				case n%9 == 0:
					which = append([]byte{begin, 20}, which...)
					logins++
				case n%3 == 0:
					which = append([]byte{begin}, which...)
				}
				negotiate(t, which, "", web)
				if t.Failed() {
					t.Fatalf("walk %d: %v", n, which)
				}
			}
		})
	}
}
