package config

import (
	"io/fs"
	"net/netip"
	"time"

	"mcmt2xmpp/mcmt"
)

// ListenerKind is the kind of listener a listen scope belongs to.
type ListenerKind uint8

// Kinds of listener; the zero value is none of them.
const (
	ESMTP ListenerKind = iota + 1
	HTTP
	XMPPStreams
	Control
)

// String returns the name of the scope, such as "esmtp_listener".
func (k ListenerKind) String() string {
	switch k {
	case ESMTP:
		return "esmtp_listener"
	case HTTP:
		return "http_listener"
	case XMPPStreams:
		return "xmpp_listener"
	case Control:
		return "control_listener"
	default:
		return ""
	}
}

// Stream kinds of an xmpp_listener.
const (
	StreamClient    = "client"
	StreamServer    = "server"
	StreamComponent = "component"
	StreamWebSocket = "websocket"
)

// Listen is one listen scope with everything that holds for the socket. What
// depends on the peer is in For.
type Listen struct {
	Kind ListenerKind
	// Address is the label as it is written: "*:5222", ":5222", "[::]:5222",
	// "192.0.2.1:5222", "host:5222", "/path" or "unix:path" (relative paths are
	// taken from the folder of the file). Port 0 lets the system choose.
	Address string
	Stream  string // StreamClient and so on; empty unless Kind is XMPPStreams
	Enable  bool
	// UseSSL is TLS from the first byte (XEP-0368 for XMPP, RFC 8314 for SMTP).
	UseSSL bool

	ListenBacklog      int // length of the kernel's queue
	AcceptQueueBacklog int // accepted connections that may wait for a worker; 0 none
	EventsPerIter      int // connections taken per wake-up; 0 no bound
	// Concurrency is how many connections of an XMPP socket negotiate at once; 0
	// is no bound. Pool is the threadpool whose concurrency holds in its place,
	// for all sockets together that name it: a key of Config.ThreadPools, empty
	// for none.
	Concurrency int
	Pool        string

	FileMode      fs.FileMode // of a Unix socket
	DisableNagle  *bool       // nil: the system's choice
	TCPRecvBuffer int         // bytes; 0: the system sizes the buffer
	TCPSendBuffer int         // bytes; 0: the system sizes the buffer

	MaxConnections           int // at once, of an ESMTP or HTTP socket; 0: the server's choice
	MaxConnectionsPerAddress int // at once from one address (IPv6: one /64); 0: the server's choice

	Pos Position

	base  *peerEntry
	peers []*peerEntry // most specific first
}

// Clients says whether the socket takes streams of clients.
func (l *Listen) Clients() bool { return l.Stream == StreamClient || l.Stream == StreamWebSocket }

