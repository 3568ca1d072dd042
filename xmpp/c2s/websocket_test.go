package c2s

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

const (
	nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"
	handshake = "GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v1, xmpp\r\n"
	openFrame = "<open xmlns='" + nsFraming + "' to='localhost' version='1.0'/>"
)

// socket is the client's end of a WebSocket.
type socket struct {
	net.Conn
	r *bufio.Reader
}

// request sends an HTTP request and reads the response.
func request(t testing.TB, conn net.Conn, text string) (*http.Response, *bufio.Reader) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer, r
}

func dialTCP(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func dialWebSocket(t testing.TB, addr string) *socket {
	t.Helper()
	conn := dialTCP(t, addr)
	answer, r := request(t, conn, handshake+"\r\n")
	// The key and its answer are those of RFC 6455 §1.3.
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
		answer.Header.Get("Sec-Websocket-Protocol") != "xmpp" {
		t.Fatalf("%s %v", answer.Status, answer.Header)
	}
	return &socket{conn, r}
}

// frame is a client's frame: first has FIN, RSV and opcode.
func frame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

func (s *socket) send(text string) error {
	_, err := s.Write(frame(0x81, text))
	return err
}

// receive returns the opcode and payload of the next frame.
func (s *socket) receive() (op byte, payload string, err error) {
	var h [2]byte
	if _, err := io.ReadFull(s.r, h[:]); err != nil {
		return 0, "", err
	}
	if h[0]&0xF0 != 0x80 || h[1]&0x80 != 0 {
		return 0, "", fmt.Errorf("frame begins with %x", h)
	}
	n := uint64(h[1])
	more := map[uint64]int{126: 2, 127: 8}[n]
	if more > 0 {
		var b [8]byte
		if _, err := io.ReadFull(s.r, b[8-more:]); err != nil {
			return 0, "", err
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	data := make([]byte, n)
	_, err = io.ReadFull(s.r, data)
	return h[0] & 0x0F, string(data), err
}

// expect reads frames of text: each is one whole element, by itself.
func (s *socket) expect(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		op, text, err := s.receive()
		if err != nil || op != 1 {
			t.Fatalf("want %s: opcode %d %q %v", name, op, text, err)
		}
		e, err := xmlwire.Parse([]byte(text), xmlwire.Limits{})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if e.Name.Local != name {
			t.Fatalf("want %s, got %s", name, text)
		}
	}
}

// expectClose reads a close frame with the code, and the end of the connection.
func (s *socket) expectClose(t testing.TB, code uint16) {
	t.Helper()
	op, data, err := s.receive()
	if err != nil || op != 8 || len(data) != 2 || binary.BigEndian.Uint16([]byte(data)) != code {
		t.Fatalf("opcode %d %x %v, want a close with %d", op, data, err, code)
	}
	if _, _, err := s.receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after the close: %v", err)
	}
}

func webSocketServer(t testing.TB) *fixture {
	t.Helper()
	return serve(t, router.Options{}, Options{}, ConnOptions{AllowPlainWithoutTLS: true, WebSocket: new(WebSocketOptions)})
}

// TestWebSocketFrames holds frames to RFC 6455 §5 and messages to RFC 7395 §3.
func TestWebSocketFrames(t *testing.T) {
	t.Parallel()
	whole := webSocketServer(t)
	bytes := serveOn(t, func(ln net.Listener) net.Listener { return bytewise{ln} }, router.Options{}, Options{},
		ConnOptions{AllowPlainWithoutTLS: true, WebSocket: new(WebSocketOptions)})
	long := strings.Repeat("x", 20_000)
	for _, c := range []struct {
		name string
		send []byte
		want []string // elements, before the close
		code uint16
	}{
		{"RFC 7395 §3.6: closed in order", append(frame(0x81, openFrame), frame(0x81, "<close xmlns='"+nsFraming+"'/>")...), []string{"open", "features", "close"}, 1000},
		{"in pieces, with a ping between", slicesOf(frame(0x01, openFrame[:10]), frame(0x89, ""), frame(0x00, openFrame[10:20]), frame(0x80, openFrame[20:]), frame(0x81, "<close xmlns='"+nsFraming+"'/>")),
			[]string{"", "open", "features", "close"}, 1000},
		{"§3.8: white space means nothing", slicesOf(frame(0x81, openFrame), frame(0x81, " "), frame(0x81, "<close xmlns='"+nsFraming+"'/>")), []string{"open", "features", "close"}, 1000},
		{"the WebSocket is closed without the stream", slicesOf(frame(0x81, openFrame), frame(0x88, "\x03\xe8")), []string{"open", "features"}, 1000},
		{"§3.4: no open", frame(0x81, "<presence xmlns='jabber:client'/>"), []string{"open", "error", "close"}, 1000},
		{"§3.3.2: a stream header of TCP", frame(0x81, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>"), []string{"open", "error", "close"}, 1000},
		{"unknown host", frame(0x81, "<open xmlns='"+nsFraming+"' to='elsewhere.example' version='1.0'/>"), []string{"open", "error", "close"}, 1000},
		{"§3.3: two elements", frame(0x81, openFrame+openFrame), []string{"open", "error", "close"}, 1000},
		{"§3.3: half an element", frame(0x81, "<open xmlns='"+nsFraming+"'>"), []string{"open", "error", "close"}, 1000},
		{"a stanza before login", slicesOf(frame(0x81, openFrame), frame(0x81, "<message xmlns='jabber:client'/>")), []string{"open", "features", "error", "close"}, 1000},
		{"RFC 6455 §5.1: no mask", append([]byte{0x81, byte(len(openFrame))}, openFrame...), []string{"open", "error", "close"}, 1002},
		{"§5.2: an extension", frame(0xC1, openFrame), []string{"open", "error", "close"}, 1002},
		{"§5.2: unknown opcode", frame(0x83, openFrame), []string{"open", "error", "close"}, 1002},
		{"§5.4: goes on with nothing", frame(0x80, openFrame), []string{"open", "error", "close"}, 1002},
		{"§5.4: begins anew within", slicesOf(frame(0x01, openFrame[:9]), frame(0x81, openFrame)), []string{"open", "error", "close"}, 1002},
		{"§5.5: a long ping", frame(0x89, long[:126]), []string{"open", "error", "close"}, 1002},
		{"§5.5: a ping in pieces", frame(0x09, "x"), []string{"open", "error", "close"}, 1002},
		{"RFC 7395 §3.2: binary", frame(0x82, openFrame), []string{"open", "error", "close"}, 1003},
		{"too large, by what its header says", frame(0x81, long)[:20], []string{"open", "error", "close"}, 1009},
		{"too large in pieces", slicesOf(frame(0x01, long[:15_000]), frame(0x80, long[:15_000])), []string{"open", "error", "close"}, 1009},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, f := range []*fixture{whole, bytes} {
				s := dialWebSocket(t, f.addr)
				if _, err := s.Write(c.send); err != nil {
					t.Fatal(err)
				}
				for _, name := range c.want {
					if name == "" {
						if op, _, err := s.receive(); op != 0xA || err != nil {
							t.Fatalf("want a pong: %d %v", op, err)
						}
						continue
					}
					s.expect(t, name)
				}
				s.expectClose(t, c.code)
			}
		})
	}
}

func slicesOf(all ...[]byte) []byte {
	var b []byte
	for _, a := range all {
		b = append(b, a...)
	}
	return b
}

// TestWebSocketHandshake holds the request to RFC 6455 §4.2.1 and RFC 7395 §3.1, and
// pages of other origins to the policy (RFC 6455 §10.2).
func TestWebSocketHandshake(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{
		AllowPlainWithoutTLS: true, WebSocket: &WebSocketOptions{Origins: []string{"https://desk.example"}},
	})
	without := func(line string) string { return strings.Replace(handshake, line, "", 1) }
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"as it should be", handshake, 101},
		{"no subprotocol", without("Sec-WebSocket-Protocol: v1, xmpp\r\n"), 400},
		{"another subprotocol", strings.Replace(handshake, "v1, xmpp", "mqtt", 1), 400},
		{"no key", without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400},
		{"another version", strings.Replace(handshake, "Version: 13", "Version: 8", 1), 426},
		{"no upgrade", without("Upgrade: websocket\r\n"), 426},
		{"HTTP/1.0", strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1), 400},
		{"another method", strings.Replace(handshake, "GET", "POST", 1), 405},
		{"another path", strings.Replace(handshake, "/xmpp-websocket", "/", 1), 404},
		{"a page of the host", handshake + "Origin: http://localhost\r\n", 101},
		{"a page of a domain that is served, by another port", handshake + "Origin: https://localhost:8443\r\n", 101},
		{"a page that is allowed", handshake + "Origin: https://desk.example\r\n", 101},
		{"the same by another scheme", handshake + "Origin: http://desk.example\r\n", 403},
		{"a page of somebody else", handshake + "Origin: https://evil.example\r\n", 403},
		{"a page without an origin", handshake + "Origin: null\r\n", 403},
		{"two origins", handshake + "Origin: http://localhost\r\nOrigin: https://evil.example\r\n", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer, _ := request(t, dialTCP(t, f.addr), c.request+"\r\n")
			if answer.StatusCode != c.status {
				t.Errorf("%s, want %d", answer.Status, c.status)
			}
		})
	}
}

