// Package config reads the configuration language of the system that this
// product replaces, checks it against one table of options, and hands out a
// typed result. Nothing else reads a raw option.
//
//	grammar.go, syntax.go      the language, and what is wrong with a text
//	tokens.go, brackets.go     mistakes that need no grammar; secrets in excerpts
//	load.go, include.go        files into a tree of scopes and settings (node.go)
//	table*.go, scopes.go       every option and scope as data
//	value.go, read.go, raw.go  what each type of option accepts
//	resolve.go                 fallback: which setting holds in a scope
//	build*.go, filter.go       the typed result; streams.go, links.go that for other servers, relay.go,
//	                           mail.go for mail, scripts.go policy scripts, webhook.go webhooks,
//	                           operators.go the admin HTTP, logger.go the xmpp_logger
//	check*.go                  what one setting alone cannot show to be wrong
//	effective.go               what holds where, and why
//	reference.go               the option reference, from the table
//
// A configuration that is empty but for "xmpp {}" is valid; with no file at all
// the text of default.conf holds, read by the same code.
package config

//go:generate go test -run ^TestReference -update .

import (
	"regexp"
	"time"

	"mcmt2xmpp/filters"
)

// Config is a valid configuration. It is read-only once loaded; a reload makes
// another one.
type Config struct {
	// Files are the files that were read, as absolute paths, the first one being
	// the one given to Load. Empty for the embedded default.
	Files []string

	// DataDir is where the embedded broker and the certificate made on first
	// start are kept. Relative only when it is the default, ./mcmt2xmpp-data;
	// a relative path in a file is taken from the folder of that file.
	DataDir string

	// Hostname is the name the gateway gives itself in greetings and Received
	// headers. Empty: the system's.
	Hostname string

	Log   Log
	NATS  NATS
	MCMT  MCMT
	Media Media
	XMPP  XMPP
	// Accounts is what is kept for accounts.
	Accounts Accounts

	// Listeners are all listen scopes in the order they are written, disabled
	// ones too, so that a reload can tell a listener that was switched off from
	// one that is gone.
	Listeners []*Listen

	// Operators may use the admin HTTP from anywhere, in the order they are written.
	Operators []Operator

	// Domains are the domains that speak XMPP, in the order they are first named.
	Domains []*Domain

	// Links are those to existing servers, in the order they are written.
	Links []Link

	// Relay is how mail is sent.
	Relay Relay

	// MailGatewayDomain is the domain of the addresses that stand for mail users
	// on the Jabber side; we answer for it. Empty when the configuration has no
	// domain with xmpp_role = "server".
	MailGatewayDomain string

	// MessageExpiration is how long a message may be on its way, and how long a
	// dead one is kept.
	MessageExpiration time.Duration

	// TraceExpiration is how long the record of a message that has ended is kept.
	TraceExpiration time.Duration

	// DenyUnknown refuses streams with domains that have no xmpp_role.
	DenyUnknown bool
	// Resolvers are the DNS servers to ask, as host:port. None: the system's.
	Resolvers []string

	// RelayDomains are those that anybody may relay mail to.
	RelayDomains []string

	RecipientMaps []RecipientMap // first match wins
	Filters       []filters.Spec // in the order they are applied
	Scripts       []Script       // in the order they are called
	Webhooks      []Webhook      // in the order they are written
	Loggers       []Logger       // in the order they are written
	ThreadPools   map[string]int // name to concurrency; 0 is no bound

	// Warnings are what is not wrong enough to refuse: options that are not yet
	// in effect, and notes about what a value means.
	Warnings []Diagnostic

	outgoing Outgoing // to domains without a scope of their own
	mail     Mail     // likewise
	mails    map[string]Mail

	domains map[string]*Domain
	tree    *tree
}

// Log is how the program logs.
type Log struct {
	Level  LogLevel
	Format LogFormat
}

// LogLevel is the least important level that is logged.
type LogLevel uint8

// Levels of log_level and debug_level; the zero value is info.
const (
	LogInfo LogLevel = iota
	LogDebug
	LogWarn
	LogError
)

// LogFormat is the shape of log lines.
type LogFormat uint8

// Formats of log_format. LogAuto is for people on a terminal and JSON otherwise.
const (
	LogAuto LogFormat = iota
	LogConsole
	LogJSON
)

// XMPP is the xmpp module.
type XMPP struct {
	// Enabled is whether the module is there and switched on. Where it is not,
	// no listen scope of an xmpp_listener is enabled.
	Enabled bool
	// DebugLevel is the log level of the XMPP packages; nil: Log.Level holds.
	DebugLevel *LogLevel
	// MaxSessionsPerAccount is how many sessions one account may have at once.
	MaxSessionsPerAccount int
	// MaxSuspendedPerAccount and MaxSuspendedSessions bound the sessions that wait
	// for their client to resume them: of one account, and of the process.
	MaxSuspendedPerAccount, MaxSuspendedSessions int
}

// ArchiveOff is the value of archive that switches archives off.
const ArchiveOff = "off"