// PeerOptions are the options that hold for connections of one peer. The value
// is shared: read only.
type PeerOptions struct {
	AlwaysDeny bool // close at once
	// Trusted is whether the peer is in relay_hosts: it may relay, and send as
	// our domains.
	Trusted bool
	// IdleTime is the silence after which the peer is probed, then
	// disconnected; 0 never.
	IdleTime time.Duration

	MCMTReception mcmt.Reception
	// KeepPartFrom is xmpp_part_from = "keep": the from of an XMPP part counts
	// where its domain is ours.
	KeepPartFrom bool

	// AuthPlain and AuthDigestMD5 are the URIs of account stores: file:///PATH
	// (user:password lines), digest:///PATH (htdigest) or nats://accounts (the
	// built-in store), paths absolute. Empty: none.
	AuthPlain, AuthDigestMD5 string
	AllowPlainWithoutTLS     bool
	// AllowExternal logs clients in by the certificates that TLSClientCA signs.
	AllowExternal bool
	// BearerTokens open an http_listener or control_listener to peers that are
	// not on loopback; on the latter beside those of Config.Operators.
	BearerTokens []Secret
	// LocalRole is what a peer on this machine may do on a control_listener without
	// a token.
	LocalRole OperatorRole
	// RequestRate bounds the requests of one operator at one address there.
	RequestRate Rate

	// NoTLS is tls_certificate = "none": no TLS is offered.
	NoTLS bool
	// TLSCertificate is the path of a PEM chain. Empty: the certificate made on
	// first start.
	TLSCertificate string
	// TLSKey is the path of the PEM key of TLSCertificate, which may be the same file.
	TLSKey        string
	TLSCiphers    []uint16 // TLS 1.2 suites allowed; nil: Go's
	TLSClientCA   string   // path of PEM certificates that sign clients' ones; empty: the system's
	TLSVerifyMode VerifyMode

	MaxMessageSize int64 // bytes
	MaxRecipients  int   // of one message

	// Origins are those of web pages that may post over HTTP, or open a WebSocket.
	Origins []string
	// TrustedProxies are those whose word on whom a request is from is believed.
	TrustedProxies []netip.Prefix
	// WebSocketURL is what clients are told of the WebSocket (XEP-0156). Empty: the
	// host and port that they asked.
	WebSocketURL string
	// Limits of one address over HTTP; 0 is no bound.
	MaxRequests  int // at once
	MessageRate  int // messages a second in the long run
	MessageBurst int // messages at once; 0: one second's worth

	// Limits of XMPP streams.
	MaxStanzaSize   int           // bytes of one stanza after authentication
	MaxPreAuthSize  int           // bytes of one stream element before authentication
	MaxPreAuthBytes int64         // bytes in all before authentication
	MaxElementDepth int           // of elements within a stanza
	MaxAttributes   int           // of one element
	AuthTimeout     time.Duration // from connection to bound resource
	MaxFailedLogins int           // per connection

	StanzaRate, ByteRate Rate          // of one client
	StanzaTime           time.Duration // for one stanza
	// FailedLoginDelay is the pause before a wrong password is answered, the first
	// time. The others bound failed logins within FailedLoginWindow; 0 is no bound.
	FailedLoginDelay, FailedLoginWindow time.Duration
	FailedPerAddress, FailedPerAccount  int
	ResourceConflict                    Conflict

	// ResumeTime is how long the session of a client whose connection is lost
	// waits to be resumed (XEP-0198); zero: it ends with the connection.
	ResumeTime time.Duration
	// ResumeLocation is where a client is told to come for that; empty: it is not told.
	ResumeLocation string
	// MaxHeld is how many stanzas wait while nobody looks at a client (XEP-0352);
	// zero: none.
	MaxHeld int
	// MaxUnackedStanzas and MaxUnackedSize, in bytes, are what a client may have
	// unacknowledged.
	MaxUnackedStanzas, MaxUnackedSize int
}

// Conflict is what becomes of a client that asks for a resource which another
// session of its account has.
type Conflict uint8

// Words of resource_conflict.
const (
	ConflictReplace Conflict = iota // the other session ends
	ConflictRefuse                  // the client is told
	ConflictRename                  // the client gets another resource
)

// VerifyMode is what becomes of a client's certificate.
type VerifyMode uint8

// Modes of tls_verify_mode.
const (
	VerifyIfGiven VerifyMode = iota // unset: verified if presented, the result recorded
	VerifyNone                      // ignored
	VerifyRequire                   // must be presented and verify
)

// peerEntry is a peer scope's options, in both answers to whether the address is
// in relay_hosts, which may cut through the scope's range.
type peerEntry struct {
	prefix             netip.Prefix
	relayHosts         []netip.Prefix
	trusted, untrusted *PeerOptions
}

// For returns the options for a peer's address: those of the most specific peer
// scope that holds it, or of the listen scope. A peer on a Unix socket has no
// address and counts as 127.0.0.1. It neither blocks nor allocates.
func (l *Listen) For(addr netip.Addr) *PeerOptions {
	if !addr.IsValid() {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	addr = addr.Unmap().WithZone("")
	return l.entryFor(addr).options(addr)
}

func (l *Listen) entryFor(addr netip.Addr) *peerEntry {
	for _, p := range l.peers {
		if p.prefix.Contains(addr) {
			return p
		}
	}
	return l.base
}

func (p *peerEntry) options(addr netip.Addr) *PeerOptions {
	for _, prefix := range p.relayHosts {
		if prefix.Contains(addr) {
			return p.trusted
		}
	}
	return p.untrusted
}
