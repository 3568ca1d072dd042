package c2s

import (
	"bufio"
	"context"
	"crypto/sha1" // #nosec G505: RFC 6455 §4.2.2 has no other
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// WebSocketPath is where clients find the WebSocket.
const WebSocketPath = "/xmpp-websocket"

// WebSocketOptions are those of connections that begin with HTTP (RFC 7395).
type WebSocketOptions struct {
	// Origins are those of web pages whose scripts may connect, "*" for all; those of
	// the host itself and of the domains that are served always may.
	Origins []string
	// URL is what XEP-0156 tells clients. Empty: the host and port that they asked,
	// and WebSocketPath.
	URL string
	// Forwarded says that the connection is a proxy's, and whom it is from by the
	// X-Forwarded-For fields of the request: all that holds for that address holds then.
	// Nil: it is no proxy's, or none that is believed.
	Forwarded func(fields []string) netip.Addr
}

// errServed ends a connection that was answered by HTTP alone.
var errServed = errors.New("no websocket asked for")

// upgrade takes the connection from HTTP to a WebSocket.
func (n *negotiation) upgrade(ctx context.Context) error {
	var rest []byte
	err := n.s.Handshake(ctx, func(c io.ReadWriter) error {
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil {
			return fmt.Errorf("http: %w", err)
		}
		answer, refused := httpAnswer{}, n.identify(req)
		switch {
		case errors.Is(refused, errDenied):
			answer = refuse(http.StatusForbidden, errDenied.Error())
		case refused != nil:
			answer = refuse(http.StatusTooManyRequests, "too many connections from your address", "Retry-After: 60")
		default:
			answer = n.answer(req)
		}
		if _, err := io.WriteString(c, answer.String()); err != nil {
			return fmt.Errorf("http: %w", err)
		}
		if refused != nil {
			return refused
		}
		if answer.status != http.StatusSwitchingProtocols {
			return fmt.Errorf("http: %s %s answered %d: %w", req.Method, req.URL.Path, answer.status, errServed)
		}
		rest, _ = in.Peek(in.Buffered())
		return nil
	})
	if err == nil {
		n.s.Frame(rest)
	}
	return err
}

var errDenied = errors.New("connections from this address are not taken")

// identify finds whom a proxy's connection is from, and what holds for it. The error
// says that it is not taken.
func (n *negotiation) identify(req *http.Request) error {
	if !n.proxied() {
		return nil
	}
	proxy := n.k.conn.RemoteAddr()
	client := n.o.WebSocket.Forwarded(req.Header.Values("X-Forwarded-For"))
	addr := net.Addr(net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0)))
	if own := stream.AddressOf(proxy); own == stream.AddressOfIP(client) || !own.IsValid() && client.IsLoopback() {
		addr = proxy // and no further, or a local user on a Unix socket
	} else {
		n.k.log = n.v.o.Log.With().Stringer("peer", addr).Stringer("proxy", proxy).Logger()
	}
	n.log, n.from = n.k.log, stream.AddressOf(addr)
	n.s.SetRemote(addr)
	o := n.v.o.Connection(addr)
	o.TLS, o.Direct = n.o.TLS, n.o.Direct // are done
	if o.WebSocket == nil {
		o.WebSocket = n.o.WebSocket
	}
	n.o = o
	n.s.Limit(o.Limits)
	if o.Deny {
		return errDenied
	}
	var err error
	n.k.leave, err = n.v.door.Admit(addr)
	return err
}

// httpAnswer is a response of HTTP/1.1. All but one close the connection.
type httpAnswer struct {
	status int
	header []string // lines
	body   string
}

func (a httpAnswer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	for _, line := range a.header {
		b.WriteString(line + "\r\n")
	}
	if a.status != http.StatusSwitchingProtocols {
		fmt.Fprintf(&b, "Connection: close\r\nContent-Length: %d\r\n", len(a.body))
	}
	return b.String() + "\r\n" + a.body
}

// refuse is an answer for a person.
func refuse(status int, text string, header ...string) httpAnswer {
	return httpAnswer{status, append(header, "Content-Type: text/plain; charset=utf-8"), text + "\n"}
}