// TestWebSocketAnyOrigin: an operator may let all pages connect.
func TestWebSocketAnyOrigin(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{AllowPlainWithoutTLS: true, WebSocket: &WebSocketOptions{Origins: []string{"*"}}})
	for _, origin := range []string{"https://evil.example", "null"} {
		if answer, _ := request(t, dialTCP(t, f.addr), handshake+"Origin: "+origin+"\r\n\r\n"); answer.StatusCode != 101 {
			t.Errorf("%s: %s", origin, answer.Status)
		}
	}
}

// TestWebSocketNoHTTP: what is no request, and one that does not end, get no stream.
func TestWebSocketNoHTTP(t *testing.T) {
	t.Parallel()
	f := webSocketServer(t)
	for _, said := range []string{"<stream:stream to='localhost'>\r\n\r\n", handshake + "X: " + strings.Repeat("x", 70_000)} {
		conn := dialTCP(t, f.addr)
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, said)
		if b, err := io.ReadAll(conn); len(b) > 0 || err != nil {
			t.Errorf("%.20q: got %q %v", said, b, err)
		}
	}
}

// TestWebSocketSlowHTTP: the time for the negotiation holds for a request that does not
// end too.
func TestWebSocketSlowHTTP(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{AllowPlainWithoutTLS: true, WebSocket: new(WebSocketOptions),
		Limits: stream.Limits{Negotiation: 300 * time.Millisecond}})
	conn := dialTCP(t, f.addr)
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, handshake)
	if b, err := io.ReadAll(conn); len(b) > 0 || err != nil {
		t.Errorf("got %q %v", b, err)
	}
}