// Accounts is what is kept for accounts, and its bounds.
type Accounts struct {
	// Archive is which messages are kept for whom has not said so; ArchiveOff: there are
	// no archives. ArchiveExpiration is for how long, ArchiveSize (bytes) bounds all of
	// them, ArchivePage the messages of one answer.
	Archive           string
	ArchiveExpiration time.Duration
	ArchiveSize       int64
	ArchivePage       int
	// MaxUploadSize (bytes) bounds a file that is uploaded, zero: none; UploadQuota all
	// files of an account, UploadSize all files. UploadURL is where they are, which may
	// be empty, UploadExpiration for how long.
	MaxUploadSize, UploadQuota, UploadSize int64
	UploadURL                              string
	UploadExpiration                       time.Duration
	// MaxBlocked is how many addresses one may block.
	MaxBlocked int
	// MaxRosterContacts, MaxRosterGroups (of one contact), MaxRosterRequests (of
	// people who are no contacts) and MaxRosterSize (bytes) bound a roster.
	MaxRosterContacts, MaxRosterGroups, MaxRosterRequests int
	MaxRosterSize                                         int64
	// MaxPrivateElements and MaxPrivateSize (bytes of each) bound what clients keep,
	// MaxVCardSize (bytes) the vCard.
	MaxPrivateElements           int
	MaxPrivateSize, MaxVCardSize int64
}

// NATS is the nats scope. Credentials and certificates are for URLs; the limits
// are for the embedded server.
type NATS struct {
	URLs                   []string // empty: embedded in this process
	Replicas               int      // of each message; 1 when embedded
	Slices                 int      // of each stage; 0: the broker's choice
	Credentials            string   // path of a .creds file
	User                   string
	Password, Token        Secret
	TLSCA, TLSCert, TLSKey string // paths of PEM files
	Durability             string // what 250 and 202 survive: "process" or "power"
	MaxStore, MaxMemory    int64  // bytes; 0: the broker's choice
	DiskReserve            int64  // bytes; 0: the broker's choice
	Events                 NATSEvents
}

// NATSEvents is the stream of events in an external cluster. Zero: there is none.
type NATSEvents struct {
	Size       int64 // bytes
	Expiration time.Duration
	Deferred   bool // with those of messages that begin to wait
}

// MCMT is how messages are taken apart and converted.
type MCMT struct {
	Preference  []string // of "xmpp", "smpp", "mm7", "email", best first; a kind that is missing is not used
	XMPPTypes   []string // Content-Types of the XMPP part, lower case
	MessageType string   // type of a stanza whose part does not say: chat, normal or headline
}

// Media is what becomes of files, from and to multimedia messages and mail.
type Media struct {
	// Size (bytes) bounds all files that stanzas offer, zero: none is. Expiration is for
	// how long each is there.
	Size       int64
	Expiration time.Duration
	Attach     bool // files that Jabber messages offer are fetched for mail
}

// RecipientMap maps recipient addresses to JIDs.
type RecipientMap struct {
	Name  string
	Match *regexp.Regexp // matches the whole address
	JID   string         // template: $1, ${1} and $name stand for groups of Match
	Pos   Position
}

// Map returns the JID text that addr leads to, and whether the map matches.
func (m RecipientMap) Map(addr string) (string, bool) {
	idx := m.Match.FindStringSubmatchIndex(addr)
	if idx == nil {
		return "", false
	}
	return string(m.Match.ExpandString(nil, m.JID, addr, idx)), true
}

// Domain returns what is configured for the XMPP domain name, or nil. The name
// is compared after IDNA mapping.
func (c *Config) Domain(name string) *Domain {
	return c.domains[domainKey(name)]
}

// ServedDomains returns the domains with xmpp_role = "server", in the order they
// are written, without the mail gateway domain.
func (c *Config) ServedDomains() []string {
	var names []string
	for _, d := range c.Domains {
		if d.Role == RoleServer {
			names = append(names, d.Name)
		}
	}
	return names
}

// Domain is what is configured for one XMPP domain.
type Domain struct {
	Name string // prepared as in a JID
	Role Role
	// DialbackSecret is hashed into dialback keys (XEP-0185). Empty: the server
	// makes one of its own.
	DialbackSecret Secret
	// ComponentSecret lets an external component be the domain. Empty: none may.
	ComponentSecret Secret
	Outgoing
	Pos Position
}

// Outgoing is how messages are sent to a domain.
type Outgoing struct {
	// RetryInterval and MaxRetryInterval are the first and the longest pause
	// between attempts to deliver.
	RetryInterval, MaxRetryInterval time.Duration
	// Expiration is how long a message may be on its way.
	Expiration time.Duration
	// Fallback sends the e-mail of a message that cannot be delivered, after it has waited
	// for FallbackAfter or when it was refused for good.
	Fallback      bool
	FallbackAfter time.Duration
	// DelayWarning is how long a message waits until its author hears of it who has asked
	// for that; zero: he never does.
	DelayWarning time.Duration
	// Throttle bounds the messages sent to the domain.
	Throttle Rate
	// Streams is how streams with its servers are opened and accepted.
	Streams Streams
}

// Rate is N of something within Per. The zero value is no bound.
type Rate struct {
	N   int
	Per time.Duration
}

// Outgoing returns how messages are sent to an XMPP domain: as its scope says,
// or as the global options do.
func (c *Config) Outgoing(domain string) Outgoing {
	if d := c.Domain(domain); d != nil {
		return d.Outgoing
	}
	return c.outgoing
}

// Role is the xmpp_role of a domain.
type Role uint8

// Roles. RoleNone follows s2s_default.
const (
	RoleNone   Role = iota
	RoleServer      // we answer for the domain
	RoleClient      // outgoing streams to the domain are allowed
)

// String returns the role as the option writes it; empty for RoleNone.
func (r Role) String() string {
	switch r {
	case RoleServer:
		return "server"
	case RoleClient:
		return "client"
	default:
		return ""
	}
}
