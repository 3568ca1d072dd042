// Package smtpd receives mail by SMTP (RFC 5321) and gives each message to an
// [mcmt.Sink], which takes custody. The client gets "250 2.0.0 Ok: queued as ID"
// only after Sink.Put has returned without an error.
//
//	s, err := smtpd.New(smtpd.Options{Hostname: "mx.example", Sink: sink, Config: config})
//	err = s.Serve(ctx, listener) // until ctx ends; several listeners may share s
//
// # Extensions
//
// PIPELINING (RFC 2920), 8BITMIME (6152), SMTPUTF8 (6531), SIZE (1870),
// ENHANCEDSTATUSCODES (2034), DSN (3461), CHUNKING (3030), STARTTLS (3207), AUTH
// (4954), LIMITS (9422). A TLS listener works too (8314). The mechanisms of AUTH
// come from an [Authenticator]; LOGIN is played on top of PLAIN.
//
// # How it works
//
// github.com/emersion/go-smtp runs the commands, one server per connection, as its
// limits are per server and ours per peer. It never touches the socket:
//
//	socket ── wire ── gate ── go-smtp ── session ── mcmt.Sink
//
// The wire bounds every read and write in time and gathers replies. The gate
// looks at each line before go-smtp does, one line at a time, and answers what
// go-smtp gets wrong. Messages, chunks and handshakes are read from the wire
// directly, so go-smtp's buffer never holds a byte that could be taken for
// something else. STARTTLS ends one go-smtp server and begins the next.
//
// # Guards
//
// Each has a test that speaks raw bytes over TCP: a dialog in testdata/dialogs,
// named here, or a Go test.
//
//   - Smuggling. Only CRLF dot CRLF ends a message; a lone dot between any
//     other line ends is refused and the connection closed (smuggling-lf-lf and
//     eight others; bdat-smuggling for chunks). A time-out, an error or the end of
//     the connection within a message closes it and what follows is never run
//     (smuggling-timeout, smuggling-fin, bdat-timeout, bdat-cut). A line that ends in
//     CR CR LF does not hide the end (data-crcrlf).
//   - Time. A bound for each read in a message and for the message as a whole
//     (TestTrickle), for a whole command line (slow-command), for writes,
//     handshakes and the sink (TestSinkTimeout).
//   - Connections. In all and per IPv4 address or IPv6 /64, 421 4.7.0
//     (TestConnectionLimits).
//   - Failed AUTH. 535 5.7.8 each, then 421 4.7.0 and the end (auth-failures). A
//     failure of ours is 454 and not counted (auth-protocol). No AUTH in clear text
//     (auth-needs-tls); none survives STARTTLS (auth-forgotten).
//   - Addresses. Control characters and bad syntax 501 (addresses-bad), UTF-8
//     without SMTPUTF8 553 5.6.7 (utf8-refused), quoting kept where it is needed
//     (addresses-quoted), postmaster without a domain (postmaster).
//   - SIZE of any length (size), messages too large (data-too-large,
//     bdat-too-large), memory of all bodies together 452 4.3.1 (memory,
//     TestMemoryIsSharedAndReturned).
//   - BDAT whose size cannot be parsed closes (bdat-size-word and six others); a
//     refused chunk is thrown away (bdat-order).
//   - STARTTLS with bytes behind it closes (starttls-injection), a failed
//     handshake too (starttls-garbage); TLS 1.2 is the least (TestOldTLS).
//   - Lines too long (line-too-long, line-endless), half a command at the end
//     (half-command), HTTP (http), too many errors (errors), commands that
//     lead nowhere (junk), too many recipients (recipients), order (order), NUL in
//     data (data-nul), loops (TestLoop).
//   - Internals never reach the peer, a panic is 451, a reply is one line of
//     printable ASCII (internal-errors, TestPanicInConfig). FuzzSession sends
//     anything: no panic, and as many "queued" replies as messages stored.
//   - The end of Serve: 421 4.3.2 to the idle, a message under way is finished
//     within the grace (TestStop, TestStopAfterGrace).
//
// TestSwaks is interoperability with a client that nobody here wrote.
//
// A client that talks before the greeting is not looked for: there is no delay
// that it could fall into.
package smtpd