// answer says what becomes of a request.
func (n *negotiation) answer(req *http.Request) httpAnswer {
	switch {
	case req.Method != http.MethodGet:
		return refuse(http.StatusMethodNotAllowed, "only GET", "Allow: GET")
	case req.URL.Path == "/.well-known/host-meta":
		return hostMeta("application/xrd+xml", n.hostMetaXML(req))
	case req.URL.Path == "/.well-known/host-meta.json":
		return hostMeta("application/json", n.hostMetaJSON(req))
	case req.URL.Path != WebSocketPath:
		return refuse(http.StatusNotFound, "XMPP clients connect to "+WebSocketPath)
	}
	return n.handshake(req)
}

// handshake is the server's half of the opening handshake (RFC 6455 §4.2, RFC 7395
// §3.1).
func (n *negotiation) handshake(req *http.Request) httpAnswer {
	key, err := base64.StdEncoding.DecodeString(req.Header.Get("Sec-Websocket-Key"))
	switch {
	case !hasToken(req.Header, "Upgrade", "websocket") || !hasToken(req.Header, "Connection", "upgrade"):
		return refuse(http.StatusUpgradeRequired, "this is a WebSocket", "Upgrade: websocket")
	case !req.ProtoAtLeast(1, 1):
		return refuse(http.StatusBadRequest, "HTTP/1.1 is needed")
	case req.Header.Get("Sec-Websocket-Version") != "13":
		return refuse(http.StatusUpgradeRequired, "version 13 is spoken here", "Sec-WebSocket-Version: 13")
	case err != nil || len(key) != 16:
		return refuse(http.StatusBadRequest, "the key is not of 16 bytes")
	case !hasToken(req.Header, "Sec-Websocket-Protocol", "xmpp"):
		return refuse(http.StatusBadRequest, "the subprotocol xmpp is not asked for") // RFC 7395 §3.1
	case !n.mayConnect(req):
		return refuse(http.StatusForbidden, "pages of this origin may not connect")
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // #nosec G401
	return httpAnswer{status: http.StatusSwitchingProtocols, header: []string{
		"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Protocol: xmpp",
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]),
	}}
}

// hasToken says whether a header lists a token, in any case.
func hasToken(h http.Header, name, token string) bool {
	return httpguts.HeaderValuesContainsToken(h[name], token)
}

// mayConnect holds scripts of web pages to the policy (RFC 6455 §10.2). Programs send
// no Origin: what protects accounts is the password, not this.
func (n *negotiation) mayConnect(req *http.Request) bool {
	origins := req.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	if err != nil || len(origins) > 1 {
		return false
	}
	allowed := n.o.WebSocket.Origins
	return slices.Contains(allowed, "*") || u.Host != "" && strings.EqualFold(u.Host, req.Host) ||
		n.v.o.Router.Serves(strings.ToLower(u.Hostname())) ||
		slices.ContainsFunc(allowed, func(o string) bool { return strings.EqualFold(o, origins[0]) })
}

// hostMeta is for scripts of every origin: it is no secret (XEP-0156 §4).
func hostMeta(contentType, body string) httpAnswer {
	return httpAnswer{http.StatusOK, []string{"Content-Type: " + contentType, "Access-Control-Allow-Origin: *"}, body}
}

const relWebSocket = "urn:xmpp:alt-connections:websocket"

// location is the URL of the WebSocket.
func (n *negotiation) location(req *http.Request) string {
	if n.o.WebSocket.URL != "" {
		return n.o.WebSocket.URL
	}
	scheme := "ws"
	if n.s.TLS() != nil {
		scheme = "wss"
	}
	return (&url.URL{Scheme: scheme, Host: req.Host, Path: WebSocketPath}).String()
}

func (n *negotiation) hostMetaXML(req *http.Request) string {
	const ns = "http://docs.oasis-open.org/ns/xri/xrd-1.0"
	link := xmlwire.New(ns, "Link", "rel", relWebSocket, "href", n.location(req))
	return "<?xml version='1.0' encoding='utf-8'?>" + xmlwire.New(ns, "XRD").Add(link).String()
}

func (n *negotiation) hostMetaJSON(req *http.Request) string {
	type link struct {
		Rel  string `json:"rel"`
		Href string `json:"href"`
	}
	b, err := json.Marshal(map[string][]link{"links": {{relWebSocket, n.location(req)}}})
	if err != nil {
		panic(err) // strings only
	}
	return string(b)
}