// TestHostMeta: XEP-0156 §4, in both forms, for pages of every origin.
func TestHostMeta(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    ConnOptions
		want string
	}{
		{ConnOptions{AllowPlainWithoutTLS: true, WebSocket: new(WebSocketOptions)}, "ws://chat.example:5280/xmpp-websocket"},
		{ConnOptions{Direct: true, WebSocket: new(WebSocketOptions)}, "wss://chat.example:5280/xmpp-websocket"},
		{ConnOptions{AllowPlainWithoutTLS: true, WebSocket: &WebSocketOptions{URL: "wss://chat.example/ws?a=1&b=2"}}, "wss://chat.example/ws?a=1&b=2"},
	} {
		f := serve(t, router.Options{}, Options{}, c.o)
		for path, parse := range map[string]func(string) string{
			"/.well-known/host-meta": func(body string) string {
				e, err := xmlwire.Parse([]byte(body), xmlwire.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				return e.Child(xmlwire.Name{Space: "http://docs.oasis-open.org/ns/xri/xrd-1.0", Local: "Link"}).Attr("href")
			},
			"/.well-known/host-meta.json": func(body string) string {
				_, rest, _ := strings.Cut(body, `"href":"`)
				href, _, _ := strings.Cut(rest, `"`)
				return strings.ReplaceAll(href, `\u0026`, "&")
			},
		} {
			conn := dialTCP(t, f.addr)
			if c.o.Direct {
				cfg := f.tls.Clone()
				cfg.ServerName = "localhost"
				conn = tls.Client(conn, cfg)
			}
			answer, _ := request(t, conn, "GET "+path+" HTTP/1.1\r\nHost: chat.example:5280\r\n\r\n")
			body, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != 200 || answer.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("%s: %s %v %v", path, answer.Status, answer.Header, err)
			}
			if got := parse(string(body)); got != c.want || !strings.Contains(string(body), "urn:xmpp:alt-connections:websocket") {
				t.Errorf("%s: %s, want %s", path, body, c.want)
			}
		}
	}
}

// TestWebSocketTranscripts plays transcripts of the stream of TCP over a WebSocket:
// above the framing nothing is different.
func TestWebSocketTranscripts(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"message-*", "presence-*", "roster-[elrsv]*", "iq-*", "sm-[ars]*", "sm-enable*", "bind-*", "sasl-[aprs]*", "sasl2-[abp]*", "stanza-[ifou]*", "limit-failed*"} {
		t.Run(pattern, func(t *testing.T) {
			t.Parallel()
			xmpptest.Run(t, "testdata/"+pattern+".txt", func(t *testing.T, uses []string) string {
				return bridge(t, transcriptServer(t, append(uses, "no-tls", "websocket"), nil))
			})
		})
	}
}

// TestWebSocketResume: a session goes on over the other transport, with what waits for
// it written as that one needs it.
func TestWebSocketResume(t *testing.T) {
	t.Parallel()
	shared := Options{Hibernation: NewHibernation(HibernationOptions{})}
	tcp := serve(t, router.Options{}, shared, ConnOptions{AllowPlainWithoutTLS: true, ResumeTime: time.Minute})
	shared.Router = tcp.router
	web := serve(t, router.Options{}, shared, ConnOptions{AllowPlainWithoutTLS: true, ResumeTime: time.Minute, WebSocket: new(WebSocketOptions)})
	for _, c := range []struct{ name, from, to string }{{"to a WebSocket", tcp.addr, bridge(t, web.addr)}, {"from a WebSocket", bridge(t, web.addr), tcp.addr}} {
		t.Run(c.name, func(t *testing.T) {
			ctx := within(t)
			dial := func(addr string, old *stream.Client) *stream.Client {
				client, err := stream.Dial(ctx, stream.ClientOptions{JID: jid.MustParse("alice@localhost/a"), Password: "secret",
					Address: addr, ClearText: true, Manage: true, Resume: old})
				if err != nil {
					t.Fatal(err)
				}
				return client
			}
			old := dial(c.from, nil)
			s := tcp.session(t, old)
			_ = old.Stream().Abort()
			eventually(t, s.(*session).Suspended, "the session is suspended")
			st := stanza.NewIQ(old.JID(), jid.MustParse("localhost"), stanza.TypeSet, "1", xmlwire.New("urn:example", "held"))
			if err := s.Send(ctx, st); err != nil {
				t.Fatal(err)
			}
			resumed := dial(c.to, old)
			got, err := resumed.Receive(ctx)
			if err != nil || !resumed.Resumed() || got.ID != "1" || got.Element.Child(xmlwire.Name{Space: "urn:example", Local: "held"}) == nil {
				t.Fatalf("resumed %v: %v %v", resumed.Resumed(), got, err)
			}
			if err := s.Send(ctx, st); err != nil {
				t.Fatal(err)
			}
			if got, err := resumed.Receive(ctx); err != nil || got.ID != "1" {
				t.Fatalf("afterwards: %v %v", got, err)
			}
			_ = resumed.Close(ctx)
		})
	}
}

// bridge takes streams of TCP to a WebSocket, element by element.
func bridge(t *testing.T, addr string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s := dialWebSocket(t, addr)
			t.Cleanup(func() { _ = conn.Close() })
			go toFrames(s, conn)
			go fromFrames(conn, s)
		}
	}()
	return ln.Addr().String()
}

// toFrames carries what the client says. A new stream begins with a write of its own.
func toFrames(s *socket, conn net.Conn) {
	defer s.Close()
	var current *io.PipeWriter
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		said := string(buf[:n])
		if strings.HasPrefix(said, "<?xml") || strings.HasPrefix(said, "<stream:stream") {
			if current != nil {
				_ = current.Close()
			}
			r, w := io.Pipe()
			current = w
			go inFrames(s, r)
		}
		if current != nil {
			_, _ = io.WriteString(current, said)
		}
		if err != nil {
			if current != nil {
				_ = current.Close()
			}
			return
		}
	}
}

// inFrames sends each element of one stream in a frame.
func inFrames(s *socket, r io.Reader) {
	defer func() { _, _ = io.Copy(io.Discard, r) }()
	dec := xmlwire.NewDecoder(r, xmlwire.Limits{Bytes: 1 << 20})
	h, err := dec.Header()
	if err != nil {
		return
	}
	h.Name = xmlwire.Name{Space: nsFraming, Local: "open"}
	for e := h; err == nil; e, err = dec.Next() {
		if s.send(e.String()) != nil {
			return
		}
	}
	if err == io.EOF {
		_ = s.send("<close xmlns='" + nsFraming + "'/>")
	}
}

// fromFrames carries what the server says.
func fromFrames(conn net.Conn, s *socket) {
	defer conn.Close()
	for {
		op, text, err := s.receive()
		if err != nil {
			return
		}
		e, err := xmlwire.Parse([]byte(text), xmlwire.Limits{Bytes: 1 << 20})
		switch {
		case op != 1 || err != nil:
			continue
		case e.Name.Space != nsFraming:
		case e.Name.Local == "open":
			e.Name = xmlwire.Name{Space: xmlwire.Streams, Local: "stream"}
			text = strings.TrimSuffix(e.String(), "/>") + " xmlns='jabber:client'>"
		default:
			text = "</stream:stream>"
		}
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
	}
}
